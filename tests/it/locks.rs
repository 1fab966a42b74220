//! Two runs never mix.

use rustix::process::Signal;

use crate::support::{World, finish, signal, until};

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

/// A world whose next apply waits in a check before its switch until a file is there.
fn slow_check() -> World {
    let mut world = World::live();
    world.message("v2");
    world.put(
        "gate.sh",
        "touch checking; while [ ! -e go ]; do sleep 0.02; done",
    );
    world.staging = vec![
        "promotion: {before: [{run: {command: [sh, gate.sh], timeout: 5m}}], probe: {linger: 50ms}}"
            .to_owned(),
    ];
    world
}

#[test]
fn a_run_that_was_stopped_while_another_took_over_ends_by_itself_and_changes_nothing() {
    let world = slow_check();
    let first = world.start_apply();
    until("the first checks", || world.file("checking").exists());
    signal(first.id(), Signal::STOP);
    world.run(&["unlock", "--env", "staging"]).code(0);
    world.put("go", "");
    world.message("v3");
    world.apply().code(0).says("Done");
    let history = world.history();

    signal(first.id(), Signal::CONT);

    finish(first).code(4).says("another run has the lock");
    assert_eq!(world.get(), "v3");
    assert_eq!(world.history(), history);
}

#[test]
fn a_signal_is_obeyed_while_a_lock_is_waited_for() {
    let world = slow_build();
    let first = world.start_apply();
    until("the first builds", || world.file("building").exists());
    let waiting = world.start(&[
        "apply",
        "--env",
        "staging",
        "--auto-approve",
        "--lock-timeout",
        "10m",
    ]);
    until("the second listens", || listens(waiting.id(), Signal::TERM));
    signal(waiting.id(), Signal::TERM);
    finish(waiting)
        .code(130)
        .says("interrupted before a plan was carried out");
    world.put("go", "");
    finish(first).code(0);
}

/// Whether a process has said what it does about a signal: see `proc_pid_status(5)`.
fn listens(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.unwrap_or(0) & (1 << (signal.as_raw() - 1)) != 0
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
