//! What is done with a state itself: listed, pulled, repaired, forgotten in part, and migrated.

use std::fs;
use std::process::Command;

use crate::support::s3::{CAREFUL, CARELESS, OtherS3};
use crate::support::{Said, World, has, until};

/// A world with releases 1 to 3, of which the last is live.
fn three_releases() -> World {
    let world = World::live();
    for text in ["v2", "v3"] {
        world.message(text);
        world.apply().code(0);
    }
    world
}

fn state(world: &World, words: &[&str]) -> Said {
    world.run(&[&["state"], words, &["--env", "staging"]].concat())
}

fn document(said: &Said) -> serde_json::Value {
    serde_json::from_str(&said.stdout).expect("a document")
}

/// What the history says of `shipit state`, newest last.
fn recorded(world: &World) -> Vec<(String, i64)> {
    let said = world.run(&["history", "--env", "staging", "--output", "json"]);
    let commands = document(&said.code(0))["commands"].clone();
    let commands = commands.as_array().expect("a list").iter();
    commands
        .filter(|record| record["place"] == "state")
        .map(|record| {
            let words = record["command"].as_array().expect("words").iter();
            let words: Vec<&str> = words.filter_map(serde_json::Value::as_str).collect();
            let exit = record["exit"].as_i64().expect("it ended");
            (words.join(" "), exit)
        })
        .collect()
}

#[test]
fn what_is_held_is_listed_and_what_nothing_needs_is_forgotten() {
    let world = three_releases();
    let listed = document(&state(&world, &["list", "--output", "json"]).code(0));
    assert_eq!(listed["kind"], "state_list");
    let items = listed["items"].as_array().expect("a list");
    let addresses: Vec<&str> = items
        .iter()
        .filter_map(|item| item["address"].as_str())
        .collect();
    let expected = [
        "release.3",
        "release.2",
        "release.1",
        "slot.blue",
        "workload.blue/web",
        "slot.green",
        "workload.green/web",
        "route.web",
        "traffic",
    ];
    assert_eq!(addresses, expected);
    let can_go: Vec<&str> = items
        .iter()
        .filter(|item| item["can_be_forgotten"] == true)
        .filter_map(|item| item["address"].as_str())
        .collect();
    assert_eq!(can_go, ["release.1"], "the others stand in the slots");
    state(&world, &["list"])
        .code(0)
        .says("traffic")
        .says("goes to blue");

    for (address, why) in [
        ("release.3", "it is in blue"),
        ("release.2", "it is in green"),
        ("slot.green", "it is the engine's own record"),
    ] {
        state(&world, &["rm", address, "--auto-approve"])
            .code(6)
            .says(why);
    }
    state(&world, &["rm", "release.9", "--auto-approve"])
        .code(64)
        .says("there is no release 9");
    state(&world, &["rm", "release.1"])
        .code(1)
        .says("shipit rollback --to 1")
        .says("nobody is here to approve it");
    assert_eq!(world.history().len(), 3);

    let said = state(
        &world,
        &["rm", "release.1", "--auto-approve", "--output", "json"],
    );
    assert_eq!(document(&said.code(0))["removed"], "release.1");
    let known: Vec<u64> = world.history().iter().map(|(number, _)| *number).collect();
    assert_eq!(known, [2, 3]);
    assert_eq!(recorded(&world), [("rm release.1".to_owned(), 0)]);
    world
        .run(&["history", "--env", "staging"])
        .code(0)
        .says("state rm release.1");
    assert_eq!(world.get(), "v3");
    world.message("v4");
    world.apply().code(0).says("release 4");
}

#[test]
fn a_list_starts_no_agent() {
    let world = World::live();
    world.run(&["agent", "stop"]).code(0);
    until("it has ended", || world.agent_pid().is_none());
    state(&world, &["list"]).code(1).says("no agent runs");
    assert_eq!(world.agent_pid(), None);
    // The next agent takes the services back, and ends them with itself.
    world.message("v2");
    world.apply().code(0);
}

#[test]
fn a_damaged_state_is_repaired_by_what_was_pulled() {
    let world = three_releases();
    let pulled = state(&world, &["pull"]).code(0).stdout;
    world.put("pulled.json", &pulled);
    let good = world.read("state/staging/state.json");
    let push = ["push", "pulled.json"];

    world.put("state/staging/state.json", &good[..good.len() / 2]);
    state(&world, &push)
        .code(1)
        .says("is not a state document")
        .says("shipit state push FILE --force");
    state(&world, &["push", "pulled.json", "--force"]).code(0);
    assert_eq!(world.history().len(), 3);
    let aside = world.read("state/staging/state.damaged.json");
    assert_eq!(aside, good[..good.len() / 2], "nothing is lost");
    world
        .run(&["plan", "--env", "staging"])
        .code(0)
        .says("No changes");

    let expected = [
        ("push pulled.json".to_owned(), 1),
        ("push pulled.json --force".to_owned(), 0),
    ];
    assert_eq!(recorded(&world), expected);
}

#[test]
fn a_migrated_state_is_gone_on_with_where_it_is_and_nowhere_else() {
    let mut world = three_releases();
    let before = world.history();
    state(&world, &["migrate"])
        .code(64)
        .says("nothing says where the state was before");
    let old = fs::read_to_string(world.file("state/staging/state.json")).expect("a state");

    world.project = vec!["state: {kind: local, path: elsewhere}".to_owned()];
    let said = state(&world, &["migrate", "--from", "local", "--output", "json"]).code(0);
    let moved = document(&said);
    assert_eq!(
        (&moved["what"], &moved["releases"]),
        (&"copied".into(), &3.into())
    );
    assert_eq!(world.history(), before);
    assert!(moved["journals"].as_u64().expect("a number") >= 3);
    let journals = |folder: &str| {
        let entries = fs::read_dir(world.file(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(
        journals("elsewhere/staging/journal"),
        journals("state/staging/journal")
    );

    // Again it is done, and says so.
    state(&world, &["migrate", "--from", "local"])
        .code(0)
        .says("nothing was done");
    // One that was killed before its end left no mark.
    world.put("state/staging/state.json", &old);
    state(&world, &["migrate", "--from", "local"])
        .code(0)
        .says("was in")
        .says("already");
    world.message("v4");
    world.apply().code(0).says("release 4");

    // A checkout of before is sent on, whatever it asks for.
    let now = std::mem::take(&mut world.project);
    for words in [
        &["plan"][..],
        &["apply", "--auto-approve"],
        &["history"],
        &["state", "show"],
        &["state", "push", "pulled.json"],
        &["state", "restore"],
    ] {
        if words.contains(&"pulled.json") {
            world.put("pulled.json", &old);
        }
        let words = [words, &["--env", "staging"]].concat();
        world
            .run(&words)
            .code(1)
            .says("is not in")
            .says("migrated it to")
            .says("elsewhere");
    }
    assert_eq!(world.get(), "v4");

    // It comes back as it went, with what was done meanwhile.
    state(&world, &["migrate", "--from", "local:elsewhere"]).code(0);
    assert_eq!(world.history().len(), 4);
    world.project = now;
    world
        .run(&["history", "--env", "staging"])
        .code(1)
        .says("migrated it to");
}

/// A lock that another machine's run holds.
fn held_by(user: &str) -> String {
    let now = jiff::Timestamp::now();
    let actor = serde_json::json!({"user": user, "host": "ci", "run": "r"});
    let holder = serde_json::json!({
        "actor": actor, "pid": 1, "pid_started": 1, "command": "apply",
        "since": now, "heartbeat": now, "beats": 1, "fence": 90,
    });
    serde_json::json!({"fence": 90, "holder": holder}).to_string()
}

#[test]
fn a_migration_takes_both_locks() {
    let mut world = World::live();
    world.project = vec!["state: {kind: local, path: elsewhere}".to_owned()];
    for (path, user) in [
        ("state/staging/lock.json", "kim"),
        ("elsewhere/staging/lock.json", "lee"),
    ] {
        world.put(path, &held_by(user));
        state(&world, &["migrate", "--from", "local"])
            .code(4)
            .says(&format!("locked by {user}@ci"));
        fs::remove_file(world.file(path)).expect("removed");
    }
    state(&world, &["migrate", "--from", "local"]).code(0);
}

/// Whoever plays Amazon, if somebody does.
pub fn amazon() -> Option<String> {
    let endpoint = std::env::var("SHIPIT_TEST_AWS").ok();
    let is_real = std::env::var_os("SHIPIT_TEST_REAL").is_some();
    assert!(endpoint.is_some() || !is_real, "SHIPIT_TEST_AWS is not set");
    if endpoint.is_none() {
        eprintln!("SKIPPED: nothing plays Amazon (SHIPIT_TEST_AWS)");
    }
    endpoint
}

/// Puts something into a bucket as it is.
fn put(url: &str, body: &str) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "-X", "PUT"]);
    curl.args(["-H", "content-type: application/xml"]);
    curl.args(["--aws-sigv4", "aws:amz:eu-central-1:s3"]);
    curl.args(["--user", "AKIAIOSFODNN7EXAMPLE:not-a-secret-at-all"]);
    let done = curl.args(["--data-binary", body, url]).output();
    let done = done.expect("curl");
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_history_goes_on_in_a_bucket_and_is_repaired_there() {
    if let Some(endpoint) = amazon().filter(|_| has("curl")) {
        goes_on_and_is_repaired(&endpoint);
    }
}

#[test]
fn a_history_goes_on_at_another_server_that_speaks_s3() {
    if let Some(server) = OtherS3::start(CAREFUL).filter(|_| has("curl")) {
        goes_on_and_is_repaired(&server.endpoint);
    }
}

#[test]
fn a_server_that_ignores_conditions_is_refused_before_anything_is_done() {
    let Some(server) = OtherS3::start(CARELESS) else {
        return;
    };
    let mut world = World::new();
    world.project = vec![format!(
        "state: {{kind: s3, bucket: shop, endpoint: \"{}\", path_style: true, region: eu-central-1}}",
        server.endpoint
    )];
    world.configure();
    with_keys(&world, &["apply", "--auto-approve"])
        .code(1)
        .says("two runs could hold the lock at once")
        .says("use one with conditional writes");
    assert_eq!(world.agent_pid(), None, "nothing was started");
}

fn with_keys(world: &World, words: &[&str]) -> Said {
    let mut command = world.command(&[words, &["--env", "staging"]].concat());
    command
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all");
    Said::from(&command.output().expect("it ran"))
}

fn goes_on_and_is_repaired(endpoint: &str) {
    let mut world = three_releases();
    let before = world.history();
    let bucket = format!("shop-{}", uuid::Uuid::new_v4().simple());
    let region = "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>";
    put(&format!("{endpoint}/{bucket}"), region);
    world.project = vec![format!(
        "state: {{kind: s3, bucket: {bucket}, endpoint: \"{endpoint}\", path_style: true, region: eu-central-1}}"
    )];
    let shipit = with_keys;

    let place = format!("s3://{bucket}/shipit/shop/staging/state.json");
    shipit(&world, &["state", "migrate"]).code(0).says(&place);
    let history = shipit(&world, &["history", "--output", "json"]).code(0);
    let releases = document(&history)["releases"].clone();
    assert_eq!(releases.as_array().map(Vec::len), Some(before.len()));
    world.message("v4");
    shipit(&world, &["apply", "--auto-approve"])
        .code(0)
        .says("release 4");
    let pulled = shipit(&world, &["state", "pull"]).code(0).stdout;
    world.put("pulled.json", &pulled);

    put(
        &format!("{endpoint}/{bucket}/shipit/shop/staging/state.json"),
        "{\"checksum\":",
    );
    let push = ["state", "push", "pulled.json"];
    shipit(&world, &["plan"])
        .code(1)
        .says("is not a state document")
        .says("shipit state push FILE --force")
        .says_not("delete this object");
    shipit(&world, &push).code(1);
    shipit(&world, &[&push[..], &["--force"]].concat()).code(0);
    shipit(&world, &["plan"]).code(0).says("No changes");
    shipit(&world, &["drift"]).code(0).says("Nothing moved");

    // Back into a folder, and the bucket sends on.
    let back =
        format!("s3://{bucket}/shipit?region=eu-central-1&endpoint={endpoint}&path_style=true");
    let there = std::mem::take(&mut world.project);
    shipit(&world, &["state", "migrate", "--from", &back]).code(0);
    assert_eq!(world.history().len(), 4);
    world.project = there;
    shipit(&world, &["plan"])
        .code(1)
        .says("migrated it to")
        .says("state/staging/state.json");
}
