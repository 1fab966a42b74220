//! What the end of a run means for the history.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::approval::SignedBy;
use crate::model::check::Stage;
use crate::model::facts::{Facts, SlotFacts};
use crate::model::outcome::ProbeReport;
use crate::model::plan::{Action, Intent, Plan, Step, Target};
use crate::model::release::{Actor, Release, ReleaseStatus};
use crate::model::source::Source;
use crate::model::state::State;
use crate::model::task::TaskRecord;
use crate::model::workload::Workload;
use crate::model::{Address, ContentHash, ServiceName, Slot};
use crate::rollout::{End, Traffic};

/// A run that is over.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// What it carried out.
    pub plan: &'a Plan,
    /// How it ended.
    pub end: &'a End,
    /// What the target runs, every image that was built filled in.
    pub workloads: &'a BTreeMap<ServiceName, Workload>,
    /// What the prober measured.
    pub probe: Option<&'a ProbeReport>,
    /// Who.
    pub actor: &'a Actor,
    /// Why it touched live traffic outside of its windows, where somebody said so.
    pub outside_window: Option<&'a str>,
    /// The tasks that ended in it.
    pub tasks: &'a [TaskRecord],
    /// Whose signatures it was carried out by.
    pub approvals: &'a [SignedBy],
    /// When.
    pub now: Timestamp,
}

/// The hash that says whether two releases run the same thing.
#[must_use]
pub fn config_hash(workloads: &BTreeMap<ServiceName, Workload>) -> ContentHash {
    ContentHash::of_json(workloads)
}

/// The state after a run. The serial goes up by one; the lineage is the caller's to set.
#[must_use]
pub fn record(state: &State, run: &Ended<'_>) -> State {
    let mut next = state.clone();
    next.serial += 1;
    if *run.end == End::Done {
        end_waiting(&mut next, run.plan);
    }
    match &run.plan.target {
        Some(target) => record_target(&mut next, run, target),
        None if run.plan.intent.ends_environment() && *run.end == End::Done => take_off(&mut next),
        None => {}
    }
    if *run.end == End::Done {
        keep_closed(&mut next, run.plan);
    }
    keep_tasks(&mut next, run.tasks);
    next
}

/// What a task did is done, whatever became of the run.
fn keep_tasks(state: &mut State, tasks: &[TaskRecord]) {
    for task in tasks {
        let releases = &mut state.releases;
        let mut release = releases.iter_mut().filter(|it| it.number == task.release);
        if let Some(release) = release.next() {
            release.tasks.push(task.clone());
        }
    }
}

/// A release that waited in a slot which a run has cleared waits no more.
fn end_waiting(state: &mut State, plan: &Plan) {
    let clears = |slot: Slot| {
        let is_cleared = |step: &Step| step.address == Address::Slot(slot);
        plan.steps
            .iter()
            .any(|step| is_cleared(step) && step.action == Action::Clear)
    };
    for release in &mut state.releases {
        if release.status == ReleaseStatus::Waiting && clears(release.slot) {
            release.status = ReleaseStatus::Aborted;
        }
    }
}

/// Listeners that a run has closed are kept with the release that had them.
fn keep_closed(state: &mut State, plan: &Plan) {
    let live = plan.active.as_ref().map(|active| active.release);
    let closes = |step: &&Step| step.action == Action::StopListening;
    for step in plan.steps.iter().filter(closes) {
        let back = plan.reverse.iter();
        let back = back.filter(|back| back.undoes == Some(step.id));
        for route in back.flat_map(|back| back.action.routes()) {
            let mut had: Vec<&mut Release> = state
                .releases
                .iter_mut()
                .filter(|release| release.workloads.contains_key(&route.service))
                .collect();
            had.sort_by_key(|release| (Some(release.number) == live, release.number));
            if let Some(release) = had.pop() {
                release
                    .closed
                    .insert(route.service.clone(), route.settled());
            }
        }
    }
}

fn record_target(state: &mut State, run: &Ended<'_>, target: &Target) {
    let status = match run.end {
        End::Done if run.plan.intent == Intent::Abort => ReleaseStatus::Aborted,
        End::Done if goes_live(run.plan) => ReleaseStatus::Live,
        End::Done => ReleaseStatus::Waiting,
        // What failed before its switch still stands where it stood, if it stood there before this
        // run.
        End::Failed(_) | End::Refused(_) if !target.new => return,
        End::Failed(reason) | End::Refused(reason) => ReleaseStatus::Failed {
            reason: reason.clone(),
        },
        End::Reverted(reason) => ReleaseStatus::Reverted {
            reason: reason.clone(),
        },
        End::Interrupted(Traffic::MovedBack) => ReleaseStatus::Reverted {
            reason: "interrupted".to_owned(),
        },
        // The next run finds out what stands, and goes on there.
        End::Interrupted(_) | End::RollbackFailed { .. } | End::Stale(_) | End::LockLost => return,
    };

    match status {
        ReleaseStatus::Live => step_down(state, ReleaseStatus::Live, &ReleaseStatus::Superseded),
        ReleaseStatus::Waiting => step_down(state, ReleaseStatus::Waiting, &ReleaseStatus::Aborted),
        _ => {}
    }
    put(state, run, target, status);
}

/// Whether the plan ends with live traffic on its target.
#[must_use]
pub fn goes_live(plan: &Plan) -> bool {
    let verifies =
        |action: &Action| matches!(action, Action::Check { stage, .. } if *stage == Stage::After);
    plan.steps.iter().any(|step| verifies(&step.action))
}

#[allow(clippy::needless_pass_by_value)] // a status is given by name
fn step_down(state: &mut State, from: ReleaseStatus, to: &ReleaseStatus) {
    for release in state
        .releases
        .iter_mut()
        .filter(|release| release.status == from)
    {
        release.status = to.clone();
    }
}

fn put(state: &mut State, run: &Ended<'_>, target: &Target, status: ReleaseStatus) {
    let live_since =
        matches!(status, ReleaseStatus::Live | ReleaseStatus::Reverted { .. }).then_some(run.now);
    let live_serial = live_since.map(|_| state.serial);
    if let Some(release) = state
        .releases
        .iter_mut()
        .find(|release| release.number == target.release)
    {
        release.status = status;
        release.slot = target.slot;
        release.live_since = live_since.or(release.live_since);
        release.live_serial = live_serial.or(release.live_serial);
        let outside = run.outside_window.map(str::to_owned);
        release.outside_window = outside.or_else(|| release.outside_window.take());
        release.approvals.extend_from_slice(run.approvals);
        release.probe = run.probe.cloned().or_else(|| release.probe.take());
        return;
    }

    state.releases.push(Release {
        number: target.release,
        source: target.source.clone(),
        config: config_hash(run.workloads),
        workloads: run.workloads.clone(),
        inputs: target.inputs.clone(),
        names: target.names.clone(),
        promoted_from: run.plan.intent.promoted_from().cloned(),
        created_at: run.now,
        created_by: run.actor.clone(),
        slot: target.slot,
        status,
        live_since,
        live_serial,
        closed: BTreeMap::new(),
        outside_window: run.outside_window.map(str::to_owned),
        approvals: run.approvals.to_vec(),
        probe: run.probe.cloned(),
        declared: Some(target.tasks.clone()),
        tasks: Vec::new(),
    });
}

fn take_off(state: &mut State) {
    step_down(state, ReleaseStatus::Live, &ReleaseStatus::Superseded);
    step_down(state, ReleaseStatus::Waiting, &ReleaseStatus::Aborted);
}

/// The history of an environment whose state was lost: what still stands in the slots.
#[must_use]
pub fn adopt(state: &State, facts: &Facts, actor: &Actor, now: Timestamp) -> State {
    let mut next = state.clone();
    if !next.releases.is_empty() {
        return next;
    }
    let mut found: Vec<Release> = facts
        .slots
        .iter()
        .map(|(slot, there)| adopted(*slot, there, facts.traffic.reaches(*slot), actor, now))
        .collect();
    found.sort_by_key(|release| release.number);
    next.releases = found;
    next
}

fn adopted(slot: Slot, there: &SlotFacts, live: bool, actor: &Actor, now: Timestamp) -> Release {
    let workloads: BTreeMap<_, _> = there
        .workloads
        .iter()
        .map(|(name, workload)| (name.clone(), workload.spec.clone()))
        .collect();
    Release {
        number: there.label.number,
        source: Source {
            commit: there.label.commit.clone(),
            branch: there.label.branch.clone(),
            dirty: there.label.dirty,
            ..Source::default()
        },
        config: there.label.config.clone(),
        workloads,
        inputs: there.label.inputs.clone(),
        names: BTreeMap::new(),
        promoted_from: None,
        created_at: there.placed_at,
        created_by: actor.clone(),
        slot,
        // Only what had live traffic is retained for a time; what waits for it was never live, and
        // no rollback leads there.
        status: match (live, there.stops_at) {
            (true, _) => ReleaseStatus::Live,
            (false, Some(_)) => ReleaseStatus::Superseded,
            (false, None) => ReleaseStatus::Waiting,
        },
        live_since: live.then_some(now),
        live_serial: None,
        closed: BTreeMap::new(),
        outside_window: None,
        approvals: Vec::new(),
        probe: None,
        declared: None,
        tasks: Vec::new(),
    }
}
