//! The host engine with containers of a real Docker Engine.

use std::process::Command;

use crate::support::http::Load;
use crate::support::{World, docker_answers, started_with, until};

/// A world whose instances are containers; none without Docker.
pub fn world() -> Option<World> {
    if !docker_answers() {
        return None;
    }
    let mut world = World::new();
    world.project = vec!["cluster: {runtime: docker}".to_owned()];
    // The tests' own service, with the libraries of this machine beside it.
    world.service.insert(
        "volumes".to_owned(),
        format!(
            "{{{}: {}, /lib: /lib, /lib64: /lib64, /usr/lib: /usr/lib}}",
            folder(),
            folder()
        ),
    );
    world.env.insert("HOST".to_owned(), "0.0.0.0".to_owned());
    Some(world)
}

fn folder() -> String {
    crate::support::storefront()
        .parent()
        .expect("a folder")
        .display()
        .to_string()
}

/// The containers of a world, by what `docker ps` shows of them.
pub fn containers(world: &World, format: &str) -> Vec<String> {
    let mine = format!(
        "label=shipit.dev/agent-directory={}",
        world.agent_folder().display()
    );
    let output = Command::new("docker")
        .args([
            "ps",
            "--all",
            "--filter",
            &mine,
            "--filter",
            "name=shipit-shop-",
        ])
        .args(["--format", format])
        .output();
    let output = output.expect("docker starts");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// What docker says to a command that succeeds.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    let output = output.expect("docker starts");
    let beside = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {beside}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Containers beside those of an agent, and the image of one, which are removed at the end.
struct Others {
    containers: Vec<String>,
    image: String,
}

impl Drop for Others {
    fn drop(&mut self) {
        let remove = ["rm", "--force"].map(str::to_owned);
        let remove = remove.iter().chain(&self.containers);
        let _ = Command::new("docker").args(remove).output();
        let _ = Command::new("docker").args(["rmi", &self.image]).output();
    }
}

#[test]
fn fifty_promotions_under_load_lose_no_request() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    world.message("v2");
    world.apply().code(0);
    let load = Load::start(&world.live_address(), 32, 1000);
    for turn in 0..50 {
        let slot = if turn % 2 == 0 { "blue" } else { "green" };
        world
            .run(&["promote", slot, "--env", "staging", "--auto-approve"])
            .code(0)
            .says("0 of ");
    }
    let seen = load.stop();
    seen.has_lost_none_of(1000);
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    assert!(
        containers(&world, "{{.Names}}").is_empty(),
        "nothing is left"
    );
}

#[test]
fn containers_outlive_their_agent_and_strays_are_removed() {
    let Some(world) = world() else { return };
    world.apply().code(0);
    let before = containers(&world, "{{.ID}}");
    assert_eq!(before.len(), 1);
    let labels = containers(
        &world,
        "{{.Label \"shipit.dev/slot\"}} {{.Label \"shipit.dev/release\"}}",
    );
    assert_eq!(labels, ["blue 1"]);
    // An agent that died between making a container and writing it down; an agent of another
    // machine whose folder has the same path; and what a person made of an instance to look at it.
    let agent = containers(&world, "{{.Label \"shipit.dev/agent\"}}").remove(0);
    let image = containers(&world, "{{.Image}}").remove(0);
    let name = |what: &str| format!("shipit-{what}-{}", std::process::id());
    let label = |key: &str, value: &str| format!("--label=shipit.dev/{key}={value}");
    for (name, agent) in [(name("stray"), agent.as_str()), (name("other"), "another")] {
        let labels = [label("agent", agent), label("container", &name)];
        docker(&["create", "--name", &name, &labels[0], &labels[1], &image]);
    }
    let copy = name("copy").to_lowercase();
    docker(&["commit", &before[0], &copy]);
    docker(&["create", "--name", &name("mine"), &copy]);
    let others = Others {
        containers: vec![name("stray"), name("other"), name("mine")],
        image: copy,
    };
    let pid = world.agent_pid().expect("an agent").to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid])
            .status()
            .expect("kill starts")
            .success()
    );
    world.run(&["status", "--env", "staging"]).code(0);
    assert_eq!(world.get(), "v1");
    assert_eq!(
        containers(&world, "{{.ID}}"),
        before,
        "the same container, and the copy of it is not the agent's"
    );
    let there = docker(&["ps", "--all", "--format", "{{.Names}}"]);
    let is_there = others
        .containers
        .iter()
        .map(|name| there.contains(name.as_str()));
    assert_eq!(is_there.collect::<Vec<_>>(), [false, true, true], "{there}");
    // One that somebody kills is started again, and its last words are in the log.
    Command::new("docker")
        .args(["kill", &before[0]])
        .output()
        .expect("docker starts");
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while containers(&world, "{{.ID}}") == before || containers(&world, "{{.ID}}").is_empty() {
        assert!(std::time::Instant::now() < deadline, "it is started again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world
        .run(&["logs", "--env", "staging"])
        .code(0)
        .says("storefront listens");
}

#[test]
fn an_agent_takes_no_image_away_that_another_one_fetched_and_is_about_to_use() {
    let (Some(one), Some(other)) = (world(), world()) else {
        return;
    };
    one.apply().code(0);
    let image = containers(&one, "{{.Image}}").remove(0);
    one.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);

    other.message("v2");
    other.apply().code(0);
    let found = Command::new("docker")
        .args(["image", "inspect", &image])
        .output()
        .expect("docker starts");
    assert!(
        found.status.success(),
        "{image}: {}",
        String::from_utf8_lossy(&found.stderr)
    );
}

#[test]
fn what_a_container_may_use_is_what_it_gets() {
    let Some(mut world) = world() else { return };
    world.service.insert(
        "resources".to_owned(),
        "{cpu_limit: 500m, memory_limit: 64Mi}".to_owned(),
    );
    world.apply().code(0);
    let name = containers(&world, "{{.Names}}").remove(0);
    let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.SecurityOpt}}";
    let seen = Command::new("docker")
        .args(["inspect", "--format", format, &name])
        .output()
        .expect("docker starts");
    let seen = String::from_utf8_lossy(&seen.stdout).trim().to_owned();
    assert_eq!(seen, "67108864 500000000 [no-new-privileges]");
}

#[test]
fn what_listens_for_its_own_container_alone_never_gets_traffic() {
    let Some(mut world) = world() else { return };
    let health = "{interval: 100ms, start_within: 20s}".to_owned();
    world.service.insert("health".to_owned(), health);
    world.apply().code(0);
    assert_eq!(world.get(), "v1");

    world.message("v2");
    world.env.insert("HOST".to_owned(), "127.0.0.1".to_owned());
    world
        .apply()
        .code(1)
        .says("it listens at 127.0.0.1:8080 of its container alone (PORT)")
        .says("have it listen at 0.0.0.0");
    assert_eq!((world.get(), world.live_release()), ("v1".to_owned(), 1));
}

#[test]
fn a_health_command_runs_inside_and_a_failure_is_told() {
    let Some(mut world) = world() else { return };
    let inside = "{run: [/lib64/ld-linux-x86-64.so.2, --version]}";
    world.service.insert("health".to_owned(), inside.to_owned());
    world.apply().code(0);
    world.service.insert(
        "health".to_owned(),
        "{run: [/no/such/program], start_within: 500ms}".to_owned(),
    );
    world.apply().code(1).says("/no/such/program");
}

#[test]
fn a_health_command_that_takes_too_long_is_ended_with_all_that_it_started() {
    let Some(mut world) = world() else { return };
    let seconds = format!("{}9999", std::process::id());
    let shell = format!("echo >> /ran; /bin/busybox sleep {seconds}; true");
    let liveness = format!(
        "{{run: [/bin/busybox, sh, -c, \"{shell}\"], interval: 100ms, timeout: 300ms, failures: 1000}}"
    );
    let health =
        format!("{{path: /healthz, interval: 100ms, start_within: 20s, liveness: {liveness}}}");
    world.service.insert("health".to_owned(), health);
    let volumes = world.service.get_mut("volumes").expect("volumes");
    *volumes = volumes.replace('{', "{/bin: /bin, ");
    world.apply().code(0);

    let name = containers(&world, "{{.Names}}").remove(0);
    let ran = || {
        let count = ["exec", &name, "/bin/busybox", "grep", "-c", "", "/ran"];
        let output = Command::new("docker").args(count).output();
        let output = output.expect("docker starts");
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse::<usize>()
    };
    until("it was run some times", || ran().is_ok_and(|ran| ran > 4));
    // A shell and what it waits for.
    until("none but the last ones are left", || {
        started_with(&seconds) <= 4
    });
}

#[test]
fn a_command_in_a_container_ends_with_who_looks_on_and_with_all_that_it_started() {
    let Some(mut world) = world() else { return };
    let volumes = world.service.get_mut("volumes").expect("volumes");
    *volumes = volumes.replace('{', "{/bin: /bin, ");
    world.apply().code(0);
    let shell = |script: &str| {
        let words = ["exec", "--env", "staging", "--", "/bin/busybox", "sh", "-c"];
        [&words[..], &[script]].concat().join("\0")
    };
    let run = shell("echo out; echo err >&2; exit 7");
    let run: Vec<&str> = run.split('\0').collect();
    world.run(&run).code(7).says("out").says("err");
    world
        .run(&["exec", "--env", "staging", "--", "/no/such/program"])
        .says("/no/such/program");

    let alone = [
        "run",
        "--env",
        "staging",
        "web",
        "--",
        "/bin/busybox",
        "sh",
        "-c",
    ];
    let script = "echo $SHIPIT_SLOT; echo err >&2; exit 9";
    let said = world.run(&[&alone[..], &[script]].concat()).code(9);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("blue\n", "err\n")
    );
    world
        .run(&["run", "--env", "staging", "web", "--", "/no/such/program"])
        .code(1)
        .says("/no/such/program");

    let seconds = format!("{}8888", std::process::id());
    let slow = shell(&format!("/bin/busybox sleep {seconds}; true"));
    let slow: Vec<&str> = slow.split('\0').collect();
    let mut client = world.start(&slow);
    // The client itself, a shell, and what that waits for.
    until("it runs", || started_with(&seconds) >= 3);
    client.kill().expect("killed");
    client.wait().expect("it ends");
    until("nothing is left", || started_with(&seconds) == 0);
}

/// Puts the example for one Docker host into a world.
fn example(world: &World) {
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/docker-host");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(format!("{}/.", from.display()))
        .arg(world.path())
        .status();
    assert!(copied.expect("cp starts").success());
    // A base image that only Docker itself has: there is no outside registry to pull from.
    world.put(
        "base/Dockerfile",
        "FROM scratch\nCOPY busybox /bin/busybox\n",
    );
    std::fs::copy("/bin/busybox", world.file("base/busybox")).expect("busybox-static is there");
    let tag = "localhost:1/shipit-tests/busybox:1";
    let mut built = Command::new("docker");
    built
        .args(["build", "--quiet", "--tag", tag, "base"])
        .current_dir(world.path());
    assert!(built.output().expect("docker starts").status.success());
    let file = world
        .read("shipit.yaml")
        .replace("docker.io/library/busybox:1.36", "shipit-tests-busybox:1");
    let renamed = Command::new("docker")
        .args(["tag", tag, "shipit-tests-busybox:1"])
        .status();
    assert!(renamed.expect("docker starts").success());
    world.put("shipit.yaml", &file);
}

/// What shipit says of the project in a world, which it does.
fn run_in(world: &World, arguments: &[&str]) -> String {
    let output = Command::new(crate::support::shipit())
        .args(arguments)
        .current_dir(world.path())
        .env("SHIPIT_AGENT_DIR", world.agent_folder())
        .env("NO_COLOR", "1")
        .output()
        .expect("shipit starts");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn the_example_of_one_docker_host_runs() {
    let Some(world) = world() else { return };
    example(&world);
    let address = world.live_address().replace(":8080", "");
    let staging = world.read("environments/staging.yaml");
    let listeners = format!("traffic: {{address: {address}, ");
    let staging = staging.replace("traffic: {", &listeners);
    let staging = staging.replace("127.0.0.1:8081", &format!("{address}:8081"));
    let staging = format!("{staging}promotion: {{probe: {{linger: 10ms}}}}\n");
    world.put("environments/staging.yaml", &staging);
    let run = |arguments: &[&str]| run_in(&world, arguments);
    let apply = ["apply", "--env", "staging", "--auto-approve"];
    let said = run(&[&apply[..], &["--report", "junit=report.xml"]].concat());
    assert!(said.contains("2 tests, none failed"), "{said}");
    let report = world.read("report.xml");
    let suite = "<testsuite name=\"task.blue/smoke: smoke\" tests=\"2\" failures=\"0\"";
    assert!(report.contains(suite), "{report}");
    assert_eq!(world.get().trim(), "<h1>shop</h1>");
    world.put("app/index.html", "<h1>two</h1>\n");
    run(&["apply", "--env", "staging", "--auto-approve"]);
    assert_eq!(world.get().trim(), "<h1>two</h1>");

    // A page without a title fails its tests, and gets no traffic.
    world.put("app/index.html", "three\n");
    let mut failing = Command::new(crate::support::shipit());
    let failing = failing
        .args(apply)
        .current_dir(world.path())
        .env("SHIPIT_AGENT_DIR", world.agent_folder())
        .output()
        .expect("shipit starts");
    let said = String::from_utf8_lossy(&failing.stderr);
    assert_eq!(failing.status.code(), Some(1), "{said}");
    let failed = "2 of 2 tests failed: smoke has a title, smoke ends its title";
    assert!(said.contains(failed), "{said}");
    assert_eq!(world.get().trim(), "<h1>two</h1>");
    run(&["rollback", "--env", "staging", "--auto-approve"]);
    assert_eq!(world.get().trim(), "<h1>shop</h1>");
    run(&["destroy", "--env", "staging", "--auto-approve"]);
}

#[test]
fn the_production_of_the_example_is_released_behind_nginx_and_told_to_etcd() {
    let (Some(world), Some(front)) = (world(), crate::nginx::Front::new()) else {
        return;
    };
    if !crate::support::has("etcd") {
        return;
    }
    example(&world);
    let etcd = crate::nginx::Etcd::start(&front.world, None);
    let production = front.instead_of_the_machines(&world.read("environments/production.yaml"));
    assert!(!production.contains("/etc/nginx"), "{production}");
    let production = production.replace("http://127.0.0.1:2379", &etcd.url);
    world.put("environments/production.yaml", &production);

    let run = |arguments: &[&str]| run_in(&world, arguments);
    let apply = ["apply", "--env", "production", "--auto-approve"];
    run(&apply);
    until("nginx has it", || {
        front.world.get().trim() == "<h1>shop</h1>"
    });
    assert_eq!(etcd.live(None).as_deref(), Some("blue"));
    world.put("app/index.html", "<h1>two</h1>\n");
    run(&apply);
    until("nginx has it", || {
        front.world.get().trim() == "<h1>two</h1>"
    });
    assert_eq!(etcd.live(None).as_deref(), Some("green"));
    run(&["rollback", "--env", "production", "--auto-approve"]);
    until("nginx has it", || {
        front.world.get().trim() == "<h1>shop</h1>"
    });
    run(&["restart", "--env", "production", "--auto-approve"]);
    assert_eq!(front.world.get().trim(), "<h1>shop</h1>");
    run(&["destroy", "--env", "production", "--auto-approve"]);
}
