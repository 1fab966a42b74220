//! The pieces that plans are made of: placing a workload, and what takes that back.

use crate::model::facts::{Facts, SlotFacts, WorkloadFacts};
use crate::model::plan::{Action, DeployMode};
use crate::model::workload::Workload;
use crate::model::{Address, Period, Slot};
use crate::plan::draft::Proposal;

/// What puts a slot back as it is now: its workloads, and the end that it has. What never runs
/// twice at once does not run in a slot without live traffic, even if a run that died has left it
/// so: a rollback starts it where traffic is.
pub(super) fn restore(facts: &Facts, slot: Slot, there: &SlotFacts) -> Vec<Proposal> {
    let specs = there.workloads.iter();
    let specs = specs.map(|(name, old)| (name.clone(), old.spec.clone()));
    let mut stopped = facts.waiting(&specs.collect());
    if facts.traffic.reaches(slot) {
        stopped.clear();
    }
    let placed = there.workloads.iter().map(move |(name, old)| {
        let action = if stopped.contains(name) {
            stands(old, DeployMode::Fresh, there)
        } else {
            as_it_was(old, DeployMode::Fresh, there)
        };
        let reason = format!("release {} as it was", there.label.number);
        Proposal::new(Address::Workload(slot, name.clone()), action, reason)
    });
    placed.chain(ends_as_it_did(slot, there)).collect()
}

/// What gives a slot that is retained the end again that it has now: placing it, or giving it live
/// traffic, took that away.
pub(super) fn ends_as_it_did(slot: Slot, there: &SlotFacts) -> Option<Proposal> {
    let until = there.stops_at?;
    let reason = format!("release {} stops when it would have", there.label.number);
    let action = Action::RetainUntil { until };
    Some(Proposal::new(Address::Slot(slot), action, reason))
}

/// Lets a workload that stands stopped in its slot run as it stands there.
pub(super) fn runs_again(old: &WorkloadFacts, there: &SlotFacts) -> Action {
    Action::Deploy {
        workload: old.spec.clone(),
        mode: DeployMode::Fresh,
        label: Some(there.label.clone()),
        running: true,
    }
}

/// Places a workload as it stands in its slot now, but stopped.
pub(super) fn stands(old: &WorkloadFacts, mode: DeployMode, there: &SlotFacts) -> Action {
    Action::Deploy {
        workload: old.spec.clone(),
        mode,
        label: Some(there.label.clone()),
        running: false,
    }
}

/// Waits until what is meant to run in a slot can take traffic.
pub(super) fn wait(slot: Slot, within: Period, reason: &str) -> Proposal {
    let action = Action::WaitUntilReady { within };
    Proposal::new(Address::Slot(slot), action, reason)
}

/// Places a workload as it stands in its slot now.
pub(super) fn as_it_was(old: &WorkloadFacts, mode: DeployMode, there: &SlotFacts) -> Action {
    let label = Some(there.label.clone());
    Action::Deploy {
        workload: old.spec.clone(),
        mode,
        label,
        running: old.running,
    }
}

/// Places a workload of the plan's target, running.
pub(super) const fn place(workload: Workload, mode: DeployMode) -> Action {
    Action::Deploy {
        workload,
        mode,
        label: None,
        running: true,
    }
}
