//! Files that are torn, edited or corrupt, disks that are full, ports that are taken: said clearly,
//! and nothing lost.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::support::{Said, World, signal, until};

#[test]
fn a_hand_edited_state_is_noticed_and_can_be_accepted_or_restored() {
    let world = World::live();
    world.message("v2");
    world.apply().code(0);
    let good = world.read("state/staging/state.json");
    world.put(
        "state/staging/state.json",
        &good.replace("\"number\": 2", "\"number\": 7"),
    );
    world
        .apply()
        .code(1)
        .says("edited by hand, or torn")
        .says("shipit state restore");
    world.run(&["state", "accept", "--env", "staging"]).code(0);
    world
        .run(&["history", "--env", "staging"])
        .code(0)
        .says("7");
    world.put("state/staging/state.json", &good[..good.len() / 2]);
    world.apply().code(1).says("is not a state document");
    world.run(&["state", "restore", "--env", "staging"]).code(0);
    assert_eq!(world.history(), [(1, "live".to_owned())]);
    assert!(
        world.file("state/staging/state.damaged.json").exists(),
        "nothing is lost"
    );
    assert_eq!(world.get(), "v2", "traffic does not depend on it");
}

#[test]
fn a_torn_journal_line_is_left_out() {
    let world = World::live();
    let journals = fs::read_dir(world.file("state/staging/journal")).expect("there");
    for journal in journals.filter_map(Result::ok) {
        let text = fs::read_to_string(journal.path()).expect("text");
        fs::write(journal.path(), format!("{text}{{\"at\":\"2026-")).expect("written");
    }
    world.message("v2");
    world.apply().code(0).says("Done: release 2");
}

#[test]
fn a_corrupt_image_is_found_before_anything_starts() {
    let world = World::live();
    world.message("v2");
    world.apply().code(0);
    // The rollback needs the first image's files, which only the registry has once the slot was
    // used again.
    world.message("v3");
    world.apply().code(0);
    let blobs = world.file("state/registry/blobs/sha256");
    let image = {
        let said = world
            .run(&["history", "--env", "staging", "--output", "json"])
            .code(0);
        let releases: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
        releases["releases"][0]["workloads"]["web"]["image"]["value"]
            .as_str()
            .expect("a digest")
            .to_owned()
    };
    let manifest = fs::read(blobs.join(image.trim_start_matches("sha256:"))).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("a document");
    let layer = manifest["layers"][0]["digest"]
        .as_str()
        .expect("a digest")
        .trim_start_matches("sha256:")
        .to_owned();
    let path = blobs.join(layer);
    let mut bytes = fs::read(&path).expect("a layer");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("written");
    let before = world.status()["facts"].clone();
    let rollback = [
        "rollback",
        "--to",
        "1",
        "--env",
        "staging",
        "--auto-approve",
    ];
    world
        .run(&rollback)
        .code(1)
        .says("is corrupt")
        .says("nothing was started");
    assert_eq!(world.status()["facts"]["slots"], before["slots"]);
    assert_eq!(world.get(), "v3");
}

#[test]
fn an_image_that_changed_on_disk_is_seen_and_no_instance_starts_from_it() {
    let world = World::live();
    let plan = ["plan", "--env", "staging"];
    world.run(&plan).code(0).says("No changes");
    let mut images = fs::read_dir(world.agent_folder().join("rootfs")).expect("images");
    let image = images.find_map(Result::ok).expect("an image");
    let message = image.path().join("files/app/message.txt");
    let forge = || {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&message, mode).expect("a mode");
        fs::write(&message, "evil").expect("written");
    };
    let pid = || {
        let web = &world.status()["facts"]["slots"]["blue"]["workloads"]["web"];
        web["instances"][0]["pid"].as_u64()
    };

    // When something changes the files of what runs, it is said, and the plan puts it right.
    forge();
    let change = "app/message.txt has other content";
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("changed on disk")
        .says(change);
    world
        .run(&plan)
        .code(0)
        .says("its image changed on disk")
        .says(change);
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    world.run(&plan).code(0).says("No changes");

    // When an instance starts by itself, it starts from the image.
    forge();
    let before = pid().expect("it runs");
    signal(
        u32::try_from(before).expect("a process id"),
        rustix::process::Signal::KILL,
    );
    until("another process runs", || {
        pid().is_some_and(|pid| pid != before) && world.live_release() == 1
    });
    until("it answers", || world.get() == "v1");
    assert_eq!(fs::read_to_string(&message).expect("text"), "v1");
    world.run(&plan).code(0).says("No changes");
}

#[test]
fn a_port_that_is_taken_is_named_with_who_has_it() {
    let world = World::new();
    let _taken = TcpListener::bind(world.live_address()).expect("it is free");
    let pid = format!("(process {})", std::process::id());
    world
        .apply()
        .code(1)
        .says(&world.live_address())
        .says("is taken by")
        .says(&pid)
        .says("traffic.listeners");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let world = World::new();
    world.put("state", "a file where a folder should be");
    world
        .apply()
        .code(1)
        .says("state")
        .says("run the command again");
    fs::remove_file(world.file("state")).expect("removed");
    world.apply().code(0);
}

#[test]
fn an_agent_folder_that_cannot_be_made_is_named() {
    let world = World::new();
    world.put("a", "a file where a folder should be");
    world
        .apply()
        .code(1)
        .says("is a link or a file")
        .says("SHIPIT_AGENT_DIR");
    fs::remove_file(world.file("a")).expect("removed");
}

#[test]
fn a_full_disk_loses_nothing_and_the_next_run_goes_on() {
    let world = World::live();
    let state = world.file("state/staging");
    let aside = world.file("aside");
    fs::rename(&state, &aside).expect("moved");
    fs::create_dir(&state).expect("made");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"])
        .arg(&state)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("SHIPIT_TEST_REAL").is_none(),
            "a tmpfs can be mounted"
        );
        eprintln!("SKIPPED: no tmpfs can be mounted");
        return;
    }
    let copied = Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", aside.display()))
        .arg(&state)
        .output();
    let filled = fs::write(state.join("ballast"), vec![0; 1 << 20]).is_err();
    world.message("v2");
    let said = world.apply();
    let during = world.get();
    fs::remove_file(state.join("ballast")).expect("removed");
    let again = world.apply();
    let (after, history) = (world.get(), world.history());
    let unmounted = Command::new("umount").arg("-l").arg(&state).output();
    assert!(copied.is_ok_and(|output| output.status.success()) && filled && unmounted.is_ok());
    assert_eq!(during, "v1");
    said.code(1).says("No space left on device");
    again.code(0);
    assert_eq!(after, "v2");
    assert_eq!(history.last(), Some(&(2, "live".to_owned())));
}

fn push(world: &World, words: &[&str]) -> Said {
    world.configure();
    world.run(&[&["state", "push", "--env", "staging"], words].concat())
}

#[test]
fn a_state_is_brought_from_elsewhere_and_forgets_nothing() {
    let mut world = World::live();
    world.message("v2");
    world.apply().code(0);
    let shown = world.run(&["state", "show", "--env", "staging"]).code(0);
    world.put("old.json", &shown.stdout);
    let document = world.run(&["state", "show", "--env", "staging", "--output", "json"]);
    world.put("document.json", &document.stdout);

    // To a place that has none.
    let before = world.history();
    world.staging.push("state: {path: elsewhere}".to_owned());
    push(&world, &["old.json"]).code(0).says("is at serial");
    assert_eq!(world.history(), before);
    // What is live is known there, and what it goes back to.
    let plan = world.run(&["plan", "--env", "staging"]).code(0);
    plan.says("release 3 into blue (active: green, release 2)");

    // Again, in its other form; and what knows less is refused.
    push(&world, &["document.json"])
        .code(0)
        .says("is at serial");
    world.message("v3");
    world.apply().code(0);
    push(&world, &["old.json"])
        .code(6)
        .says("knows release 2 otherwise")
        .says("--force");
    push(&world, &["old.json", "--force"]).code(0);

    let other = shown.stdout.replace("\"staging\"", "\"production\"");
    world.put("other.json", &other);
    push(&world, &["other.json"]).code(6).says("production");
    world.put("none.json", "{}");
    push(&world, &["none.json"])
        .code(64)
        .says("it has no format");
    push(&world, &["/dev/zero"]).code(64).says("a device");
}
