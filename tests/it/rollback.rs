//! The rollback after the fact.

use crate::support::World;

#[test]
fn rollback_goes_back_one_release_or_to_the_one_that_is_named() {
    let world = World::live();
    for message in ["v2", "v3"] {
        world.message(message);
        world.apply().code(0);
    }
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("release 2 is retained in green");
    assert_eq!((world.get(), world.live_release()), ("v2".to_owned(), 2));
    let to_first = [
        "rollback",
        "--to",
        "1",
        "--env",
        "staging",
        "--auto-approve",
    ];
    world
        .run(&to_first)
        .code(0)
        .says("release 1 from the history");
    assert_eq!((world.get(), world.live_release()), ("v1".to_owned(), 1));
    world
        .run(&[
            "rollback",
            "--to",
            "9",
            "--env",
            "staging",
            "--auto-approve",
        ])
        .code(1)
        .says("no release 9");
    world
        .run(&to_first)
        .code(0)
        .says("has live traffic already");
}

#[test]
fn without_an_earlier_release_there_is_nowhere_to_go() {
    let world = World::live();
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(1)
        .says("no earlier release");
}

#[test]
fn a_previous_release_that_was_stopped_is_started_again() {
    let mut world = World::live();
    world.staging = vec!["promotion: {keep_previous: 0s, probe: {linger: 50ms}}".to_owned()];
    world.message("v2");
    world.apply().code(0);
    crate::support::until("blue is stopped", || {
        world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["running"] == false
    });
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("stopped");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("stopped; starts again");
    assert_eq!(world.get(), "v1");
}

#[test]
fn destroy_takes_everything_away_and_apply_brings_it_back() {
    let world = World::live();
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("nothing is live");
    assert!(crate::support::http::get(&world.live_address(), "/").is_err());
    world
        .apply()
        .code(0)
        .says("are built already")
        .says("release 2 into blue");
    assert_eq!(world.get(), "v1");
}

#[test]
fn what_never_was_live_is_no_way_back_even_where_the_history_was_lost() {
    let mut world = World::live();
    world.staging = vec!["promotion: {mode: manual, probe: {linger: 50ms}}".to_owned()];
    let forget = |world: &World| {
        std::fs::remove_dir_all(world.file("state/staging")).expect("forgotten");
    };
    let rollback = ["rollback", "--env", "staging", "--auto-approve"];
    world.message("v2");
    world.apply().code(0).says("waits");
    forget(&world);
    let said = world.run(&rollback);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert_eq!(world.get(), "v1");

    // What had live traffic is retained, and known by that.
    world
        .run(&["promote", "green", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(world.get(), "v2");
    forget(&world);
    world.run(&rollback).code(0);
    assert_eq!(world.get(), "v1");
}
