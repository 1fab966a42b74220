//! What a person's fingers do: shorter words, folders below the project's, variables in place of
//! flags, and answers that are lines.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::World;

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
