//! The live release is the desired one: what is left of it to do.

use crate::model::check::Stage;
use crate::model::drift::MovedField;
use crate::model::facts::WorkloadFacts;
use crate::model::plan::{Action, DeployMode, StepId, Target};
use crate::model::release::ReleaseStatus;
use crate::model::{Address, LiveTraffic, Slot};
use crate::plan::apply::Apply;
use crate::plan::draft::Proposal;
use crate::plan::listeners::drifted;
use crate::plan::origin::origin;
use crate::plan::pieces::{as_it_was, place, runs_again, wait};
use crate::plan::strategy::beside;
use crate::plan::strategy::handover::bring_back;

impl Apply<'_> {
    /// The live release is the desired one: only listeners may differ, and what a dead run left
    /// unsaid.
    pub(super) fn settle(&mut self, slot: Slot) -> Option<Target> {
        self.builds();
        let mut routes = self.objects();
        routes.extend(self.listen(&routes.clone()));
        let facts = self.observed.facts.slots.get(&slot)?;
        let number = facts.label.number;
        for (name, there) in &facts.workloads {
            if there.drift.is_empty() && there.altered().is_none() {
                self.draft
                    .same(Address::Workload(slot, name.clone()), "runs as it should");
            }
        }

        let recorded = self
            .state
            .release(number)
            .is_some_and(|release| release.status == ReleaseStatus::Live);
        if recorded {
            if facts.workloads.values().any(is_degraded) {
                return Some(self.revive(slot, &routes));
            }
            let is_ready = facts.is_ready();
            let workloads = self.workloads.clone();
            let tasks = self.tasks_of((slot, number), &workloads);
            tasks.after_keep(&mut self.draft, &self.observed.facts, &routes);
            self.settle_listeners(&routes);
            self.prune(&routes);
            self.give_up_cut_off(slot.other(), &routes);
            if !is_ready {
                self.draft.notes.push(format!(
                    "release {number} is live in {slot} and not healthy now"
                ));
            }
            return None;
        }

        let started = self.start_again(&routes);
        let reason =
            format!("release {number} got live traffic and its run ended before this was checked");
        let checks = Action::Check {
            stage: Stage::After,
            checks: self.desired.promotion.after.clone(),
        };
        let verify = Proposal::new(Address::Traffic, checks, reason).after(&started);
        let switch_back = self.switch_back(slot);
        let verified = match &switch_back[..] {
            [] => self.draft.add(verify),
            _ => self.draft.add_with_undos(verify, switch_back),
        };
        let workloads = self.workloads.clone();
        let tasks = self.tasks_of((slot, number), &workloads);
        let verified = tasks.after(&mut self.draft, &[verified])[0];
        self.settle_listeners(&[verified]);
        self.prune(&[verified]);
        let (facts, keep) = (&self.observed.facts, self.desired.promotion.keep_previous);
        beside::retain(&mut self.draft, facts, slot.other(), keep, &[verified]);
        Some(self.target(slot, number))
    }

    /// Takes out what a run of this state that died has left beside the live release: it never had
    /// live traffic, no history knows it, and the configuration does not ask for it. What this
    /// state does not know otherwise is another checkout's, and may wait for its promotion there.
    fn give_up_cut_off(&mut self, slot: Slot, needs: &[StepId]) {
        let facts = &self.observed.facts;
        let Some(there) = facts.slots.get(&slot) else {
            return;
        };
        let number = there.label.number;
        let is_own = self.observed.left == Some(number);
        if is_own && there.stops_at.is_none() && self.state.release(number).is_none() {
            let reason =
                format!("release {number} was left by a run that ended before it was live");
            beside::clear_for(&mut self.draft, facts, slot, reason, needs);
        }
    }

    /// The live release is the desired one, and some of it is down: it is started again, with the
    /// secrets that this run brings.
    fn revive(&mut self, slot: Slot, routes: &[StepId]) -> Target {
        let there = self.observed.facts.slots[&slot].clone();
        let mut before = self.start_again(routes);
        for (name, old) in there
            .workloads
            .iter()
            .filter(|(_, workload)| is_degraded(workload) && workload.running)
        {
            let address = Address::Workload(slot, name.clone());
            let mode = old.spec.mode(DeployMode::Rolling);
            let again = place(old.spec.clone(), mode);
            let reason = match (old.drift.first(), old.altered()) {
                (None, None) => "is down; is started again".to_owned(),
                (None, Some(change)) if old.changed_on_disk.is_some() => {
                    format!("{change}; is unpacked and started again")
                }
                (None, Some(change)) => format!("{change}; is made anew and started again"),
                (Some(drift), _) if drift.missing => format!("{} is not there", drift.key.short()),
                (Some(drift), _) => origin(&drift.changes)
                    .unwrap_or_else(|| format!("{} is not as it was applied", drift.key.short())),
            };
            let mut changes = drifted(&old.drift);
            changes.extend(old.unit_files.iter().map(MovedField::put_back));
            let new = Proposal::new(address.clone(), again, reason)
                .changing(changes)
                .expecting(Some(old.fingerprint()))
                .after(&before);
            let back = as_it_was(old, mode, &there);
            before = vec![
                self.draft
                    .add_with_undo(new, Proposal::new(address, back, "as it was")),
            ];
        }

        let verified = self.verify_in_place(slot, &before);
        self.settle_listeners(&[verified]);
        self.prune(&[verified]);
        self.target(slot, there.label.number)
    }

    /// Starts what a run that died has left stopped in the live slot, and waits for it. Returns
    /// what everything after it waits for.
    pub(super) fn start_again(&mut self, needs: &[StepId]) -> Vec<StepId> {
        let (facts, within) = (&self.observed.facts, self.desired.ready_within);
        bring_back(&mut self.draft, facts, within, needs)
    }

    /// What moves traffic away from a release that nobody saw verified, when something that runs is
    /// there: what stopped there for it starts again first.
    fn switch_back(&self, slot: Slot) -> Vec<Proposal> {
        let facts = &self.observed.facts;
        let other = facts.slots.get(&slot.other());
        let Some(other) = other.filter(|there| there.is_running()) else {
            return Vec::new();
        };

        let mut back = Vec::new();
        let mut started = Vec::new();
        for (name, there) in other.workloads.iter().filter(|(_, there)| !there.running) {
            let address = Address::Workload(slot.other(), name.clone());
            let again = runs_again(there, other);
            started.push(Proposal::new(address, again, "starts where it was"));
        }
        let live = facts.slots.get(&slot).into_iter();
        for (name, live) in live.flat_map(|there| &there.workloads) {
            let mut stopped = other.workloads.iter().filter(|(_, it)| !it.running);
            if stopped.any(|(other, it)| other == name || it.spec.excludes(&live.spec)) {
                let address = Address::Workload(slot, name.clone());
                let reason = "stops again before the other starts";
                back.push(Proposal::new(address, Action::Stop, reason));
            }
        }
        if !started.is_empty() {
            back.extend(started);
            let reason = "all of it must be ready again";
            back.push(wait(slot.other(), self.desired.ready_within, reason));
        }

        let reason = format!("release {} has live traffic again", other.label.number);
        let action = Action::Switch {
            from: LiveTraffic::All(slot),
            to: LiveTraffic::All(slot.other()),
        };
        let switch = Proposal::new(Address::Traffic, action, reason);
        back.push(switch.expecting(Some(facts.traffic_fingerprint())));
        back
    }
}

/// Whether a live workload is not what was applied: it is stopped or down, some of its objects
/// moved, or its files changed.
fn is_degraded(workload: &WorkloadFacts) -> bool {
    !workload.running
        || workload.health().is_down()
        || !workload.drift.is_empty()
        || workload.altered().is_some()
}
