//! Ready is not alive: what is busy leaves traffic, and what is not the instance's trouble ends
//! none.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use crate::support::{World, finish, started_with, until};

/// The first instance in blue, as an observer sees it.
fn instance(world: &World) -> Value {
    world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0].clone()
}

fn is(world: &World, health: &str) -> bool {
    instance(world)["health"] == health
}

/// A world whose service is unhealthy while there is a file `sick`.
fn moody(health: &str) -> World {
    let mut world = World::new();
    let sick = world.file("sick").display().to_string();
    world.env.insert("SICK_FILE".to_owned(), sick);
    world.service.insert("health".to_owned(), health.to_owned());
    world
}

#[test]
fn an_instance_that_fails_its_health_check_is_left_alone_and_comes_back() {
    let world = moody("{path: /healthz, interval: 50ms, failures: 2, start_within: 20s}");
    world.apply().code(0);
    let before = instance(&world);

    world.put("sick", "");
    until("it is unhealthy", || is(&world, "unhealthy"));
    assert_eq!(
        world.get(),
        "v1",
        "the only one of a service stays in traffic"
    );
    std::fs::remove_file(world.file("sick")).expect("it was there");
    until("it is ready again", || is(&world, "ready"));

    let after = instance(&world);
    assert_eq!(
        (&after["pid"], &after["restarts"]),
        (&before["pid"], &before["restarts"])
    );
}

#[test]
fn an_instance_that_fails_its_liveness_check_is_restarted() {
    let world = moody(
        "{path: /healthz, interval: 50ms, start_within: 20s, liveness: {interval: 50ms, timeout: 5s, failures: 2}}",
    );
    world.apply().code(0);
    let before = instance(&world);

    world.put("sick", "");
    until("it is restarted", || {
        let now = instance(&world);
        now["restarts"] != before["restarts"]
            && now["last_exit"]
                .as_str()
                .is_some_and(|why| why.contains("liveness"))
    });
    std::fs::remove_file(world.file("sick")).expect("it was there");
    until("another is ready", || is(&world, "ready"));
    assert_ne!(instance(&world)["pid"], before["pid"]);
}

#[test]
fn whoever_takes_an_instances_port_gets_none_of_its_traffic() {
    let mut world = World::new();
    world
        .env
        .insert("START_DELAY_MS".to_owned(), "1500".to_owned());
    let run = world.start_apply();

    let mut port = 0;
    until("a port is chosen", || {
        let said = world.run(&["status", "--env", "staging", "--output", "json"]);
        let status: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let instances = &status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"];
        port = instances[0]["port"].as_u64().unwrap_or(0);
        port != 0
    });
    let port = u16::try_from(port).expect("a port");
    let thief = TcpListener::bind(("127.0.0.1", port)).expect("nobody has it yet");
    std::thread::spawn(move || {
        for stream in thief.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nstolen",
            );
        }
    });

    finish(run).code(0);
    assert_eq!(world.get(), "v1");
    let now = instance(&world);
    assert_ne!(now["port"], port, "it has another");
    assert_eq!(now["restarts"], 0, "which counts for nothing");
    let log = world.read("a/agent.log");
    assert!(log.contains(&format!("port {port} was taken by")), "{log}");
}

#[test]
fn a_socket_that_the_agent_opened_is_the_services() {
    let mut world = World::new();
    world
        .service
        .insert("socket".to_owned(), "inherited".to_owned());
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    assert_eq!(world.get_path("/env?LISTEN_FDNAMES"), "http");
}

#[test]
fn a_service_that_puts_itself_into_the_background_is_told_so_and_leaves_nothing() {
    let mut world = World::new();
    // Nothing else sleeps for so long.
    let seconds = format!("{}.5", 1_000_000 + std::process::id());
    let script = format!("\"setsid sleep {seconds} </dev/null >/dev/null 2>&1 & exit 0\"");
    let command = format!("[sh, -c, {script}]");
    world.service.insert("command".to_owned(), command);
    let health = "{path: /healthz, interval: 100ms, failures: 2, start_within: 20s}";
    world.service.insert("health".to_owned(), health.to_owned());

    world
        .apply()
        .code(1)
        .says("it put itself into the background");
    until("nothing of it is left", || started_with(&seconds) == 0);
}

#[test]
fn a_service_that_listens_at_another_address_is_told_where() {
    let mut world = World::new();
    world.env.insert("HOST".to_owned(), "127.0.0.2".to_owned());
    let health = "{path: /healthz, interval: 100ms, start_within: 20s}";
    world.service.insert("health".to_owned(), health.to_owned());
    let said = world.apply().code(1).says("it listens at 127.0.0.2:");
    said.says("have it listen at 0.0.0.0 or 127.0.0.1");
}
