//! Hooks: what is called around the stages of a run, what it is told, and what its failure means.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::support::receivers::Receiver;
use crate::support::{Said, World, until};

const KEY: &str = "whsec_Y2FuYXJ5LWtleS1jYW5hcnkta2V5LWNhbmFyeS1rZXk=";

/// A world with `v1` live, whose next release is `v2` and has these hooks.
fn world(hooks: &[String]) -> World {
    let mut world = World::live();
    world.message("v2");
    configure(&mut world, hooks);
    world
}

fn configure(world: &mut World, hooks: &[String]) {
    let hooks = hooks.iter().map(|line| format!("  {line}"));
    world.project = std::iter::once("hooks:".to_owned()).chain(hooks).collect();
}

/// A hook that is a script.
fn script(name: &str, point: &str, script: &str, more: &str) -> String {
    let words = serde_json::json!(["/bin/sh", "-c", script]);
    format!("{name}: {{{point}, run: {words}{more}}}")
}

/// A hook that writes its point down.
fn noted(world: &World, name: &str, point: &str) -> String {
    let log = world.file("log").display().to_string();
    script(name, point, &format!("echo $SHIPIT_POINT >> {log}"), "")
}

fn log(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.file("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_stage_has_its_hooks_in_order_and_the_plan_shows_them() {
    let mut world = World::live();
    world.message("v2");
    let stages = ["plan", "build", "deploy", "switch", "rollback"];
    let hooks: Vec<String> = stages
        .iter()
        .flat_map(|stage| [("before", stage), ("after", stage)])
        .map(|(side, stage)| {
            let name = format!("{side}-{stage}");
            noted(&world, &name, &format!("{side}: {stage}"))
        })
        .collect();
    configure(&mut world, &hooks);

    world
        .run(&["plan", "--env", "staging"])
        .code(0)
        .says("before-switch")
        .says("its failure stops the run");
    assert_eq!(log(&world), ["before_plan", "after_plan"]);
    std::fs::remove_file(world.file("log")).expect("it was there");

    world.apply().code(0);
    let called = [
        "before_plan",
        "after_plan",
        "before_build",
        "after_build",
        "before_deploy",
        "after_deploy",
        "before_switch",
        "after_switch",
    ];
    assert_eq!(log(&world), called);
    std::fs::remove_file(world.file("log")).expect("it was there");

    let back = ["rollback", "--env", "staging", "--auto-approve"];
    world.run(&back).code(0);
    assert_eq!(log(&world), ["before_rollback", "after_rollback"]);
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_hook_is_told_of_the_run_and_sees_nothing_else() {
    let mut world = world(&[]);
    world.put("token", "canary-hook-token-5d");
    let (input, env) = (world.file("input"), world.file("env"));
    let text = format!(
        "cat > {}; env > {}; cat token",
        input.display(),
        env.display()
    );
    let more = ", env: {TOKEN: {secret: token}, REGION: eu}, pass: [GIVEN]";
    configure(&mut world, &[script("look", "before: switch", &text, more)]);
    world
        .project
        .push("secrets: {token: {file: token}}".to_owned());

    let mut command = world.command(&["apply", "--env", "staging", "--auto-approve"]);
    command
        .env("GIVEN", "given")
        .env("OTHER_TOKEN", "not for it");
    let said = Said::from(&command.output().expect("it runs")).code(0);
    said.says_not("canary");

    let facts: Value = serde_json::from_str(&world.read("input")).expect("JSON");
    assert_eq!(facts["point"], "before switch");
    assert_eq!(facts["release"], 2);
    assert_eq!(
        (&facts["slot"], &facts["active"]),
        (&"green".into(), &"blue".into())
    );
    assert!(
        facts["images"]["web"]
            .as_str()
            .expect("an image")
            .starts_with("sha256:")
    );
    let env = world.read("env");
    let has = |line: &str| env.lines().any(|it| it == line);
    for line in [
        "TOKEN=canary-hook-token-5d",
        "REGION=eu",
        "GIVEN=given",
        "SHIPIT_RELEASE=2",
        "SHIPIT_POINT=before_switch",
        "SHIPIT_ENVIRONMENT=staging",
    ] {
        assert!(has(line), "{line} is not in\n{env}");
    }
    assert!(!env.contains("OTHER_TOKEN"), "{env}");
    for file in ["state/staging/state.json", "p.json"] {
        let text = std::fs::read_to_string(world.file(file)).unwrap_or_default();
        assert!(!text.contains("canary"), "{file}");
    }
}

#[test]
fn what_fails_before_stops_before_anything_is_done_and_what_fails_after_is_noted() {
    let mut world = world(&[]);
    configure(
        &mut world,
        &[script(
            "ask",
            "before: deploy",
            "echo not today; exit 7",
            "",
        )],
    );
    world
        .apply()
        .code(1)
        .says("the hook ask (before deploy) has failed: ended with exit code 7")
        .says("not today")
        .says("Live traffic was not touched");
    assert_eq!(world.get(), "v1");
    assert!(world.status()["facts"]["slots"]["green"].is_null());

    configure(&mut world, &[script("ask", "before: plan", "exit 7", "")]);
    world
        .apply()
        .code(1)
        .says("the hook ask (before plan) has failed")
        .says("nothing was changed");

    let pid = world.file("pid").display().to_string();
    let slow = format!("sleep 300 & echo $! > {pid}; wait");
    configure(
        &mut world,
        &[script("ask", "before: switch", &slow, ", timeout: 300ms")],
    );
    world.apply().code(1).says("not done within 300ms");
    let process = format!("/proc/{}", world.read("pid").trim());
    until("all of it is gone", || {
        !std::path::Path::new(&process).exists()
    });
    assert_eq!(world.get(), "v1");

    configure(&mut world, &[script("tell", "after: switch", "exit 7", "")]);
    world
        .apply()
        .code(0)
        .says("the hook tell (after switch) has failed: ended with exit code 7");
    assert_eq!(world.get(), "v2");

    world.message("v3");
    let log = noted(&world, "log", "after: rollback");
    let stops = script("tell", "after: switch", "exit 7", ", on_failure: stop");
    configure(&mut world, &[stops, log]);
    world.apply().code(3).says("Traffic was moved back");
    assert_eq!(world.get(), "v2");
    assert_eq!(self::log(&world), ["after_rollback"]);
}

#[test]
fn what_a_hook_leaves_in_a_session_of_its_own_ends_with_it() {
    let mut world = World::live();
    world.message("v2");
    let pid = world.file("pid");
    let leaves = format!("setsid sleep 300 & echo $! > {}", pid.display());
    configure(
        &mut world,
        &[script("leaves", "before: deploy", &leaves, "")],
    );

    world.apply().code(0);
    let process = format!("/proc/{}", world.read("pid").trim());
    until("it has ended", || !std::path::Path::new(&process).exists());
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_server_is_asked_by_a_signed_webhook() {
    let refuses = Receiver::start(|asked, _| {
        let status = if asked.body.contains("before switch") {
            409
        } else {
            204
        };
        (status, String::new(), "frozen".to_owned())
    });
    let mut world = world(&[]);
    world.put("key", KEY);
    let url = &refuses.address;
    configure(
        &mut world,
        &[
            format!(
                "first: {{before: build, http: {{url: \"{url}/a\", secret: {{secret: key}}}}}}"
            ),
            format!(
                "then: {{before: switch, http: {{url: \"{url}/b\", secret: {{secret: key}}}}}}"
            ),
        ],
    );
    world.project.push("secrets: {key: {file: key}}".to_owned());
    world
        .apply()
        .code(1)
        .says("the hook then (before switch) has failed: it answers 409")
        .says("frozen");
    assert_eq!(world.get(), "v1");
    let asked = refuses.asked();
    assert_eq!(refuses.paths(), ["/a", "/b"]);
    assert_eq!(asked[1].json()["data"]["release"], 2);
    let (id, at) = (
        &asked[1].headers["webhook-id"],
        &asked[1].headers["webhook-timestamp"],
    );
    let key = BASE64_STANDARD
        .decode(&KEY["whsec_".len()..])
        .expect("a key");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signature = asked[1].headers["webhook-signature"]
        .strip_prefix("v1,")
        .expect("v1");
    let signature = BASE64_STANDARD.decode(signature).expect("base64");
    let text = format!("{id}.{at}.{}", asked[1].body);
    hmac::verify(&key, text.as_bytes(), &signature).expect("signed by the key");
}

#[test]
fn what_a_killed_run_has_called_is_not_called_again_by_the_one_that_goes_on() {
    let mut world = world(&[]);
    let (log, gate) = (world.file("log"), world.file("gate"));
    // The one that the killed run has begun goes on, too.
    let waits = format!(
        "echo waits >> {}; until [ -e {} ]; do sleep 0.05; done",
        log.display(),
        gate.display()
    );
    let hooks = [
        noted(&world, "first", "before: deploy"),
        script("second", "before: switch", &waits, ""),
    ];
    configure(&mut world, &hooks);

    let mut run = world.start_apply();
    until("the second hook waits", || self::log(&world).len() == 2);
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");

    let gone_on = world.start_apply();
    until("it waits again", || self::log(&world).len() == 3);
    std::fs::write(&gate, "go\n").expect("it goes on");
    crate::support::finish(gone_on)
        .code(0)
        .says("hook first (before deploy): an earlier run has called it");
    assert_eq!(self::log(&world), ["before_deploy", "waits", "waits"]);
    assert_eq!((world.get(), world.live_release()), ("v2".to_owned(), 2));
}
