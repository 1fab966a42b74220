//! The pieces that plans are made of: placing a workload, and what takes that back.

use crate::model::facts::{SlotFacts, WorkloadFacts};
use crate::model::plan::{Action, DeployMode};
use crate::model::workload::Workload;
use crate::model::{Address, ServiceName, Slot};
use crate::plan::draft::Proposal;

/// What puts a slot back as it is now: its workloads, and the end that it has.
pub(super) fn restore(slot: Slot, there: &SlotFacts) -> Vec<Proposal> {
    let placed = there.workloads.iter().map(|(name, old)| {
        let action = as_it_was(old, DeployMode::Fresh, there);
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

/// What takes a service out again that was added to a live slot. Adding it gave the slot the new
/// release's number; placing one of the old services as it is gives the old number back, and
/// restarts nothing.
pub(super) fn added_back(
    slot: Slot,
    added: ServiceName,
    mode: DeployMode,
    there: &SlotFacts,
) -> Vec<Proposal> {
    let remove = Proposal::new(
        Address::Workload(slot, added),
        Action::Undeploy,
        "undeployed again",
    );
    let relabel = there.workloads.iter().next().map(|(name, old)| {
        let address = Address::Workload(slot, name.clone());
        Proposal::new(
            address,
            as_it_was(old, mode, there),
            "carries its old number again",
        )
    });
    std::iter::once(remove).chain(relabel).collect()
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
