//! Tasks as steps: which of them a plan runs, and between which of its other steps.
//!
//! What is `run` before the switch ends before any instance of the release starts, so that a
//! release finds its schema; what is `exec` needs an instance, and comes once all are ready, as
//! what looks at the preview does. Tasks of one moment run one after the other, by their names: two
//! migrations are no friends.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::plan::{Action, Intent, Plan, StepId};
use crate::model::release::Release;
use crate::model::state::State;
use crate::model::task::{
    ReleaseTask, Task, TaskClass, TaskMoment, TaskProgram, TaskRecord, TaskSlot,
};
use crate::model::workload::{Workload, WorkloadKind};
use crate::model::{Address, Period, ReleaseNumber, ServiceName, Slot, TaskName};
use crate::plan::PlanError;
use crate::plan::draft::{Draft, Proposal, Subject};

type Workloads = BTreeMap<ServiceName, Workload>;

/// The tasks of a release in a slot, of which some are settled.
pub(super) struct Tasks<'a> {
    all: &'a BTreeMap<TaskName, Task>,
    /// The release, as far as the history knows it.
    recorded: Option<&'a Release>,
    release: ReleaseNumber,
    /// Where it is.
    slot: Slot,
    /// What it runs.
    workloads: &'a Workloads,
    /// What has live traffic before the plan.
    live: Option<Slot>,
}

/// Which tasks of the moment before the switch are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// By themselves, before any instance starts.
    Run,
    /// In instances or beside them, when all are ready.
    Ready,
}

impl<'a> Tasks<'a> {
    pub fn of(
        desired: &'a Desired,
        state: &'a State,
        live: Option<Slot>,
        (slot, release): (Slot, ReleaseNumber),
        workloads: &'a Workloads,
    ) -> Self {
        Self {
            all: &desired.tasks,
            recorded: state.release(release),
            release,
            slot,
            workloads,
            live,
        }
    }

    /// The tasks of a release that stands there, as it was placed with them, whatever the
    /// configuration says by now. The configuration's where nobody knows them any more.
    pub fn of_standing(
        desired: &'a Desired,
        state: &'a State,
        live: Option<Slot>,
        release: (Slot, ReleaseNumber),
        workloads: &'a Workloads,
    ) -> Self {
        let tasks = Self::of(desired, state, live, release, workloads);
        let declared = tasks.recorded.and_then(|it| it.declared.as_ref());
        Self {
            all: declared.unwrap_or(tasks.all),
            ..tasks
        }
    }

    /// The tasks of a moment that are not settled yet.
    fn open(&self, moment: TaskMoment) -> impl Iterator<Item = (&'a TaskName, &'a Task)> {
        self.open_in(&[moment])
    }

    /// The tasks of several moments that are not settled yet.
    fn open_in(
        &self,
        moments: &[TaskMoment],
    ) -> impl Iterator<Item = (&'a TaskName, &'a Task)> + use<'a> {
        let moments = moments.to_vec();
        let all = self.all.iter();
        let of_moment = all.filter(move |(_, it)| moments.contains(&it.when));
        let recorded = self.recorded;
        of_moment.filter(move |(name, _)| recorded.is_none_or(|it| !it.has_settled(name)))
    }

    /// Adds the tasks before the switch. With `waits` the release waits for its promotion: what
    /// breaks the live one is left for that.
    pub fn before(
        &self,
        draft: &mut Draft,
        which: Before,
        waits: bool,
        needs: &[StepId],
    ) -> Vec<StepId> {
        let open = self.open_in(&[TaskMoment::BeforeSwitch, TaskMoment::Preview]);
        let meant = open.filter(|(_, task)| {
            let is_run = matches!(task.program, TaskProgram::Run(_));
            let is_early = is_run && task.when == TaskMoment::BeforeSwitch;
            let is_left = waits && task.class == TaskClass::Breaking;
            is_early == (which == Before::Run) && !is_left
        });
        let reason = match which {
            Before::Run => format!("before release {} starts", self.release),
            Before::Ready => "before the switch".to_owned(),
        };
        self.chain(draft, meant, &reason, needs)
    }

    /// Whether any task runs before an instance starts.
    pub fn any_before_start(&self, waits: bool) -> bool {
        let mut open = self.open(TaskMoment::BeforeSwitch);
        open.any(|(_, task)| {
            let is_left = waits && task.class == TaskClass::Breaking;
            matches!(task.program, TaskProgram::Run(_)) && !is_left
        })
    }

    /// Adds the tasks after the switch.
    pub fn after(&self, draft: &mut Draft, needs: &[StepId]) -> Vec<StepId> {
        let open = self.open(TaskMoment::AfterSwitch);
        self.chain(draft, open, "after the switch", needs)
    }

    /// Adds the tasks that wait until the release before is not kept any more, or says when they
    /// come due.
    pub fn after_keep(&self, draft: &mut Draft, facts: &Facts, needs: &[StepId]) -> Vec<StepId> {
        let Some((kept, until)) = kept(facts, self.slot) else {
            let open = self.open(TaskMoment::AfterKeepPrevious);
            let reason = "no earlier release is kept any more";
            return self.chain(draft, open, reason, needs);
        };

        for (name, task) in self.open(TaskMoment::AfterKeepPrevious) {
            draft.notes.push(format!(
                "task {name} ({}) is due at {until:.0}, when release {kept} is not kept any more: \
                 `shipit settle` or the next apply runs it",
                task.class
            ));
        }
        Vec::new()
    }

    /// Says what waits until the release that this plan replaces is not kept any more.
    pub fn say_what_waits(&self, draft: &mut Draft, keep: Option<Period>) {
        let until = keep.map_or_else(String::new, |keep| format!(", {keep} after the switch"));
        for (name, task) in self.open(TaskMoment::AfterKeepPrevious) {
            draft.notes.push(format!(
                "task {name} ({}) waits until no earlier release is kept any more{until}: \
                 `shipit settle` or a later apply runs it",
                task.class
            ));
        }
    }

    /// Adds the tasks before the environment is deleted.
    pub fn before_remove(&self, draft: &mut Draft) -> Vec<StepId> {
        let open = self.open(TaskMoment::BeforeRemove);
        self.chain(draft, open, "before the environment goes", &[])
    }

    /// Adds tasks one after the other. Gives what waits for them: the last one, or what they would
    /// have waited for.
    fn chain<'t>(
        &self,
        draft: &mut Draft,
        tasks: impl Iterator<Item = (&'t TaskName, &'t Task)>,
        reason: &str,
        needs: &[StepId],
    ) -> Vec<StepId> {
        let mut last = needs.to_vec();
        for (name, task) in tasks {
            match self.proposal(name, task, reason) {
                Ok(proposal) => {
                    let blocker = self.blocker(name, task);
                    draft.rollback_blockers.extend(blocker);
                    last = vec![draft.add(proposal.after(&last))];
                }
                Err(why) => draft.notes.push(format!("task {name} does not run: {why}")),
            }
        }
        last
    }

    fn proposal(&self, name: &TaskName, task: &Task, reason: &str) -> Result<Proposal, String> {
        let workload = self.workloads.get(&task.service);
        let workload = workload
            .ok_or_else(|| format!("release {} has no service {}", self.release, task.service))?;
        let slot = match &task.program {
            TaskProgram::Exec {
                inside: TaskSlot::Live,
                ..
            } if task.when == TaskMoment::BeforeSwitch => {
                self.live.ok_or_else(|| "nothing is live yet".to_owned())?
            }
            TaskProgram::Run(_) | TaskProgram::Exec { .. } => self.slot,
        };

        let attempt = ReleaseTask {
            task: task.clone(),
            release: self.release,
            attempt: self.recorded.map_or(0, |it| it.attempts(name)),
            workload: match &task.program {
                TaskProgram::Run(_) => Some(in_network(workload.clone(), task)),
                TaskProgram::Exec { .. } => None,
            },
        };
        let address = Address::Task(slot, name.clone());
        let action = Action::Task(Box::new(attempt));
        Ok(Proposal::new(address, action, reason))
    }

    /// Why there is no rollback once a task has begun, where there is anything to go back to.
    fn blocker(&self, name: &TaskName, task: &Task) -> Option<String> {
        let is_part_of_a_switch = self.live.is_some() && task.class == TaskClass::Breaking;
        is_part_of_a_switch.then(|| {
            format!("the task {name} is `breaking`: no earlier release works once it has begun")
        })
    }
}

/// A workload in the network that a task names.
fn in_network(mut workload: Workload, task: &Task) -> Workload {
    if let (Some(network), WorkloadKind::Process(process)) = (&task.network, &mut workload.kind)
        && let Some(container) = &mut process.container
    {
        container.network = Some(network.clone());
    }
    workload
}

/// The release beside a slot that is retained for a time, and until when.
fn kept(facts: &Facts, slot: Slot) -> Option<(ReleaseNumber, Timestamp)> {
    let there = facts.slots.get(&slot.other());
    let there = there.filter(|there| there.is_running())?;
    Some((there.label.number, there.stops_at?))
}

/// Why a rollback to `to` would lead to a release that may not work any more: the tasks of later
/// releases that took away what it needs.
pub(super) fn passed(state: &State, to: ReleaseNumber) -> Vec<String> {
    let records = state.releases.iter().flat_map(|it| it.tasks.iter());
    let later = records.filter(|record| record.release > to);
    let passed = later.filter(|record| !record.class.keeps_rollback());
    let mut reasons: Vec<String> = passed
        .map(|TaskRecord { name, class, release, .. }| {
            format!(
                "release {release} ran the task {name}, which is `{class}`: release {to} may not \
                 work any more"
            )
        })
        .collect();
    reasons.dedup();
    reasons
}

/// Whether a task that is done is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Makes the plan of `task NAME`: one task of the live release.
///
/// # Errors
/// There is no such task, or nothing that it could run in.
pub fn task(
    desired: &Desired,
    facts: &Facts,
    state: &State,
    name: &TaskName,
    again: Again,
) -> Result<Plan, PlanError> {
    let subject = Subject::new(desired, facts, state);
    let mut draft = Draft::default();
    let (slot, there) = facts.live().ok_or_else(|| PlanError::NothingLive {
        environment: desired.environment.clone(),
    })?;
    let task = desired.tasks.get(name);
    let task = task.ok_or_else(|| PlanError::NoSuchTask {
        name: name.clone(),
        known: desired.tasks.keys().cloned().collect(),
    })?;

    let release = there.label.number;
    let workloads = specs(there);
    let tasks = Tasks::of(desired, state, Some(slot), (slot, release), &workloads);
    let is_done = tasks.recorded.is_some_and(|it| it.has_settled(name));
    if is_done && again == Again::No {
        let address = Address::Task(slot, name.clone());
        let note = format!("task {name} was run for release {release}: `--again` runs it again");
        draft.notes.push(note);
        draft.same(address, "done");
        return Ok(draft.finish(&subject, Intent::Task(name.clone()), None));
    }

    // By hand it is in the live slot whatever its moment is.
    let by_hand = Task {
        when: TaskMoment::Never,
        ..task.clone()
    };
    let proposal = tasks.proposal(name, &by_hand, "asked for");
    let proposal = proposal.map_err(|why| PlanError::TaskCannotRun {
        name: name.clone(),
        why,
    })?;
    draft.add(proposal);
    draft.rollback_blockers.extend(tasks.blocker(name, task));
    let kept = kept(facts, slot).filter(|_| task.class == TaskClass::Contract);
    draft.rollback_blockers.extend(kept.map(|(kept, until)| {
        format!(
            "the task {name} is `contract`, and release {kept} is kept until {until:.0}: it may \
             not work any more once the task has begun"
        )
    }));
    Ok(draft.finish(&subject, Intent::Task(name.clone()), None))
}

/// Makes the plan of the tasks of the live release that have come due. Only what the release was
/// placed with: a checkout may be ahead of it or behind it, and nobody is asked.
#[must_use]
pub fn settle(desired: &Desired, facts: &Facts, state: &State) -> Plan {
    let mut draft = Draft::default();
    if let Some((slot, there)) = facts.live() {
        let workloads = specs(there);
        let number = there.label.number;
        let recorded = state.release(number);
        let is_known = recorded.is_some_and(|it| it.declared.is_some());
        if is_known {
            let release = (slot, number);
            let tasks = Tasks::of_standing(desired, state, Some(slot), release, &workloads);
            tasks.after_keep(&mut draft, facts, &[]);
        } else if has_later(desired) {
            draft.notes.push(format!(
                "which tasks release {number} waits with is not in the history: \
                 `shipit task NAME` runs one"
            ));
        }
    }
    draft.finish(&Subject::new(desired, facts, state), Intent::Settle, None)
}

fn has_later(desired: &Desired) -> bool {
    let mut tasks = desired.tasks.values();
    tasks.any(|task| task.when == TaskMoment::AfterKeepPrevious)
}

/// What stands in a slot.
pub(super) fn specs(there: &crate::model::facts::SlotFacts) -> Workloads {
    let workloads = there.workloads.iter();
    workloads
        .map(|(name, workload)| (name.clone(), workload.spec.clone()))
        .collect()
}
