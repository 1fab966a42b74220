//! The checked-in schemas are those of the types.

use std::path::Path;
use std::process::Command;

use crate::support::{World, shipit};

fn current(file: &str, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference")
        .join(file);
    let output = Command::new(shipit())
        .args(arguments)
        .output()
        .expect("shipit starts");
    let fresh = String::from_utf8(output.stdout).expect("text");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &fresh).expect("written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == fresh,
        "the types have changed: UPDATE=1 cargo test --test it schema"
    );
}

#[test]
fn the_reference_of_the_command_line_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cli.md");
    let fresh = shipit::cli::reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).expect("written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == fresh,
        "the commands have changed: UPDATE=1 cargo test --test it schema"
    );
    assert!(
        fresh.contains("## shipit apply\n") && fresh.contains("`SHIPIT_ENV`"),
        "{fresh}"
    );
}

#[test]
fn the_schema_of_the_project_is_current() {
    current("shipit.schema.json", &["schema"]);
}

#[test]
fn the_schema_of_an_environment_is_current() {
    current("environment.schema.json", &["schema", "--environment"]);
}

#[test]
fn the_schema_of_a_server_is_current() {
    current("server.schema.json", &["schema", "--server"]);
}

#[test]
fn what_init_writes_validates_and_plans_at_once() {
    let cargo = "[package]\nname = \"shop\"\nversion = \"0.1.0\"\n";
    let npm = r#"{"name": "shop", "main": "server.js", "scripts": {"build": "x"}}"#;
    let cases = [
        ("Cargo.toml", cargo, "target/release/shop"),
        ("package.json", npm, "server.js"),
        ("start", "", "./start"),
        (
            "go.mod",
            "module example.org/shop\n",
            "go build -o bin/app .",
        ),
        ("app.py", "", "[python3, app.py]"),
    ];
    for (file, text, expected) in cases {
        let world = World::new();
        world.put(&format!("fresh/{file}"), text);
        let init = ["-C", "fresh", "init", "--yes", "--port", "18080"];
        world.run(&init).code(0).says("wrote shipit.yaml");
        assert!(
            world.read("fresh/shipit.yaml").contains(expected),
            "{}",
            world.read("fresh/shipit.yaml")
        );
        world
            .run(&["-C", "fresh", "validate"])
            .code(0)
            .says("is valid");
        world
            .run(&["-C", "fresh", "plan"])
            .code(0)
            .says("Plan: 1 build");
        world.run(&init).code(64).says("is there already");
        assert!(world.read("fresh/.gitignore").contains("/state/*"));
    }
}

#[test]
fn init_follows_a_dockerfile_and_writes_the_environment_that_is_named() {
    let world = World::new();
    world.put("fresh/Dockerfile", "FROM busybox\nEXPOSE 3000\n");
    world
        .run(&["-C", "fresh", "init", "--yes", "--env", "staging"])
        .code(0)
        .says("wrote environments/staging.yaml");
    let project = world.read("fresh/shipit.yaml");
    assert!(project.contains("kind: docker"), "{project}");
    assert!(project.contains("port: 3000"), "{project}");
    world
        .run(&["-C", "fresh", "validate"])
        .code(0)
        .says("Environments: staging.");
}

/// Whatever a project is called, and wherever its service listens.
#[test]
fn what_init_writes_is_valid_whatever_its_answers_are() {
    for (project, service, port) in [
        ("123", "on", "65535"),
        ("true", "1e3", "1"),
        ("null", "no", "80"),
    ] {
        let world = World::new();
        world.put("fresh/start", "");
        let init = ["-C", "fresh", "init", "--yes", "--port", port];
        let named = ["--project", project, "--service", service];
        world.run(&[&init[..], &named[..]].concat()).code(0);
        world
            .run(&["-C", "fresh", "validate"])
            .code(0)
            .says("is valid");
    }
    let world = World::new();
    world.run(&["init", "--yes", "--port", "0"]).code(64);
}

#[test]
fn all_faults_are_said_at_once_with_their_places() {
    let world = World::new();
    world.configure();
    let yaml = world
        .read("shipit.yaml")
        .replace("port: 8080", "prot: 8080\n    replicas: many");
    world.put("bad/shipit.yaml", &yaml);
    world.put(
        "bad/environments/staging.yaml",
        "strategy: blue-green\npromotion: {keep_previous: 10}\nstate: {kind: gcs}\n",
    );
    let said = world
        .run(&["-C", "bad", "validate", "--output", "json"])
        .code(1);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let faults = document["faults"].as_array().expect("a list");
    let places: Vec<String> = faults
        .iter()
        .map(|fault| {
            format!(
                "{}:{}",
                fault["file"].as_str().expect("a file"),
                fault["line"]
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            "shipit.yaml:5",
            "shipit.yaml:6",
            "environments/staging.yaml:1",
            "environments/staging.yaml:2",
            "environments/staging.yaml:3"
        ],
        "{faults:#?}"
    );
    world
        .run(&["-C", "bad", "validate"])
        .code(1)
        .says("did you mean `port`?")
        .says("did you mean `blue_green`?")
        .says("carry a unit")
        .says("a whole number from 0 to 65535 is needed")
        .says("unknown value `gcs`")
        .says("the values here are: local, kubernetes, s3");
}
