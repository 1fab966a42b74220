//! `--output json`: every command has documents of one shape, or says that it has none; errors are
//! documents, too.

use clap::CommandFactory as _;
use serde_json::Value;
use shipit::cli::Cli;

use crate::support::{Said, World};

/// What each command is given, and what its documents are about; none where there are none.
const COMMANDS: &[(&[&str], Option<&str>)] = &[
    (&["init", "--yes", "-C", "fresh"], Some("init")),
    (&["validate"], Some("validation")),
    (&["plan", "--out", "p.json"], Some("plan")),
    (&["show", "p.json"], Some("plan")),
    (&["rehearse", "p.json"], Some("rehearsal")),
    (&["report-status", "success"], Some("error")),
    (&["approve", "p.json"], Some("error")),
    (&["apply", "--auto-approve"], Some("event")),
    (&["promote", "green", "--auto-approve"], Some("event")),
    (&["rollback", "--auto-approve"], Some("event")),
    (&["abort", "--auto-approve"], Some("error")),
    (&["status"], Some("status")),
    (&["logs"], Some("log")),
    (&["exec", "--", "true"], None),
    (&["run", "web", "--", "true"], None),
    (&["restart", "--auto-approve"], Some("restart")),
    (&["task", "none"], Some("error")),
    (&["settle"], Some("settled")),
    (&["notify"], Some("notified")),
    (&["open"], Some("urls")),
    (&["scale", "web=3"], Some("error")),
    (&["history"], Some("history")),
    (&["diff"], Some("diff")),
    (&["drift"], Some("drift")),
    (&["render"], Some("desired")),
    (&["check"], Some("branch_check")),
    (&["doctor"], Some("checks")),
    (&["images"], Some("images")),
    (&["import"], Some("import")),
    (&["state", "show"], Some("state")),
    (&["state", "pull"], Some("state")),
    (&["state", "list"], Some("state_list")),
    (&["state", "rm", "release.1"], Some("error")),
    (&["state", "migrate"], Some("error")),
    (&["state", "accept"], Some("state")),
    (&["state", "push", "p.json"], Some("error")),
    (&["state", "restore"], Some("state")),
    (&["unlock"], Some("lock")),
    (&["graph"], Some("graph")),
    (&["serve", "init", "--config", "server.yaml"], Some("init")),
    (
        &["serve", "check", "--config", "server.yaml"],
        Some("checks"),
    ),
    (&["trigger", "shop", "--socket", "none"], Some("error")),
    (&["hook", "post-receive", "--project", "shop"], None),
    (&["hook", "pre-receive", "--project", "shop"], None),
    (
        &["hook", "install", "--project", "shop", "--bare", "none"],
        Some("error"),
    ),
    (
        &[
            "client", "issue", "a", "--in", "shop/*", "--out", "c", "--config", "none",
        ],
        Some("error"),
    ),
    (&["client", "list", "--config", "none"], Some("error")),
    (
        &["client", "revoke", "a", "--config", "none"],
        Some("error"),
    ),
    (
        &["token", "issue", "b", "--in", "shop/*", "--config", "none"],
        Some("error"),
    ),
    (&["token", "list", "--config", "none"], Some("error")),
    (&["token", "revoke", "b", "--config", "none"], Some("error")),
    (&["jobs", "list", "--socket", "none"], Some("error")),
    (&["jobs", "show", "1", "--socket", "none"], Some("error")),
    (&["jobs", "logs", "1", "--socket", "none"], Some("error")),
    (&["jobs", "cancel", "1", "--socket", "none"], Some("error")),
    (&["jobs", "retry", "1", "--socket", "none"], Some("error")),
    (&["jobs", "wait", "1", "--socket", "none"], Some("error")),
    (&["deliveries", "list", "--socket", "none"], Some("error")),
    (
        &["deliveries", "show", "1", "--socket", "none"],
        Some("error"),
    ),
    (&["schema"], None),
    (&["completions", "bash"], None),
    (&["agent", "run"], None),
    (&["agent", "status"], Some("agent")),
    (&["agent", "logs"], Some("log")),
    (&["agent", "unit"], Some("agent_units")),
    (
        &["agent", "install", "--at", "ssh://127.0.0.1:1"],
        Some("error"),
    ),
    (
        &["agent", "upgrade", "--at", "ssh://127.0.0.1:1"],
        Some("error"),
    ),
    (&["destroy", "--auto-approve"], Some("event")),
    (&["agent", "stop", "--services"], Some("agent")),
];

/// The documents that were printed: one that may have many lines, or one a line.
fn documents(said: &Said) -> Vec<Value> {
    let read = serde_json::Deserializer::from_str(&said.stdout).into_iter();
    let read: Result<Vec<Value>, _> = read.collect();
    read.unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn leaves(command: &clap::Command, path: &[String], found: &mut Vec<String>) {
    let shown = |below: &&clap::Command| !below.is_hide_set() && below.get_name() != "help";
    for below in command.get_subcommands().filter(shown) {
        let path = [path, &[below.get_name().to_owned()]].concat();
        if below.has_subcommands() {
            leaves(below, &path, found);
        } else {
            found.push(path.join(" "));
        }
    }
}

#[test]
fn every_command_has_documents_or_says_that_it_has_none() {
    let mut all = Vec::new();
    leaves(&Cli::command(), &[], &mut all);
    for name in &all {
        let is_here = |(words, _): &&(&[&str], Option<&str>)| {
            let line = words.join(" ");
            line == *name || line.starts_with(&format!("{name} "))
        };
        assert!(
            COMMANDS.iter().any(|row| is_here(&row)),
            "{name} is new: give it a row here"
        );
    }

    let world = World::live();
    world.put("fresh/Dockerfile", "FROM scratch\n");
    world.message("v2");
    for (words, kind) in COMMANDS {
        let said = world.run(&[&["--env", "staging", "--output", "json"], *words].concat());
        let documents = documents(&said);
        assert!(!documents.is_empty(), "{words:?} prints none: {said:?}");
        for document in &documents {
            let first: Vec<&String> = document
                .as_object()
                .expect("fields")
                .keys()
                .take(2)
                .collect();
            assert_eq!(first, ["version", "kind"], "{words:?}: {document}");
            assert_eq!(document["version"], 1, "{words:?}");
            assert_eq!(
                document["kind"],
                kind.unwrap_or("error"),
                "{words:?}: {document}"
            );
        }
        if kind.is_none() {
            assert_eq!(said.code, Some(64), "{words:?}: {said:?}");
            let message = documents[0]["message"].as_str().expect("a text");
            assert!(
                message.contains("no output in the form `json`"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_form_that_a_command_does_not_have_is_refused_when_it_is_asked_for() {
    let world = World::new();
    for words in [
        &["validate"][..],
        &["logs"],
        &["doctor"],
        &["completions", "bash"],
    ] {
        let asked = [words, &["--output", "markdown"]].concat();
        world
            .run(&asked)
            .code(64)
            .says("no output in the form `markdown`");
    }
    // A variable is for all commands, and means those that have it.
    for words in [&["completions", "bash"][..], &["schema"]] {
        let mut command = world.command(words);
        let said = Said::from(
            &command
                .env("SHIPIT_OUTPUT", "json")
                .output()
                .expect("it starts"),
        );
        assert!(
            !said.code(0).stdout.contains("\"kind\": \"error\""),
            "{words:?}"
        );
    }
}

#[test]
fn an_error_is_a_document_where_documents_are_asked_for() {
    let world = World::live();
    let json = ["--output", "json", "--env", "staging"];
    let error = |words: &[&str], exit: i32, code: &str| {
        let said = world.run(&[words, &json].concat()).code(exit);
        assert_eq!(said.stderr, "", "it is said once: {words:?}");
        let mut documents = documents(&said);
        let last = documents.pop().expect("a document");
        assert_eq!(last["kind"], "error", "{words:?}");
        assert_eq!(
            (&last["code"], &last["exit"]),
            (&Value::from(code), &Value::from(exit))
        );
        last
    };

    // The command line itself, as far as the form is understood.
    let nope = error(&["nope"], 64, "usage");
    assert!(
        nope["message"].as_str().expect("a text").contains("nope"),
        "{nope}"
    );
    error(&["plan", "--nope"], 64, "usage");
    error(&["promote", "red"], 64, "usage");

    let empty = error(&["promote", "green", "--auto-approve"], 1, "failed");
    assert!(
        empty["help"]
            .as_str()
            .expect("a text")
            .contains("shipit apply"),
        "{empty}"
    );
    let unapproved = error(&["rollback"], 1, "failed");
    assert!(!unapproved["message"].as_str().expect("a text").is_empty());

    world.put(
        "bad/shipit.yaml",
        "version: 1\nproject: shop\nservices: {web: {prot: 1}}\n",
    );
    let said = world
        .run(&["-C", "bad", "plan", "--output", "json"])
        .code(1);
    let error = documents(&said).pop().expect("a document");
    let problems = error["problems"].as_array().expect("a list").iter();
    let is_at = |problem: &&Value| {
        let place = &problem["place"];
        place["file"] == "shipit.yaml" && place["line"] == 3 && place["column"] == 18
    };
    let problem = problems.into_iter().find(is_at).expect("the key");
    assert_eq!(problem["help"], "did you mean `port`?", "{error}");
}
