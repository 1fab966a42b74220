//! Promotion by hand: each slot that may be named has its own answer.

use crate::support::World;

fn manual() -> World {
    let mut world = World::live();
    world.staging = vec!["promotion: {mode: manual, probe: {linger: 50ms}}".to_owned()];
    world.message("v2");
    world
}

#[test]
fn a_release_waits_beside_the_live_one_until_it_is_promoted() {
    let world = manual();
    world
        .apply()
        .code(0)
        .says("release 2 waits in green")
        .says("`shipit promote green`");
    assert_eq!(
        (world.get(), world.preview()),
        ("v1".to_owned(), "v2".to_owned())
    );
    world
        .apply()
        .code(0)
        .says("No changes")
        .says("release 2 waits in green");
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("release 2 waits in green");
    world
        .run(&["promote", "green", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("green is active");
    assert_eq!(
        (world.get(), world.preview()),
        ("v2".to_owned(), "v1".to_owned())
    );
    assert_eq!(
        world.history(),
        [(1, "superseded".to_owned()), (2, "live".to_owned())]
    );
}

#[test]
fn a_slot_without_a_release_cannot_be_promoted() {
    let world = World::live();
    let promote = ["promote", "green", "--env", "staging", "--auto-approve"];
    world
        .run(&promote)
        .code(1)
        .says("green of staging holds no release")
        .says("shipit apply");
}

#[test]
fn an_active_slot_is_said_to_be_active_already() {
    let world = World::live();
    let promote = ["promote", "blue", "--env", "staging", "--auto-approve"];
    world
        .run(&promote)
        .code(0)
        .says("blue is active already")
        .says("No changes");
}

#[test]
fn a_slot_that_cannot_take_traffic_is_refused_with_its_reason() {
    let mut world = manual();
    let crash = world.file("crash").display().to_string();
    world.env.insert("CRASH_FILE".to_owned(), crash);
    world.apply().code(0).says("waits in green");
    world.put("crash", "");
    crate::support::until("it has crashed", || {
        let health = &world.status()["facts"]["slots"]["green"]["workloads"]["web"]["instances"][0]
            ["health"];
        health == "backing_off" || health == "failed"
    });
    let said = world.run(&["promote", "green", "--env", "staging", "--auto-approve"]);
    // It is being started again all the time: it is refused as long as it is down, and ready in
    // between.
    if said.code == Some(1) {
        said.says("green");
        assert_eq!(world.get(), "v1");
    }
}

#[test]
fn a_release_that_waits_can_be_given_up() {
    let world = manual();
    world.apply().code(0);
    world
        .run(&["abort", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("release 2 is given up");
    assert_eq!(world.get(), "v1");
    assert_eq!(
        world.history(),
        [(1, "live".to_owned()), (2, "aborted".to_owned())]
    );
    world
        .run(&["abort", "--env", "staging", "--auto-approve"])
        .code(1)
        .says("no release that waits");
}

#[test]
fn a_word_that_is_no_slot_is_wrong_usage() {
    let world = World::live();
    world
        .run(&["promote", "red", "--env", "staging"])
        .code(64)
        .says("`red` is not a slot")
        .says("--to");
    world
        .run(&["promote"])
        .code(1)
        .says("no release that waits");
    world.run(&["frobnicate"]).code(64);
    world
        .run(&["status", "--env", "stagign"])
        .code(64)
        .says("did you mean `staging`?");
}
