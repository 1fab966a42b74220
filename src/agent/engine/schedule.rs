//! Tasks that run by themselves, on the agent's own clock, in the slot that has live traffic.
//!
//! A time is decided on once for an environment, whichever slot is live, and that is recorded
//! before anything begins. It is decided on while nobody else changes the environment: what is in
//! the middle of a switch is over by then, and the slot that is live counts.

mod file;
mod run;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::agent::engine::Agent;
use crate::agent::engine::record::EnvironmentRecord;
use crate::agent::engine::schedule::file::{Decision, ScheduleFile};
use crate::agent::engine::task::{Program, Running};
use crate::model::schedule::{LATEST, ScheduleFacts, ScheduledRun, ScheduledTask, SkipReason};
use crate::model::{ReleaseNumber, ServiceName, Slot, TaskName};
use crate::port::engine::Scope;

/// How often it is looked what is due, besides the beginning of each minute: a clock may be set.
const LOOK: Duration = Duration::from_secs(5);

/// What tells a task.
type Key = (Scope, TaskName);

/// The tasks that have begun by themselves, and have not ended.
#[derive(Default)]
pub(super) struct Schedules {
    running: Mutex<HashMap<Key, OfTime>>,
    /// The environments that are looked at just now.
    looked_at: Mutex<HashSet<Scope>>,
    /// Held while what is recorded changes.
    files: Mutex<()>,
}

/// A run of one time.
#[derive(Clone)]
struct OfTime {
    due: Timestamp,
    of: Due,
    running: Arc<Running>,
}

/// A task that the live release has.
#[derive(Clone)]
struct Due {
    slot: Slot,
    release: ReleaseNumber,
    service: ServiceName,
    task: ScheduledTask,
}

impl Due {
    fn program(&self) -> Program {
        (self.service.clone(), self.task.program.command().to_vec())
    }

    /// A run of it that begins now.
    const fn run(&self, due: Timestamp, now: Timestamp) -> ScheduledRun {
        ScheduledRun {
            due,
            slot: self.slot,
            release: Some(self.release),
            began: Some(now),
            ended: None,
            outcome: None,
            log: Vec::new(),
        }
    }
}

impl Schedules {
    fn running(&self) -> MutexGuard<'_, HashMap<Key, OfTime>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that run, in words.
    pub fn names(&self) -> Vec<String> {
        let running = self.running();
        running
            .iter()
            .map(|((scope, task), one)| format!("{task} of {scope} (due {:.0})", one.due))
            .collect()
    }

    /// Lets a task begin by hand, unless a run of its schedule does the same: then the time of that
    /// is given. Nothing begins by itself in between.
    pub fn beside_none(
        &self,
        scope: &Scope,
        program: &Program,
        begins: impl FnOnce(),
    ) -> Result<(), Timestamp> {
        let running = self.running();
        let mut all = running.iter().filter(|((its, _), _)| its == scope);
        if let Some((_, one)) = all.find(|(_, one)| one.of.program() == *program) {
            return Err(one.due);
        }
        begins();
        Ok(())
    }
    /// Marks an environment as looked at, unless it is just now.
    fn begin_look(&self, scope: &Scope) -> bool {
        let mut all = self
            .looked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(scope.clone())
    }

    fn end_look(&self, scope: &Scope) {
        let mut all = self
            .looked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.remove(scope);
    }
}

/// Begins what is due, as long as there is an agent. What a dead agent had begun is recorded as
/// ended.
pub(in crate::agent) fn watch(agent: &Arc<Agent>) {
    for scope in agent.scopes() {
        end_unseen(agent, &scope);
    }
    let agent = Arc::downgrade(agent);
    tokio::spawn(async move {
        loop {
            let Some(there) = agent.upgrade() else { return };
            look(&there);
            drop(there);
            tokio::time::sleep(until_look(Timestamp::now())).await;
        }
    });
}

/// How long until it is looked again: at the beginning of a minute at the latest.
fn until_look(now: Timestamp) -> Duration {
    let millis = u64::try_from(now.as_millisecond().rem_euclid(60_000)).unwrap_or(0);
    Duration::from_millis(60_000 - millis).min(LOOK)
}

/// Looks at each environment that has anything to look at. Whoever changes one keeps the others
/// waiting for nothing.
fn look(agent: &Arc<Agent>) {
    for scope in agent.scopes() {
        let record = agent.environment(&scope).state.record();
        let is_idle =
            live(&record).is_empty() && ScheduleFile::all(agent.folder(), &scope).is_empty();
        if is_idle || !agent.schedules.begin_look(&scope) {
            continue;
        }
        let agent = Arc::clone(agent);
        tokio::spawn(async move {
            decide(&agent, &scope).await;
            agent.schedules.end_look(&scope);
        });
    }
}

/// The tasks that the live release has.
fn live(record: &EnvironmentRecord) -> BTreeMap<TaskName, Due> {
    let slot = record.traffic.slot();
    let there = slot.and_then(|slot| Some((slot, record.slots.get(&slot)?)));
    let Some((slot, there)) = there else {
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    for (service, workload) in there.workloads.iter().filter(|(_, it)| it.running) {
        let process = workload.spec.process().into_iter();
        for (name, task) in process.flat_map(|process| &process.schedules) {
            let due = Due {
                slot,
                release: there.label.number,
                service: service.clone(),
                task: task.clone(),
            };
            all.insert(name.clone(), due);
        }
    }
    all
}

/// Decides on what is due in an environment, and begins it.
async fn decide(agent: &Arc<Agent>, scope: &Scope) {
    let environment = agent.environment(scope);
    let work = environment.work.lock().await;
    let (record, now) = (environment.state.record(), Timestamp::now());
    let live = live(&record);
    // What has just become live has had no time before the run that made it so.
    let earliest = now.checked_sub(LATEST).unwrap_or(now);
    let since = record.changed_at.unwrap_or(now).clamp(earliest, now);

    let mut begun = Vec::new();
    for (name, due) in &live {
        let key = (scope.clone(), name.clone());
        begun.extend(decide_on(agent, &key, due, (since, now)));
    }
    set_aside(agent, scope, &live);
    drop(work);
    for (key, one) in begun {
        tokio::spawn(run::run(Arc::clone(agent), key, one));
    }
}

/// Decides on one task. What is to begin is recorded as begun.
fn decide_on(
    agent: &Arc<Agent>,
    key: &Key,
    due: &Due,
    (since, now): (Timestamp, Timestamp),
) -> Option<(Key, OfTime)> {
    let (scope, name) = key;
    let _alone = agent.schedules.files();
    let recorded = ScheduleFile::load(agent.folder(), scope, name);
    let mut file = ScheduleFile::of_live(recorded.clone(), &due.service, &due.task.schedule, since);
    let decision = file.decide(now);
    let mut begun = None;
    match decision {
        Decision::Wait => {}
        Decision::Miss(at) => file.skip(at, &due.run(at, now), SkipReason::Missed),
        Decision::Begin(at) => match claim(agent, key, due, at) {
            Err(reason) => file.skip(at, &due.run(at, now), reason),
            Ok(one) => {
                file.push(due.run(at, now));
                begun = Some(one);
            }
        },
    }
    if recorded.as_ref() == Some(&file) {
        return None;
    }

    // What cannot be recorded could run twice.
    if let Err(error) = file.save(agent.folder(), scope, name) {
        tracing::error!(task = %name, %scope, %error, "what is due cannot be written down");
        if begun.is_some() {
            agent.schedules.running().remove(key);
        }
        return None;
    }
    if let Some(outcome) = file.runs.first().and_then(|run| run.outcome.as_ref())
        && decision != Decision::Wait
        && begun.is_none()
    {
        tracing::warn!(task = %name, %scope, "{outcome}");
    }
    Some((key.clone(), begun?))
}

/// Has a task run for a time, unless it runs already: nothing begins by hand in between.
fn claim(agent: &Agent, key: &Key, due: &Due, at: Timestamp) -> Result<OfTime, SkipReason> {
    let mut running = agent.schedules.running();
    if let Some(one) = running.get(key) {
        return Err(SkipReason::StillRuns(Some(one.due)));
    }
    if agent.tasks.runs(&key.0, &due.program()) {
        return Err(SkipReason::StillRuns(None));
    }
    let one = OfTime {
        due: at,
        of: due.clone(),
        running: Arc::new(Running::new()),
    };
    running.insert(key.clone(), one.clone());
    Ok(one)
}

/// Records of what the live release does not have that it has no times.
fn set_aside(agent: &Agent, scope: &Scope, live: &BTreeMap<TaskName, Due>) {
    let _alone = agent.schedules.files();
    let mut left = Vec::new();
    for name in ScheduleFile::all(agent.folder(), scope) {
        if live.contains_key(&name) {
            continue;
        }
        let Some(mut file) = ScheduleFile::load(agent.folder(), scope, &name) else {
            continue;
        };
        left.push((file.decided, name.clone()));
        if std::mem::replace(&mut file.live, false)
            && let Err(error) = file.save(agent.folder(), scope, &name)
        {
            tracing::error!(task = %name, %scope, %error, "that it has no times cannot be written down");
        }
    }
    ScheduleFile::forget_oldest(agent.folder(), scope, left);
}

/// What a dead agent had begun has ended with it.
fn end_unseen(agent: &Agent, scope: &Scope) {
    let _alone = agent.schedules.files();
    for name in ScheduleFile::all(agent.folder(), scope) {
        let Some(mut file) = ScheduleFile::load(agent.folder(), scope, &name) else {
            continue;
        };
        let before = file.clone();
        file.end_unseen();
        if file != before
            && let Err(error) = file.save(agent.folder(), scope, &name)
        {
            tracing::error!(task = %name, %scope, %error, "how it ended cannot be written down");
        }
    }
}

/// The tasks that run by themselves, with what became of their times; of one that is named its
/// output, too, whether the live release has it or not.
pub(super) fn facts(agent: &Agent, scope: &Scope, named: Option<&TaskName>) -> Vec<ScheduleFacts> {
    let Some(environment) = agent.known(scope) else {
        return Vec::new();
    };
    let (record, now) = (environment.state.record(), Timestamp::now());
    let live = live(&record);
    if let Some(name) = named {
        let found = facts_of(agent, scope, name, live.get(name), now);
        return found
            .map(|file| file.facts(name.clone(), now))
            .into_iter()
            .collect();
    }

    let all = live.iter().filter_map(|(name, due)| {
        let mut file = facts_of(agent, scope, name, Some(due), now)?;
        file.runs.iter_mut().for_each(|run| run.log.clear());
        Some(file.facts(name.clone(), now))
    });
    all.collect()
}

/// What is known of a task, with the output so far of what runs.
fn facts_of(
    agent: &Agent,
    scope: &Scope,
    name: &TaskName,
    due: Option<&Due>,
    now: Timestamp,
) -> Option<ScheduleFile> {
    let recorded = ScheduleFile::load(agent.folder(), scope, name);
    let mut file = match due {
        Some(due) => ScheduleFile::of_live(recorded, &due.service, &due.task.schedule, now),
        None => ScheduleFile {
            live: false,
            ..recorded?
        },
    };
    let running = agent
        .schedules
        .running()
        .get(&(scope.clone(), name.clone()))
        .cloned();
    if let (Some(run), Some(one)) = (
        file.runs.iter_mut().find(|run| run.outcome.is_none()),
        running,
    ) {
        run.log = one.running.lines(0).0;
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_the_beginning_of_each_minute() {
        let after = |text: &str| until_look(text.parse().expect("a time"));
        assert_eq!(after("2026-01-01T00:00:00Z"), LOOK);
        assert_eq!(after("2026-01-01T00:00:57.5Z"), Duration::from_millis(2500));
        assert_eq!(after("2026-01-01T00:00:59.999Z"), Duration::from_millis(1));
    }
}
