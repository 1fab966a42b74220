//! The other ways to replace a release: instance by instance, and the old one first.

use rustix::process::Signal;

use crate::support::http::Load;
use crate::support::{World, finish, signal, until};

fn world(strategy: &str) -> World {
    let mut world = World::new();
    world.staging = vec![
        format!("strategy: {strategy}"),
        "promotion: {probe: {linger: 50ms}}".to_owned(),
    ];
    world.service.insert("replicas".to_owned(), "3".to_owned());
    world.apply().code(0);
    world
}

#[test]
fn rolling_replaces_instance_by_instance_and_loses_no_request() {
    let world = world("rolling");
    let load = Load::start(&world.live_address(), 8, 400);
    for version in ["v2", "v3"] {
        world.message(version);
        world.apply().code(0).says("web.2 is replaced");
        assert_eq!(world.get(), version);
    }
    let seen = load.stop();
    assert!(
        seen.failures.is_empty(),
        "{} of {}: {:?}",
        seen.failures.len(),
        seen.requests,
        seen.failures.first()
    );
    assert_eq!(world.live_release(), 3);
    world
        .run(&["promote", "green", "--env", "staging", "--auto-approve"])
        .code(1)
        .says("no preview slot");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_rolling_release_that_does_not_start_is_taken_back() {
    let mut world = world("rolling");
    world.message("v2");
    world
        .env
        .insert("FAIL_START".to_owned(), "no-database".to_owned());
    let load = Load::start(&world.live_address(), 4, 200);
    world
        .apply()
        .code(3)
        .says("cannot start: no-database")
        .says("Traffic was moved back");
    let seen = load.stop();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures.first());
    assert_eq!(world.get(), "v1");
    world.env.clear();
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_rolling_replacement_that_loses_its_run_and_its_agent_is_finished_by_the_next() {
    let mut world = world("rolling");
    let instances = |world: &World| -> Vec<u64> {
        let status = world.status();
        let all = status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"]
            .as_array()
            .cloned();
        all.unwrap_or_default()
            .iter()
            .filter_map(|instance| instance["pid"].as_u64())
            .collect()
    };
    let old = instances(&world);
    world.message("v2");
    world
        .env
        .insert("START_DELAY_MS".to_owned(), "15000".to_owned());
    let run = world.start_apply();
    until("the new instances start beside the old ones", || {
        instances(&world).len() == 6
    });
    let agent = world.agent_pid().expect("it runs");
    signal(run.id(), Signal::KILL);
    signal(agent, Signal::KILL);
    assert_ne!(finish(run).code, Some(0));
    // The next command starts another agent: what served goes on serving, and is not taken for the
    // new release.
    let all = instances(&world);
    assert_eq!((world.get().as_str(), all.len()), ("v1", 6));
    assert!(
        old.iter().all(|pid| all.contains(pid)),
        "{old:?} are among {all:?}"
    );
    until("the new release is ready and the old one gone", || {
        instances(&world).len() == 3
    });
    assert!(!instances(&world).iter().any(|pid| old.contains(pid)));
    assert_eq!(world.get(), "v2");
    // One that has ended and that nobody has waited for yet has no command line.
    let runs = |pid: &u64| {
        !std::fs::read(format!("/proc/{pid}/cmdline"))
            .unwrap_or_default()
            .is_empty()
    };
    assert!(!old.iter().any(runs), "nothing is left over");
    world.apply().code(0);
    assert_eq!((world.get(), world.live_release()), ("v2".to_owned(), 2));
}

#[test]
fn a_rolling_replacement_that_loses_its_agent_alone_is_taken_back_by_another() {
    let mut world = world("rolling");
    world.message("v2");
    world
        .env
        .insert("START_DELAY_MS".to_owned(), "15000".to_owned());
    let run = world.start_apply();
    until("the new instances start beside the old ones", || {
        let status = world.status();
        let all = &status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"];
        all.as_array().is_some_and(|all| all.len() == 6)
    });
    let agent = world.agent_pid().expect("it runs");
    signal(agent, Signal::KILL);

    finish(run).code(3).says("Traffic was moved back");
    assert_ne!(world.agent_pid(), Some(agent));
    assert_eq!((world.get(), world.live_release()), ("v1".to_owned(), 1));
}

#[test]
fn recreate_stops_the_old_one_first_and_holds_requests_meanwhile() {
    let world = world("recreate");
    let load = Load::start(&world.live_address(), 4, 100);
    world.message("v2");
    world
        .apply()
        .code(0)
        .says("requests are held while nothing runs");
    let seen = load.stop();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures.first());
    assert_eq!(world.get(), "v2");
}
