//! What was destroyed is told, whenever a run ends and whatever is taken back.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Wanted, World, data, in_order, object, words};
use crate::model::loss::Holding;
use crate::model::object::ObjectState;
use crate::model::plan::{Action, Intent, Plan, StepId};
use crate::plan::destroy;
use crate::rollout::{AtRest, Cause, End, Impact, Rollout, destroyed, is_left_behind, no_rollback};

/// After each step of a plan: what the steps so far have destroyed is said, and an environment that
/// was to go is not put back without it.
pub(super) fn what_is_lost_is_told(plan: &Plan) -> Result<(), TestCaseError> {
    let steps = in_order(&plan.steps);
    for count in 0..=steps.len() {
        let begun: BTreeSet<StepId> = steps[..count].iter().map(|step| step.id).collect();
        let told = destroyed(plan, &begun);
        let is_data = |holding: &Holding| matches!(holding, Holding::Data { .. });
        let mut losses = plan.losses.iter();
        let all_told = losses
            .by_ref()
            .filter(|loss| begun.contains(&loss.step) && loss.holds.iter().any(is_data))
            .all(|loss| told.as_ref().is_some_and(|told| told.contains(&loss.name)));
        prop_assert!(all_told, "{told:?} after {count} of {:?}", words(plan));

        let stays = no_rollback(plan, &begun).is_some();
        if plan.intent == Intent::Destroy {
            prop_assert_eq!(stays, told.is_some(), "{:?}", words(plan));
        }
        if plan.intent == Intent::DestroyInfrastructure {
            prop_assert!(stays || told.is_none(), "{:?}", words(plan));
        }
    }
    Ok(())
}

/// A run that failed at the last step of a plan, with the words that it ends with.
fn failed(plan: &Plan) -> (Option<String>, Option<String>) {
    let begun: BTreeSet<StepId> = plan.steps.iter().map(|step| step.id).collect();
    (no_rollback(plan, &begun), destroyed(plan, &begun))
}

#[test]
fn an_environment_that_has_lost_its_data_is_not_put_back() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let claim = |holds: &[Holding]| {
        let key = "v1/PersistentVolumeClaim/shop/data";
        let found = [object(key, ObjectState::Gone, holds)];
        let desired = Wanted::web(1).desired();
        destroy(&desired, &world.facts, &found, &world.state)
    };

    let (stays, lost) = failed(&claim(&[data("claim data")]));
    assert_eq!(
        lost.as_deref(),
        Some("what was in PersistentVolumeClaim/data (claim data, 1Gi) is lost")
    );
    assert_eq!(
        stays.as_deref(),
        Some(
            "what was in PersistentVolumeClaim/data (claim data, 1Gi) is lost, \
             so the environment is not put back"
        )
    );
    assert_eq!(failed(&claim(&[])), (None, None));
}

#[test]
fn a_rollback_after_a_loss_says_what_is_lost() {
    let ended = |impact: Impact, cause: Cause| {
        let mut rollout = Rollout::default();
        rollout.begins(impact);
        rollout.stops(cause);
        let AtRest::GoBack(going) = rollout.at_rest() else {
            panic!("it is taken back");
        };
        going.ended_with_a_loss("what was in Set/db is lost")
    };
    let failed = || Cause::Failed("it broke".to_owned());
    let said = "it broke; what was in Set/db is lost".to_owned();
    assert_eq!(ended(Impact::Live, failed()), End::Reverted(said.clone()));
    assert_eq!(ended(Impact::Isolated, failed()), End::Failed(said));
    let refused = Cause::Refused("closed".to_owned());
    assert!(
        matches!(ended(Impact::Isolated, refused), End::Refused(said) if said.contains("Set/db"))
    );
    let stopped = ended(Impact::Live, Cause::Interrupted);
    assert!(matches!(stopped, End::RollbackFailed { back, .. } if back.contains("Set/db")));
}

#[test]
fn a_removal_behind_the_switch_is_left_and_one_before_it_is_not() {
    let mut world = World::new();
    world.carry_out(&world.apply(&Wanted::web(1)));
    let gone = || vec![object("v1/ConfigMap/shop/old", ObjectState::Gone, &[])];
    let plan = world.apply(&Wanted {
        objects: gone(),
        ..Wanted::web(2)
    });
    let removal = plan.steps.iter().find(|step| step.action == Action::Delete);
    let removal = removal.expect("it is deleted");
    let is_switch = |action: &Action| matches!(action, Action::Switch { .. });
    let all: BTreeSet<StepId> = plan.steps.iter().map(|step| step.id).collect();
    assert!(is_left_behind(&plan, &all, removal));

    let before = plan.steps.iter().filter(|step| !is_switch(&step.action));
    let before: BTreeSet<StepId> = before.map(|step| step.id).collect();
    assert!(!is_left_behind(&plan, &before, removal));
    for step in plan.steps.iter().filter(|step| step.id != removal.id) {
        assert!(!is_left_behind(&plan, &all, step), "{}", step.address);
    }

    let desired = Wanted::web(1).desired();
    let ends = destroy(&desired, &world.facts, &gone(), &world.state);
    let all: BTreeSet<StepId> = ends.steps.iter().map(|step| step.id).collect();
    let mut steps = ends.steps.iter();
    assert!(!steps.any(|step| is_left_behind(&ends, &all, step)));
}
