//! What never runs at once with what comes, on the way from the live slot to the other one: other
//! releases of a service, and services of any name that have the same volume.
//!
//! All of them stop in the live slot, then they start in the other one, and live traffic moves when
//! that is ready as a whole: a slot gets traffic with everything that its release has, whichever
//! way a plan goes. So the rollback does the same the other way round, in the same order.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::facts::{Facts, SlotFacts, WorkloadFacts};
use crate::model::plan::{Action, DeployMode, StepId};
use crate::model::promotion::Mode;
use crate::model::workload::{Workload, WorkloadKind};
use crate::model::{Address, Period, ServiceName, Slot};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::pieces::{ends_as_it_did, runs_again, wait};
use crate::plan::strategy::wait_until_ready;

type Workloads = BTreeMap<ServiceName, Workload>;

/// A slot that gets live traffic, and what has to stop in the live one before it may start there.
pub struct Handover<'a> {
    /// What is there now.
    pub facts: &'a Facts,
    /// The slot that gets live traffic.
    pub to: Slot,
    /// What that slot runs then.
    pub next: Workloads,
    /// What stands in it already; none when this plan deploys it.
    there: Option<&'a SlotFacts>,
    /// The live services that stop first.
    stops: BTreeSet<ServiceName>,
    /// The services that start once those have stopped.
    waiting: BTreeSet<ServiceName>,
    /// How long what starts has to become ready.
    within: Period,
}

/// How far a plan is once everything runs where it should.
pub struct HandedOver {
    /// What the switch waits for.
    pub needs: Vec<StepId>,
    /// What is taken back together with the switch.
    pub moved: Vec<StepId>,
}

impl<'a> Handover<'a> {
    /// To a release that this plan deploys.
    pub fn to_new(facts: &'a Facts, to: Slot, next: &Workloads, within: Period) -> Self {
        Self {
            stops: facts.exclusive(next),
            waiting: facts.waiting(next),
            next: next.clone(),
            there: None,
            facts,
            to,
            within,
        }
    }

    /// To a release that stands in its slot.
    pub fn to_standing(facts: &'a Facts, to: Slot, there: &'a SlotFacts, within: Period) -> Self {
        let specs = there.workloads.iter();
        let next = specs.map(|(name, workload)| (name.clone(), workload.spec.clone()));
        Self {
            there: Some(there),
            ..Self::to_new(facts, to, &next.collect(), within)
        }
    }

    /// Whether this plan deploys what gets traffic.
    pub const fn is_of_new(&self) -> bool {
        self.there.is_none()
    }

    /// Whether a service stands stopped in the slot until its turn comes.
    pub fn waits(&self, service: &ServiceName) -> bool {
        self.waiting.contains(service)
    }

    /// Whether the slot is ready, but for what has to wait.
    pub fn is_ready(&self, there: &SlotFacts) -> bool {
        let mut own = there.workloads.iter();
        there.is_up() && own.all(|(name, workload)| workload.running || self.waits(name))
    }

    /// Stops what must not run twice where it has live traffic, starts in the slot what waits for
    /// that, and waits until it is ready. All stop before the first one starts: no old one works
    /// with a new one.
    pub fn run(&self, draft: &mut Draft, ready: StepId) -> HandedOver {
        let stopped = self.stop(draft, ready);
        let started = self.start(draft, &[&[ready], &stopped[..]].concat());

        let needs = if started.is_empty() {
            [&[ready], &stopped[..]].concat()
        } else {
            let reason = "what was started now, too";
            let again = wait_until_ready(draft, self.to, self.within, reason, &started);
            vec![again]
        };
        HandedOver {
            needs,
            moved: [stopped, started].concat(),
        }
    }

    fn stop(&self, draft: &mut Draft, ready: StepId) -> Vec<StepId> {
        let Some((live, there)) = self.facts.live() else {
            return Vec::new();
        };
        let mut stopped = Vec::new();
        for name in &self.stops {
            let old = &there.workloads[name];
            let address = Address::Workload(live, name.clone());
            let stop = Proposal::new(address.clone(), Action::Stop, self.why_it_stops(old))
                .expecting(Some(old.fingerprint()))
                .after(&[ready]);

            let mut undos = Vec::new();
            for other in self.run_already(&old.spec) {
                let reason = "stops before the other starts";
                let address = Address::Workload(self.to, other.clone());
                undos.push(Proposal::new(address, Action::Stop, reason));
            }
            let reason = "starts where it was";
            undos.push(Proposal::new(address, runs_again(old, there), reason));
            if stopped.is_empty() {
                // The last one that is taken back waits for all of them.
                undos.push(wait(live, self.within, "all of it must be ready again"));
            }
            stopped.push(draft.add_with_undos(stop, undos));
        }
        stopped
    }

    fn why_it_stops(&self, old: &WorkloadFacts) -> String {
        let to = self.to;
        let name = &old.spec.service;
        if let Some((next, volume)) = gets_volume(&self.next, &old.spec) {
            format!("{next} in {to} has its volume {volume}: stops before that starts")
        } else if self.next.contains_key(name) {
            format!("never runs twice at once: stops before it starts in {to}")
        } else {
            format!("is not in the release in {to}: stops before the switch")
        }
    }

    /// What a run that died has started already in place of a live service.
    fn run_already(&self, old: &Workload) -> Vec<&ServiceName> {
        let there = self.there.into_iter().flat_map(|there| &there.workloads);
        let running = there.filter(|(name, it)| {
            let replaces = **name == old.service || it.spec.excludes(old);
            it.running && replaces
        });
        running.map(|(name, _)| name).collect()
    }

    fn start(&self, draft: &mut Draft, needs: &[StepId]) -> Vec<StepId> {
        let mut started = Vec::new();
        let mine = self.next.iter().filter(|(name, _)| self.waits(name));
        for (name, workload) in mine {
            let address = Address::Workload(self.to, name.clone());
            let stands = self.there.and_then(|there| there.workloads.get(name));
            let action = Action::Deploy {
                workload: workload.clone(),
                mode: DeployMode::Fresh,
                label: self.there.map(|there| there.label.clone()),
                running: true,
            };
            let live = self.to.other();
            let reason = match self.had_volume(workload) {
                Some((old, _)) => format!("starts: {old} has stopped in {live}"),
                None => format!("starts: it has stopped in {live}"),
            };
            let start = Proposal::new(address.clone(), action, reason)
                .expecting(stands.map(WorkloadFacts::fingerprint))
                .after(needs);
            let undo = Proposal::new(address, Action::Stop, "stops again before the other starts");
            started.push(draft.add_with_undo(start, undo));
        }
        started
    }

    /// What a reader has to know: what is not there for a while, and until when.
    pub fn notes(&self, mode: Mode) -> Vec<String> {
        let live = self.to.other();
        let moves = self.next.values().filter(|next| self.waits(&next.service));
        let notes = moves.map(|next| {
            let name = &next.service;
            let gap = match (&next.kind, next.port) {
                (_, None) => "nothing of it runs in between",
                (WorkloadKind::Process(_), Some(_)) => "requests to it are held in between",
                (WorkloadKind::Objects(_), Some(_)) => "requests to it fail in between",
            };
            let when = match mode {
                Mode::Auto => String::new(),
                Mode::Manual => format!(", when {} is promoted", self.to),
            };
            let to = self.to;
            match self.had_volume(next) {
                Some((old, volume)) => format!(
                    "{name} has the volume {volume} of {old}: {old} stops in {live} before {name} \
                     starts in {to}{when}; {gap}"
                ),
                None => format!(
                    "{name} never runs twice at once: it stops in {live} before it starts in \
                     {to}{when}; {gap}"
                ),
            }
        });
        notes.collect()
    }

    /// The live service of another name that has a volume of this one, and which.
    fn had_volume(&self, next: &Workload) -> Option<(&ServiceName, String)> {
        let (_, there) = self.facts.live()?;
        let mut others = there.workloads.iter();
        others.find_map(|(name, old)| {
            let volume = next.contended(&old.spec)?;
            (*name != next.service).then_some((name, volume.from))
        })
    }

    /// Whether anything of the live release runs on once traffic has left it.
    pub fn leaves_anything(&self) -> bool {
        let live = self.facts.live().map(|(_, there)| &there.workloads);
        let mut live = live.into_iter().flatten();
        live.any(|(name, workload)| workload.running && !self.stops.contains(name))
    }
}

/// Stops in a slot without live traffic what must not run beside what comes to the other one. What
/// was rightly retained there runs on after a rollback; what a run that died has left does not.
pub fn stop_elsewhere(
    draft: &mut Draft,
    facts: &Facts,
    slot: Slot,
    next: &Workloads,
) -> Vec<StepId> {
    let Some(there) = facts.slots.get(&slot) else {
        return Vec::new();
    };
    let other = facts.slots.get(&slot.other());
    let mut stopped = Vec::new();
    for (name, workload) in there.workloads.iter().filter(|(_, it)| it.running) {
        let stands_rightly = stands_rightly(workload, other);
        let excludes = |next: &Workload| next.excludes(&workload.spec);
        let is_left = next.contains_key(name) && !stands_rightly;
        if !is_left && !next.values().any(excludes) {
            continue;
        }

        let address = Address::Workload(slot, name.clone());
        let to = slot.other();
        let reason = match gets_volume(next, &workload.spec) {
            Some((next, volume)) => {
                format!("{next} in {to} has its volume {volume}: stops before that starts")
            }
            None => format!("never runs twice at once: stops before it starts in {to}"),
        };
        let stop = Proposal::new(address.clone(), Action::Stop, reason)
            .expecting(Some(workload.fingerprint()));
        let mut undos = Vec::new();
        if stands_rightly {
            let reason = "is retained as it was";
            undos.push(Proposal::new(address, runs_again(workload, there), reason));
            undos.extend(ends_as_it_did(slot, there));
        }
        stopped.push(draft.add_with_undos(stop, undos));
    }
    stopped
}

/// The service of another name that gets a volume of this one, and which.
pub(super) fn gets_volume<'a>(
    next: &'a Workloads,
    old: &Workload,
) -> Option<(&'a ServiceName, String)> {
    next.iter().find_map(|(name, next)| {
        let volume = old.contended(next)?;
        (*name != old.service).then_some((name, volume.from))
    })
}

/// Whether what runs in a slot may run beside all that the other slot has. What is stopped there
/// under the same name was stopped for it.
fn stands_rightly(workload: &WorkloadFacts, other: Option<&SlotFacts>) -> bool {
    let mut others = other.into_iter().flat_map(|other| &other.workloads);
    others.all(|(name, other)| {
        let is_same = *name == workload.spec.service;
        let is_beside = !is_same || workload.running && other.running;
        is_beside && !workload.spec.excludes(&other.spec)
    })
}

/// Starts in the live slot what a run that died has left stopped there, with nothing beside it that
/// must not be, and waits for it. Returns what everything after it waits for.
pub fn bring_back(
    draft: &mut Draft,
    facts: &Facts,
    within: Period,
    needs: &[StepId],
) -> Vec<StepId> {
    let Some((live, there)) = facts.live() else {
        return needs.to_vec();
    };
    let stopped = there.workloads.iter().filter(|(_, it)| !it.running);
    let stopped = stopped.map(|(name, it)| (name.clone(), it.spec.clone()));
    let alone = stop_elsewhere(draft, facts, live.other(), &stopped.collect());
    let needs = [needs, &alone].concat();
    let started = start_again(draft, facts, &needs);
    if started.is_empty() {
        return needs;
    }
    let reason = "what was started again, too";
    vec![wait_until_ready(draft, live, within, reason, &started)]
}

/// Starts in the live slot what a run that died has left stopped there.
pub fn start_again(draft: &mut Draft, facts: &Facts, needs: &[StepId]) -> Vec<StepId> {
    let Some((live, there)) = facts.live() else {
        return Vec::new();
    };
    let stopped = there.workloads.iter().filter(|(_, it)| !it.running);
    let mut started = Vec::new();
    for (name, old) in stopped {
        let address = Address::Workload(live, name.clone());
        let reason = "a run stopped it and came to no end: starts again";
        let start = Proposal::new(address.clone(), runs_again(old, there), reason)
            .expecting(Some(old.fingerprint()))
            .after(needs);
        let undo = Proposal::new(address, runs_again(old, there), "goes on");
        started.push(draft.add_with_undo(start, undo));
    }
    started
}
