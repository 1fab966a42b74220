//! What is recorded of a task that runs by itself: which of its times were decided on, and what
//! became of them.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::agent::Directory;
use crate::agent::engine::record::EnvironmentRecord;
use crate::files;
use crate::model::schedule::{
    LATEST, Schedule, ScheduleFacts, ScheduledOutcome, ScheduledRun, SkipReason,
};
use crate::model::task::TaskExit;
use crate::model::{ServiceName, TaskName};
use crate::port::engine::Scope;

/// Of how many times it is kept what became of them: the last ones.
const RUNS: usize = 20;
/// How many bytes of each one's output are kept: the last ones.
const LOG: usize = 16 << 10;
/// Of how many tasks an environment keeps this, besides those that are live.
const TASKS: usize = 64;

/// One task of an environment. Never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct ScheduleFile {
    /// The service whose image it runs in.
    pub service: ServiceName,
    /// When it runs.
    pub schedule: Schedule,
    /// Whether the live release has it. What comes back has missed nothing.
    pub live: bool,
    /// Every time until here was decided on.
    pub decided: Timestamp,
    /// What became of its times, the last one first.
    #[serde(default)]
    pub runs: Vec<ScheduledRun>,
}

/// What is to be done about a task at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is due.
    Wait,
    /// It begins, for this time.
    Begin(Timestamp),
    /// This time is passed over: it is too late for it.
    Miss(Timestamp),
}

impl ScheduleFile {
    /// A task that the live release has as `schedule`; what is recorded of it goes on while it has
    /// the same times. `since`: its times count from here when it has others, or none.
    pub fn of_live(
        recorded: Option<Self>,
        service: &ServiceName,
        schedule: &Schedule,
        since: Timestamp,
    ) -> Self {
        let (decided, runs) = match recorded {
            Some(same) if same.live && same.schedule == *schedule => (same.decided, same.runs),
            // Its times before are another schedule's, and none of them comes again.
            Some(other) => (other.decided.max(since), other.runs),
            None => (since, Vec::new()),
        };
        Self {
            service: service.clone(),
            schedule: schedule.clone(),
            live: true,
            decided,
            runs,
        }
    }

    /// Decides on what is due, once: who asks again for the same time is told to wait.
    pub fn decide(&mut self, now: Timestamp) -> Decision {
        let Some(due) = self.schedule.due(self.decided, now) else {
            return Decision::Wait;
        };
        self.decided = due;
        if now.duration_since(due) > LATEST {
            Decision::Miss(due)
        } else {
            Decision::Begin(due)
        }
    }

    /// Records what became of a time.
    pub fn push(&mut self, run: ScheduledRun) {
        self.runs.insert(0, run);
        self.runs.truncate(RUNS);
    }

    /// Records that a time was passed over.
    pub fn skip(&mut self, due: Timestamp, of: &ScheduledRun, reason: SkipReason) {
        self.push(ScheduledRun {
            due,
            began: None,
            outcome: Some(ScheduledOutcome::Skipped(reason)),
            ..of.clone()
        });
    }

    /// Records how a run ended.
    pub fn end(&mut self, due: Timestamp, outcome: ScheduledOutcome, log: Vec<String>) {
        let mut runs = self.runs.iter_mut();
        let Some(run) = runs.find(|run| run.due == due && run.outcome.is_none()) else {
            return;
        };
        run.ended = Some(Timestamp::now());
        run.outcome = Some(outcome);
        run.log = last(log);
    }

    /// What was running when an agent died has ended, and nobody saw how.
    pub fn end_unseen(&mut self) {
        for run in self.runs.iter_mut().filter(|run| run.outcome.is_none()) {
            run.outcome = Some(ScheduledOutcome::Ended(TaskExit::Unseen));
        }
    }

    /// For whoever wants to know. `now`: the next time is behind it.
    pub fn facts(self, task: TaskName, now: Timestamp) -> ScheduleFacts {
        let next = self.schedule.next_after(self.decided.max(now));
        ScheduleFacts {
            task,
            service: self.service,
            next: next.filter(|_| self.live),
            schedule: self.schedule,
            runs: self.runs,
        }
    }

    fn folder(directory: &Directory, scope: &Scope) -> PathBuf {
        EnvironmentRecord::folder(directory, scope).join("schedules")
    }

    fn path(directory: &Directory, scope: &Scope, task: &TaskName) -> PathBuf {
        Self::folder(directory, scope).join(format!("{task}.json"))
    }

    /// What is recorded of a task; nothing of one whose record cannot be read.
    pub fn load(directory: &Directory, scope: &Scope, task: &TaskName) -> Option<Self> {
        let bytes = fs::read(Self::path(directory, scope, task)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes it down; returns when the disk has it.
    pub fn save(&self, directory: &Directory, scope: &Scope, task: &TaskName) -> io::Result<()> {
        let path = Self::path(directory, scope, task);
        files::replace(&path, &serde_json::to_vec_pretty(self)?)
    }

    /// The tasks of an environment of which anything is recorded.
    pub fn all(directory: &Directory, scope: &Scope) -> Vec<TaskName> {
        let entries = fs::read_dir(Self::folder(directory, scope));
        let names = entries.into_iter().flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".json")?.parse().ok()
        });
        names.collect()
    }

    /// Forgets what is recorded of the oldest of tasks that are not live.
    pub fn forget_oldest(
        directory: &Directory,
        scope: &Scope,
        mut left: Vec<(Timestamp, TaskName)>,
    ) {
        left.sort();
        let over = left.len().saturating_sub(TASKS);
        for (_, task) in left.into_iter().take(over) {
            let _ = fs::remove_file(Self::path(directory, scope, &task));
        }
    }
}

/// The last lines, as many as are kept.
fn last(lines: Vec<String>) -> Vec<String> {
    let mut room = LOG;
    let fits = |line: &String| {
        let rest = room.checked_sub(line.len() + 1);
        room = rest.unwrap_or(0);
        rest.is_some()
    };
    let mut kept: Vec<String> = lines.into_iter().rev().take_while(fits).collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Slot;

    fn time(text: &str) -> Timestamp {
        format!("2026-03-01T{text}Z").parse().expect("a time")
    }

    fn schedule(at: &str) -> Schedule {
        Schedule {
            at: at.parse().expect("times"),
            timezone: None,
        }
    }

    fn live(recorded: Option<ScheduleFile>, at: &str, since: &str) -> ScheduleFile {
        let web = "web".parse().expect("a name");
        ScheduleFile::of_live(recorded, &web, &schedule(at), time(since))
    }

    fn run(due: &str) -> ScheduledRun {
        ScheduledRun {
            due: time(due),
            slot: Slot::Blue,
            release: None,
            began: Some(time(due)),
            ended: None,
            outcome: None,
            log: Vec::new(),
        }
    }

    #[test]
    fn a_time_is_decided_on_once_whatever_slot_is_live() {
        let mut file = live(None, "0 3 * * *", "02:00:00");
        assert_eq!(file.decide(time("02:59:59")), Decision::Wait);
        assert_eq!(
            file.decide(time("03:00:00")),
            Decision::Begin(time("03:00:00"))
        );
        assert_eq!(file.decide(time("03:00:00")), Decision::Wait);

        // The other slot gets traffic with the same task a moment later.
        let mut file = live(Some(file), "0 3 * * *", "03:00:01");
        assert_eq!(file.decide(time("03:00:05")), Decision::Wait);
    }

    #[test]
    fn what_nobody_began_at_its_time_runs_late_or_is_missed() {
        let begun = live(None, "0 3 * * *", "02:00:00");
        let late = begun.clone().decide(time("03:10:00"));
        assert_eq!(late, Decision::Begin(time("03:00:00")));
        let mut file = begun;
        assert_eq!(
            file.decide(time("03:10:01")),
            Decision::Miss(time("03:00:00"))
        );
        assert_eq!(file.decide(time("03:10:02")), Decision::Wait);

        // Of many only the last one.
        let mut each = live(None, "* * * * *", "02:00:00");
        assert_eq!(
            each.decide(time("06:00:30")),
            Decision::Begin(time("06:00:00"))
        );
        assert_eq!(each.decide(time("06:00:31")), Decision::Wait);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_no_time_again() {
        let mut file = live(None, "* * * * *", "02:00:00");
        assert_eq!(
            file.decide(time("03:00:00")),
            Decision::Begin(time("03:00:00"))
        );
        assert_eq!(file.decide(time("02:30:00")), Decision::Wait);
        assert_eq!(
            file.decide(time("03:01:00")),
            Decision::Begin(time("03:01:00"))
        );
    }

    #[test]
    fn what_comes_back_or_has_other_times_has_missed_nothing() {
        let file = live(None, "0 3 * * *", "02:00:00");
        let mut other = live(Some(file.clone()), "55 2 * * *", "02:58:00");
        assert_eq!(other.decide(time("02:59:00")), Decision::Wait);

        let away = ScheduleFile {
            live: false,
            ..file
        };
        let mut back = live(Some(away), "0 3 * * *", "03:02:00");
        assert_eq!(back.decide(time("03:03:00")), Decision::Wait);
    }

    #[test]
    fn the_last_times_are_kept_with_the_last_of_their_output() {
        let mut file = live(None, "* * * * *", "02:00:00");
        for minute in 0..30 {
            file.push(run(&format!("03:{minute:02}:00")));
        }
        assert_eq!(
            (file.runs.len(), file.runs[0].due),
            (RUNS, time("03:29:00"))
        );

        let long = vec!["first".to_owned(), "x".repeat(LOG - 10), "last".to_owned()];
        let outcome = ScheduledOutcome::Ended(TaskExit::Code(0));
        file.end(time("03:29:00"), outcome, long);
        let ended = &file.runs[0];
        assert_eq!(ended.log.len(), 2, "what fits, from its end");
        assert!(ended.ended.is_some());

        file.end_unseen();
        let unseen = ScheduledOutcome::Ended(TaskExit::Unseen);
        assert_eq!(file.runs[1].outcome, Some(unseen));
        assert!(
            file.runs[0]
                .outcome
                .as_ref()
                .is_some_and(ScheduledOutcome::is_ok)
        );
    }
}
