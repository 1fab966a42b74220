//! What a person's fingers do: shorter words, folders below the project's, variables in place of
//! flags, and answers that are lines.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{World, http, until};

#[test]
fn the_project_is_found_from_a_folder_below_it() {
    let world = World::new();
    world.configure();
    std::fs::create_dir_all(world.file("app/src/deep")).expect("made");
    let said = world
        .command(&["validate"])
        .current_dir(world.file("app/src/deep"))
        .output()
        .expect("shipit starts");
    assert_eq!(said.status.code(), Some(0), "{said:?}");

    // What is named is meant.
    world
        .run(&["-C", "app/src/deep", "validate"])
        .code(1)
        .says("shipit.yaml");
}

#[test]
fn variables_stand_for_flags_and_shorter_words_for_longer_ones() {
    let world = World::new();
    world.put("environments/production.yaml", "promotion: {mode: auto}\n");
    let said = world
        .command(&["deploy", "-y"])
        .env("SHIPIT_ENV", "staging")
        .env("SHIPIT_OUTPUT", "json")
        .output()
        .expect("shipit starts");
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    let last = lines.lines().last().expect("an event");
    let event: serde_json::Value = serde_json::from_str(last).expect("a document");
    assert_eq!(event["event"], "ended", "{last}");
    world.run(&["up", "--env", "staging", "--yes"]).code(0);

    // A build server sets what it has no value for to nothing.
    let names = ["SHIPIT_DIRECTORY", "SHIPIT_OUTPUT", "SHIPIT_LOCK_TIMEOUT"];
    let said = world
        .command(&["up", "-y"])
        .envs(names.map(|name| (name, "")))
        .env("SHIPIT_ENV", "staging")
        .output()
        .expect("shipit starts");
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    world.run(&["plan", "--env", ""]).code(64);

    for typed in ["destry", "deplo", "destroyy"] {
        world.run(&[typed]).code(64).says_not("destroy'");
    }
}

/// Runs a command at a terminal on which this is typed, and gives its exit code and what the
/// terminal shows.
fn at_terminal(world: &World, arguments: &[&str], typed: &str) -> (Option<i32>, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = || {
        let path = name.to_str().expect("a path");
        let opened = File::options().read(true).write(true).open(path);
        Stdio::from(OwnedFd::from(opened.expect("opened")))
    };
    let mut child = world
        .command(arguments)
        .env("TERM", "xterm")
        .stdin(theirs())
        .stderr(theirs())
        .stdout(Stdio::piped())
        .spawn()
        .expect("shipit starts");
    let mut ours = File::from(ours);
    ours.write_all(typed.as_bytes()).expect("typed");

    let mut copy = ours.try_clone().expect("a copy");
    let reading = std::thread::spawn(move || {
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        // A terminal whose last other side is closed is an error to its reader.
        while let Ok(count @ 1..) = copy.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let mut stdout = String::new();
    let mut from = child.stdout.take().expect("piped");
    from.read_to_string(&mut stdout).expect("a text");
    let status = child.wait().expect("it ends");
    (status.code(), stdout + &reading.join().expect("read"))
}

#[test]
fn a_plan_is_approved_by_a_line_and_an_environment_is_destroyed_by_its_name() {
    let world = World::new();
    let apply = ["apply", "--env", "staging"];
    for typed in ["\r", "n\r", "no\r", "yo\r"] {
        let (code, shown) = at_terminal(&world, &apply, typed);
        assert_eq!(code, Some(1), "{typed:?}: {shown}");
        assert!(shown.contains("nothing was changed"), "{typed:?}: {shown}");
    }
    let (code, shown) = at_terminal(&world, &apply, "yes\r");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(world.get(), "v1");

    let destroy = ["destroy", "--env", "staging"];
    for typed in ["y\r", "yes\r", "production\r"] {
        let (code, shown) = at_terminal(&world, &destroy, typed);
        assert_eq!(code, Some(1), "{typed:?}: {shown}");
    }
    assert_eq!(world.get(), "v1");
    let (code, shown) = at_terminal(&world, &destroy, "staging\r");
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn a_command_prints_as_much_and_as_colourful_as_it_is_told_to() {
    let world = World::new();
    let quiet = world
        .run(&["-q", "apply", "--env", "staging", "-y"])
        .code(0);
    assert_eq!(quiet.stderr, "");
    assert!(quiet.stdout.starts_with("Done: release 1"), "{quiet:?}");

    world.message("v2");
    world
        .run(&["apply", "--env", "staging", "-y", "--verbose"])
        .code(0)
        .says("shop → staging")
        .says("workload.green/web: deploy");
    world.run(&["-q", "-v", "status"]).code(64);

    // NO_COLOR is set by the test's world, and a flag or a variable of shipit's own wins over it.
    let colored = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut plan = world.command(&[&["plan", "--env", "staging"], arguments].concat());
        let said = plan
            .envs(variables.iter().copied())
            .output()
            .expect("it starts");
        String::from_utf8_lossy(&said.stdout).contains('\u{1b}')
    };
    assert!(!colored(&[], &[]));
    assert!(colored(&["--color", "always"], &[]));
    assert!(colored(&[], &[("SHIPIT_COLOR", "always")]));
    assert!(colored(&[], &[("NO_COLOR", ""), ("CLICOLOR_FORCE", "1")]));
    assert!(!colored(&["--color=never"], &[("CLICOLOR_FORCE", "1")]));
    let misused = world.run(&["plan", "--colour", "--color=always"]).code(64);
    assert!(misused.stderr.contains('\u{1b}'), "{misused:?}");
}

#[test]
fn logs_are_narrowed_by_time_and_by_an_expression() {
    let world = World::live();
    let logs = |arguments: &[&str]| world.run(&[&["logs", "--env", "staging"], arguments].concat());
    logs(&["--since", "1h"]).code(0).says("storefront listens");
    logs(&["--grep", "^storefront .*: v1$"])
        .code(0)
        .says("listens");
    let none = logs(&["--grep", "nobody writes this"]).code(0);
    assert_eq!(none.stdout, "");

    let mut since = String::new();
    until("nothing was written since", || {
        since = jiff::Timestamp::now().to_string();
        logs(&["--since", &since]).code(0).stdout.is_empty()
    });
    http::get(&world.live_address(), "/say?later").expect("an answer");
    until("it is written", || {
        logs(&["--since", &since]).code(0).stdout.contains("later")
    });

    logs(&["--since", "tomorrow"]).code(64).says("10m");
    logs(&["--since", "2999-01-01"])
        .code(64)
        .says("still to come");
    logs(&["--grep", "("]).code(64).says("unclosed group");
}
