//! What is read before anything runs: the help of each command, compared with its snapshot.

use clap::{Command, CommandFactory as _, Parser as _};

use super::{Cli, doctor};
use crate::port::engine::CheckResult;

/// The commands that are shown, and those below them.
fn commands() -> Vec<Command> {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut found = vec![root.clone()];
    let mut next = vec![root];
    while let Some(command) = next.pop() {
        let below = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set() && below.get_name() != "help")
            .cloned();
        let below: Vec<Command> = below.collect();
        found.extend(below.iter().cloned());
        next.extend(below);
    }
    found
}

fn is_as_before(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_help_of_each_command() {
    for mut command in commands() {
        let name = command.get_bin_name().unwrap_or("shipit").replace(' ', "_");
        let help = command.render_long_help().to_string();
        is_as_before(&format!("help_{name}"), &help);
    }
}

#[test]
fn each_command_has_a_summary_of_one_line() {
    for command in commands() {
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        assert!(!about.is_empty(), "{name} has none");
        assert!(!about.contains('\n'), "{name}: {about}");
        assert!(!about.contains(". "), "{name} says one thing: {about}");
    }
}

#[test]
fn each_command_has_examples_at_the_end_of_its_help() {
    for command in commands() {
        let after = command.get_after_help().map(ToString::to_string);
        let after = after.unwrap_or_default();
        let name = command.get_name();
        assert!(after.starts_with("Examples:\n  shipit "), "{name}: {after}");
        for line in after.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
    }
}

/// The commands that have no environment, or leave it to their branch.
const WITHOUT_ENVIRONMENT: [&str; 4] = ["check", "init", "schema", "validate"];

#[test]
fn what_takes_nothing_else_by_its_place_takes_the_environment_there() {
    let root = Cli::command();
    let below = root.get_subcommands().filter(|one| !one.is_hide_set());
    for command in below.filter(|one| !one.has_subcommands()) {
        let name = command.get_name();
        let takes = command.get_positionals().map(|one| one.get_id().as_str());
        let takes: Vec<&str> = takes.collect();
        if takes.is_empty() {
            assert!(WITHOUT_ENVIRONMENT.contains(&name), "{name} takes none");
        } else if takes.contains(&"environment") {
            assert_eq!(takes, ["environment"], "{name}");
        }
    }
}

#[test]
fn each_example_is_a_command_that_there_is() {
    let mut count = 0;
    for command in commands() {
        let after = command.get_after_help().map(ToString::to_string);
        for line in after.iter().flat_map(|text| text.lines()) {
            let Some(example) = line.trim_start().strip_prefix("shipit ") else {
                continue;
            };
            // What it is for stands two spaces behind it, where the shell writes it to behind `>`.
            let words = example.split("  ").next().unwrap_or_default();
            let words = words.split(" > ").next().unwrap_or_default();
            let words = std::iter::once("shipit").chain(words.split_whitespace());
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("it fails"));
            count += 1;
        }
    }
    assert!(count > 20, "the examples are found: {count}");
}

#[test]
fn doctor_says_what_is_failing_and_what_to_do() {
    let result = |what: &str, fault: Option<&str>| CheckResult {
        what: what.to_owned(),
        fault: fault.map(str::to_owned),
        help: fault.map(|_| "set DB, or name a file with `secrets.db.file`".to_owned()),
    };
    let ok = [result("the engine answers", None)];
    let failing = [
        result("the engine answers", None),
        result("secret db", Some("the variable DB is not set")),
    ];
    let text = [&ok[..], &failing[..]].map(|found| doctor::human(found).plain());
    is_as_before("doctor", &text.join("\n"));
}
