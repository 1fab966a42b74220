//! Tasks as people meet them: migrations that fail, that are interrupted, that are killed, and that
//! wait until nobody goes back any more.

use std::process::Command;

use rustix::process::Signal;

use crate::support::{World, finish, is_written, signal, until};

const STAGING: &str = "promotion: {mode: auto, keep_previous: 10m, probe: {linger: 50ms}}";

/// A task that is a script.
fn script(name: &str, script: &str, more: &str) -> String {
    let words = serde_json::json!(["/bin/sh", "-c", script]);
    format!("  {name}: {{run: {words}{more}}}")
}

/// A world with `v1` live, whose next release is `v2` and has these tasks.
fn with(tasks: &[String]) -> World {
    let mut world = World::live();
    configure(&mut world, tasks);
    world.message("v2");
    world
}

fn configure(world: &mut World, tasks: &[String]) {
    let mut lines = vec![STAGING.to_owned(), "tasks:".to_owned()];
    lines.extend_from_slice(tasks);
    world.staging = lines;
}

/// The tasks that the state has of a release.
pub fn recorded(world: &World, release: u64) -> Vec<serde_json::Value> {
    let said = world
        .run(&["history", "--env", "staging", "--output", "json"])
        .code(0);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let releases = document["releases"].as_array().expect("releases");
    let release = releases.iter().find(|it| it["number"] == release);
    let tasks = release.expect("the release")["tasks"].as_array();
    tasks.cloned().unwrap_or_default()
}

#[test]
fn a_migration_that_fails_leaves_live_traffic_where_it_is_and_the_next_apply_runs_it_again() {
    let mut world = with(&[]);
    let log = world.file("log").display().to_string();
    let failing = format!("echo adds a column; echo begun >> {log}; exit 3");
    configure(&mut world, &[script("migrate", &failing, "")]);

    world
        .apply()
        .code(1)
        .says("task.green/migrate")
        .says("adds a column")
        .says("exit code 3")
        .says("Live traffic was not touched");
    assert_eq!(world.get(), "v1");
    let slots = &world.status()["facts"]["slots"];
    assert!(
        slots["green"].is_null(),
        "what was deployed is undeployed: {slots}"
    );
    let tasks = recorded(&world, 2);
    assert_eq!(tasks[0]["exit"]["code"], 3, "{tasks:?}");
    assert_eq!(tasks[0]["log"][0], "adds a column", "{tasks:?}");

    let good = format!("echo begun >> {log}");
    configure(&mut world, &[script("migrate", &good, "")]);
    world.apply().code(0);
    assert_eq!((world.get(), world.live_release()), ("v2".to_owned(), 3));
    assert_eq!(world.read("log"), "begun\nbegun\n");
    world.apply().code(0).says("No changes");
    assert_eq!(world.read("log"), "begun\nbegun\n", "once for a release");
}

#[test]
fn a_run_that_is_killed_in_the_middle_of_a_task_is_gone_on_with_and_the_task_runs_once() {
    let mut world = with(&[]);
    let (log, gate) = (world.file("log"), world.file("gate"));
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo").success());
    let slow = format!(
        "echo begun >> {log}; read go < {gate}; echo ended >> {log}",
        log = log.display(),
        gate = gate.display()
    );
    configure(&mut world, &[script("migrate", &slow, "")]);

    let mut run = world.start_apply();
    until("the task has begun", || is_written(&log));
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");
    world
        .run(&["agent", "stop"])
        .code(1)
        .says("tasks run, and would end with the agent: task-migrate-2-0-")
        .says("--end-tasks");

    let run = world.start_apply();
    std::fs::write(&gate, "go\n").expect("the task goes on");
    finish(run).code(0).says("begun by an earlier run");
    assert_eq!(world.read("log"), "begun\nended\n");
    assert_eq!((world.get(), world.live_release()), ("v2".to_owned(), 2));
    assert_eq!(recorded(&world, 2)[0]["exit"]["code"], 0);
}

/// What a killed run has left running ends before another migration begins.
#[test]
fn two_migrations_never_run_at_the_same_time() {
    let mut world = with(&[]);
    let (log, gate, second) = (world.file("log"), world.file("gate"), world.file("second"));
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo").success());
    let slow = format!(
        "echo begun >> {log}; [ -e {second} ] || read go < {gate}; echo ended >> {log}",
        log = log.display(),
        gate = gate.display(),
        second = second.display(),
    );
    configure(&mut world, &[script("migrate", &slow, "")]);
    let mut run = world.start_apply();
    until("the task has begun", || is_written(&log));
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");

    world.message("v3");
    std::fs::write(&second, "").expect("written");
    let run = world.start_apply();
    until("release 3 is deployed", || {
        world.status()["facts"]["slots"]["green"]["label"]["number"] == 3
    });
    std::fs::write(&gate, "go\n").expect("the task goes on");
    finish(run).code(0).says("waited for task-migrate-2-0-");
    assert_eq!(world.read("log"), "begun\nended\nbegun\nended\n");
    assert_eq!(world.get(), "v3");
}

/// A value that comes in two pieces is hidden as one that comes in one.
#[test]
fn a_secret_that_a_task_writes_in_pieces_is_hidden_in_all_that_is_kept() {
    let mut world = World::new();
    let secret = "canary-0123456789-abcdefghij";
    world.put("secret.txt", secret);
    world.message("v1");
    let gate = world.file("gate");
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo").success());
    let pieces = format!(
        "printf %s \"$DB\" | head -c 9; read go < {}; printf %s \"$DB\" | tail -c +10; echo",
        gate.display()
    );
    configure(&mut world, &[script("tell", &pieces, ", when: never")]);
    world
        .staging
        .push("secrets: {db: {file: secret.txt}}".to_owned());
    world
        .staging
        .push("services: {web: {env: {DB: {secret: db}}}}".to_owned());
    world.apply().code(0);

    let opened = std::thread::spawn(move || std::fs::write(gate, "go\n"));
    let task = ["task", "tell", "--env", "staging", "--auto-approve"];
    let said = world.run(&task).code(0);
    opened.join().expect("it ends").expect("the task goes on");
    assert!(!said.stdout.contains(&secret[9..]), "{}", said.stdout);
    let tasks = world.agent_folder().join("environments/shop/staging/tasks");
    for entry in std::fs::read_dir(tasks).expect("the agent's tasks") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a file");
        assert!(!text.contains(&secret[9..]), "{text}");
    }
}

#[test]
fn a_task_that_is_interrupted_ends_with_all_it_started_and_runs_again() {
    let mut world = with(&[]);
    let pids = world.file("pids");
    let long = format!(
        "[ -e {pids} ] && exit 0; setsid sleep 300 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait",
        pids = pids.display()
    );
    configure(&mut world, &[script("migrate", &long, "")]);

    let run = world.start_apply();
    until("the task has begun", || pids.exists());
    signal(run.id(), Signal::INT);
    finish(run).code(130).says("Interrupted");
    for pid in world.read("pids").split_whitespace() {
        let process = std::path::PathBuf::from(format!("/proc/{pid}"));
        until("all of it is gone", || !process.exists());
    }
    assert_eq!(world.get(), "v1");

    world.apply().code(0);
    assert_eq!((world.get(), world.live_release()), ("v2".to_owned(), 2));
}

#[test]
fn a_task_that_takes_too_long_is_ended_and_has_failed() {
    let mut world = with(&[]);
    let pid = world.file("pid");
    let long = format!("echo $$ > {}; exec sleep 300", pid.display());
    configure(&mut world, &[script("migrate", &long, ", timeout: 300ms")]);
    world
        .apply()
        .code(1)
        .says("it took longer than its timeout");
    let pid = world.read("pid");
    assert!(!std::path::PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    assert_eq!(world.get(), "v1");

    configure(
        &mut world,
        &[script("migrate", "exit 4", ", on_failure: note")],
    );
    world
        .apply()
        .code(0)
        .says("the task migrate has failed, which is noted only: exit code 4");
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_command_in_the_new_instance_runs_before_it_gets_traffic() {
    let mut world = with(&[]);
    let port = world.file("port").display().to_string();
    let words = serde_json::json!(["/bin/sh", "-c", format!("echo $PORT > {port}; exit 1")]);
    configure(&mut world, &[format!("  fill: {{exec: {words}, in: new}}")]);
    world.apply().code(1).says("task.green/fill");
    assert_eq!(world.get(), "v1");
    let own = |world: &World, slot: &str| {
        let status = world.status();
        let web = &status["facts"]["slots"][slot]["workloads"]["web"];
        web["instances"][0]["port"].to_string()
    };
    assert_ne!(world.read("port").trim(), own(&world, "blue"));

    let words = serde_json::json!(["/bin/sh", "-c", format!("echo $PORT > {port}")]);
    configure(&mut world, &[format!("  fill: {{exec: {words}, in: new}}")]);
    world.apply().code(0);
    assert_eq!(world.read("port").trim(), own(&world, "green"));
}

#[test]
fn contract_waits_for_the_end_of_the_previous_release_and_a_rollback_does_not_pass_it() {
    let mut world = with(&[]);
    let log = world.file("log").display().to_string();
    let drop = script(
        "drop",
        &format!("echo dropped >> {log}"),
        ", class: contract",
    );
    configure(&mut world, std::slice::from_ref(&drop));
    world.apply().code(0);
    world.apply().code(0).says("task drop (contract) is due at");
    world.run(&["settle", "--env", "staging"]).code(0);
    assert!(!world.file("log").exists(), "the previous release is kept");

    world.message("v3");
    configure(&mut world, &[drop]);
    world.staging[0] = STAGING.replace("10m", "1ms");
    world.apply().code(0);
    let settle = ["settle", "--env", "staging", "--wait", "1m"];
    world.run(&settle).code(0).says("drop");
    assert_eq!(world.read("log"), "dropped\n");
    assert_eq!(recorded(&world, 3)[0]["class"], "contract");
    world.run(&settle).code(0);
    assert_eq!(world.read("log"), "dropped\n", "once for a release");

    let back = ["rollback", "--env", "staging", "--auto-approve"];
    world
        .run(&back)
        .code(6)
        .says("release 3 ran the task drop, which is `contract`")
        .says("--allow-no-rollback");
    world
        .run(&[&back[..], &["--allow-no-rollback"]].concat())
        .code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn what_breaks_the_live_release_wants_to_be_told_so() {
    let mut world = with(&[]);
    let breaks = script("rewrite", "true", ", class: breaking");
    configure(&mut world, &[breaks]);
    world
        .apply()
        .code(6)
        .says("the task rewrite is `breaking`")
        .says("--allow-no-rollback");
    assert_eq!(world.get(), "v1");
    let apply = ["apply", "--env", "staging", "--auto-approve"];
    world
        .run(&[&apply[..], &["--allow-no-rollback"]].concat())
        .code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn by_hand_a_task_runs_in_the_live_release() {
    let mut world = with(&[]);
    configure(
        &mut world,
        &[script("report", "echo 7 users", ", when: never")],
    );
    let task = |more: &[&str]| {
        let words = ["task", "report", "--env", "staging", "--auto-approve"];
        world.run(&[&words[..], more].concat())
    };
    task(&[]).code(0).says("7 users");
    assert_eq!(recorded(&world, 1).len(), 1);
    task(&[])
        .code(0)
        .says("`--again` runs it again")
        .says_not("7 users");
    task(&["--again"]).code(0).says("7 users");
    assert_eq!(recorded(&world, 1).len(), 2);
    world
        .run(&["task", "repor", "--env", "staging", "--auto-approve"])
        .code(1)
        .says("the tasks are: report");
}

#[test]
fn in_place_a_migration_runs_before_the_live_release_is_replaced() {
    let mut world = with(&[]);
    let log = world.file("log").display().to_string();
    let tasks = |script_text: &str| script("migrate", script_text, "");
    let rolling = |world: &mut World, task: String| {
        configure(world, &[task]);
        world.staging.push("strategy: rolling".to_owned());
    };
    // The message is in the image of the release that comes.
    rolling(
        &mut world,
        tasks(&format!("cat message.txt >> {log}; exit 1")),
    );
    world.apply().code(1).says("task.blue/migrate");
    assert_eq!(
        (world.get(), world.read("log")),
        ("v1".to_owned(), "v2".to_owned())
    );
    rolling(&mut world, tasks("true"));
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_a_task_leaves_a_failure_and_no_second_run() {
    let mut world = with(&[]);
    let (log, gate) = (world.file("log"), world.file("gate"));
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo").success());
    let slow = format!(
        "echo begun >> {}; read go < {}",
        log.display(),
        gate.display()
    );
    configure(&mut world, &[script("migrate", &slow, "")]);

    let mut run = world.start_apply();
    until("the task has begun", || is_written(&log));
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");
    signal(world.agent_pid().expect("it runs"), Signal::KILL);

    world
        .apply()
        .code(1)
        .says("it ended while nobody was there to see how");
    assert_eq!(world.read("log"), "begun\n", "nobody guesses");
    assert_eq!(world.get(), "v1");

    // Its release has failed. The next one has a task of its own.
    let good = format!("echo again >> {}", log.display());
    configure(&mut world, &[script("migrate", &good, "")]);
    world.apply().code(0);
    assert_eq!(
        (world.read("log"), world.live_release()),
        ("begun\nagain\n".to_owned(), 3)
    );
}

#[test]
fn a_task_has_its_services_secrets_and_what_it_writes_of_them_is_kept_nowhere() {
    let mut world = with(&[]);
    let value = "correct-horse-battery-staple";
    world.put("token", value);
    let seen = world.file("seen").display().to_string();
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    let tells =
        format!("printf %s \"$TOKEN\" > {seen}; echo token $TOKEN; echo $TOKEN >&2; exit 1");
    configure(&mut world, &[script("migrate", &tells, "")]);
    world
        .staging
        .push("secrets: {token: {file: token}}".to_owned());

    let said = world.apply().code(1).says_not(value);
    assert!(said.stderr.contains("token "), "{said:?}");
    assert_eq!(world.read("seen"), value);
    for folder in ["state", "a"] {
        let found = Command::new("grep")
            .args(["-r", "-l", value])
            .arg(world.file(folder))
            .output()
            .expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{folder}");
    }
    let tasks = recorded(&world, 2);
    assert_eq!(
        tasks[0]["log"].as_array().map(Vec::len),
        Some(2),
        "{tasks:?}"
    );
}

/// A rollback leaves the release that needs what a later one would take away.
#[test]
fn settle_after_a_rollback_runs_nothing_of_the_release_that_was_left() {
    let mut world = with(&[]);
    let log = world.file("log");
    let drop = format!("echo dropped >> {}", log.display());
    let drop = script("drop", &drop, ", class: contract");
    configure(&mut world, std::slice::from_ref(&drop));
    world.staging[0] = STAGING.replace("10m", "1ms");
    let settle = ["settle", "--env", "staging", "--wait", "1m"];
    world.run(&settle).code(0).says("Nothing is due");

    world.apply().code(0);
    let back = ["rollback", "--env", "staging", "--auto-approve"];
    world.run(&back).code(0);
    assert_eq!(world.get(), "v1");

    world.run(&settle).code(0).says_not("drop");
    assert!(!log.exists(), "release 1 has what it needs");
}

/// A build server gives each run a fresh workspace: what an earlier life of the environment did is
/// no work of this one.
#[test]
fn a_task_of_an_environment_that_was_deleted_is_run_again_in_the_next_one() {
    let mut world = World::new();
    let log = world.file("log");
    let migrate = format!("echo migrated >> {}", log.display());
    configure(&mut world, &[script("migrate", &migrate, "")]);
    world.message("v1");
    world.apply().code(0);
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    std::fs::remove_dir_all(world.file("state")).expect("a fresh workspace");
    world.apply().code(0);
    assert_eq!(world.read("log"), "migrated\nmigrated\n");
}

/// Nobody recorded that it had failed: the workspace is gone.
#[test]
fn a_task_that_failed_in_a_workspace_that_is_gone_is_begun_anew() {
    let mut world = World::new();
    let (log, gate) = (world.file("log"), world.file("mended"));
    let migrate = format!(
        "echo begun >> {}; [ -e {} ] || exit 7",
        log.display(),
        gate.display()
    );
    configure(&mut world, &[script("migrate", &migrate, "")]);
    world.message("v1");
    world.apply().code(1).says("exit code 7");
    std::fs::remove_dir_all(world.file("state")).expect("a fresh workspace");
    std::fs::write(&gate, "").expect("the cause is mended");
    world.apply().code(0);
    assert_eq!(world.read("log"), "begun\nbegun\n");
}
