//! A service that never runs twice at once, beside one that does: `strategy: recreate` in a
//! blue/green environment. The service itself tells when there are two of it.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::{World, finish, signal, until};

/// It has a lock while it runs, and says so when another one has it.
const WORKER: &str = r#"#!/bin/sh
mkdir "$PLACE/lock" || { echo "$SHIPIT_SLOT" >> "$PLACE/twice"; exit 1; }
trap 'rmdir "$PLACE/lock"; exit 0' TERM
[ "$VERSION" = broken ] && { rmdir "$PLACE/lock"; echo "cannot read the queue"; exit 1; }
echo "$SHIPIT_SLOT $VERSION" >> "$PLACE/ran"
while :; do sleep 0.05; done
"#;

fn world() -> World {
    let mut world = World::new();
    world.put("worker/worker.sh", WORKER);
    world.staging = vec!["promotion: {probe: {linger: 50ms}}".to_owned()];
    set(&mut world, "v1");
    world.apply().code(0);
    world
}

/// A new version of both services.
fn set(world: &mut World, version: &str) {
    world.message(version);
    let place = world.path().display();
    let text = format!(
        "  worker:\n    strategy: recreate\n    env: {{VERSION: {version}, PLACE: {place}, PATH: /usr/bin:/bin}}\n    \
         health: {{failures: 1}}\n    build:\n      kind: pack\n      context: worker\n      \
         copy: {{worker.sh: /worker.sh}}\n      entrypoint: [/bin/sh, {place}/worker/worker.sh]"
    );
    world.others = text.lines().map(str::to_owned).collect();
    world.configure();
}

fn ran(world: &World) -> Vec<String> {
    let ran = std::fs::read_to_string(world.file("ran")).unwrap_or_default();
    ran.lines().map(str::to_owned).collect()
}

/// Whether it runs in a slot, as the engine says.
fn runs(world: &World, slot: &str) -> bool {
    let worker = &world.status()["facts"]["slots"][slot]["workloads"]["worker"];
    worker["running"] == true
}

fn lock(world: &World) -> PathBuf {
    world.file("lock")
}

fn never_twice(world: &World) {
    assert!(!world.file("twice").exists(), "two of them ran at once");
}

#[test]
fn it_moves_with_the_switch_and_back_and_is_never_there_twice() {
    let mut world = world();
    set(&mut world, "v2");
    world
        .apply()
        .code(0)
        .says("worker never runs twice at once: it stops in blue before it starts in green")
        .says("starts with the switch");
    assert_eq!(ran(&world), ["blue v1", "green v2"]);
    assert!(runs(&world, "green") && !runs(&world, "blue"));
    world.apply().code(0).says("No changes");

    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!((world.get().as_str(), ran(&world).len()), ("v1", 3));
    assert!(runs(&world, "blue") && !runs(&world, "green"));
    never_twice(&world);
}

#[test]
fn one_that_does_not_start_leaves_the_old_one_running() {
    let mut world = world();
    set(&mut world, "broken");
    world.apply().code(3).says("cannot read the queue");
    assert_eq!(world.get(), "v1");
    assert!(runs(&world, "blue"));
    assert_eq!(ran(&world), ["blue v1", "blue v1"]);
    never_twice(&world);

    set(&mut world, "v3");
    world.apply().code(0);
    assert_eq!(ran(&world)[2..], ["green v3"]);
    never_twice(&world);
}

#[test]
fn a_release_that_waits_does_not_run_it_and_giving_it_up_changes_nothing() {
    let mut world = world();
    world.staging.push("promotion: {mode: manual}".to_owned());
    world.staging.remove(0);
    set(&mut world, "v2");
    world.apply().code(0).says("when green is promoted");
    assert!(runs(&world, "blue") && !runs(&world, "green"));
    world.apply().code(0).says("No changes");
    world
        .run(&["abort", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(ran(&world), ["blue v1"]);

    world.apply().code(0);
    world
        .run(&["promote", "green", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!((world.get().as_str(), ran(&world).len()), ("v2", 2));
    assert!(runs(&world, "green") && !runs(&world, "blue"));
    never_twice(&world);
}

#[test]
fn a_run_that_is_killed_at_any_journal_line_comes_to_the_same_end_with_one_of_it() {
    for line in 1.. {
        let mut world = world();
        set(&mut world, "v2");
        let mut run = world.start_apply();
        let is_over = loop {
            let folder = world.file("state/staging/journal");
            let journals = std::fs::read_dir(folder).map_or(0, Iterator::count);
            if journals > 1 && world.journal_lines() >= line {
                run.kill().expect("it can be killed");
                run.wait().expect("it ends");
                break false;
            }
            if run.try_wait().expect("it can be asked").is_some() {
                break true;
            }
        };

        world.apply().code(0);
        assert_eq!(world.get(), "v2", "killed at line {line}");
        assert!(runs(&world, "green") && !runs(&world, "blue"));
        assert_eq!(ran(&world).last().expect("it ran"), "green v2");
        never_twice(&world);
        if is_over {
            assert!(line > 12, "the run had only {line} lines");
            return;
        }
    }
}

#[test]
fn a_run_that_is_killed_in_the_gap_can_be_given_up_and_the_old_one_runs_again() {
    let mut world = world();
    set(&mut world, "v2");
    // Whoever holds the lock keeps the new one from starting.
    let mut run = world.start_apply();
    until("the old one has stopped", || {
        !lock(&world).exists() || ran(&world).len() > 1
    });
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");
    world
        .run(&["abort", "--env", "staging", "--auto-approve"])
        .code(0);
    until("the old one runs", || lock(&world).exists());
    assert_eq!(world.get(), "v1");
    assert!(runs(&world, "blue"));
    assert_eq!(ran(&world).last().expect("it ran"), "blue v1");
    never_twice(&world);
}

#[test]
fn a_run_that_is_killed_in_the_gap_is_told_and_promoting_what_is_live_starts_the_old_one() {
    let mut world = world();
    set(&mut world, "v2");
    let mut run = world.start_apply();
    until("the old one is told to stop", || {
        !runs(&world, "blue") || ran(&world).len() > 1
    });
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");
    if world.get() == "v2" {
        // It was faster than the one that looked.
        return;
    }

    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("worker is stopped in blue, which has live traffic");
    world
        .run(&["drift", "staging"])
        .code(2)
        .says("workload.blue/worker");
    world
        .run(&["promote", "blue", "--env", "staging", "--auto-approve"])
        .code(0);
    assert!(runs(&world, "blue") && !runs(&world, "green"));
    assert_eq!(ran(&world).last().expect("it ran"), "blue v1");
    never_twice(&world);
}

#[test]
fn an_agent_that_is_killed_in_the_gap_leaves_nothing_that_runs_beside_the_next() {
    let mut world = world();
    set(&mut world, "v2");
    let run = world.start_apply();
    until("the old one is told to stop", || {
        !runs(&world, "blue") || ran(&world).len() > 1
    });
    signal(world.agent_pid().expect("it runs"), Signal::KILL);
    finish(run);
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    assert!(runs(&world, "green") && !runs(&world, "blue"));
    never_twice(&world);
}

/// The same, with its lock in a volume that it has for itself.
const STORE: &str = r#"#!/bin/sh
mkdir /data/lock || { echo "$SHIPIT_SERVICE" >> /data/twice; exit 1; }
trap 'rmdir /data/lock; exit 0' TERM
echo "$SHIPIT_SLOT $SHIPIT_SERVICE" >> /data/ran
while :; do sleep 0.05; done
"#;

/// Calls the service that has the volume so, and no other way.
fn call(world: &mut World, name: &str) {
    let data = world.file("data").display().to_string();
    let shared = ["/lib", "/lib64", "/usr", "/bin"]
        .map(|folder| format!("{folder}: {{from: {folder}, shared: true}}"))
        .join(", ");
    let text = format!(
        "  {name}:\n    strategy: recreate\n    volumes: {{/data: {data}, {shared}}}\n    \
         health: {{failures: 1}}\n    build:\n      kind: pack\n      context: store\n      \
         copy: {{store.sh: /store.sh}}\n      entrypoint: [/bin/sh, /store.sh]"
    );
    world.others = text.lines().map(str::to_owned).collect();
    world.configure();
}

#[test]
fn a_service_that_is_renamed_never_runs_beside_itself_on_its_volume() {
    let Some(mut world) = crate::containers::world() else {
        return;
    };
    std::fs::create_dir(world.file("data")).expect("a folder");
    crate::containers::give_to_containers(&world.file("data"));
    world.put("store/store.sh", STORE);
    world.staging = vec!["promotion: {probe: {linger: 50ms}}".to_owned()];
    call(&mut world, "db");
    world.apply().code(0);

    let ran = |world: &World| {
        let ran = std::fs::read_to_string(world.file("data/ran")).expect("it ran");
        ran.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    call(&mut world, "database");
    world
        .apply()
        .code(0)
        .says("db stops in blue before database starts in green");
    assert_eq!(ran(&world), ["blue db", "green database"]);

    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(ran(&world)[2..], ["blue db"]);
    world.staging.push("strategy: recreate".to_owned());
    call(&mut world, "db");
    world.apply().code(0);
    call(&mut world, "database");
    world
        .apply()
        .code(0)
        .says("db stops before database starts");
    assert_eq!(ran(&world).last().expect("it ran"), "blue database");
    assert!(
        !world.file("data/twice").exists(),
        "two of them ran at once"
    );
}
