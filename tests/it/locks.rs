//! Two runs never mix.

use crate::support::{World, finish, until};

/// A world whose next apply builds until a file is there.
fn slow_build() -> World {
    let mut world = World::live();
    world.message("v2");
    let run = "run: {shell: \"touch ../building; while [ ! -e ../go ]; do sleep 0.02; done\"}";
    world.build = vec![run.to_owned(), "inputs: [message.txt]".to_owned()];
    world
}

#[test]
fn the_second_of_two_applies_ends_with_4_or_waits() {
    let world = slow_build();
    let first = world.start_apply();
    until("the first builds", || world.file("building").exists());
    world
        .apply()
        .code(4)
        .says("staging is locked by")
        .says("--lock-timeout");
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("locked by");
    let waiting = world.start(&[
        "apply",
        "--env",
        "staging",
        "--auto-approve",
        "--lock-timeout",
        "60s",
    ]);
    world.put("go", "");
    finish(first).code(0).says("Done: release 2");
    finish(waiting).code(0).says("No changes");
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_dead_holder_needs_no_manual_unlock() {
    let world = slow_build();
    let mut first = world.start_apply();
    until("the first builds", || world.file("building").exists());
    first.kill().expect("it lives");
    first.wait().expect("it ends");
    world.put("go", "");
    world.apply().code(0).says("Done: release 2");
}

#[test]
fn a_run_that_lost_its_lock_stops_before_its_next_effect() {
    let world = slow_build();
    let first = world.start_apply();
    until("the first builds", || world.file("building").exists());
    world
        .run(&["unlock", "--env", "staging"])
        .code(0)
        .says("The lock was taken from");
    finish(first).code(4).says("another run has the lock");
    assert_eq!(world.get(), "v1");
    world.put("go", "");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn abort_stops_a_run_that_is_under_way() {
    let world = slow_build();
    let first = world.start_apply();
    until("the first builds", || world.file("building").exists());
    world
        .run(&["abort", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("to stop its `apply`");
    finish(first).code(130).says("Interrupted");
    assert_eq!(world.get(), "v1");
}

#[test]
fn another_state_does_not_own_what_this_one_made() {
    let world = World::live();
    world.message("v2");
    world.apply().code(0);
    // A lost state finds what stands, and goes on from there.
    std::fs::rename(world.file("state/staging"), world.file("lost")).expect("moved");
    world.message("v3");
    world.apply().code(0).says("release 3 into blue");
    let superseded = |number| (number, "superseded".to_owned());
    assert_eq!(
        world.history(),
        [superseded(1), superseded(2), (3, "live".to_owned())]
    );
    // A state with another lineage is refused.
    let state = world.read("state/staging/state.json");
    let document: serde_json::Value = serde_json::from_str(&state).expect("a document");
    let lineage = document["state"]["lineage"]
        .as_str()
        .expect("a lineage")
        .to_owned();
    let other = state.replace(&lineage, "11111111-2222-3333-4444-555555555555");
    world.put("state/staging/state.json", &other);
    world.run(&["state", "accept", "--env", "staging"]).code(0);
    world.message("v4");
    world
        .apply()
        .code(1)
        .says("belongs to the state with lineage");
}
