//! The plan of `rollback`: live traffic for a release that had it before.
//!
//! It is the emergency exit, so it is short: no build, no checks of the configuration, and no
//! rollback to the release that is being left. That the slot is ready is asked all the same.

use std::collections::BTreeMap;

use crate::model::desired::Desired;
use crate::model::facts::{Facts, SlotFacts};
use crate::model::plan::{Action, Intent, Plan, StepId, Target};
use crate::model::promotion::{Deployment, Mode};
use crate::model::release::{Release, ReleaseStatus};
use crate::model::state::State;
use crate::model::{Address, ReleaseNumber, Slot};
use crate::plan::draft::{Draft, Proposal, Subject};
use crate::plan::strategy::beside::AfterSwitch;
use crate::plan::strategy::handover::{Handover, bring_back, stop_elsewhere};
use crate::plan::strategy::in_place::Live;
use crate::plan::strategy::{New, beside, in_place, verify, wait_until_ready};
use crate::plan::tasks::passed;
use crate::plan::{PlanError, workload_changes};

/// Makes the plan of `rollback`: to `to`, or to the release that had live traffic last before this
/// one. Of the live release itself, what a run that died has left stopped starts again.
///
/// # Errors
/// When there is no such release, or it never had live traffic.
pub fn rollback(
    desired: &Desired,
    facts: &Facts,
    state: &State,
    to: Option<ReleaseNumber>,
) -> Result<Plan, PlanError> {
    let subject = Subject::new(desired, facts, state);
    let live = facts.live();
    let live_number = live.map(|(_, there)| there.label.number);
    let release = find(desired, state, live_number, to)?;
    let intent = Intent::Rollback(release.number);
    let mut draft = Draft::default();
    if live_number == Some(release.number) {
        draft.notes.push(format!(
            "release {} has live traffic already",
            release.number
        ));
        draft.same(Address::Traffic, "nothing to go back from");
        bring_back(&mut draft, facts, desired.ready_within, &[]);
        return Ok(draft.finish(&subject, intent, None));
    }

    draft.rollback_blockers = passed(state, release.number);
    let slot = match (desired.strategy.deployment(facts.traffic), live) {
        (Deployment::InPlace(slot, mode), Some((_, there))) => {
            let live = Live {
                slot,
                there,
                mode,
                next: &release.workloads,
            };
            in_place_of_it(&mut draft, desired, facts, state, release, &live);
            slot
        }
        (Deployment::Beside(slot) | Deployment::InPlace(slot, _), _) => {
            beside_it(&mut draft, desired, facts, state, release, slot);
            slot
        }
    };

    let target = Target {
        slot,
        release: release.number,
        new: false,
        source: release.source.clone(),
        workloads: release.workloads.clone(),
        inputs: release.inputs.clone(),
        names: release.names.clone(),
        tasks: BTreeMap::new(),
    };
    Ok(draft.finish(&subject, intent, Some(target)))
}

fn find<'a>(
    desired: &Desired,
    state: &'a State,
    live: Option<ReleaseNumber>,
    to: Option<ReleaseNumber>,
) -> Result<&'a Release, PlanError> {
    let environment = || desired.environment.clone();
    let Some(number) = to else {
        let live = live.unwrap_or(ReleaseNumber(0));
        return state
            .previous_good(live)
            .ok_or_else(|| PlanError::NoPrevious {
                environment: environment(),
            });
    };

    let release = state
        .release(number)
        .ok_or_else(|| PlanError::NoSuchRelease {
            environment: environment(),
            release: number,
        })?;
    match &release.status {
        ReleaseStatus::Live | ReleaseStatus::Superseded => Ok(release),
        ReleaseStatus::Waiting => Err("still waits for its promotion".to_owned()),
        ReleaseStatus::Failed { reason } => Err(format!("failed ({reason})")),
        ReleaseStatus::Reverted { reason } => Err(format!("was reverted ({reason})")),
        ReleaseStatus::Aborted => Err("was given up".to_owned()),
    }
    .map_err(|word| PlanError::NeverLive {
        environment: environment(),
        release: number,
        word,
    })
}

/// Brings the release up in the slot without traffic, and switches.
fn beside_it(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    state: &State,
    release: &Release,
    slot: Slot,
) {
    let there = facts.slots.get(&slot);
    let there = there.filter(|there| there.label.number == release.number);
    let within = desired.ready_within;
    let handover = match there {
        Some(there) => Handover::to_standing(facts, slot, there, within),
        None => Handover::to_new(facts, slot, &release.workloads, within),
    };
    draft.notes.extend(handover.notes(Mode::Auto));

    let mut alone = Vec::new();
    if facts.traffic.is_off() {
        alone = stop_elsewhere(draft, facts, slot.other(), &release.workloads);
    }
    let deployed = if let Some(there) = there {
        let started = beside::start(draft, &handover, there, beside::is_stopped, &alone);
        if started.is_empty() {
            let note = format!("release {} is retained in {slot}", release.number);
            draft.notes.push(note);
        }
        started
    } else {
        alone.extend(beside::clear(draft, facts, slot, &[]));
        let news = of_history(release, slot, None);
        let deployed = beside::deploy(draft, &handover, news, &alone);
        [deployed, alone].concat()
    };

    let opened = open_again(draft, desired, facts, state, release, &[]);
    let needs = [deployed, opened].concat();
    let reason = "only a ready slot gets traffic";
    let ready = wait_until_ready(draft, slot, desired.ready_within, reason, &needs);
    let after = AfterSwitch {
        checks: &[],
        keep_previous: desired.promotion.keep_previous,
        tasks: None,
    };
    beside::switch(draft, &after, &handover, ready);
}

/// What a release deployed, to be deployed again.
fn of_history(release: &Release, slot: Slot, live: Option<&SlotFacts>) -> Vec<New> {
    let news = release.workloads.iter().map(|(name, workload)| {
        let changes = live.map(|live| {
            let old = live.workloads.get(name).map(|old| &old.spec);
            workload_changes(old, workload, slot)
        });
        New {
            workload: workload.clone(),
            reason: format!("release {} from the history", release.number),
            changes: changes.unwrap_or_default(),
        }
    });
    news.collect()
}

/// Opens the listeners of services that the release had, and that nothing listens for any more: as
/// they were when they were closed, or else as the configuration has them.
fn open_again(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    state: &State,
    release: &Release,
    needs: &[StepId],
) -> Vec<StepId> {
    let mut opened = Vec::new();
    let has_port = release.workloads.iter().filter(|(_, it)| it.port.is_some());
    for (name, _) in has_port.filter(|(name, _)| !facts.routes.contains_key(*name)) {
        let configured = || desired.services.get(name)?.route.as_ref();
        let Some(route) = state.closed(release.number, name).or_else(configured) else {
            draft.notes.push(format!(
                "nothing listens for {name}: no record has its listeners, and neither has the \
                 configuration; `shipit apply` of one that has {name} opens them"
            ));
            continue;
        };
        if let Some(other) = facts.routes.values().find(|other| other.overlaps(route)) {
            draft.notes.push(format!(
                "nothing listens for {name}: {} has its address now ({route}); give one of them \
                 another address, then `shipit apply`",
                other.service
            ));
            continue;
        }

        let address = Address::Route(name.clone());
        let reason = format!("release {} listened there", release.number);
        let new =
            Proposal::new(address.clone(), Action::listen(route.clone()), reason).after(needs);
        let undo = Proposal::new(address, Action::StopListening, "nothing listened there");
        opened.push(draft.add_with_undo(new, undo));
    }
    opened
}

/// Replaces the live slot's workloads by the release's.
fn in_place_of_it(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    state: &State,
    release: &Release,
    live: &Live<'_>,
) {
    let news = of_history(release, live.slot, Some(live.there));
    let added_back = |name| live.added_back(name);
    let alone = stop_elsewhere(draft, facts, live.slot.other(), &release.workloads);
    let mut needs = in_place::replace(draft, live, news, added_back, alone);
    // Behind the deployments, so that during the rollback they are closed before their services go.
    needs.extend(open_again(draft, desired, facts, state, release, &needs));

    let reason = "all of it must be ready";
    let ready = wait_until_ready(draft, live.slot, desired.ready_within, reason, &needs);
    let verified = verify(draft, &[], "what the prober saw", &[ready]);
    take_out_the_rest(draft, facts, release, live, verified);
}

/// Services that the release did not have: first their listeners go, then they do.
fn take_out_the_rest(
    draft: &mut Draft,
    facts: &Facts,
    release: &Release,
    live: &Live<'_>,
    verified: StepId,
) {
    for (name, old) in live
        .there
        .workloads
        .iter()
        .filter(|(name, _)| !release.workloads.contains_key(*name))
    {
        let reason = format!("release {} had no {name}", release.number);
        let mut before = vec![verified];
        if let Some(route) = facts.routes.get(name) {
            let address = Address::Route(name.clone());
            let back = Action::listen(route.clone());
            let new = Proposal::new(address.clone(), Action::StopListening, reason.clone())
                .after(&before);
            before.push(draft.add_with_undo(
                new,
                Proposal::new(address, back, "the listeners as they were"),
            ));
        }
        in_place::undeploy(draft, live, (name, old), &reason, &before);
    }
}
