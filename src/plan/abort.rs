//! The plan of `abort`: give up the release that waits in the preview slot.

use crate::model::desired::Desired;
use crate::model::facts::Facts;
use crate::model::plan::{Action, Intent, Plan};
use crate::model::release::ReleaseStatus;
use crate::model::state::State;
use crate::model::{Address, Slot};
use crate::plan::PlanError;
use crate::plan::draft::{Draft, Proposal, Subject};
use crate::plan::listeners::keep_former;
use crate::plan::pieces::restore;
use crate::plan::promote::target;
use crate::plan::strategy::handover::start_again;
use crate::plan::strategy::wait_until_ready;

/// Makes the plan of `abort`. Live traffic stays where it is, and so does a previous release that
/// is kept for the way back: only what never had live traffic is given up, and the addresses that
/// were opened for it. What was stopped in the live slot for it starts again.
///
/// # Errors
/// When no such release stands in the preview slot.
pub fn abort(desired: &Desired, facts: &Facts, state: &State) -> Result<Plan, PlanError> {
    let was_live = |slot: Slot| {
        let number = facts.slots.get(&slot).map(|there| there.label.number);
        let release = number.and_then(|number| state.release(number));
        release.is_some_and(|release| {
            matches!(
                release.status,
                ReleaseStatus::Live | ReleaseStatus::Superseded
            )
        })
    };

    let waiting = Slot::ALL
        .into_iter()
        .filter(|slot| !facts.traffic.reaches(*slot) && !was_live(*slot))
        .find_map(|slot| facts.slots.get(&slot).map(|there| (slot, there)));
    let Some((slot, there)) = waiting else {
        return Err(PlanError::NothingWaiting {
            environment: desired.environment.clone(),
        });
    };

    let mut draft = Draft::default();
    let reason = format!("release {} is given up", there.label.number);
    let new = Proposal::new(Address::Slot(slot), Action::Clear, reason)
        .expecting(facts.slot_fingerprint(slot));
    let emptied = draft.add_with_undos(new, restore(facts, slot, there));
    let started = start_again(&mut draft, facts, &[emptied]);
    if let Some((live, _)) = facts.live().filter(|_| !started.is_empty()) {
        let reason = "what was started again, too";
        wait_until_ready(&mut draft, live, desired.ready_within, reason, &started);
    }
    keep_former(&mut draft, facts, &[emptied]);
    let target = target(slot, there, state);
    Ok(draft.finish(
        &Subject::new(desired, facts, state),
        Intent::Abort,
        Some(target),
    ))
}
