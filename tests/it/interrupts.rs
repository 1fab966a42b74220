//! Ctrl-C in each phase: once stops cleanly, twice at once, and the next run goes on.

use rustix::process::Signal;

use crate::support::{World, finish, is_written, signal, until};

#[test]
fn while_building_the_build_is_stopped_with_its_children() {
    let mut world = World::live();
    world.message("v2");
    world.build = vec![
        "run: {shell: \"echo $$ > ../pid; sleep 300 & wait\"}".to_owned(),
        "inputs: [message.txt]".to_owned(),
    ];
    let run = world.start_apply();
    until("it builds", || is_written(&world.file("pid")));
    signal(run.id(), Signal::INT);
    finish(run)
        .code(130)
        .says("Interrupted")
        .says("run the same command again");
    let pid = world.read("pid").trim().to_owned();
    until("the build has ended", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    assert_eq!(world.get(), "v1");
    world.build.clear();
    world.apply().code(0).says("Done: release 2");
}

#[test]
fn while_waiting_for_the_new_release_what_stands_stays_and_the_next_run_goes_on() {
    let mut world = World::live();
    world.message("v2");
    world
        .env
        .insert("START_DELAY_MS".to_owned(), "\"8000\"".to_owned());
    let mut run = world.start_apply();
    until("green is placed", || {
        !world.status()["facts"]["slots"]["green"].is_null()
            || matches!(run.try_wait(), Ok(Some(_)))
    });
    signal(run.id(), Signal::INT);
    finish(run).code(130).says("What was prepared stays");
    assert_eq!(world.get(), "v1");
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("green");
    world
        .apply()
        .code(0)
        .says("release 2 is deployed already")
        .says("Done: release 2");
    assert_eq!(world.get(), "v2");
}

#[test]
fn after_the_switch_traffic_is_moved_back() {
    let mut world = World::live();
    world.message("v2");
    world.staging = vec!["promotion: {after: [{http: {path: /, for: 60s}}]}".to_owned()];
    let run = world.start_apply();
    until("traffic has moved", || world.get() == "v2");
    signal(run.id(), Signal::INT);
    finish(run)
        .code(130)
        .says("traffic had moved and was moved back; blue is active");
    assert_eq!(world.get(), "v1");
}

#[test]
fn sigterm_is_the_same() {
    let mut world = World::live();
    world.message("v2");
    world.staging = vec!["promotion: {before: [{http: {path: /, for: 60s}}]}".to_owned()];
    let run = world.start_apply();
    until("green is ready", || {
        crate::support::http::get(&world.preview_address(), "/").is_ok_and(|a| a.body == "v2")
    });
    signal(run.id(), Signal::TERM);
    finish(run).code(130);
    assert_eq!(world.get(), "v1");
}

#[test]
fn twice_stops_at_once_and_the_next_run_goes_on() {
    let mut world = World::live();
    world.message("v2");
    world.put("slow.sh", "trap '' INT TERM; echo x > checking; sleep 300");
    world.staging =
        vec!["promotion: {after: [{run: {command: [sh, slow.sh], timeout: 5m}}]}".to_owned()];
    let run = world.start_apply();
    until("it checks", || world.file("checking").exists());
    signal(run.id(), Signal::INT);
    signal(run.id(), Signal::INT);
    let said = finish(run);
    assert_eq!(said.code, Some(130), "{said:?}");
    world.staging = vec!["promotion: {probe: {linger: 50ms}}".to_owned()];
    world.apply();
    world.apply().code(0).says("No changes");
    assert_eq!(world.get(), "v2");
}

#[test]
fn what_a_command_that_looks_has_started_ends_with_it() {
    let mut world = World::live();
    world.staging.push(
        "secrets: {token: {run: [sh, -c, \"echo $$ > pid; sleep 300\"], timeout: 5m}}".to_owned(),
    );
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    for asked in [Signal::INT, Signal::TERM, Signal::QUIT, Signal::HUP] {
        let run = world.start(&["doctor", "--env", "staging"]);
        until("its program runs", || is_written(&world.file("pid")));
        let pid = world.read("pid").trim().to_owned();
        signal(run.id(), asked);
        finish(run).code(130).says("nothing was changed");
        until("its program has ended", || {
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        });
        std::fs::remove_file(world.file("pid")).expect("it is there");
    }
}
