//! In place of the live release: service by service in the live slot, without a switch.

use crate::model::facts::{SlotFacts, WorkloadFacts};
use crate::model::plan::{Action, DeployMode, StepId};
use crate::model::{Address, ServiceName, Slot};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::pieces::{as_it_was, place};
use crate::plan::strategy::New;

/// The live slot, and how what is in it is replaced.
pub struct Live<'a> {
    /// Which slot is live.
    pub slot: Slot,
    /// What has live traffic now.
    pub there: &'a SlotFacts,
    /// How an instance follows another.
    pub mode: DeployMode,
}

/// Replaces what is live, one service after the other, so that only one is below its strength at a
/// time. `added_back` is what undeploys a service again that is new in the slot.
pub fn replace(
    draft: &mut Draft,
    live: &Live<'_>,
    release: impl IntoIterator<Item = New>,
    added_back: impl Fn(ServiceName) -> Vec<Proposal>,
    needs: Vec<StepId>,
) -> Vec<StepId> {
    let mut before = needs;
    for new in release {
        let name = new.workload.service.clone();
        let address = Address::Workload(live.slot, name.clone());
        let old = live.there.workloads.get(&name);
        let step = Proposal::new(address.clone(), place(new.workload, live.mode), new.reason)
            .changing(new.changes)
            .expecting(old.map(WorkloadFacts::fingerprint))
            .after(&before);
        let undo = match old {
            None => added_back(name),
            Some(old) => {
                let back = as_it_was(old, live.mode, live.there);
                vec![Proposal::new(address, back, "as it was")]
            }
        };
        before = vec![draft.add_with_undos(step, undo)];
    }

    before
}

/// Takes a service out of the live slot that nothing reaches any more.
pub fn undeploy(
    draft: &mut Draft,
    live: &Live<'_>,
    (name, old): (&ServiceName, &WorkloadFacts),
    reason: &str,
    needs: &[StepId],
) {
    let address = Address::Workload(live.slot, name.clone());
    let new = Proposal::new(address.clone(), Action::Undeploy, reason)
        .expecting(Some(old.fingerprint()))
        .after(needs);
    let back = as_it_was(old, DeployMode::Rolling, live.there);
    draft.add_with_undo(new, Proposal::new(address, back, "as it was"));
}
