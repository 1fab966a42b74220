//! How a release comes to live traffic. Where it is deployed is the strategy's to say
//! ([`Strategy::deployment`]): [`beside`] the live one, with a switch, or [`in_place`] of it.
//! Services that never run twice at once are in their slot beforehand, and are handed over just
//! before the switch ([`handover`]). Whoever makes a plan chooses a release and calls these.
//!
//! [`Strategy::deployment`]: crate::model::promotion::Strategy::deployment

pub mod beside;
pub mod handover;
pub mod in_place;

use crate::model::check::{Check, Stage};
use crate::model::plan::{Action, Change, StepId};
use crate::model::workload::Workload;
use crate::model::{Address, Period, Slot};
use crate::plan::draft::{Draft, Proposal};
use crate::plan::pieces::wait;

/// A workload that is deployed.
pub struct New {
    /// What it is.
    pub workload: Workload,
    /// Why, for a reader.
    pub reason: String,
    /// How it differs from the live one.
    pub changes: Vec<Change>,
}

/// Waits until all of a slot can take traffic.
pub fn wait_until_ready(
    draft: &mut Draft,
    slot: Slot,
    within: Period,
    reason: &str,
    needs: &[StepId],
) -> StepId {
    draft.add(wait(slot, within, reason).after(needs))
}

/// Asks whether live traffic is as it should be.
pub fn verify(draft: &mut Draft, checks: &[Check], reason: &str, needs: &[StepId]) -> StepId {
    let action = Action::Check {
        stage: Stage::After,
        checks: checks.to_vec(),
    };
    draft.add(Proposal::new(Address::Traffic, action, reason).after(needs))
}
