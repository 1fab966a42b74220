//! What moved since shipit acted last, as a line of cron asks for it.

use std::fs;
use std::path::Path;

use crate::support::{Said, World, until};

/// Every file beneath a folder, with what is in it.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.push((path.display().to_string(), bytes));
        }
    }
    found.sort();
}

fn all_state(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    files(&world.file("state/staging"), &mut found);
    found
}

#[test]
fn nothing_has_moved_until_somebody_moves_it() {
    let world = World::new();
    world
        .run(&["drift", "staging"])
        .code(0)
        .says("nothing was ever applied here");

    let world = World::live();
    let before = all_state(&world);
    world
        .run(&["drift", "staging"])
        .code(0)
        .says("Nothing moved");
    // A release that is still to come is no drift.
    world.message("v2");
    world
        .run(&["drift", "staging"])
        .code(0)
        .says("Nothing moved");
    assert_eq!(all_state(&world), before, "it writes nothing");

    // The files of what runs are changed, and live traffic is switched by somebody with another
    // state.
    let mut images = fs::read_dir(world.agent_folder().join("rootfs")).expect("images");
    let image = images.find_map(Result::ok).expect("an image");
    let message = image.path().join("files/app/message.txt");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&message, mode).expect("a mode");
    fs::write(&message, "evil").expect("written");
    world
        .run(&["drift", "staging"])
        .code(2)
        .says("workload.blue/web")
        .says("app/message.txt has other content")
        .says("1 thing moved");
    let refresh = ["plan", "--refresh-only", "--env", "staging"];
    world.run(&refresh).code(0).says("app/message.txt");
    world
        .run(&[&refresh[..], &["--detailed-exitcode"]].concat())
        .code(2);
    let markdown = ["drift", "staging", "--output", "markdown"];
    world
        .run(&markdown)
        .code(2)
        .says("### Drift: shop → staging");
}

#[test]
fn what_was_done_from_another_folder_is_named_with_who_did_it() {
    let world = World::live();
    let (state, aside) = (world.file("state/staging"), world.file("first"));
    fs::rename(&state, &aside).expect("another folder has no state");
    world.message("v2");
    world.apply().code(0).says("release 2");
    fs::remove_dir_all(&state).expect("the other folder's");
    fs::rename(&aside, &state).expect("the first folder's");

    let said = world.run(&["drift", "staging", "--output", "json"]).code(2);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(document["kind"], "drift");
    let moved = document["moved"].as_array().expect("a list");
    let addresses: Vec<&str> = moved
        .iter()
        .filter_map(|moved| moved["address"].as_str())
        .collect();
    assert_eq!(addresses, ["slot.green", "traffic"]);
    let live = &moved[1]["fields"][0];
    assert_eq!(
        (&live["was"], &live["is"]),
        (&"blue".into(), &"green".into())
    );
    assert!(
        live["by"].as_str().is_some_and(|by| by.contains('@')),
        "{live}"
    );
    assert!(live["at"].is_string(), "{live}");
}

#[test]
fn an_environment_is_named_once() {
    let world = World::live();
    for command in ["drift", "diff"] {
        world
            .run(&[command, "production", "--env", "staging"])
            .code(64)
            .says("production and --env staging name two environments");
        world.run(&[command, "staging", "--env", "staging"]).code(0);
    }
    let mut with_variable = world.command(&["drift", "staging"]);
    with_variable.env("SHIPIT_ENV", "production");
    Said::from(&with_variable.output().expect("it starts"))
        .code(0)
        .says("Nothing moved");
}

#[test]
fn where_no_agent_runs_none_is_started_and_nothing_is_said_of_drift() {
    let world = World::live();
    world.run(&["agent", "stop"]).code(0);
    until("it has ended", || world.agent_pid().is_none());
    world
        .run(&["drift", "staging"])
        .code(1)
        .says("no agent runs")
        .says_not("moved");
    assert_eq!(world.agent_pid(), None, "it starts none");
    world.run(&["status", "--env", "staging"]).code(0);
    world
        .run(&["drift", "staging"])
        .code(0)
        .says("Nothing moved");
}
