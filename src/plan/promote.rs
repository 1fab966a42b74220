//! The plan of `promote blue|green`, and the steps that every way to live traffic shares.

use std::collections::BTreeMap;

use crate::model::check::Stage;
use crate::model::desired::Desired;
use crate::model::facts::{Facts, HealthState, SlotFacts};
use crate::model::plan::{Action, DeployMode, Intent, Plan, StepId, Target};
use crate::model::promotion::Strategy;
use crate::model::source::Source;
use crate::model::state::State;
use crate::model::{Address, Period, Slot};
use crate::plan::PlanError;
use crate::plan::draft::{Draft, Proposal, Subject};
use crate::plan::listeners::close_former;
use crate::plan::pieces::{as_it_was, ends_as_it_did, place};

/// Makes the plan of `promote blue|green`: live traffic for the release that stands in `slot`.
///
/// # Errors
/// When the slot is empty or cannot take traffic, or when the strategy has no preview slot.
pub fn promote(
    desired: &Desired,
    facts: &Facts,
    state: &State,
    slot: Slot,
) -> Result<Plan, PlanError> {
    let environment = &desired.environment;
    let subject = Subject::new(desired, facts, state);
    let mut draft = Draft::default();
    if facts.active == Some(slot) {
        if let Some(there) = facts.slots.get(&slot) {
            draft.notes.push(format!(
                "{slot} is active already: it has release {}",
                there.label.number
            ));
        }
        draft.same(Address::Traffic, format!("{slot} has live traffic"));
        return Ok(draft.finish(&subject, Intent::Promote(slot), None));
    }
    if desired.strategy != Strategy::BlueGreen && facts.active.is_some() {
        let strategy = format!("{:?}", desired.strategy).to_lowercase();
        return Err(PlanError::NoPreview {
            environment: environment.clone(),
            strategy,
        });
    }
    let there = facts.slots.get(&slot).ok_or_else(|| PlanError::EmptySlot {
        slot,
        environment: environment.clone(),
    })?;
    if let Some(reason) = cannot_take_traffic(there) {
        return Err(PlanError::UnreadySlot {
            slot,
            environment: environment.clone(),
            reason,
        });
    }
    let started = start(&mut draft, slot, there);
    let within = desired.ready_within;
    let ready = Proposal::new(
        Address::Slot(slot),
        Action::WaitUntilReady { within },
        "only a ready slot gets traffic",
    );
    let mut last = draft.add(ready.after(&started));
    if !desired.promotion.before.is_empty() {
        let action = Action::Check {
            stage: Stage::Before,
            checks: desired.promotion.before.clone(),
        };
        let check = Proposal::new(Address::Slot(slot), action, "must hold before the switch");
        last = draft.add(check.after(&[last]));
    }
    let verified = switch(&mut draft, desired, facts, slot, last);
    close_former(&mut draft, facts, there.workloads.keys(), &[verified]);
    Ok(draft.finish(
        &subject,
        Intent::Promote(slot),
        Some(target(slot, there, state)),
    ))
}

/// The first service that is past hope, in words.
fn cannot_take_traffic(there: &SlotFacts) -> Option<String> {
    there
        .workloads
        .iter()
        .find_map(|(name, workload)| match workload.health() {
            state @ (HealthState::Failed | HealthState::BackingOff | HealthState::Unhealthy) => {
                let exit = workload
                    .instances
                    .iter()
                    .find_map(|instance| instance.last_exit.clone());
                let exit = exit.map(|exit| format!(" ({exit})")).unwrap_or_default();
                Some(format!("{name} is {}{exit}", state.word()))
            }
            _ => None,
        })
}

/// Starts what is kept but stopped.
pub(super) fn start(draft: &mut Draft, slot: Slot, there: &SlotFacts) -> Vec<StepId> {
    let stopped = there
        .workloads
        .iter()
        .filter(|(_, workload)| !workload.running);
    stopped
        .map(|(name, workload)| {
            let address = Address::Workload(slot, name.clone());
            let new = Proposal::new(
                address.clone(),
                place(workload.spec.clone(), DeployMode::Fresh),
                "stopped; starts again",
            )
            .expecting(Some(workload.fingerprint()));
            let back = as_it_was(workload, DeployMode::Fresh, there);
            draft.add_with_undo(new, Proposal::new(address, back, "stopped, as it was"))
        })
        .collect()
}

/// The release that stands in a slot, as a plan's target.
pub(super) fn target(slot: Slot, there: &SlotFacts, state: &State) -> Target {
    let recorded = state.release(there.label.number);
    let source = recorded.map_or_else(
        || Source {
            commit: there.label.commit.clone(),
            branch: there.label.branch.clone(),
            ..Source::default()
        },
        |release| release.source.clone(),
    );
    let workloads: BTreeMap<_, _> = there
        .workloads
        .iter()
        .map(|(name, workload)| (name.clone(), workload.spec.clone()))
        .collect();
    Target {
        slot,
        release: there.label.number,
        new: recorded.is_none(),
        source,
        workloads,
        inputs: recorded
            .map(|release| release.inputs.clone())
            .unwrap_or_default(),
    }
}

/// The switch, what verifies it, and how long the old slot is kept. Returns the step that verifies.
pub(super) fn switch(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    slot: Slot,
    ready: StepId,
) -> StepId {
    let promotion = &desired.promotion;
    let from = facts.active;
    let reason = from.map_or_else(
        || "the first release: there is no rollback but to off".to_owned(),
        |from| format!("{from} stays warm for {}", promotion.keep_previous),
    );
    let action = Action::Switch {
        from,
        to: Some(slot),
    };
    let switch = Proposal::new(Address::Traffic, action, reason)
        .expecting(Some(facts.traffic_fingerprint()))
        .after(&[ready]);
    let back = Action::Switch {
        from: Some(slot),
        to: from,
    };
    let after_switch = Facts {
        active: Some(slot),
        ..Facts::default()
    }
    .traffic_fingerprint();
    let undo = Proposal::new(Address::Traffic, back, "live traffic as it was")
        .expecting(Some(after_switch));
    let there = facts.slots.get(&slot);
    let ends = there.and_then(|there| ends_as_it_did(slot, there));
    let undos = std::iter::once(undo).chain(ends).collect();
    let switched = draft.add_with_undos(switch, undos);
    let checks = Action::Check {
        stage: Stage::After,
        checks: promotion.after.clone(),
    };
    let verify = Proposal::new(
        Address::Traffic,
        checks,
        "must hold on live traffic, or it moves back",
    );
    let verified = draft.add(verify.after(&[switched]));
    keep(
        draft,
        facts,
        slot.other(),
        promotion.keep_previous,
        &[verified],
    );
    verified
}

/// Lets the old slot run on for a while.
pub(super) fn keep(draft: &mut Draft, facts: &Facts, slot: Slot, keep: Period, needs: &[StepId]) {
    let Some(there) = facts.slots.get(&slot).filter(|there| there.is_running()) else {
        return;
    };
    let reason = format!("a rollback goes to release {}", there.label.number);
    draft.add(Proposal::new(Address::Slot(slot), Action::Retain { keep }, reason).after(needs));
}
