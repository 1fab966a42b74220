//! Replacing the live release in its own slot.

use std::collections::BTreeMap;

use crate::model::facts::Facts;
use crate::model::plan::{Action, DeployMode, StepId};
use crate::model::{Address, ReleaseNumber, ServiceName, Slot};
use crate::plan::apply::Apply;
use crate::plan::draft::Proposal;
use crate::plan::strategy::handover::stop_elsewhere;
use crate::plan::strategy::in_place::{self, Live};
use crate::plan::strategy::{New, verify, wait_until_ready};
use crate::plan::tasks::Before;
use crate::plan::{secrets, workload_changes};

impl Apply<'_> {
    /// Replaces the workloads of the live slot in place.
    pub(super) fn replace(
        &mut self,
        (slot, number): (Slot, ReleaseNumber),
        mode: DeployMode,
        builds: &BTreeMap<ServiceName, StepId>,
    ) {
        let mut before = self.objects();
        before.extend(self.listen(&before.clone()));
        before.extend(builds.values());
        let Some(there) = self.observed.facts.slots.get(&slot).cloned() else {
            return;
        };

        let (facts, other) = (&self.observed.facts, slot.other());
        before.extend(stop_elsewhere(
            &mut self.draft,
            facts,
            other,
            &self.workloads,
        ));
        if mode == DeployMode::Recreate {
            self.draft
                .notes
                .push("recreate: requests are held while nothing runs".to_owned());
        }

        let next = self.workloads.clone();
        let tasks = self.tasks_of((slot, number), &next);
        before = tasks.before(&mut self.draft, Before::Run, false, &before);
        before = tasks.before(&mut self.draft, Before::Ready, false, &before);
        let live = Live {
            slot,
            there: &there,
            mode,
            next: &next,
        };
        self.draft.notes.extend(live.notes());
        let news = self.news_in_place(&live);
        let facts = &self.observed.facts;
        let added_back = |name| not_added(facts, &live, name);
        let replaced = in_place::replace(&mut self.draft, &live, news, added_back, before);
        let verified = self.verify_in_place(slot, &replaced);
        let verified = tasks.after(&mut self.draft, &[verified])[0];
        tasks.say_what_waits(&mut self.draft, None);
        let unrouted = self.settle_listeners(&[verified]);
        self.undeploy_gone(&live, verified, &unrouted);
        self.prune(&[verified]);
    }

    /// What is deployed in place of the live release, and how it differs from that.
    fn news_in_place(&self, live: &Live<'_>) -> Vec<New> {
        let news = self.workloads.iter().map(|(name, workload)| {
            let old = live.there.workloads.get(name);
            let mut changes = workload_changes(old.map(|old| &old.spec), workload, live.slot);
            secrets::add_changes(&mut changes, old, workload, &self.observed.secrets);
            let reason = if changes.is_empty() {
                "as it is; carries the new number"
            } else {
                "differs"
            };
            New {
                workload: workload.clone(),
                reason: reason.to_owned(),
                changes,
            }
        });
        news.collect()
    }

    pub(super) fn verify_in_place(&mut self, slot: Slot, replaced: &[StepId]) -> StepId {
        let (within, after) = (self.desired.ready_within, &self.desired.promotion.after);
        let reason = "all of it must be ready";
        let ready = wait_until_ready(&mut self.draft, slot, within, reason, replaced);
        verify(
            &mut self.draft,
            after,
            "must hold on live traffic",
            &[ready],
        )
    }

    /// Takes services out of the live slot that are not desired any more; nothing reaches them by
    /// then.
    fn undeploy_gone(&mut self, live: &Live<'_>, verified: StepId, unrouted: &[StepId]) {
        let needs = [&[verified], unrouted].concat();
        let gone = live
            .there
            .workloads
            .iter()
            .filter(|(name, _)| !self.workloads.contains_key(*name));
        for old in gone {
            let reason = "not in the configuration any more";
            in_place::undeploy(&mut self.draft, live, old, reason, &needs);
        }
    }
}

/// What takes a service out of the live slot again that this plan adds. Its listeners go first:
/// what they route to cannot be taken out.
fn not_added(facts: &Facts, live: &Live<'_>, name: ServiceName) -> Vec<Proposal> {
    let is_new = !facts.routes.contains_key(&name);
    let closed = is_new.then(|| {
        let address = Address::Route(name.clone());
        Proposal::new(address, Action::StopListening, "nothing listened there")
    });
    closed.into_iter().chain(live.added_back(name)).collect()
}
