//! The main job: the first release, a code change, and nothing to do.

use crate::support::World;

#[test]
fn the_first_apply_brings_the_service_to_live_traffic_and_says_where() {
    let world = World::new();
    world
        .apply()
        .code(0)
        .says("release 1 into blue (nothing is live yet)")
        .says("Plan: 1 build, 2 new, 1 switch.")
        .says("Done: release 1; blue is active.")
        .says(&format!("http://{}", world.live_address()));
    assert_eq!(world.get(), "v1");
    assert_eq!(world.history(), [(1, "live".to_owned())]);
}

#[test]
fn a_code_change_goes_beside_the_live_release_and_takes_its_traffic() {
    let world = World::live();
    world.message("v2");
    world
        .apply()
        .code(0)
        .says("release 2 into green (active: blue, release 1)")
        .says("(known after build)")
        .says("blue → green")
        .says("0 of ")
        .says("Done: release 2; green is active.");
    assert_eq!(world.get(), "v2");
    assert_eq!(
        world.preview(),
        "v1",
        "the old release is retained for a rollback"
    );
    assert_eq!(
        world.history(),
        [(1, "superseded".to_owned()), (2, "live".to_owned())]
    );
}

#[test]
fn nothing_to_do_is_said_and_nothing_is_done() {
    let mut world = World::new();
    // A build that ran would leave a mark.
    world
        .build
        .push("run: {shell: echo built >> ../built.log}".to_owned());
    world.build.push("inputs: [message.txt]".to_owned());
    world.apply().code(0);
    let (lines, pid) = (
        world.read("built.log").lines().count(),
        world.status()["facts"].clone(),
    );
    let said = world.apply().code(0).says("No changes");
    assert!(!said.stderr.contains('✓'), "a step ran: {}", said.stderr);
    assert_eq!(
        world.read("built.log").lines().count(),
        lines,
        "it was built again"
    );
    assert_eq!(
        world.status()["facts"]["slots"],
        pid["slots"],
        "something was touched"
    );
    world
        .run(&["plan", "--env", "staging", "--detailed-exitcode"])
        .code(0)
        .says("No changes");
}

#[test]
fn an_image_that_was_built_before_is_used_again() {
    let world = World::live();
    world.message("v2");
    world.apply().code(0);
    world.message("v1");
    world
        .apply()
        .code(0)
        .says("are built already")
        .says("Plan: 1 change");
    assert_eq!(world.get(), "v1");
    assert_eq!(world.live_release(), 3, "the history reads forward");
}

#[test]
fn a_changed_variable_is_a_new_release_and_shows_as_one_field() {
    let mut world = World::live();
    world.env.insert("LOG_LEVEL".to_owned(), "debug".to_owned());
    let plan = world
        .run(&["plan", "--env", "staging", "--detailed-exitcode"])
        .code(2);
    let plan = plan.says("1 field").says("env.LOG_LEVEL").says("+ debug");
    assert!(!plan.stdout.contains("  build:"), "{}", plan.stdout);
    world
        .run(&["diff", "--env", "staging", "--detailed-exitcode"])
        .code(2)
        .says("+      LOG_LEVEL:");
    world.apply().code(0);
    assert_eq!(world.get_path("/env?LOG_LEVEL"), "debug");
}

#[test]
fn the_plan_is_a_document_too() {
    let world = World::new();
    let said = world
        .run(&["plan", "--env", "staging", "--output", "json"])
        .code(0);
    let plan: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(
        (&plan["version"], &plan["kind"]),
        (&1.into(), &"plan".into())
    );
    assert_eq!(
        plan["steps"][0]["do"],
        serde_json::Value::Null,
        "an action has its own map"
    );
    assert_eq!(plan["steps"][0]["action"]["do"], "build");
    assert!(!plan["reverse"].as_array().expect("a list").is_empty());
    world
        .run(&["plan", "--env", "staging", "--output", "markdown"])
        .code(0)
        .says("### shop → staging");
    world
        .run(&["graph", "--env", "staging"])
        .code(0)
        .says("digraph plan");
}

#[test]
fn events_are_documents_one_a_line() {
    let world = World::new();
    let said = world
        .run(&[
            "apply",
            "--env",
            "staging",
            "--auto-approve",
            "--output",
            "json",
        ])
        .code(0);
    let events: Vec<serde_json::Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a document"))
        .collect();
    assert_eq!(events.first().expect("events")["event"], "began");
    let last = events.last().expect("events");
    assert_eq!(
        (&last["event"], &last["outcome"]["ending"]["is"]),
        (&"ended".into(), &"done".into())
    );
}

#[test]
fn without_a_terminal_somebody_must_have_approved() {
    let world = World::new();
    world
        .run(&["apply", "--env", "staging"])
        .code(1)
        .says("--auto-approve");
    assert!(!world.file("state/staging/state.json").exists());
}

#[test]
fn a_real_program_is_built_packed_and_served() {
    if !crate::support::has("cargo") {
        return;
    }
    let mut world = World::new();
    world.put("app/main.rs", PROGRAM);
    world.build = vec![
        "run: rustc -O -o served main.rs".to_owned(),
        "inputs: [main.rs]".to_owned(),
    ];
    world.configure();
    let yaml = world.read("shipit.yaml");
    let program = crate::support::storefront().display().to_string();
    let yaml = yaml
        .replace("message.txt: /app/message.txt", "served: /app/served")
        .replace(&program, "/app/served");
    world.put("real/shipit.yaml", &yaml.replace("path: /healthz, ", ""));
    world.put(
        "real/environments/staging.yaml",
        &world.read("environments/staging.yaml"),
    );
    world.put("real/app/main.rs", PROGRAM);
    world
        .run(&["-C", "real", "apply", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("$ rustc -O -o served main.rs")
        .says("Done");
    assert_eq!(world.get(), "built and served");
}

/// A program without dependencies that answers every connection.
const PROGRAM: &str = r#"
use std::io::{Read, Write};
fn main() {
    let port = std::env::var("PORT").unwrap();
    let listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut buffer = [0; 4096];
        if stream.read(&mut buffer).unwrap_or(0) > 0 {
            let body = "built and served";
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    }
}
"#;
