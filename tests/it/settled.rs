//! `shipit settle` on a host, where the agent does by itself what has come due.

use serde_json::Value;

use crate::support::World;

#[test]
fn on_a_host_it_is_said_what_the_agent_will_do() {
    let world = World::live();
    let settle = |more: &[&str]| world.run(&[&["settle", "--env", "staging"], more].concat());
    assert_eq!(settle(&[]).code(0).stdout, "Nothing is due.\n");

    world.message("v2");
    world.apply().code(0);
    let said = settle(&["--output", "json"]).code(0);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(document["kind"], "settled");
    let pending = document["pending"].as_array().expect("a list");
    assert_eq!(pending.len(), 1, "{document}");
    assert_eq!(
        (&pending[0]["slot"], &pending[0]["release"]),
        (&"blue".into(), &1.into())
    );
    let said = settle(&[]).code(0);
    assert!(
        said.stdout.contains("release 1 in blue is retained"),
        "{}",
        said.stdout
    );
}

#[test]
fn it_waits_for_what_comes_due_and_no_longer_than_it_is_told() {
    let mut world = World::live();
    world.staging = vec!["promotion: {keep_previous: 2s, probe: {linger: 50ms}}".to_owned()];
    world.message("v2");
    world.apply().code(0);
    let said = world
        .run(&["settle", "--env", "staging", "--wait", "1m"])
        .code(0);
    assert_eq!(said.stdout, "Nothing is due.\n");
    crate::support::until("the agent has stopped it", || {
        world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["running"] == false
    });
}
