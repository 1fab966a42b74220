//! A secret's value is nowhere but in the process that needs it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{Said, World, signal, until};

const CANARY: &str = "canary-7f3a9c51";

/// Every file below a folder that has the canary in it.
fn leaks(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            leaks(&path, found);
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
}

fn argv_has_it() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("there").filter_map(Result::ok);
    processes
        .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.contains(CANARY))
        .collect()
}

#[test]
fn no_plan_state_log_or_argument_has_a_secret_s_value() {
    let mut world = World::new();
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world
        .staging
        .push("secrets: {token: {env: SHOP_TOKEN}}".to_owned());
    world
        .apply()
        .code(1)
        .says("secret `token`: the variable SHOP_TOKEN is not set");
    let told = |arguments: &[&str]| {
        let output = world
            .command(arguments)
            .env("SHOP_TOKEN", CANARY)
            .output()
            .expect("shipit starts");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let mut said = told(&["plan", "--env", "staging", "--out", "p.json"]);
    assert!(said.contains("Plan:"), "{said}");
    said += &told(&[
        "apply",
        "--env",
        "staging",
        "--auto-approve",
        "--output",
        "json",
    ]);
    assert_eq!(world.get_path("/env?TOKEN"), CANARY, "the service has it");
    for command in ["status", "history"] {
        said += &told(&[command, "--env", "staging", "--output", "json"]);
    }
    said += &told(&["render", "--env", "staging"]);
    said += &told(&["diff", "--env", "staging"]);
    said += &told(&["logs", "--env", "staging"]);
    assert!(!said.contains(CANARY), "{said}");
    let mut found = Vec::new();
    leaks(world.path(), &mut found);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(argv_has_it(), Vec::<String>::new());
}

#[test]
fn a_service_with_a_secret_survives_the_agent_and_apply_brings_the_secret_again() {
    let mut world = World::new();
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world
        .staging
        .push("secrets: {token: {env: SHOP_TOKEN}}".to_owned());
    let apply = |world: &World| {
        let arguments = ["apply", "--env", "staging", "--auto-approve"];
        let output = world
            .command(&arguments)
            .env("SHOP_TOKEN", "one")
            .output()
            .expect("shipit starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    apply(&world);
    world.run(&["agent", "stop"]).code(0);
    let instance = |world: &World| {
        world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0].clone()
    };
    let pid = instance(&world)["pid"].as_u64().expect("it runs on");
    assert_eq!(
        world.get_path("/env?TOKEN"),
        "one",
        "it is routed to as before"
    );
    signal(u32::try_from(pid).expect("a pid"), Signal::KILL);
    until("it is down for want of its secret", || {
        instance(&world)["last_exit"]
            .as_str()
            .is_some_and(|reason| reason.contains("`shipit apply` brings it again"))
    });
    apply(&world);
    assert_eq!(world.get_path("/env?TOKEN"), "one");
}

#[test]
fn a_secret_from_a_file_is_read_again_at_each_start() {
    let mut world = World::new();
    world.put("token", "first\n");
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world
        .staging
        .push("secrets: {token: {file: token}}".to_owned());
    world.apply().code(0);
    assert_eq!(world.get_path("/env?TOKEN"), "first");
    world.put("token", "second\n");
    world.run(&["agent", "stop"]).code(0);
    let pid = || {
        world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0]["pid"].as_u64()
    };
    signal(
        u32::try_from(pid().expect("a pid")).expect("a pid"),
        Signal::KILL,
    );
    until("it has the new one", || {
        crate::support::http::get(&world.live_address(), "/env?TOKEN")
            .is_ok_and(|answer| answer.body == "second")
    });
}

fn another_value_is_a_release(strategy: &str, secret: &str) {
    let mut world = World::new();
    world.put("token", "first-value");
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world.staging.push(format!("strategy: {strategy}"));
    world.staging.push(format!("secrets: {{token: {secret}}}"));
    let run = |world: &World, arguments: &[&str], value: Option<&str>| {
        let arguments = [arguments, &["--env", "staging"]].concat();
        let mut command = world.command(&arguments);
        command.envs(value.map(|value| ("SHOP_TOKEN", value)));
        Said::from(&command.output().expect("shipit starts"))
    };
    let apply = ["apply", "--auto-approve"];
    let plan = ["plan", "--detailed-exitcode"];
    run(&world, &apply, Some("first-value")).code(0);
    run(&world, &plan, Some("first-value")).code(0);
    // What an agent was given outlives it, as a hash.
    world.run(&["agent", "stop"]).code(0);
    run(&world, &plan, Some("first-value")).code(0);

    world.put("token", "second-value");
    run(&world, &plan, Some("second-value"))
        .code(2)
        .says("secret token")
        .says_not("second-value");
    run(&world, &apply, Some("second-value")).code(0);
    assert_eq!(world.get_path("/env?TOKEN"), "second-value");
    run(&world, &plan, Some("second-value")).code(0);

    if secret.contains("env") {
        run(&world, &plan, None)
            .code(0)
            .says("whether the secret `token` has another value is not known");
    }
}

#[test]
fn another_value_of_a_file_is_a_release() {
    another_value_is_a_release("blue_green", "{file: token}");
}

#[test]
fn another_value_of_a_variable_is_a_release_in_place() {
    another_value_is_a_release("rolling", "{env: SHOP_TOKEN}");
    another_value_is_a_release("recreate", "{env: SHOP_TOKEN}");
}

/// A release has one secret, and the next another one and does not start. Nobody has the old one
/// any more but the agent.
fn goes_back_to_a_secret_that_nothing_names_any_more(strategy: &str) {
    let mut world = World::new();
    world.staging = vec![
        format!("strategy: {strategy}"),
        "secrets: {old: {env: SHOP_OLD}}".to_owned(),
    ];
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: old}".to_owned());
    let apply = |world: &World, variable: &str| {
        let arguments = ["apply", "--env", "staging", "--auto-approve"];
        let mut command = world.command(&arguments);
        let output = command.env(variable, "one").output();
        output.expect("shipit starts")
    };
    let output = apply(&world, "SHOP_OLD");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(world.get_path("/env?TOKEN"), "one");

    "secrets: {new: {env: SHOP_NEW}}".clone_into(&mut world.staging[1]);
    world.env = [
        ("TOKEN".to_owned(), "{secret: new}".to_owned()),
        ("FAIL_START".to_owned(), "no-database".to_owned()),
    ]
    .into();
    let output = apply(&world, "SHOP_NEW");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("Traffic was moved back"), "{said}");
    assert!(
        said.contains("the value that was brought before is used"),
        "{said}"
    );
    until("the old release answers again", || {
        crate::support::http::get(&world.live_address(), "/env?TOKEN")
            .is_ok_and(|answer| answer.body == "one")
    });
}

#[test]
fn recreate_goes_back_to_a_secret_that_nothing_names_any_more() {
    goes_back_to_a_secret_that_nothing_names_any_more("recreate");
}

#[test]
fn rolling_goes_back_to_a_secret_that_nothing_names_any_more() {
    goes_back_to_a_secret_that_nothing_names_any_more("rolling");
}
