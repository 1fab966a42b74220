//! The host engine with containers of its own, without a daemon.

use std::process::Command;

use rustix::process::Signal;

use crate::support::{World, signal, until};

/// A world whose instances are containers of the agent's own; none without root.
pub fn world() -> Option<World> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    assert!(is_root || std::env::var_os("SHIPIT_TEST_REAL").is_none(), "containers need root");
    if !is_root {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: containers need root");
        }
        return None;
    }
    let mut world = World::new();
    world.project = vec!["cluster: {runtime: container}".to_owned()];
    let folder = crate::support::storefront().parent().expect("a folder").display().to_string();
    // The tests' own service, with the libraries of this machine beside it.
    world.service.insert(
        "volumes".to_owned(),
        format!("{{{folder}: {folder}, /lib: /lib, /lib64: /lib64, /usr: /usr, /bin: /bin}}"),
    );
    Some(world)
}

/// The folders of a world's containers.
fn containers(world: &World) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(world.agent_folder().join("containers"));
    entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The first process of a container.
fn init(bundle: &std::path::Path) -> u32 {
    let text = std::fs::read_to_string(bundle.join("init")).expect("it is written down");
    text.split(' ').next().expect("a number").parse().expect("a number")
}

/// The process beside the container of the slot blue.
fn beside(world: &World) -> u32 {
    let status = world.status();
    let pid = &status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0]["pid"];
    pid.as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn mounts(world: &World) -> usize {
    let place = world.agent_folder().display().to_string();
    std::fs::read_to_string("/proc/mounts")
        .expect("mounts")
        .lines()
        .filter(|line| line.contains(&place))
        .count()
}

#[test]
fn a_container_has_its_own_world_and_nothing_of_it_stays() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    let bundle = containers(&world).remove(0);
    let pid = init(&bundle);
    let namespace =
        |pid: &str, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    for kind in ["pid", "mnt", "ipc", "uts"] {
        assert_ne!(namespace(&pid.to_string(), kind), namespace("self", kind), "{kind}");
    }
    assert_eq!(namespace(&pid.to_string(), "net"), namespace("self", "net"), "the machine's network");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    world.run(&["rollback", "--env", "staging", "--auto-approve"]).code(0).says("0 of ");
    assert_eq!(world.get(), "v1");
    world.run(&["destroy", "--env", "staging", "--auto-approve"]).code(0);
    until("its folders are gone", || containers(&world).is_empty());
    assert_eq!(mounts(&world), 0);
    assert!(!alive(pid));
}

#[test]
fn containers_outlive_their_agent_and_what_nobody_knows_is_removed() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    let before = init(&containers(&world).remove(0));
    signal(world.agent_pid().expect("an agent"), Signal::KILL);
    // What an agent left that died between making a container and writing it down.
    let stray = world.agent_folder().join("containers/shipit-stray");
    std::fs::create_dir_all(&stray).expect("a folder");
    world.run(&["status", "--env", "staging"]).code(0).says("ready 1/1");
    assert_eq!(world.get(), "v1");
    assert_eq!(init(&containers(&world).remove(0)), before, "the same container");
    assert!(!stray.exists());
    // The process beside it is killed: nobody would see its end. It is started again, and the old one does not go on.
    signal(beside(&world), Signal::KILL);
    until("it is started again", || {
        let now = containers(&world);
        now.len() == 1 && now[0].join("init").exists() && init(&now[0]) != before
    });
    until("the old one has ended", || !alive(before));
    until("it answers", || {
        crate::support::http::get(&world.live_address(), "/").is_ok_and(|answer| answer.body == "v1")
    });
}

#[test]
fn a_health_command_runs_inside_and_a_limit_is_one() {
    let Some(mut world) = world() else { return };
    // `/proc/1` is the service itself only inside; the command runs as the service does.
    let inside = "{run: [/bin/sh, -c, \"grep -q storefront /proc/1/cmdline && test $(id -u) = 1234\"], \
                  interval: 100ms, start_within: 10s}";
    world.build.push("user: \"1234:1234\"".to_owned());
    world.service.insert("health".to_owned(), inside.to_owned());
    world.service.insert("resources".to_owned(), "{memory_limit: 256Mi, cpu_limit: 500m}".to_owned());
    world.apply().code(0);
    let pid = init(&containers(&world).remove(0));
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
    assert!(groups.contains("/shipit/"), "{groups}");
    let limit = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let v1 = format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes");
        let v2 = format!("/sys/fs/cgroup{path}/memory.max");
        let file = if controllers.contains("memory") { v1 } else { v2 };
        std::fs::read_to_string(file).ok()
    });
    assert_eq!(limit.as_deref().map(str::trim), Some("268435456"), "{groups}");
}

#[test]
fn what_nobody_waits_for_any_more_is_taken_away_by_the_next_agent() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    let bundle = containers(&world).remove(0);
    let before = init(&bundle);
    let beside = beside(&world);
    signal(world.agent_pid().expect("an agent"), Signal::KILL);
    signal(beside, Signal::KILL);
    until("it is killed", || !alive(beside));
    assert!(alive(before), "the container itself goes on");
    world.run(&["status", "--env", "staging"]).code(0);
    until("it answers", || {
        crate::support::http::get(&world.live_address(), "/").is_ok_and(|answer| answer.body == "v1")
    });
    assert_ne!(containers(&world), [bundle]);
    assert_eq!((containers(&world).len(), mounts(&world)), (1, 1));
    assert!(!alive(before), "the old one has ended");
}

#[test]
fn images_come_from_any_registry() {
    let Ok(endpoint) = std::env::var("SHIPIT_TEST_REGISTRY") else {
        assert!(std::env::var_os("SHIPIT_TEST_REAL").is_none(), "SHIPIT_TEST_REGISTRY is not set");
        eprintln!("SKIPPED: no registry");
        return;
    };
    for runtime in ["process", "container"] {
        let Some(mut world) = world() else { return };
        if runtime == "process" {
            world.service.remove("volumes");
        }
        let repository = format!("it-{}/web", uuid::Uuid::new_v4().simple());
        world.project = vec![
            format!("cluster: {{runtime: {runtime}}}"),
            format!("registry: {{kind: oci, endpoint: \"{endpoint}\", repository: {repository}}}"),
        ];
        world.apply().code(0).says("bringing");
        assert_eq!(world.get(), "v1", "{runtime}");
        world.message("v2");
        world.apply().code(0);
        assert_eq!(world.get(), "v2", "{runtime}");
        let digest = |slot: &str| {
            let status = world.status();
            status["facts"]["slots"][slot]["workloads"]["web"]["spec"]["image"].to_string()
        };
        assert_ne!(digest("blue"), digest("green"), "{runtime}");
        // A blob on this machine that is not what its digest says is brought again.
        for blob in std::fs::read_dir(world.agent_folder().join("layout/blobs/sha256")).expect("blobs") {
            std::fs::write(blob.expect("a blob").path(), "spoiled").expect("a file");
        }
        world.message("v3");
        world.apply().code(0);
        assert_eq!(world.get(), "v3", "{runtime}");
        world.run(&["rollback", "--env", "staging", "--auto-approve"]).code(0);
        assert_eq!(world.get(), "v2", "{runtime}");
    }
}
