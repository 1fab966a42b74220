//! The release that a run gave live traffic, and whose end it did not come to record.

use std::collections::BTreeMap;

use crate::model::check::Stage;
use crate::model::facts::{Facts, SlotFacts};
use crate::model::journal::{Direction, Journal, What};
use crate::model::outcome::Ending;
use crate::model::plan::{Action, Plan, Step, Target};
use crate::model::release::{Release, ReleaseStatus};
use crate::model::state::State;
use crate::model::{ReleaseNumber, Slot};
use crate::plan::last_run;

/// The next state, with the release that the last run gave live traffic as the live one, where that
/// run was killed before it wrote so; none where nothing is missing. Without it a rollback of the
/// next release would pass that one over, and where it was new it would be in no history.
///
/// A plan that goes on with that release records it by itself, when it is verified.
#[must_use]
pub fn with_unrecorded(
    state: &State,
    plan: &Plan,
    journal: Option<&Journal>,
    facts: &Facts,
) -> Option<State> {
    let (slot, there) = facts.live()?;
    let number = there.label.number;
    let is_recorded = state.live().is_some_and(|live| live.number == number);
    let journal = journal.filter(|_| !is_recorded && !is_of(plan, number))?;
    let target = unfinished(journal)?;
    if target.release != number || !is_whole(journal, slot) {
        return None;
    }

    let mut next = state.clone();
    next.serial += 1;
    if is_taken_back(journal) {
        return with_failed(next, (slot, there), journal, target);
    }
    for earlier in &mut next.releases {
        if earlier.status == ReleaseStatus::Live {
            earlier.status = ReleaseStatus::Superseded;
        }
    }

    let (serial, since) = (next.serial, journal.entries.last()?.at);
    let mut known = next.releases.iter_mut();
    match known.find(|release| release.number == number) {
        Some(known) if known.config == there.label.config => {
            known.status = ReleaseStatus::Live;
            known.slot = slot;
            known.live_since = Some(since);
            known.live_serial = Some(serial);
        }
        None if last_run::is_of(&there.label, target) => {
            let release = unrecorded((slot, there), journal, target)?;
            next.releases.push(Release {
                live_since: Some(since),
                live_serial: Some(serial),
                ..release
            });
        }
        _ => return None,
    }
    Some(next)
}

/// What was on its way back has failed, whatever its traffic: it is in the history, and no rollback
/// leads there.
fn with_failed(
    mut next: State,
    (slot, there): (Slot, &SlotFacts),
    journal: &Journal,
    target: &Target,
) -> Option<State> {
    let is_new = next.release(target.release).is_none();
    if !is_new || !last_run::is_of(&there.label, target) {
        return None;
    }
    next.releases.push(Release {
        status: ReleaseStatus::Failed {
            reason: "its run ended on the way back".to_owned(),
        },
        ..unrecorded((slot, there), journal, target)?
    });
    Some(next)
}

/// Whether the run had begun to take back what it did.
fn is_taken_back(journal: &Journal) -> bool {
    journal.entries.iter().any(|entry| {
        let What::Intent { back, .. } = entry.what else {
            return false;
        };
        back == Direction::Back
    })
}

fn is_of(plan: &Plan, number: ReleaseNumber) -> bool {
    let target = plan.target.as_ref();
    target.is_some_and(|target| target.release == number)
}

/// What a run was to make live, where it did not end as it should: what is done is in the state.
fn unfinished(journal: &Journal) -> Option<&Target> {
    match last_run::ending(journal) {
        Some(Ending::Done | Ending::NoChanges) => None,
        _ => journal.plan()?.target.as_ref(),
    }
}

/// Whether all of the release was there when it had traffic: a rollback may go to it. One that is
/// put in the place of another is a mixture until its last check.
fn is_whole(journal: &Journal, slot: Slot) -> bool {
    let mut steps = journal.plan().into_iter().flat_map(|plan| &plan.steps);
    let is_switched_to =
        |step: &Step| matches!(step.action, Action::Switch { to, .. } if to.reaches(slot));
    let plan = journal.plan();
    let was_live = plan.is_some_and(|plan| {
        let before = plan.active.as_ref();
        before.is_some_and(|before| is_of(plan, before.release))
    });
    if was_live || steps.clone().any(is_switched_to) {
        return true;
    }

    let verifies =
        |step: &&Step| matches!(step.action, Action::Check { stage, .. } if stage == Stage::After);
    let verify = steps.find(verifies);
    verify.is_some_and(|step| journal.was_begun(step.id))
}

/// The record, from what stands there and from what the run had written down. It had traffic when
/// that run wrote its last line.
fn unrecorded(
    (slot, there): (Slot, &SlotFacts),
    journal: &Journal,
    target: &Target,
) -> Option<Release> {
    let mut entries = journal.entries.iter();
    let (created_by, outside_window) = entries.find_map(|entry| match &entry.what {
        What::Began {
            actor,
            outside_window,
            ..
        } => Some((actor.clone(), outside_window.clone())),
        _ => None,
    })?;
    let entries = journal.entries.iter();
    let tasks = entries.filter_map(|entry| match &entry.what {
        What::Task { record, .. } => Some((**record).clone()),
        _ => None,
    });
    let workloads = there.workloads.iter();
    Some(Release {
        number: target.release,
        source: target.source.clone(),
        config: there.label.config.clone(),
        workloads: workloads
            .map(|(name, workload)| (name.clone(), workload.spec.clone()))
            .collect(),
        inputs: target.inputs.clone(),
        names: target.names.clone(),
        promoted_from: journal.plan()?.intent.promoted_from().cloned(),
        created_at: there.placed_at,
        created_by,
        slot,
        status: ReleaseStatus::Live,
        live_since: None,
        live_serial: None,
        closed: BTreeMap::new(),
        outside_window,
        approvals: Vec::new(),
        probe: None,
        declared: Some(target.tasks.clone()),
        tasks: tasks.collect(),
    })
}
