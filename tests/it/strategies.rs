//! The other ways to replace a release: instance by instance, and the old one first.

use crate::support::World;
use crate::support::http::Load;

fn world(strategy: &str) -> World {
    let mut world = World::new();
    world.staging = vec![format!("strategy: {strategy}"), "promotion: {probe: {linger: 50ms}}".to_owned()];
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
    world.run(&["promote", "green", "--env", "staging", "--auto-approve"]).code(1).says("no preview slot");
    world.run(&["rollback", "--env", "staging", "--auto-approve"]).code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_rolling_release_that_does_not_start_is_taken_back() {
    let mut world = world("rolling");
    world.message("v2");
    world.env.insert("FAIL_START".to_owned(), "no-database".to_owned());
    let load = Load::start(&world.live_address(), 4, 200);
    world.apply().code(3).says("cannot start: no-database").says("Traffic was moved back");
    let seen = load.stop();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures.first());
    assert_eq!(world.get(), "v1");
    world.env.clear();
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn recreate_stops_the_old_one_first_and_holds_requests_meanwhile() {
    let world = world("recreate");
    let load = Load::start(&world.live_address(), 4, 100);
    world.message("v2");
    world.apply().code(0).says("requests are held while nothing runs");
    let seen = load.stop();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures.first());
    assert_eq!(world.get(), "v2");
}
