//! Beside the live release: into the slot without live traffic, and one switch when it is ready.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::check::{Check, Stage};
use crate::model::facts::{Facts, SlotFacts, WorkloadFacts};
use crate::model::plan::{Action, Change, DeployMode, StepId};
use crate::model::promotion::Promotion;
use crate::model::workload::Workload;
use crate::model::{Address, LiveTraffic, Period, Slot};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::pieces::{self, as_it_was, ends_as_it_did, restore, runs_again};
use crate::plan::strategy::handover::Handover;
use crate::plan::strategy::{New, verify};
use crate::plan::tasks::Tasks;

/// What holds after a switch.
pub struct AfterSwitch<'a> {
    /// What must hold on live traffic.
    pub checks: &'a [Check],
    /// How long the old slot runs on.
    pub keep_previous: Period,
    /// What runs once they hold; nothing during a rollback.
    pub tasks: Option<&'a Tasks<'a>>,
}

impl<'a> AfterSwitch<'a> {
    /// What a promotion asks for.
    pub fn of(promotion: &'a Promotion, tasks: &'a Tasks<'a>) -> Self {
        Self {
            checks: &promotion.after,
            keep_previous: promotion.keep_previous,
            tasks: Some(tasks),
        }
    }
}

/// Takes out what stands in a slot without live traffic, for another release.
pub fn clear(draft: &mut Draft, facts: &Facts, slot: Slot, needs: &[StepId]) -> Option<StepId> {
    let number = facts.slots.get(&slot)?.label.number;
    let reason = format!("makes room; release {number} stays in the history");
    clear_for(draft, facts, slot, reason, needs)
}

/// Takes out what stands in a slot without live traffic.
pub fn clear_for(
    draft: &mut Draft,
    facts: &Facts,
    slot: Slot,
    reason: String,
    needs: &[StepId],
) -> Option<StepId> {
    let there = facts.slots.get(&slot)?;
    let new = Proposal::new(Address::Slot(slot), Action::Clear, reason)
        .expecting(facts.slot_fingerprint(slot))
        .after(needs);
    Some(draft.add_with_undos(new, restore(facts, slot, there)))
}

/// Deploys a release with tasks that run before any of its instances starts: all of it is there
/// first, stopped, so that a run that dies in a task finds its release again.
pub fn deploy_behind_tasks(
    draft: &mut Draft,
    handover: &Handover<'_>,
    release: Vec<New>,
    run: impl FnOnce(&mut Draft, &[StepId]) -> Vec<StepId>,
    needs: &[StepId],
) -> Vec<StepId> {
    let specs: Vec<Workload> = release.iter().map(|new| new.workload.clone()).collect();
    let placed = place(draft, handover, release, Start::Later, needs);
    let done = run(draft, &placed);

    let mut started = done.clone();
    for workload in specs {
        if handover.waits(&workload.service) {
            continue;
        }
        let address = Address::Workload(handover.to, workload.service.clone());
        let action = pieces::place(workload, DeployMode::Fresh);
        let start = Proposal::new(address.clone(), action, "starts").after(&done);
        let undo = Proposal::new(address, Action::Stop, "stops again");
        started.push(draft.add_with_undo(start, undo));
    }
    started
}

/// When what is deployed starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// At once, but for what waits for the switch.
    Now,
    /// By a later step.
    Later,
}

/// Deploys into a slot without live traffic. What never runs twice at once does not start yet.
pub fn deploy(
    draft: &mut Draft,
    handover: &Handover<'_>,
    release: impl IntoIterator<Item = New>,
    needs: &[StepId],
) -> Vec<StepId> {
    place(draft, handover, release, Start::Now, needs)
}

fn place(
    draft: &mut Draft,
    handover: &Handover<'_>,
    release: impl IntoIterator<Item = New>,
    start: Start,
    needs: &[StepId],
) -> Vec<StepId> {
    let mut deployed = Vec::new();
    for new in release {
        let service = new.workload.service.clone();
        let waits = handover.waits(&service);
        let address = Address::Workload(handover.to, service);
        let action = Action::Deploy {
            workload: new.workload,
            mode: DeployMode::Fresh,
            label: None,
            running: !waits && start == Start::Now,
        };
        let reason = match (waits, start) {
            (true, _) => format!("{}; starts with the switch", new.reason),
            (false, Start::Later) => format!("{}; starts behind its tasks", new.reason),
            (false, Start::Now) => new.reason,
        };
        let step = Proposal::new(address.clone(), action, reason)
            .changing(new.changes)
            .after(needs);
        let undo = Proposal::new(address, Action::Undeploy, "undeployed again");
        deployed.push(draft.add_with_undo(step, undo));
    }
    deployed
}

/// Starts what a slot has, as it was deployed, but for what has to wait for the switch.
pub fn start(
    draft: &mut Draft,
    handover: &Handover<'_>,
    there: &SlotFacts,
    which: impl Fn(&WorkloadFacts) -> bool,
    needs: &[StepId],
) -> Vec<StepId> {
    let mut started = Vec::new();
    for (name, workload) in there
        .workloads
        .iter()
        .filter(|(name, workload)| which(workload) && !handover.waits(name))
    {
        let address = Address::Workload(handover.to, name.clone());
        let reason = match workload.altered() {
            Some(change) => format!("{change}; starts again"),
            None => "stopped; starts again".to_owned(),
        };
        let action = runs_again(workload, there);
        let new = Proposal::new(address.clone(), action, reason)
            .expecting(Some(workload.fingerprint()))
            .after(needs);
        let back = as_it_was(workload, DeployMode::Fresh, there);
        let undo = Proposal::new(address, back, "stopped, as it was");
        started.push(draft.add_with_undo(new, undo));
    }

    started
}

/// Whether a workload of a slot is kept but stopped.
pub const fn is_stopped(workload: &WorkloadFacts) -> bool {
    !workload.running
}

/// Whether a workload of a slot is not as it was deployed: stopped, with objects that moved, or
/// with files that changed.
pub fn is_not_as_deployed(workload: &WorkloadFacts) -> bool {
    is_stopped(workload) || !workload.drift.is_empty() || workload.altered().is_some()
}

/// Runs what must hold before a switch, if there is anything. Returns what the switch waits for.
pub fn check(draft: &mut Draft, slot: Slot, checks: Vec<Check>, ready: StepId) -> StepId {
    if checks.is_empty() {
        return ready;
    }
    let action = Action::Check {
        stage: Stage::Before,
        checks,
    };
    let reason = "must hold before the switch";
    draft.add(Proposal::new(Address::Slot(slot), action, reason).after(&[ready]))
}

/// The switch, with what has to stop and start before it, what verifies it, and how long the old
/// slot is kept. Returns the step that verifies, or the last task behind it.
pub fn switch(
    draft: &mut Draft,
    after: &AfterSwitch<'_>,
    handover: &Handover<'_>,
    ready: StepId,
) -> StepId {
    let (facts, slot) = (handover.facts, handover.to);
    let handed_over = handover.run(draft, ready);

    let from = facts.traffic;
    let reason = from.slot().map_or_else(
        || "the first release: there is no rollback but to off".to_owned(),
        |from| format!("{from} is retained for {}", after.keep_previous),
    );
    let to = LiveTraffic::All(slot);
    let switch = Proposal::new(Address::Traffic, Action::Switch { from, to }, reason)
        .changing(schedules(handover))
        .expecting(Some(facts.traffic_fingerprint()))
        .after(&handed_over.needs);

    let switched = Facts {
        traffic: to,
        ..Facts::default()
    };
    let back = Action::Switch { from: to, to: from };
    let undo = Proposal::new(Address::Traffic, back, "live traffic as it was")
        .expecting(Some(switched.traffic_fingerprint()));
    let there = facts.slots.get(&slot);
    let ends = there.and_then(|there| ends_as_it_did(slot, there));
    let undos = std::iter::once(undo).chain(ends).collect();
    let switched = draft.add_with_undos(switch, undos);
    draft.undo_first(switched, &handed_over.moved);

    let reason = "must hold on live traffic, or it moves back";
    let verified = verify(draft, after.checks, reason, &[switched]);
    let mut done = vec![verified];
    if let Some(tasks) = after.tasks {
        done = tasks.after(draft, &done);
        tasks.say_what_waits(draft, facts.traffic.slot().map(|_| after.keep_previous));
    }
    let verified = done[0];
    if handover.leaves_anything() {
        retain(draft, facts, slot.other(), after.keep_previous, &[verified]);
    }
    verified
}

/// The tasks that run by themselves, which go with live traffic.
fn schedules(handover: &Handover<'_>) -> Vec<Change> {
    let (facts, to) = (handover.facts, handover.to);
    let in_slot = |slot: Slot, workloads: Vec<&Workload>| -> BTreeMap<String, String> {
        let all = workloads.into_iter().flat_map(|one| one.schedules(slot));
        all.map(|(name, at)| (name, format!("{at} in {slot}")))
            .collect()
    };
    let before = facts.live().map(|(slot, there)| {
        let specs = there.workloads.values().map(|workload| &workload.spec);
        in_slot(slot, specs.collect())
    });
    let before = before.unwrap_or_default();
    let after = in_slot(to, handover.next.values().collect());

    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let moved = names.into_iter().map(|name| Change {
        field: format!("schedule {name}"),
        before: before.get(name).cloned(),
        after: after.get(name).cloned(),
        origin: None,
        by: None,
    });
    moved.collect()
}

/// Lets the old slot run on for a while.
pub fn retain(draft: &mut Draft, facts: &Facts, slot: Slot, keep: Period, needs: &[StepId]) {
    let Some(there) = facts.slots.get(&slot).filter(|there| there.is_running()) else {
        return;
    };
    let reason = format!("a rollback goes to release {}", there.label.number);
    draft.add(Proposal::new(Address::Slot(slot), Action::Retain { keep }, reason).after(needs));
}
