//! Stories about single failures, and properties that hold for every sequence of events.

use proptest::prelude::*;

use super::{Back, Cause, Decision, End, Event, Reach, Rollout, Traffic};

fn failed() -> Event {
    Event::Stops(Cause::Failed("it broke".to_owned()))
}

#[test]
fn a_failure_beside_the_live_release_takes_back_what_was_done_and_is_a_failure() {
    let mut rollout = Rollout::default();
    assert_eq!(rollout.on(Event::Begins(Reach::Beside)), Decision::GoOn);
    assert_eq!(rollout.on(failed()), Decision::Drain);
    assert_eq!(rollout.on(Event::Idle), Decision::GoBack);
    assert_eq!(
        rollout.on(Event::WentBack(Back::Done)),
        Decision::End(End::Failed("it broke".to_owned()))
    );
}

#[test]
fn a_failure_once_a_switch_was_begun_is_a_reversion() {
    let mut rollout = Rollout::default();
    rollout.on(Event::Begins(Reach::Live));
    rollout.on(failed());
    assert_eq!(rollout.on(Event::Idle), Decision::GoBack);
    assert_eq!(
        rollout.on(Event::WentBack(Back::Done)),
        Decision::End(End::Reverted("it broke".to_owned()))
    );
}

#[test]
fn an_interrupt_leaves_what_stands_beside_and_takes_back_what_is_live() {
    let mut beside = Rollout::default();
    beside.on(Event::Begins(Reach::Beside));
    assert_eq!(beside.on(Event::Stops(Cause::Interrupted)), Decision::Drain);
    assert_eq!(
        beside.on(Event::Idle),
        Decision::End(End::Interrupted(Traffic::Untouched))
    );

    let mut live = Rollout::default();
    live.on(Event::Begins(Reach::Live));
    live.on(Event::Stops(Cause::Interrupted));
    assert_eq!(live.on(Event::Idle), Decision::GoBack);
    assert_eq!(
        live.on(Event::WentBack(Back::Done)),
        Decision::End(End::Interrupted(Traffic::MovedBack))
    );
}

#[test]
fn a_lost_lock_ends_everything_even_the_way_back() {
    let mut rollout = Rollout::default();
    rollout.on(Event::Begins(Reach::Live));
    rollout.on(failed());
    rollout.on(Event::Idle);
    assert_eq!(
        rollout.on(Event::Stops(Cause::LockLost)),
        Decision::End(End::LockLost)
    );
    assert_eq!(rollout.on(Event::WentBack(Back::Done)), Decision::Halt);
}

#[test]
fn a_second_interrupt_on_the_way_back_ends_it_at_once() {
    let mut rollout = Rollout::default();
    rollout.on(Event::Begins(Reach::Live));
    rollout.on(Event::Stops(Cause::Interrupted));
    rollout.on(Event::Idle);
    let end = rollout.on(Event::Stops(Cause::Killed));
    assert_eq!(end, Decision::End(End::Interrupted(Traffic::Unknown)));
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::Failed("x".to_owned())),
        Just(Cause::Stale("x".to_owned())),
        Just(Cause::Interrupted),
        Just(Cause::LockLost),
        Just(Cause::Killed),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Begins(Reach::Beside)),
        2 => Just(Event::Begins(Reach::Live)),
        2 => cause().prop_map(Event::Stops),
        2 => Just(Event::Idle),
        1 => Just(Event::WentBack(Back::Done)),
        1 => Just(Event::WentBack(Back::Failed("y".to_owned()))),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_events_breaks_the_rules(events in proptest::collection::vec(event(), 1..30)) {
        let mut rollout = Rollout::default();
        let (mut live, mut stopped, mut over, mut back) = (false, false, false, false);
        for event in events {
            let began = matches!(event, Event::Begins(Reach::Live)) && rollout.may_begin();
            let decision = rollout.on(event.clone());
            live |= began;
            stopped |= matches!(event, Event::Stops(_)) || over;
            prop_assert!(!(over && decision != Decision::Halt), "nothing is decided after the end");
            prop_assert!(!(stopped && rollout.may_begin()), "nothing begins after a stop");
            if decision == Decision::GoBack {
                prop_assert!(!back, "the way back is gone once");
                back = true;
            }
            if let Decision::End(end) = decision {
                over = true;
                match end {
                    End::Done => prop_assert!(!stopped),
                    End::Failed(_) | End::Stale(_) => prop_assert!(!live),
                    End::Reverted(_) => prop_assert!(live && back),
                    End::Stuck { .. } => prop_assert!(back),
                    End::Interrupted(Traffic::Untouched) => prop_assert!(!live),
                    End::Interrupted(Traffic::MovedBack) => prop_assert!(back),
                    End::Interrupted(Traffic::Unknown) => prop_assert!(live),
                    End::LockLost => prop_assert!(stopped),
                }
            }
        }
    }
}
