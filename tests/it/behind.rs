//! Two folders with a state each of one environment: what is done from one is not in the other,
//! which says so.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{World, finish, http, signal, until};

/// A world whose state ends with release 2, while release 3 was made from another folder and is
/// live.
fn second_folder_went_on() -> World {
    let world = World::live();
    world.message("v2");
    world.apply().code(0);
    let (state, aside) = (world.file("state/staging"), world.file("first"));
    fs::rename(&state, &aside).expect("another folder has no state");

    world.message("v3");
    world.apply().code(0).says("release 3");
    fs::remove_dir_all(&state).expect("the other folder's");
    fs::rename(&aside, &state).expect("the first folder's");
    world
}

const BEHIND: &str = "this state is behind: release 3 is in blue, and this state does not have it";

#[test]
fn a_state_that_is_behind_says_so_wherever_it_is_read() {
    let world = second_folder_went_on();
    assert_eq!(world.live_release(), 3);
    assert_eq!(world.history().len(), 2, "the note is not in the document");

    for command in [
        &["history"][..],
        &["history", "--output", "json"],
        &["state", "show"],
        &["status"],
        &["images"],
    ] {
        let command = [command, &["--env", "staging"]].concat();
        world.run(&command).code(0).says(BEHIND).says("last to act");
    }
    let collect = ["images", "--collect", "--yes", "--env", "staging"];
    world.run(&collect).code(0).says(BEHIND);
    let to_third = ["rollback", "--to", "3", "--yes", "--env", "staging"];
    world
        .run(&to_third)
        .code(1)
        .says("no release 3")
        .says(BEHIND);
}

#[test]
fn a_rollback_by_a_state_that_is_behind_says_so_in_its_plan() {
    let world = second_folder_went_on();
    let rollback = ["rollback", "--yes", "--env", "staging"];
    world.run(&rollback).code(0).says(BEHIND);
}

#[test]
fn what_waits_in_another_folder_stays_when_a_state_that_is_behind_applies() {
    let mut world = World::live();
    world.staging = vec!["promotion: {mode: manual, probe: {linger: 50ms}}".to_owned()];
    let (state, behind) = (world.file("state/staging"), world.file("behind"));
    let copied = Command::new("cp")
        .arg("-a")
        .args([&state, &behind])
        .status();
    assert!(copied.expect("cp").success());
    world.message("v2");
    world.apply().code(0).says("release 2 waits in green");

    let aside = world.file("first");
    fs::rename(&state, &aside).expect("the first folder's");
    fs::rename(&behind, &state).expect("the second folder's");
    world.message("v1");
    let missing = "release 2 is in green, and this state does not have it";
    world.apply().code(0).says("No changes").says(missing);
    assert_eq!(
        (world.get(), world.preview()),
        ("v1".to_owned(), "v2".to_owned())
    );

    fs::remove_dir_all(&state).expect("the second folder's");
    fs::rename(&aside, &state).expect("the first folder's");
    let promote = ["promote", "green", "--env", "staging", "--auto-approve"];
    world.run(&promote).code(0).says("green is active");
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_state_that_has_everything_says_nothing() {
    let world = World::live();
    for command in ["history", "status", "images"] {
        let said = world.run(&[command, "--env", "staging"]).code(0);
        said.says_not("behind");
    }
}

#[test]
fn what_an_own_run_has_prepared_is_not_missing() {
    let mut world = World::live();
    world.message("v2");
    world.staging = vec!["promotion: {before: [{http: {path: /, for: 60s}}]}".to_owned()];
    let run = world.start_apply();
    until("green is ready", || {
        http::get(&world.preview_address(), "/").is_ok_and(|answer| answer.body == "v2")
    });
    signal(run.id(), Signal::INT);
    finish(run).code(130).says("What was prepared stays");

    for command in ["history", "status", "images", "plan"] {
        let said = world.run(&[command, "--env", "staging"]);
        said.code(0).says_not("behind");
    }
    world.run(&["status", "--env", "staging"]).says("green");
}

#[test]
fn a_state_that_is_new_says_whose_release_it_goes_on_from() {
    let world = World::live();
    let (state, aside) = (world.file("state/staging"), world.file("first"));
    fs::rename(&state, &aside).expect("another folder has no state");

    world.message("v2");
    world
        .apply()
        .code(0)
        .says("this state has no release yet, and release 1")
        .says("release 2 takes its place");
    world.message("v3");
    world.apply().code(0).says_not("has no release yet");
}
