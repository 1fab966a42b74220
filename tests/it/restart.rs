//! `shipit restart`: new instances of the same release.

use rustix::process::Signal;

use crate::support::http::Load;
use crate::support::{World, finish, signal, until};

const RESTART: [&str; 5] = ["restart", "--env", "staging", "web", "--auto-approve"];

fn pids(world: &World) -> Vec<u64> {
    let slots = world.status()["facts"]["slots"].clone();
    let instances = slots["blue"]["workloads"]["web"]["instances"].clone();
    let each = instances.as_array().into_iter().flatten();
    each.filter_map(|instance| instance["pid"].as_u64())
        .collect()
}

/// A world with two live instances.
fn world() -> World {
    let mut world = World::new();
    world.service.insert("replicas".to_owned(), "2".to_owned());
    world.apply().code(0);
    world
}

#[test]
fn all_instances_are_new_and_no_request_fails() {
    let world = world();
    let before = pids(&world);
    let load = Load::start(&world.live_address(), 4, 200);
    world.run(&RESTART).code(0).says("Restarted in blue: web.");
    let seen = load.stop();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);

    let after = pids(&world);
    assert_eq!(after.len(), 2);
    assert!(before.iter().all(|pid| !after.contains(pid)), "{after:?}");
    assert_eq!(world.live_release(), 1);
    world.apply().code(0).says("No changes");
    world
        .run(&["history", "--env", "staging"])
        .code(0)
        .says("restart  blue  web");
}

#[test]
fn what_is_not_approved_not_live_or_not_there_is_not_restarted() {
    let world = World::new();
    world.run(&RESTART).code(64).says("nothing is live");
    world.apply().code(0);
    let before = pids(&world);
    world
        .run(&["restart", "--env", "staging"])
        .code(1)
        .says("--auto-approve");
    let of = |slot: &str, service: &str| {
        let words = ["restart", "--env", "staging", "-y", "--slot", slot, service];
        world.run(&words)
    };
    of("green", "web").code(64).says("green is empty");
    of("blue", "api")
        .code(64)
        .says("the services in blue are: web");
    assert_eq!(pids(&world), before);
}

#[test]
fn a_restart_waits_for_the_run_that_has_the_lock() {
    let mut world = world();
    world.message("v2");
    let run = "run: {shell: \"touch ../building; while [ ! -e ../go ]; do sleep 0.02; done\"}";
    world.build = vec![run.to_owned(), "inputs: [message.txt]".to_owned()];
    let apply = world.start_apply();
    until("it builds", || world.file("building").exists());
    world.run(&RESTART).code(4).says("staging is locked by");
    world.put("go", "");
    finish(apply).code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn new_instances_that_do_not_become_ready_leave_the_old_ones() {
    let mut world = World::new();
    let sick = world.file("sick");
    let sick = sick.display().to_string();
    world.service.insert(
        "health".to_owned(),
        format!("{{run: [sh, -c, 'test ! -e {sick}'], interval: 100ms, start_within: 2s, failures: 100}}"),
    );
    world.apply().code(0);
    let before = pids(&world);
    world.put("sick", "");
    world.run(&RESTART).code(1).says("failed");
    assert_eq!(pids(&world), before);
    world
        .run(&["history", "--env", "staging"])
        .code(0)
        .says("restart");
}

#[test]
fn an_agent_that_dies_in_the_middle_leaves_each_instance_once() {
    let mut world = World::new();
    let slow = world.file("slow").display().to_string();
    world.service.insert(
        "health".to_owned(),
        format!("{{run: [sh, -c, 'test ! -e {slow}'], interval: 100ms, start_within: 60s, failures: 1000}}"),
    );
    world.apply().code(0);
    world.put("slow", "");
    let mut client = world.start(&RESTART);
    let mut both = Vec::new();
    until("both stand", || {
        both = pids(&world);
        both.len() == 2
    });
    signal(world.agent_pid().expect("an agent"), Signal::KILL);
    client.wait().expect("it ends");

    // The next agent takes both back, and lets go of one of them once the other is ready.
    world.run(&["status", "--env", "staging"]).code(0);
    std::fs::remove_file(world.file("slow")).expect("removed");
    until("one is left", || pids(&world).len() == 1);
    assert_eq!(world.get(), "v1");
    let left = pids(&world);
    for pid in both.iter().filter(|pid| !left.contains(pid)) {
        let pid = u32::try_from(*pid).expect("a pid");
        until("it has ended", || {
            shipit::files::process::started(pid).is_none()
        });
    }
    world.run(&RESTART).code(0);
    assert_eq!(pids(&world).len(), 1);
}

#[test]
fn a_service_of_one_at_a_time_is_restarted_so() {
    let mut world = World::new();
    world.staging.push("strategy: recreate".to_owned());
    world.apply().code(0);
    let before = pids(&world);
    world.run(&RESTART).code(0);
    assert_ne!(pids(&world), before);
    assert_eq!(world.get(), "v1");
}
