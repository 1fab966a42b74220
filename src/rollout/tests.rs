//! Stories about single failures, and properties that hold for every order of causes.

use proptest::prelude::*;

use super::{AtRest, Back, Cause, CutOff, End, GoingBack, Impact, Rollout, Traffic};

fn failed() -> Cause {
    Cause::Failed("it broke".to_owned())
}

/// A rollout in which a step of this impact was begun, and which was stopped then.
fn stopped(impact: Impact, cause: Cause) -> Rollout {
    let mut rollout = Rollout::default();
    rollout.begins(impact);
    rollout.stops(cause);
    rollout
}

fn back(rollout: Rollout) -> GoingBack {
    match rollout.at_rest() {
        AtRest::GoBack(going) => going,
        AtRest::End(end) => panic!("it ended with {end:?} instead of going back"),
    }
}

#[test]
fn a_failure_beside_the_live_release_takes_back_what_was_done_and_is_a_failure() {
    let end = back(stopped(Impact::Isolated, failed())).ended(Back::Done);
    assert_eq!(end, End::Failed("it broke".to_owned()));
}

#[test]
fn a_failure_once_a_switch_was_begun_is_a_reversion() {
    let end = back(stopped(Impact::Live, failed())).ended(Back::Done);
    assert_eq!(end, End::Reverted("it broke".to_owned()));
}

#[test]
fn an_interrupt_leaves_what_stands_beside_and_takes_back_what_is_live() {
    let beside = stopped(Impact::Isolated, Cause::Interrupted).at_rest();
    assert_eq!(beside, AtRest::End(End::Interrupted(Traffic::Untouched)));
    let live = back(stopped(Impact::Live, Cause::Interrupted)).ended(Back::Done);
    assert_eq!(live, End::Interrupted(Traffic::MovedBack));
}

#[test]
fn a_lost_lock_ends_everything_even_the_way_back() {
    let end = back(stopped(Impact::Live, failed())).cut_off(CutOff::LockLost);
    assert_eq!(end, End::LockLost);
}

#[test]
fn a_second_interrupt_on_the_way_back_ends_it_at_once() {
    let end = back(stopped(Impact::Live, Cause::Interrupted)).cut_off(CutOff::Killed);
    assert_eq!(end, End::Interrupted(Traffic::Unknown));
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::Failed("x".to_owned())),
        Just(Cause::Stale("x".to_owned())),
        Just(Cause::Refused("x".to_owned())),
        Just(Cause::Interrupted),
    ]
}

/// What is told to a rollout on its way forward.
#[derive(Debug, Clone)]
enum Told {
    Begins(Impact),
    Stops(Cause),
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        4 => Just(Told::Begins(Impact::Isolated)),
        2 => Just(Told::Begins(Impact::Live)),
        2 => cause().prop_map(Told::Stops),
    ]
}

fn cut_off() -> impl Strategy<Value = Option<CutOff>> {
    let by = prop_oneof![Just(CutOff::LockLost), Just(CutOff::Killed)];
    prop::option::weighted(0.3, by)
}

fn went_back() -> impl Strategy<Value = Back> {
    prop_oneof![Just(Back::Done), Just(Back::Failed("y".to_owned()))]
}

proptest! {
    #[test]
    fn no_order_of_causes_breaks_the_rules(
        order in prop::collection::vec(told(), 0..30),
        forward in cut_off(),
        on_the_way_back in cut_off(),
        went in went_back(),
    ) {
        let mut rollout = Rollout::default();
        let mut live = false;
        let mut first: Option<Cause> = None;
        for told in order {
            match told {
                Told::Begins(impact) if rollout.may_begin() => {
                    live |= impact == Impact::Live;
                    rollout.begins(impact);
                }
                Told::Begins(_) => prop_assert!(first.is_some(), "only a stop keeps a step from \
                    beginning"),
                Told::Stops(cause) => {
                    first.get_or_insert(cause.clone());
                    rollout.stops(cause);
                    prop_assert!(!rollout.may_begin(), "nothing begins after a stop");
                }
            }
        }

        let (end, back) = match (forward, rollout.clone().at_rest(), on_the_way_back) {
            (Some(by), _, _) => (rollout.cut_off(by), false),
            (None, AtRest::End(end), _) => (end, false),
            (None, AtRest::GoBack(going), Some(by)) => (going.cut_off(by), true),
            (None, AtRest::GoBack(going), None) => (going.ended(went), true),
        };

        match end {
            End::Done => prop_assert!(first.is_none()),
            End::Failed(_) => prop_assert!(!live && back),
            End::Refused(_) => {
                let is_refused = matches!(first, Some(Cause::Refused(_)));
                prop_assert!(!live && back && is_refused);
            }
            End::Stale(_) => prop_assert!(!live && !back),
            End::Reverted(_) => prop_assert!(live && back),
            End::RollbackFailed { .. } => prop_assert!(back),
            End::Interrupted(Traffic::Untouched) => prop_assert!(!live),
            End::Interrupted(Traffic::MovedBack) => prop_assert!(live && back),
            End::Interrupted(Traffic::Unknown) => prop_assert!(live),
            End::LockLost => {
                let by = if back { on_the_way_back } else { forward };
                prop_assert_eq!(by, Some(CutOff::LockLost));
            }
        }
    }
}
