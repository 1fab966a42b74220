//! In place of the live release: service by service in the live slot, without a switch. A service
//! whose volume another one gets stops before the first of them is replaced.

use std::collections::BTreeMap;

use crate::model::facts::{SlotFacts, WorkloadFacts};
use crate::model::plan::{Action, DeployMode, StepId};
use crate::model::workload::Workload;
use crate::model::{Address, ServiceName, Slot};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::pieces::{as_it_was, place, stands};
use crate::plan::strategy::New;
use crate::plan::strategy::handover::gets_volume;

/// The live slot, and how what is in it is replaced.
pub struct Live<'a> {
    /// Which slot is live.
    pub slot: Slot,
    /// What has live traffic now.
    pub there: &'a SlotFacts,
    /// How an instance follows another, unless its service says it.
    pub mode: DeployMode,
    /// What the slot runs then.
    pub next: &'a BTreeMap<ServiceName, Workload>,
}

impl Live<'_> {
    /// How the instances of a service follow each other, in either direction: two releases run at
    /// once only if both of them can.
    pub fn mode_of(&self, service: &ServiceName) -> DeployMode {
        let old = self.there.workloads.get(service);
        match (old, self.next.get(service)) {
            // One that a run that died has left stopped has nothing to go on beside.
            (Some(old), _) if old.spec.is_exclusive() || !old.running => DeployMode::Recreate,
            (Some(old), _) if self.stops(old) => DeployMode::Recreate,
            (_, Some(new)) => new.mode(self.mode),
            (Some(old), None) => old.spec.mode(self.mode),
            (None, None) => self.mode,
        }
    }

    /// Whether a service runs, and has a volume that another one gets.
    fn stops(&self, old: &WorkloadFacts) -> bool {
        old.running && gets_volume(self.next, &old.spec).is_some()
    }

    /// Stops every service whose volume another one gets, before anything is replaced.
    fn stop(&self, draft: &mut Draft, needs: &[StepId]) -> Vec<StepId> {
        let mut stopped = Vec::new();
        for (name, old) in self.there.workloads.iter().filter(|(_, it)| it.running) {
            let Some((next, volume)) = gets_volume(self.next, &old.spec) else {
                continue;
            };
            let address = Address::Workload(self.slot, name.clone());
            let reason = format!("{next} gets its volume {volume}: stops before that starts");
            let stop = Proposal::new(address.clone(), Action::Stop, reason)
                .expecting(Some(old.fingerprint()))
                .after(needs);
            let back = as_it_was(old, DeployMode::Recreate, self.there);
            let undo = Proposal::new(address, back, "starts where it was");
            stopped.push(draft.add_with_undo(stop, undo));
        }
        stopped
    }

    /// Places one of the old services as it is. One whose volume another one gets stands stopped
    /// until that one is gone.
    fn back(&self, old: &WorkloadFacts, mode: DeployMode) -> Action {
        if self.stops(old) {
            stands(old, DeployMode::Recreate, self.there)
        } else {
            as_it_was(old, mode, self.there)
        }
    }

    /// What a reader has to know of services that do not follow the others.
    pub fn notes(&self) -> Vec<String> {
        let moved = self.there.workloads.iter().filter(|(_, it)| it.running);
        let moved = moved.filter_map(|(name, old)| {
            let (next, volume) = gets_volume(self.next, &old.spec)?;
            Some(format!(
                "{next} gets the volume {volume} of {name}: {name} stops before {next} starts"
            ))
        });
        let stops = self.there.workloads.keys().filter(|name| {
            let goes_on = self.next.contains_key(*name);
            goes_on && self.mode != self.mode_of(name) && self.mode_of(name) == DeployMode::Recreate
        });
        let note =
            |name| format!("{name} never runs twice at once: it stops before it starts again");
        stops.map(note).chain(moved).collect()
    }

    /// What takes a service out again that was added to the slot. Adding it gave the slot the new
    /// release's number; placing one of the old services as it is gives the old number back, and
    /// restarts nothing.
    pub fn added_back(&self, added: ServiceName) -> Vec<Proposal> {
        let address = Address::Workload(self.slot, added);
        let remove = Proposal::new(address, Action::Undeploy, "undeployed again");
        let relabel = self.there.workloads.iter().next().map(|(name, old)| {
            let address = Address::Workload(self.slot, name.clone());
            let action = self.back(old, self.mode_of(name));
            Proposal::new(address, action, "carries its old number again")
        });
        std::iter::once(remove).chain(relabel).collect()
    }
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
    let stopped = live.stop(draft, &needs);
    let mut before = [needs, stopped].concat();
    for new in release {
        let name = new.workload.service.clone();
        let address = Address::Workload(live.slot, name.clone());
        let old = live.there.workloads.get(&name);
        let mode = live.mode_of(&name);
        let step = Proposal::new(address.clone(), place(new.workload, mode), new.reason)
            .changing(new.changes)
            .expecting(old.map(WorkloadFacts::fingerprint))
            .after(&before);
        let undo = match old {
            None => added_back(name),
            Some(old) => {
                let back = live.back(old, mode);
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
    let back = live.back(old, old.spec.mode(DeployMode::Rolling));
    draft.add_with_undo(new, Proposal::new(address, back, "as it was"));
}
