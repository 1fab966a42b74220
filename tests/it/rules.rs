//! Rules of a project's own, windows, tickets and reports, asked through the real binary.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{World, has};

const PLAN: &[&str] = &["plan", "--env", "staging"];

/// A world whose project has these lines, too.
fn with(lines: &str) -> World {
    let mut world = World::new();
    world.project.push(lines.to_owned());
    world.configure();
    world
}

fn program(world: &World, name: &str, text: &str) {
    world.put(name, text);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(world.file(name), mode).expect("executable");
}

#[test]
fn a_rule_of_the_projects_own_refuses_a_plan_and_holds_up_no_rollback() {
    let rule = "policy:
  - name: nobody deploys web
    must: plan.steps.all(s, s.action.do != 'switch')
    help: ask kim first
";
    let mut world = World::live();
    world.message("v2");
    world.apply().code(0);
    world.project.push(rule.to_owned());
    world.configure();
    world.message("v3");
    world
        .run(PLAN)
        .code(6)
        .says("Plan: ")
        .says("policy.0  nobody deploys web: does not hold")
        .says("ask kim first");
    world
        .apply()
        .code(6)
        .says("nobody deploys web: does not hold")
        .says("rule: policy.0 (shipit.yaml:");
    assert_eq!(world.get(), "v2");
    let rollback = ["rollback", "--env", "staging", "--auto-approve"];
    world.run(&rollback).code(0);
    assert_eq!(world.get(), "v1");
}

#[test]
fn what_cannot_be_asked_refuses_and_what_is_no_expression_is_shown_with_its_place() {
    let world =
        with("policy: [{name: odd, must: 1 / (plan.steps.size() - plan.steps.size()) == 1}]\n");
    world.run(PLAN).code(6).says("odd: cannot be asked");

    let world = with(
        "policy:\n  - {name: odd, must: \"plan.steps.all(s, s.x ==\"}\n  - name: other\n    must: pln == 1\n",
    );
    let said = world.run(&["validate"]).code(1);
    said.says("this is no expression")
        .says("nothing called `pln`")
        .says("did you mean `plan`?");
}

#[test]
fn a_program_is_asked_with_the_plan_and_what_it_does_not_say_well_refuses() {
    let world = with("policy: [{run: [./judge]}]\n");
    program(
        &world,
        "judge",
        "#!/bin/sh\ngrep -q '\"environment\":\"staging\"'\n",
    );
    world.run(PLAN).code(0).says("policy.0  ./judge");

    program(&world, "judge", "#!/bin/sh\necho it has no owner\nexit 3\n");
    world
        .run(PLAN)
        .code(6)
        .says("ended with exit code 3")
        .says("it has no owner");

    // It reads nothing, says a lot, and goes on.
    program(
        &world,
        "judge",
        "#!/bin/sh\nyes | head -c 300000000\nexit 1\n",
    );
    world.run(PLAN).code(6).says("ended with exit code 1");

    let world = with("policy: [{run: [./judge], timeout: 1s}]\n");
    program(&world, "judge", "#!/bin/sh\nsleep 600 & sleep 600\n");
    world.run(PLAN).code(6).says("not done within 1s");
    let world = with("policy: [{run: [./nothing]}]\n");
    world.run(PLAN).code(6).says("cannot be started");
}

#[test]
fn a_freeze_holds_up_live_traffic_unless_somebody_says_why() {
    let freeze = "freezes: [{from: 2020-01-01, to: 2999-12-31, why: the end of time}]\n";
    let mut world = World::live();
    world.project.push(freeze.to_owned());
    world.configure();
    world.message("v2");
    world
        .run(PLAN)
        .code(0)
        .says("freezes.0")
        .says("the end of time");
    world
        .apply()
        .code(6)
        .says("the end of time")
        .says("--outside-window REASON");
    let apply = [
        "apply",
        "--env",
        "staging",
        "--auto-approve",
        "--outside-window",
    ];
    world.run(&[&apply[..], &[" "]].concat()).code(64);
    world.run(&[&apply[..], &["INC-12"]].concat()).code(0);
    assert_eq!(world.get(), "v2");
    let history = ["history", "--env", "staging"];
    world
        .run(&history)
        .code(0)
        .says("outside of the windows: INC-12");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
}

#[test]
fn what_is_no_window_is_said_with_its_place() {
    let world = with(
        "windows: [{on: mon-tus, from: '9:00', to: '16:00', zone: Europe/Berln}]\nticket: {pattern: '['}\n",
    );
    world.run(&["validate"]).code(1).says("`tus` is no day");
    let world = with(
        "windows: [{on: mon, from: '09:00', to: '16:00', zone: Europe/Berln}]\nticket: {pattern: '['}\n",
    );
    world
        .run(&["validate"])
        .code(1)
        .says("`Europe/Berln` is no zone of the IANA database")
        .says("this is no regular expression");
}

#[test]
fn reports_are_written_whatever_came_of_the_command() {
    let world = with("policy: [{name: never, must: 'false'}]\n");
    let reports = [
        "--report",
        "junit=a/plan.xml",
        "--report",
        "sarif=a/plan.sarif",
        "--report",
        "gitlab=a/plan.json",
        "--report",
        "markdown=a/plan.md",
        "--report",
        "codequality=a/quality.json",
    ];
    world.run(&[PLAN, &reports[..]].concat()).code(6);
    let junit = world.read("a/plan.xml");
    assert!(
        junit.contains("failures=\"1\"") && junit.contains("never: does not hold"),
        "{junit}"
    );
    let sarif: serde_json::Value = serde_json::from_str(&world.read("a/plan.sarif")).expect("JSON");
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "shipit.yaml");
    assert!(
        place["region"]["startLine"]
            .as_u64()
            .is_some_and(|line| line > 1),
        "{sarif}"
    );
    let gitlab: serde_json::Value = serde_json::from_str(&world.read("a/plan.json")).expect("JSON");
    assert!(
        gitlab["create"].as_u64().is_some_and(|count| count > 0),
        "{gitlab}"
    );
    assert!(world.read("a/plan.md").contains("### shop → staging"));
    is_junit(&world, "a/plan.xml");
    let quality = world.read("a/quality.json");
    let quality: serde_json::Value = serde_json::from_str(&quality).expect("JSON");
    assert_eq!(quality[0]["location"]["path"], "shipit.yaml", "{quality}");

    // Also where there is no plan at all.
    let broken = with("branchs: {}\n");
    broken.run(&[PLAN, &reports[..]].concat()).code(1);
    let sarif: serde_json::Value =
        serde_json::from_str(&broken.read("a/plan.sarif")).expect("JSON");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "configuration", "{sarif}");
    is_junit(&broken, "a/plan.xml");

    let live = World::new();
    live.run(
        &[
            &["apply", "--env", "staging", "--auto-approve"][..],
            &reports[..],
        ]
        .concat(),
    )
    .code(0);
    let junit = live.read("a/plan.xml");
    assert!(junit.contains("name=\"traffic: switch"), "{junit}");
    is_junit(&live, "a/plan.xml");
    live.run(&[PLAN, &["--report", "html=x"]].concat()).code(64);
}

/// Whether a report is what the schema says that Jenkins' plugin names. The schema is asked: what
/// is wrong is found.
fn is_junit(world: &World, report: &str) {
    if !has("xmllint") {
        return;
    }
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas/junit-10.xsd");
    let checked = |path: std::path::PathBuf| {
        let mut xmllint = std::process::Command::new("xmllint");
        xmllint
            .args(["--nonet", "--noout", "--schema", schema])
            .arg(path);
        let output = xmllint.output().expect("xmllint");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (is_valid, said) = checked(world.file(report));
    assert!(is_valid, "{said}");

    let wrong = world.read(report).replacen("tests=", "cases=", 1);
    world.put("wrong.xml", &wrong);
    let (is_valid, said) = checked(world.file("wrong.xml"));
    assert!(!is_valid && said.contains("cases"), "{said}");
}
