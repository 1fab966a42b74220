//! Tasks that run by themselves: in the slot that is live, once for each time, and never beside
//! themselves. A time is made due by what the agent has written down: it was decided on until then.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{World, finish, is_written, signal, started_with, until};

const STAGING: &str = "promotion: {mode: auto, keep_previous: 10m, probe: {linger: 50ms}}";

/// A time of every day that was a minute or two ago: it comes again tomorrow.
fn just_now() -> (Timestamp, String) {
    let ago = Timestamp::now() - SignedDuration::from_mins(1);
    let seconds = ago.as_second().rem_euclid(60);
    let due = ago - SignedDuration::from_secs(seconds);
    let due = Timestamp::from_second(due.as_second()).expect("a time");
    (due, due.strftime("%-M %-H * * *").to_string())
}

/// A task that is a script, at these times.
fn script(name: &str, at: &str, script: &str) -> String {
    let words = json!(["/bin/sh", "-c", script]);
    format!("  {name}: {{run: {words}, schedule: \"{at}\"}}")
}

fn configure(world: &mut World, tasks: &[String]) {
    let mut lines = vec![STAGING.to_owned()];
    if !tasks.is_empty() {
        lines.push("tasks:".to_owned());
        lines.extend_from_slice(tasks);
    }
    world.staging = lines;
}

/// A world with `v1` live in blue, which has these tasks.
fn live_with(tasks: &[String]) -> World {
    let mut world = World::new();
    world.message("v1");
    configure(&mut world, tasks);
    world.apply().code(0);
    world
}

fn file(world: &World, task: &str) -> PathBuf {
    let schedules = "environments/shop/staging/schedules";
    let folder = world.agent_folder().join(schedules);
    folder.join(format!("{task}.json"))
}

fn recorded(world: &World, task: &str) -> Value {
    let text = fs::read(file(world, task)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Lets the agent think that it has decided on nothing for five minutes.
fn make_due(world: &World, task: &str) {
    until("the task is known", || {
        recorded(world, task)["live"] == true
    });
    let mut record = recorded(world, task);
    let ago = Timestamp::now() - SignedDuration::from_mins(5);
    record["decided"] = json!(ago.to_string());
    let beside = world.file("schedule.json");
    fs::write(&beside, record.to_string()).expect("written");
    fs::rename(beside, file(world, task)).expect("replaced");
}

fn ended(world: &World, task: &str) -> bool {
    let run = recorded(world, task)["runs"][0].clone();
    run["due"].is_string() && !run["outcome"].is_null()
}

#[test]
fn a_task_runs_at_its_time_in_the_live_slot_and_once_whoever_looks() {
    let (due, at) = just_now();
    let mut world = World::new();
    let log = world.file("log");
    let tell = format!(
        "echo $SHIPIT_SLOT $SHIPIT_RELEASE | tee -a {}",
        log.display()
    );
    let tasks = [script("report", &at, &tell), script("other", &at, "true")];
    world.message("v1");
    configure(&mut world, &tasks);
    world
        .apply()
        .code(0)
        .says("schedule report")
        .says(&format!("+ {at} UTC in blue"));
    make_due(&world, "report");
    until("it has run", || ended(&world, "report"));
    assert_eq!(world.read("log"), "blue 1\n");

    let status = world.run(&["status"]).code(0).says("report").says("done, ");
    assert!(
        status.stdout.contains(&format!("{at} UTC")),
        "{}",
        status.stdout
    );
    let next = &world.status()["schedules"];
    let tomorrow = due + SignedDuration::from_hours(24);
    let report = next.as_array().expect("schedules").iter();
    let report = report.clone().find(|it| it["task"] == "report");
    assert_eq!(report.expect("it")["next"], json!(tomorrow.to_string()));
    let title = format!("report {due:.0} blue | done");
    world
        .run(&["logs", "--task", "report"])
        .code(0)
        .says(&title)
        .says(&format!("report {due:.0} blue | blue 1"));

    // The next agent has the time behind it, and what is due beside it is begun.
    world.run(&["agent", "stop"]).code(0);
    world.status();
    make_due(&world, "other");
    until("the other one has run", || ended(&world, "other"));
    assert_eq!(world.read("log"), "blue 1\n", "once for a time");

    // Another release, with the same task: it was decided on for both slots.
    world.message("v2");
    world
        .apply()
        .code(0)
        .says(&format!("- {at} UTC in blue"))
        .says(&format!("+ {at} UTC in green"));
    assert_eq!(world.get(), "v2");
    make_due(&world, "other");
    until("the other one has run", || {
        recorded(&world, "other")["runs"][0]["slot"] == "green" && ended(&world, "other")
    });
    assert_eq!(world.read("log"), "blue 1\n", "once for a time");
    make_due(&world, "report");
    until("it has run again", || {
        world.read("log").lines().count() == 2
    });
    assert_eq!(world.read("log"), "blue 1\ngreen 2\n");
}

#[test]
fn what_runs_still_is_not_begun_again_by_its_time_or_by_hand() {
    let (_, at) = just_now();
    let mut world = World::new();
    let (log, gate) = (world.file("log"), world.file("gate"));
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.expect("mkfifo").success());
    let slow = format!(
        "echo begun >> {log}; read go < {gate}; echo $go",
        log = log.display(),
        gate = gate.display()
    );
    world.message("v1");
    configure(&mut world, &[script("slow", &at, &slow)]);
    world.apply().code(0);
    make_due(&world, "slow");
    until("it has begun", || is_written(&log));

    world.run(&["status"]).code(0).says("runs, since");
    let by_hand = ["task", "slow", "--env", "staging", "--auto-approve"];
    world
        .run(&by_hand)
        .code(1)
        .says("it runs already, by its schedule");
    world
        .run(&["agent", "stop"])
        .code(1)
        .says("tasks run, and would end with the agent: slow of shop/staging");

    make_due(&world, "slow");
    until("the time is passed over", || {
        recorded(&world, "slow")["runs"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    });
    world.run(&["status"]).code(0).says("skipped: the run of");

    // What is live by then does not end it.
    world.message("v2");
    world.apply().code(0);
    fs::write(&gate, "over\n").expect("the task goes on");
    until("it has ended", || {
        recorded(&world, "slow")["runs"][1]["outcome"]["ended"]["code"] == 0
    });
    assert_eq!(world.read("log"), "begun\n");
    world
        .run(&["logs", "--task", "slow"])
        .code(0)
        .says("| over");

    // The other way round: what runs by hand is not begun beside it.
    let run = world.start(&by_hand);
    until("it has begun by hand", || {
        world.read("log") == "begun\nbegun\n"
    });
    make_due(&world, "slow");
    until("the time is passed over", || {
        recorded(&world, "slow")["runs"]
            .as_array()
            .is_some_and(|all| all.len() == 3)
    });
    fs::write(&gate, "over\n").expect("the task goes on");
    finish(run).code(0);
    world
        .run(&["status"])
        .code(0)
        .says("skipped: a run by hand");
    assert_eq!(world.read("log"), "begun\nbegun\n");
}

#[test]
fn a_failure_is_told_and_no_secret_with_it_and_what_leaves_the_release_has_no_times() {
    let (_, at) = just_now();
    let mut world = World::new();
    let secret = "canary-0123456789-abcdefghij";
    world.put("secret.txt", secret);
    world.message("v1");
    configure(&mut world, &[script("bad", &at, "echo it was $DB; exit 3")]);
    let more = [
        "secrets: {db: {file: secret.txt}}".to_owned(),
        "services: {web: {env: {DB: {secret: db}}}}".to_owned(),
    ];
    world.staging.extend(more.clone());
    world.apply().code(0);
    make_due(&world, "bad");
    until("it has failed", || ended(&world, "bad"));
    world.run(&["status"]).code(0).says("failed: exit code 3");
    let said = world.run(&["logs", "--task", "bad"]).code(0).says("it was");
    assert!(!said.stdout.contains(secret), "{}", said.stdout);
    let kept = fs::read_to_string(file(&world, "bad")).expect("recorded");
    assert!(!kept.contains(secret), "{kept}");
    let log = fs::read_to_string(world.agent_folder().join("agent.log")).expect("a log");
    assert!(
        log.contains("failed: exit code 3") && !log.contains(secret),
        "{log}"
    );

    let runs = recorded(&world, "bad")["runs"].clone();
    configure(&mut world, &[script("other", &at, "true")]);
    world.staging.extend(more);
    world.apply().code(0).says("schedule bad");
    until("it is set aside", || {
        recorded(&world, "bad")["live"] == false
    });
    make_due(&world, "other");
    until("the other one has run", || ended(&world, "other"));
    assert_eq!(recorded(&world, "bad")["runs"], runs);
    world.run(&["status"]).code(0).says_not("bad");
    world
        .run(&["logs", "--task", "bad"])
        .code(0)
        .says("exit code 3");
    let nobody = world.run(&["logs", "--task", "nobody"]).code(64);
    nobody.says("no task nobody runs by itself").says("other");
}

#[test]
fn what_ran_when_its_agent_was_killed_is_recorded_as_unseen_and_does_not_run_on() {
    let (_, at) = just_now();
    let world = live_with(&[script("slow", &at, "exec sleep 987123")]);
    make_due(&world, "slow");
    until("it has begun", || {
        recorded(&world, "slow")["runs"][0]["began"].is_string()
    });
    until("it sleeps", || started_with("987123") == 1);
    signal(world.agent_pid().expect("an agent"), Signal::KILL);
    until("the next agent has recorded it", || {
        world.status();
        recorded(&world, "slow")["runs"][0]["outcome"]["ended"] == "unseen"
    });
    world
        .run(&["status"])
        .code(0)
        .says("failed: it ended while nobody was there");
    until("nothing of it is left", || started_with("987123") == 0);
}

#[test]
fn a_schedule_that_is_none_is_refused_where_it_stands() {
    let mut world = World::new();
    world.message("v1");
    let refused = |world: &World, text: &str| {
        world
            .run(&["validate"])
            .code(1)
            .says("environments/staging.yaml:3")
            .says(text);
    };
    let task = |keys: &str| format!("  report: {{run: [bin/report], {keys}}}");
    configure(&mut world, &[task("schedule: \"61 * * * *\"")]);
    refused(
        &world,
        "the minute `61` is out of its bounds: it is 0 to 59",
    );
    configure(
        &mut world,
        &[task("schedule: \"0 3 * * *\", timezone: Mars/Base")],
    );
    refused(&world, "there is no time zone `Mars/Base`");
    configure(&mut world, &[task("timezone: Europe/Berlin")]);
    refused(&world, "only a task with a `schedule` has times");
    configure(
        &mut world,
        &[task("schedule: \"0 3 * * *\", when: after_switch")],
    );
    refused(&world, "is no step of a plan");
    configure(
        &mut world,
        &[task("schedule: \"0 3 * * *\", class: contract")],
    );
    refused(&world, "take `class` out");
    configure(
        &mut world,
        &[task("schedule: \"0 3 * * *\", timezone: Europe/Berlin")],
    );
    world.run(&["validate"]).code(0);
}
