//! The plan of `promote blue|green`: live traffic for what stands in a slot.

use std::collections::BTreeMap;

use crate::model::desired::Desired;
use crate::model::facts::{Facts, HealthState, SlotFacts};
use crate::model::plan::{Intent, Plan, Target};
use crate::model::promotion::{Deployment, Mode};
use crate::model::source::Source;
use crate::model::state::State;
use crate::model::{Address, Slot};
use crate::plan::PlanError;
use crate::plan::draft::{Draft, Subject};
use crate::plan::listeners::close_former;
use crate::plan::strategy::beside::AfterSwitch;
use crate::plan::strategy::handover::{Handover, bring_back, stop_elsewhere};
use crate::plan::strategy::{beside, wait_until_ready};
use crate::plan::tasks::{Before, Tasks};

/// The slot without live traffic whose release waits for its promotion.
#[must_use]
pub fn waiting(facts: &Facts, state: &State) -> Option<Slot> {
    let there = |slot| facts.slots.get(&slot);
    state.waiting_slot(facts.traffic, |slot| Some(there(slot)?.label.number))
}

/// Makes the plan of `promote blue|green`: live traffic for the release that stands in `slot`. In a
/// slot that has it already, what a run that died has left stopped there starts again.
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
    if facts.traffic.reaches(slot) {
        if let Some(there) = facts.slots.get(&slot) {
            draft.notes.push(format!(
                "{slot} is active already: it has release {}",
                there.label.number
            ));
        }
        draft.same(Address::Traffic, format!("{slot} has live traffic"));
        bring_back(&mut draft, facts, desired.ready_within, &[]);
        return Ok(draft.finish(&subject, Intent::Promote(slot), None));
    }
    if let Deployment::InPlace(..) = desired.strategy.deployment(facts.traffic) {
        return Err(PlanError::NoPreview {
            environment: environment.clone(),
            strategy: desired.strategy.as_str().to_owned(),
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
    let handover = Handover::to_standing(facts, slot, there, desired.ready_within);
    draft.notes.extend(handover.notes(Mode::Auto));
    let mut needs = Vec::new();
    if facts.traffic.is_off() {
        needs = stop_elsewhere(&mut draft, facts, slot.other(), &handover.next);
    }
    let release = (slot, there.label.number);
    let tasks = Tasks::of_standing(
        desired,
        state,
        facts.traffic.slot(),
        release,
        &handover.next,
    );
    needs = tasks.before(&mut draft, Before::Run, false, &needs);
    let started = beside::start(&mut draft, &handover, there, beside::is_stopped, &needs);
    needs.extend(started);
    let reason = "only a ready slot gets traffic";
    let ready = wait_until_ready(&mut draft, slot, desired.ready_within, reason, &needs);
    let inside = tasks.before(&mut draft, Before::Ready, false, &[ready]);
    let checks = desired.promotion.before.clone();
    let checked = beside::check(&mut draft, slot, checks, inside[0]);

    let after = AfterSwitch::of(&desired.promotion, &tasks);
    let verified = beside::switch(&mut draft, &after, &handover, checked);
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
        names: recorded
            .map(|release| release.names.clone())
            .unwrap_or_default(),
        tasks: BTreeMap::new(),
    }
}
