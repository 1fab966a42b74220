//! The plan of `rollback`: live traffic for a release that had it before.
//!
//! It is the emergency exit, so it is short: no build, no checks of the configuration, and no rollback to the
//! release that is being left. That the slot is ready is asked all the same.

use crate::model::check::Stage;
use crate::model::desired::Desired;
use crate::model::facts::{Facts, SlotFacts};
use crate::model::plan::{Action, DeployMode, Intent, Plan, StepId, Target};
use crate::model::promotion::Strategy;
use crate::model::release::{Release, ReleaseStatus};
use crate::model::state::State;
use crate::model::{Address, ReleaseNumber, Slot};
use crate::plan::draft::{Draft, Proposal, Subject};
use crate::plan::pieces::{added_back, as_it_was, place, restore};
use crate::plan::{PlanError, promote, workload_changes};

/// Makes the plan of `rollback`: to `to`, or to the release that had live traffic last before this one.
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
        return Ok(draft.finish(&subject, intent, None));
    }
    let slot = match (desired.strategy, live) {
        (Strategy::Rolling | Strategy::Recreate, Some((slot, there))) => {
            in_place(&mut draft, desired, facts, state, release, (slot, there));
            slot
        }
        (_, active) => {
            let slot = active.map_or(Slot::Blue, |(slot, _)| slot.other());
            beside(&mut draft, desired, facts, state, release, slot);
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
fn beside(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    state: &State,
    release: &Release,
    slot: Slot,
) {
    let there = facts.slots.get(&slot);
    let placed = match there {
        Some(there) if there.label.number == release.number => {
            let warm = promote::start(draft, slot, there);
            if warm.is_empty() {
                draft
                    .notes
                    .push(format!("release {} is warm in {slot}", release.number));
            }
            warm
        }
        other => place_anew(draft, facts, release, slot, other),
    };
    let opened = open_again(draft, desired, facts, state, release, &[]);
    let within = desired.ready_within;
    let ready = Proposal::new(
        Address::Slot(slot),
        Action::WaitUntilReady { within },
        "only a ready slot gets traffic",
    );
    let ready = draft.add(ready.after(&placed).after(&opened));
    let bare = without_checks(desired);
    promote::switch(draft, &bare, facts, slot, ready);
}

/// Opens the listeners of services that the release had, and that nothing listens for any more: as they were when they
/// were closed, or else as the configuration has them.
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
                "nothing listens for {name}: no record has its listeners, and neither has the configuration; `shipit apply` of one that has {name} opens them"
            ));
            continue;
        };
        if let Some(other) = facts.routes.values().find(|other| other.overlaps(route)) {
            draft.notes.push(format!(
                "nothing listens for {name}: {} has its address now ({route}); give one of them another address, then `shipit apply`",
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

fn without_checks(desired: &Desired) -> Desired {
    let mut bare = desired.clone();
    bare.promotion.before.clear();
    bare.promotion.after.clear();
    bare
}

fn place_anew(
    draft: &mut Draft,
    facts: &Facts,
    release: &Release,
    slot: Slot,
    there: Option<&SlotFacts>,
) -> Vec<StepId> {
    let room: Vec<StepId> = there
        .map(|there| {
            let reason = format!(
                "makes room; release {} stays in the history",
                there.label.number
            );
            let new = Proposal::new(Address::Slot(slot), Action::Clear, reason)
                .expecting(facts.slot_fingerprint(slot));
            draft.add_with_undos(new, restore(slot, there))
        })
        .into_iter()
        .collect();
    let place_one = |(name, workload): (
        &crate::model::ServiceName,
        &crate::model::workload::Workload,
    )| {
        let address = Address::Workload(slot, name.clone());
        let reason = format!("release {} from the history", release.number);
        let new = Proposal::new(
            address.clone(),
            place(workload.clone(), DeployMode::Fresh),
            reason,
        )
        .after(&room);
        draft.add_with_undo(
            new,
            Proposal::new(address, Action::Undeploy, "taken out again"),
        )
    };
    let mut placed: Vec<StepId> = release.workloads.iter().map(place_one).collect();
    placed.extend(room.iter().copied());
    placed
}

/// Replaces the live slot's workloads by the release's.
fn in_place(
    draft: &mut Draft,
    desired: &Desired,
    facts: &Facts,
    state: &State,
    release: &Release,
    (slot, there): (Slot, &SlotFacts),
) {
    let mode = if desired.strategy == Strategy::Rolling {
        DeployMode::Rolling
    } else {
        DeployMode::Recreate
    };
    let mut before: Vec<StepId> = Vec::new();
    for (name, workload) in &release.workloads {
        let address = Address::Workload(slot, name.clone());
        let old = there.workloads.get(name);
        let undo = old.map_or_else(
            || added_back(slot, name.clone(), mode, there),
            |old| {
                vec![Proposal::new(
                    address.clone(),
                    as_it_was(old, mode, there),
                    "as it was",
                )]
            },
        );
        let reason = format!("release {} from the history", release.number);
        let new = Proposal::new(address.clone(), place(workload.clone(), mode), reason)
            .changing(workload_changes(old.map(|old| &old.spec), workload, slot))
            .expecting(facts.workload_fingerprint(slot, name))
            .after(&before);
        before = vec![draft.add_with_undos(new, undo)];
    }
    let ready = Action::WaitUntilReady {
        within: desired.ready_within,
    };
    // Behind the placements, so that during the rollback they are closed before their services go.
    before.extend(open_again(draft, desired, facts, state, release, &before));
    let ready = draft
        .add(Proposal::new(Address::Slot(slot), ready, "all of it must be ready").after(&before));
    let verify = Action::Check {
        stage: Stage::After,
        checks: Vec::new(),
    };
    let verified =
        draft.add(Proposal::new(Address::Traffic, verify, "what the prober saw").after(&[ready]));
    take_out_the_rest(draft, facts, release, (slot, there), verified);
}

/// Services that the release did not have: first their listeners go, then they do.
fn take_out_the_rest(
    draft: &mut Draft,
    facts: &Facts,
    release: &Release,
    (slot, there): (Slot, &SlotFacts),
    verified: StepId,
) {
    for (name, old) in there
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
        let address = Address::Workload(slot, name.clone());
        let back = as_it_was(old, DeployMode::Rolling, there);
        let new = Proposal::new(address.clone(), Action::Undeploy, reason)
            .expecting(Some(old.fingerprint()))
            .after(&before);
        draft.add_with_undo(new, Proposal::new(address, back, "as it was"));
    }
}
