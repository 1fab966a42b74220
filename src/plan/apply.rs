//! The plan of `apply`: make the environment what the configuration says.

mod replace;
mod settle;

use std::collections::BTreeMap;

use crate::model::check::Check;
use crate::model::desired::Desired;
use crate::model::facts::{Facts, SlotFacts};
use crate::model::observed::Observed;
use crate::model::plan::{Intent, Plan, StepId, Target};
use crate::model::promotion::{Deployment, Mode};
use crate::model::release::ReleaseStatus;
use crate::model::state::State;
use crate::model::workload::Workload;
use crate::model::{Address, ReleaseNumber, ServiceName, Slot};
use crate::plan::draft::{Draft, Subject};
use crate::plan::listeners::{Listeners, close_gone, close_left};
use crate::plan::losses::remarks;
use crate::plan::strategy::beside::AfterSwitch;
use crate::plan::strategy::handover::{Handover, start_again, stop_elsewhere};
use crate::plan::strategy::{New, beside, wait_until_ready};
use crate::plan::tasks::{Before, Tasks};
use crate::plan::{images, objects, resources, secrets, workload_changes};

type Workloads = BTreeMap<ServiceName, Workload>;

/// Makes the plan of `apply`, and of `promote A --to B`, which differs only in where the images
/// come from.
#[must_use]
pub fn apply(desired: &Desired, observed: &Observed, state: &State) -> Plan {
    let workloads = images::known(desired, observed);
    let mut apply = Apply {
        desired,
        observed,
        state,
        workloads,
        draft: Draft::default(),
        listeners: Listeners::new(desired, &observed.facts),
    };

    let notes = secrets::notes(&observed.secrets, &desired.unrotated);
    apply.draft.notes.extend(notes);
    let made = resources::make(&mut apply.draft, &desired.resources, observed);
    let target = match apply.standing() {
        Standing::Active(slot) => apply.settle(slot),
        Standing::Preview(slot) => apply.bring_up(slot),
        Standing::Nowhere => Some(apply.release()),
    };
    apply.draft.all_wait(&made.repositories, |address| {
        matches!(address, Address::Image(_))
    });
    apply.draft.all_wait(&made.cluster, |address| {
        !matches!(address, Address::Image(_) | Address::Resource(_))
    });
    let intent = desired
        .promoted_from
        .clone()
        .map_or(Intent::Apply, Intent::PromoteFrom);
    apply.draft.finish(
        &Subject::new(desired, &observed.facts, state),
        intent,
        target,
    )
}

/// Where the desired workloads run already.
enum Standing {
    Active(Slot),
    Preview(Slot),
    Nowhere,
}

struct Apply<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    state: &'a State,
    workloads: Workloads,
    draft: Draft,
    listeners: Listeners,
}

impl<'a> Apply<'a> {
    /// The tasks of a release in a slot.
    fn tasks_of<'t>(&self, release: (Slot, ReleaseNumber), workloads: &'t Workloads) -> Tasks<'t>
    where
        'a: 't,
    {
        let live = self.observed.facts.traffic.slot();
        Tasks::of(self.desired, self.state, live, release, workloads)
    }
}

impl Apply<'_> {
    fn standing(&self) -> Standing {
        let facts = &self.observed.facts;
        let secrets = &self.observed.secrets;
        let same = |slot: &SlotFacts| {
            secrets::are_given(slot, &self.workloads, secrets, &self.desired.unrotated)
                && slot.workloads.len() == self.workloads.len()
                && self.workloads.iter().all(|(name, workload)| {
                    slot.workloads
                        .get(name)
                        .is_some_and(|there| there.spec == *workload)
                })
        };
        if let Some((slot, _)) = facts.live().filter(|(_, there)| same(there)) {
            return Standing::Active(slot);
        }
        if let Deployment::InPlace(..) = self.desired.strategy.deployment(facts.traffic) {
            return Standing::Nowhere;
        }

        let preview = facts
            .slots
            .iter()
            .find(|(slot, there)| !facts.traffic.reaches(**slot) && same(there));
        // A release that was superseded is brought back by a new release, so that the history reads
        // forward.
        let was_live = |there: &SlotFacts| {
            self.state
                .release(there.label.number)
                .is_some_and(|release| {
                    matches!(
                        release.status,
                        ReleaseStatus::Superseded
                            | ReleaseStatus::Reverted { .. }
                            | ReleaseStatus::Failed { .. }
                    )
                })
        };

        match preview {
            Some((slot, there)) if !was_live(there) => Standing::Preview(*slot),
            _ => Standing::Nowhere,
        }
    }

    /// The preview slot holds the desired release already: a promotion is due, or a run died before
    /// it.
    fn bring_up(&mut self, slot: Slot) -> Option<Target> {
        self.builds();
        let there = self.observed.facts.slots.get(&slot)?;
        let number = there.label.number;
        let waits = self.state.waits(number);
        let within = self.desired.ready_within;
        let handover = Handover::to_standing(&self.observed.facts, slot, there, within);
        let is_ready = handover.is_ready(there);
        if waits && self.desired.promotion.mode == Mode::Manual && is_ready {
            let needs = self.objects();
            let routes = self.listen(&needs);
            let behind = [needs, routes].concat();
            self.prune(&behind);
            let facts = &self.observed.facts;
            close_left(&mut self.draft, self.desired, facts, &behind);
            for name in self.workloads.keys() {
                self.draft.same(
                    Address::Workload(slot, name.clone()),
                    "waits for its promotion",
                );
            }
            let next = format!(
                "release {number} waits in {slot}: `shipit promote {slot}` gives it live traffic"
            );
            self.draft.notes.push(next);
            let waiting = self.listeners.notes_of_waiting();
            self.draft.notes.extend(waiting);
            self.start_again(&[]);
            return None;
        }

        let mut needs = self.objects();
        needs.extend(self.listen(&needs.clone()));
        for (name, workload) in &there.workloads {
            if !beside::is_not_as_deployed(workload) || handover.waits(name) {
                let reason = format!("release {number} is deployed already");
                self.draft
                    .same(Address::Workload(slot, name.clone()), reason);
            }
        }

        let mut alone = Vec::new();
        if self.observed.facts.traffic.is_off() {
            let (facts, other) = (&self.observed.facts, slot.other());
            alone = stop_elsewhere(&mut self.draft, facts, other, &self.workloads);
        }
        let is_started = beside::is_not_as_deployed;
        let workloads = self.workloads.clone();
        let tasks = self.tasks_of((slot, number), &workloads);
        let before = [needs, alone].concat();
        let waits = self.waits();
        let behind = tasks.before(&mut self.draft, Before::Run, waits, &before);
        let started = beside::start(&mut self.draft, &handover, there, is_started, &behind);
        let needs = [started, behind, before].concat();
        self.promote(&handover, &tasks, &needs);
        Some(self.target(slot, number))
    }

    /// Whether the release waits for its promotion.
    fn waits(&self) -> bool {
        self.desired.promotion.mode == Mode::Manual
    }

    /// Nothing runs the desired release: build it, place it, bring it to traffic.
    fn release(&mut self) -> Target {
        let facts = &self.observed.facts;
        let number = self.next_number();
        let builds = self.builds();
        match self.desired.strategy.deployment(facts.traffic) {
            Deployment::Beside(slot) => {
                self.deploy_beside((slot, number), &builds);
                self.target(slot, number)
            }
            Deployment::InPlace(slot, mode) => {
                self.replace((slot, number), mode, &builds);
                self.target(slot, number)
            }
        }
    }

    fn builds(&mut self) -> BTreeMap<ServiceName, StepId> {
        images::make(&mut self.draft, self.desired, self.observed, self.state)
    }

    /// The environment's own objects.
    fn objects(&mut self) -> Vec<StepId> {
        let (objects, claims) = (&self.observed.objects, &self.observed.facts.claims);
        objects::make(&mut self.draft, self.desired, objects, claims)
    }

    /// Takes away, or lets go of, what is not desired any more.
    fn prune(&mut self, needs: &[StepId]) {
        let left = objects::Leaving::Configuration;
        objects::prune(&mut self.draft, &self.observed.objects, needs, left);
    }

    fn next_number(&self) -> ReleaseNumber {
        let recorded = self
            .state
            .releases
            .iter()
            .map(|release| release.number)
            .max();
        let placed = self
            .observed
            .facts
            .slots
            .values()
            .map(|slot| slot.label.number)
            .max();
        recorded
            .max(placed)
            .map_or(ReleaseNumber::FIRST, ReleaseNumber::next)
    }

    fn target(&self, slot: Slot, release: ReleaseNumber) -> Target {
        let new = self.state.release(release).is_none();
        let source = self.desired.source.clone();
        let images = self.observed.images.iter();
        Target {
            slot,
            release,
            new,
            source,
            workloads: self.workloads.clone(),
            inputs: images
                .map(|(name, image)| (name.clone(), image.inputs.hash.clone()))
                .collect(),
            names: images::names(self.desired),
            tasks: self.desired.tasks.clone(),
        }
    }

    /// Opens what listeners are missing, and changes those that may change before the release is
    /// there.
    fn listen(&mut self, needs: &[StepId]) -> Vec<StepId> {
        let facts = &self.observed.facts;
        self.listeners.open(&mut self.draft, facts, needs)
    }

    /// Closes the listeners of services that are gone, and those that moved.
    fn settle_listeners(&mut self, needs: &[StepId]) -> Vec<StepId> {
        let (desired, facts) = (self.desired, &self.observed.facts);
        let closed = close_gone(&mut self.draft, desired, facts, needs);
        self.listeners
            .settle(&mut self.draft, &[needs, &closed].concat());
        closed
    }

    /// Deploys the release into the slot without live traffic.
    fn deploy_beside(
        &mut self,
        (slot, number): (Slot, ReleaseNumber),
        builds: &BTreeMap<ServiceName, StepId>,
    ) {
        let mut before = self.objects();
        before.extend(self.listen(&before.clone()));
        // Every image is known before the first service is deployed: together they are what the
        // release is. Room is made once they are there: a failing build must not cost a retained
        // release.
        let builds: Vec<StepId> = builds.values().copied().collect();
        let facts = &self.observed.facts;
        before.extend(&builds);
        before.extend(beside::clear(&mut self.draft, facts, slot, &builds));
        if facts.traffic.is_off() {
            let other = slot.other();
            before.extend(stop_elsewhere(
                &mut self.draft,
                facts,
                other,
                &self.workloads,
            ));
        }

        let news = self.news_beside(slot);
        for new in &news {
            let remarks = remarks_on(&new.workload, slot, &self.observed.facts);
            self.draft.notes.extend(remarks);
        }
        let within = self.desired.ready_within;
        let handover = Handover::to_new(facts, slot, &self.workloads, within);
        let workloads = self.workloads.clone();
        let tasks = self.tasks_of((slot, number), &workloads);
        let waits = self.waits();
        let draft = &mut self.draft;
        let deployed = if tasks.any_before_start(waits) {
            let run = |draft: &mut Draft, placed: &[StepId]| {
                tasks.before(draft, Before::Run, waits, placed)
            };
            beside::deploy_behind_tasks(draft, &handover, news, run, &before)
        } else {
            beside::deploy(draft, &handover, news, &before)
        };
        self.promote(&handover, &tasks, &[deployed, before].concat());
    }

    /// What is deployed beside the live release, and how it differs from that.
    fn news_beside(&self, slot: Slot) -> Vec<New> {
        let live = self.observed.facts.live();
        let news = self.workloads.iter().map(|(name, workload)| {
            let old = live.and_then(|(_, facts)| facts.workloads.get(name));
            let mut changes = workload_changes(old.map(|old| &old.spec), workload, slot);
            secrets::add_changes(&mut changes, old, workload, &self.observed.secrets);
            let reason = match (live, old) {
                (None, _) => "the first release".to_owned(),
                (Some((active, _)), None) => format!("{active} has no {name}"),
                (Some((active, _)), Some(_)) if changes.is_empty() => format!("as in {active}"),
                (Some((active, _)), Some(_)) => format!("differs from {active}"),
            };
            New {
                workload: workload.clone(),
                reason,
                changes,
            }
        });
        news.collect()
    }

    /// From deployed to live traffic, or to waiting for it.
    fn promote(&mut self, handover: &Handover<'_>, tasks: &Tasks<'_>, deployed: &[StepId]) {
        let slot = handover.to;
        let notes = handover.notes(self.desired.promotion.mode);
        self.draft.notes.extend(notes);
        let within = self.desired.ready_within;
        let reason = "only a ready slot gets traffic";
        let ready = wait_until_ready(&mut self.draft, slot, within, reason, deployed);
        let waits = self.waits();
        let inside = tasks.before(&mut self.draft, Before::Ready, waits, &[ready]);
        let checks = self.checks_before();
        let checked = beside::check(&mut self.draft, slot, checks, inside[0]);
        match self.desired.promotion.mode {
            Mode::Manual => {
                self.say_that_it_waits();
                let facts = &self.observed.facts;
                close_left(&mut self.draft, self.desired, facts, &[checked]);
                if handover.is_of_new() {
                    // Of what stood in the slot nothing runs any more.
                    start_again(&mut self.draft, &self.observed.facts, &[checked]);
                } else {
                    self.start_again(&[checked]);
                }
            }
            Mode::Auto => {
                let after = AfterSwitch::of(&self.desired.promotion, tasks);
                let verified = beside::switch(&mut self.draft, &after, handover, checked);
                self.settle_listeners(&[verified]);
                self.prune(&[verified]);
            }
        }
    }

    fn say_that_it_waits(&mut self) {
        let note = "promotion is manual: the release will wait beside the live one";
        self.draft.notes.push(note.to_owned());
        self.say_what_promotion_ends();
        let waiting = self.listeners.notes_of_waiting();
        self.draft.notes.extend(waiting);

        let is_signature = |check: &Check| matches!(check, Check::Signature(_));
        if self.desired.promotion.before.iter().any(is_signature) {
            let note = "its images must be signed when it is promoted";
            self.draft.notes.push(note.to_owned());
        }
    }

    /// A service that left the configuration has traffic until the release without it is promoted.
    fn say_what_promotion_ends(&mut self) {
        let facts = &self.observed.facts;
        let live = facts.live().map(|(_, there)| &there.workloads);
        let ends = facts.routes.keys().filter(|name| {
            live.is_some_and(|live| live.contains_key(*name))
                && !self.desired.services.contains_key(*name)
        });
        let notes = ends.map(|name| {
            format!("{name} is not in this release: its live traffic ends when this is promoted")
        });
        self.draft.notes.extend(notes);
    }

    /// What must hold before the switch. A release that waits for its promotion is signed while it
    /// waits.
    fn checks_before(&self) -> Vec<Check> {
        let promotion = &self.desired.promotion;
        let is_asked = |check: &&Check| match promotion.mode {
            Mode::Manual => !matches!(check, Check::Signature(_)),
            Mode::Auto => true,
        };
        promotion.before.iter().filter(is_asked).cloned().collect()
    }
}

/// What a reader has to know of a workload in a slot.
fn remarks_on(workload: &Workload, slot: Slot, facts: &Facts) -> Vec<String> {
    let objects = workload.objects(slot).iter();
    objects
        .flat_map(|manifest| remarks(manifest, &facts.claims))
        .collect()
}
