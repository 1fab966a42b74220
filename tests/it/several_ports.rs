//! A service with several ports on a host.

use crate::docker;
use crate::support::{World, http};

/// A service that answers at a port for administrators, too, and is asked there how it is.
fn administered(mut world: World) -> World {
    world
        .service
        .insert("ports".to_owned(), "{admin: 9090}".to_owned());
    let health = "{path: /healthz, port: admin, interval: 100ms, start_within: 20s}";
    world.service.insert("health".to_owned(), health.to_owned());
    world.env.insert("ADMIN".to_owned(), "\"yes\"".to_owned());
    world
}

/// Where the first instance in a slot answers administrators.
fn admin(world: &World, slot: &str) -> String {
    let instance =
        &world.status()["facts"]["slots"][slot]["workloads"]["web"]["instances"][0].clone();
    let port = instance["ports"]["admin"].as_u64().expect("a port");
    assert_ne!(instance["port"], port);
    format!("127.0.0.1:{port}")
}

fn answers_in_both_slots(world: &World) {
    world.apply().code(0);
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    for (slot, message) in [("blue", "v1"), ("green", "v2")] {
        let answer = http::get(&admin(world, slot), "/").expect("an answer");
        assert_eq!(answer.body, message, "{slot}");
    }
}

#[test]
fn each_instance_has_a_port_of_its_own_for_each_name() {
    answers_in_both_slots(&administered(World::new()));
}

#[test]
fn a_container_has_the_ports_that_are_written() {
    let Some(world) = docker::world() else { return };
    let world = administered(world);
    answers_in_both_slots(&world);
    assert_eq!(world.get_path("/env?PORT_ADMIN"), "9090");
}

#[test]
fn what_does_not_listen_where_it_is_asked_is_not_ready() {
    let mut world = administered(World::new());
    world.env.remove("ADMIN");
    let health = "{path: /healthz, port: admin, interval: 100ms, start_within: 2s}";
    world.service.insert("health".to_owned(), health.to_owned());
    let said = world.apply().code(1);
    assert!(said.stderr.contains("(PORT_ADMIN)"), "{}", said.stderr);
}

#[test]
fn a_check_asks_each_instance_at_the_port_that_it_names() {
    let mut world = administered(World::new());
    world.service.insert("replicas".to_owned(), "2".to_owned());
    let check = |path: &str| format!("[{{http: {{path: {path}, service: web, port: admin}}}}]");
    let promotion = |path: &str| {
        vec![format!(
            "promotion: {{mode: auto, before: {}}}",
            check(path)
        )]
    };
    world.staging = promotion("/healthz");
    world.apply().code(0).says("http /healthz at admin → 200");
    world.message("v2");
    world.staging = promotion("/nowhere");
    world.apply().code(1).says("http /nowhere at admin → 200");
    assert_eq!(world.get(), "v1");
}
