//! Files of variables, and files that an instance finds: inputs of a release like any other.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::{World, signal, until};

/// A world with both, on this runtime.
fn world(runtime: &str) -> World {
    let mut world = World::new();
    world.project = vec![format!("cluster: {{runtime: {runtime}}}")];
    world.put("common.env", "LEVEL=info\nBASE='http://x'\n");
    world.put("web.env", "URL=${BASE}/api\nLEVEL=warn\nOWN=file\n");
    world.put("app.toml", "one = 1\ntwo = 2\n");
    world.put("site.conf", "for {{ environment }}");
    world.put("token", "first-s3cret\n");
    world.env.insert("OWN".to_owned(), "env".to_owned());
    let mut service = |key: &str, value: &str| {
        world.service.insert(key.to_owned(), value.to_owned());
    };
    service("env_file", "[common.env, web.env]");
    service(
        "files",
        "{/etc/app/app.toml: app.toml, /etc/app/site.conf: {file: site.conf, template: true, variable: SITE}, \
         /run/secrets/token: {secret: token}}",
    );
    world
        .staging
        .push("secrets: {token: {file: token}}".to_owned());
    world
}

fn env(world: &World, name: &str) -> String {
    world.get_path(&format!("/env?{name}"))
}

fn file(world: &World, path: &str) -> String {
    let folder = env(world, "SHIPIT_FILES");
    world.get_path(&format!("/file?{folder}{path}"))
}

/// The folder of an instance's files on this machine.
fn folder(world: &World) -> PathBuf {
    env(world, "SHIPIT_FILES").into()
}

#[test]
fn a_changed_file_is_a_release_and_its_rollback_has_the_old_text() {
    let world = world("process");
    world.apply().code(0);
    for (name, value) in [("LEVEL", "warn"), ("URL", "http://x/api"), ("OWN", "env")] {
        assert_eq!(env(&world, name), value, "{name}");
    }
    assert_eq!(file(&world, "/etc/app/app.toml"), "one = 1\ntwo = 2\n");
    assert_eq!(file(&world, "/run/secrets/token"), "first-s3cret");
    let site = env(&world, "SITE");
    assert_eq!(world.get_path(&format!("/file?{site}")), "for staging");
    world.apply().code(0).says("No changes");

    let first = folder(&world);
    let mode = |path: &Path| {
        let found = std::fs::metadata(path).expect("it is there");
        std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
    };
    assert_eq!(mode(&first.join("run/secrets/token")), 0o400);

    world.put("app.toml", "one = 1\ntwo = 3\n");
    world.put("common.env", "LEVEL=info\nBASE=http://y\n");
    world
        .run(&["plan", "--env", "staging"])
        .code(0)
        .says("files./etc/app/app.toml line 2")
        .says("+ two = 3")
        .says("env.URL")
        .says_not("s3cret");
    world.apply().code(0);
    assert_eq!(env(&world, "URL"), "http://y/api");
    assert_eq!(file(&world, "/etc/app/app.toml"), "one = 1\ntwo = 3\n");
    let second = folder(&world);

    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(env(&world, "URL"), "http://x/api");
    assert_eq!(file(&world, "/etc/app/app.toml"), "one = 1\ntwo = 2\n");
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    assert!(!first.exists() && !second.exists(), "nothing of them stays");
}

#[test]
fn files_are_written_again_for_each_start_and_those_of_nobody_are_deleted() {
    let world = world("process");
    world.apply().code(0);
    let before = folder(&world);
    let stray = before.parent().expect("a folder").join("stray");
    std::fs::create_dir(&stray).expect("made");

    // The next agent takes the instance back with its files, and deletes what is nobody's.
    signal(world.agent_pid().expect("an agent"), Signal::KILL);
    world.run(&["status", "--env", "staging"]).code(0);
    assert_eq!(folder(&world), before);
    assert_eq!(file(&world, "/etc/app/app.toml"), "one = 1\ntwo = 2\n");
    assert!(!stray.exists());

    let instance =
        world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0].clone();
    let pid = instance["pid"].as_u64().expect("a pid");
    signal(u32::try_from(pid).expect("a pid"), Signal::KILL);
    until("another has files of its own", || {
        let there = world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0]["health"]
            == "ready";
        there && folder(&world) != before
    });
    assert!(!before.exists());
    assert_eq!(file(&world, "/run/secrets/token"), "first-s3cret");
}

#[test]
fn what_is_no_file_of_the_project_is_refused_with_its_place() {
    let world = world("process");
    let plan = || world.run(&["plan", "--env", "staging"]).code(1);
    let link = |target: &str, name: &str| {
        let path = world.file(name);
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).expect("a link");
    };
    for (content, said) in [
        ("A=1\nB", "web.env:2: `B` has no value"),
        ("A=1\nA=2", "web.env:2: `A` was set in line 1"),
        (
            "\nA='TOPSECRET",
            "web.env:2: the value that begins with `'`",
        ),
        ("A=$HOME", "web.env:1: `$HOME` is set nowhere before"),
    ] {
        world.put("web.env", content);
        plan().says(said).says_not("TOPSECRET");
    }
    std::fs::write(world.file("web.env"), [0xff, 0xfe, b'A']).expect("written");
    plan()
        .says("services.web.env_file")
        .says("no text in UTF-8");
    world.put("web.env", &"#".repeat(10 << 20));
    plan().says("has more than 262144 bytes");
    link("/etc/hostname", "web.env");
    plan().says("is a link to /etc/hostname, which is outside of");
    link(".git/config", "web.env");
    world.put(".git/config", "[core]\n");
    plan().says("Git's own files");
    std::fs::remove_file(world.file("web.env")).expect("removed");
    plan().says("there is no file web.env");
    std::fs::create_dir(world.file("web.env")).expect("made");
    plan().says("it is a folder, not a file");
    std::fs::remove_dir(world.file("web.env")).expect("removed");
    let pipe = world.file("web.env");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("a pipe");
    plan().says("it is a pipe, not a file");
    std::fs::remove_file(&pipe).expect("removed");

    world.put("web.env", "");
    world.put("site.conf", "a\n{{ nothing }}");
    plan().says("site.conf: ").says("line 2");
    world.put("site.conf", "{{ slot }}");
    plan().says("SHIPIT_SLOT");
    world.put("site.conf", &"x".repeat(300 << 10));
    world.put("app.toml", &"x".repeat(300 << 10));
    plan().says("services.web.files: they have more than 524288 bytes together");
}

#[test]
fn a_container_finds_its_files_at_their_paths_and_cannot_write_them() {
    let Some(other) = crate::containers::world() else {
        return;
    };
    let mut world = world("container");
    world
        .service
        .insert("volumes".to_owned(), other.service["volumes"].clone());
    world.apply().code(0);
    assert_eq!(env(&world, "SHIPIT_FILES"), "");
    assert_eq!(env(&world, "SITE"), "/etc/app/site.conf");
    assert_eq!(file(&world, "/etc/app/app.toml"), "one = 1\ntwo = 2\n");
    assert_eq!(file(&world, "/run/secrets/token"), "first-s3cret");
    for command in ["exec", "run"] {
        let script = "cat /etc/app/site.conf /run/secrets/token; echo no > /etc/app/app.toml";
        world
            .run(&[command, "--env", "staging", "web", "--", "sh", "-c", script])
            .says("for staging************")
            .says("Read-only file system");
    }
}

#[test]
fn a_docker_container_finds_its_files_at_their_paths() {
    let Some(other) = crate::docker::world() else {
        return;
    };
    let mut world = world("docker");
    world
        .service
        .insert("volumes".to_owned(), other.service["volumes"].clone());
    world.env.insert("HOST".to_owned(), "0.0.0.0".to_owned());
    world.apply().code(0);
    assert_eq!(file(&world, "/etc/app/app.toml"), "one = 1\ntwo = 2\n");
    assert_eq!(file(&world, "/run/secrets/token"), "first-s3cret");
    world.put("app.toml", "three = 3\n");
    world.apply().code(0);
    assert_eq!(file(&world, "/etc/app/app.toml"), "three = 3\n");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(file(&world, "/etc/app/app.toml"), "one = 1\ntwo = 2\n");
}
