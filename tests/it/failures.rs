//! What fails, fails before live traffic sees it, or is taken back.

use crate::support::World;

#[test]
fn a_failing_health_check_leaves_live_traffic_alone() {
    let mut world = World::live();
    world.message("v2");
    world
        .env
        .insert("FAIL_START".to_owned(), "no-database".to_owned());
    world
        .apply()
        .code(1)
        .says("web.0 failed: exit code 3")
        .says("cannot start: no-database")
        .says("Live traffic was not touched; blue is active.");
    assert_eq!(world.get(), "v1");
    assert_eq!(
        world.history(),
        [(1, "live".to_owned()), (2, "failed".to_owned())]
    );
    let slots = &world.status()["facts"]["slots"];
    assert!(
        slots["green"].is_null(),
        "what was begun beside is taken back: {slots}"
    );
}

#[test]
fn a_release_that_never_answers_is_given_up_after_its_time() {
    let mut world = World::live();
    world.message("v2");
    world
        .env
        .insert("FAIL_HEALTH".to_owned(), "\"1\"".to_owned());
    world.service.insert(
        "health".to_owned(),
        "{path: /healthz, interval: 50ms, start_within: 500ms}".to_owned(),
    );
    world
        .apply()
        .code(1)
        .says("not ready within 500ms")
        .says("/healthz answered 500");
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_failing_check_before_the_switch_keeps_traffic_where_it_is() {
    let mut world = World::live();
    world.message("v2");
    world.staging = vec!["promotion: {before: [{http: {path: /, contains: v3}}]}".to_owned()];
    world.apply().code(1).says("does not contain `v3`");
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_failing_command_shows_its_last_lines() {
    let mut world = World::live();
    world.message("v2");
    world.put(
        "smoke.sh",
        "echo asked $SHIPIT_URL_WEB of release $SHIPIT_RELEASE; exit 7",
    );
    world.staging = vec!["promotion: {before: [{run: [sh, smoke.sh]}]}".to_owned()];
    let asked = format!("asked http://{} of release 2", world.preview_address());
    world
        .apply()
        .code(1)
        .says("ended with exit code 7")
        .says(&asked);
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_failing_check_after_the_switch_moves_traffic_back() {
    let mut world = World::live();
    world.message("v2");
    world.staging = vec!["promotion: {after: [{http: {path: /nothing, expect: 200}}]}".to_owned()];
    world
        .apply()
        .code(3)
        .says("answered 404, not 200")
        .says("Traffic was moved back; blue is active.");
    assert_eq!(world.get(), "v1");
    assert_eq!(
        world.history(),
        [(1, "live".to_owned()), (2, "reverted".to_owned())]
    );
    world.apply().code(3).says("release 3 into green");
}

#[test]
fn requests_that_fail_while_traffic_is_switched_move_it_back() {
    let mut world = World::live();
    world.message("v2");
    world.env.insert("FAIL_ROOT".to_owned(), "\"1\"".to_owned());
    world.staging = vec!["promotion: {probe: {path: /, linger: 200ms}}".to_owned()];
    world
        .apply()
        .code(3)
        .says("requests failed while traffic was switched")
        .says("Traffic was moved back");
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_first_release_that_fails_after_its_switch_is_taken_off() {
    let mut world = World::new();
    world.staging = vec!["promotion: {after: [{http: {path: /nothing}}]}".to_owned()];
    world
        .apply()
        .code(3)
        .says("the rollback switches it off")
        .says("nothing is live");
    assert!(
        crate::support::http::get(&world.live_address(), "/").is_err(),
        "nobody listens any more"
    );
}

#[test]
fn a_failing_build_shows_its_last_lines_and_changes_nothing() {
    let mut world = World::live();
    world.message("v2");
    world
        .build
        .push("run: {shell: echo compiling; echo type error in cart.rs >&2; exit 9}".to_owned());
    world
        .apply()
        .code(1)
        .says("ended with exit code 9")
        .says("type error in cart.rs");
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_file_that_the_build_did_not_make_is_named() {
    let mut world = World::new();
    world.build.push("run: {shell: \"true\"}".to_owned());
    world.configure();
    let yaml = world
        .read("shipit.yaml")
        .replace("message.txt: /app", "out/shop: /app");
    world.put("other/shipit.yaml", &yaml);
    world.put("other/environments/staging.yaml", "");
    world.put("other/app/a", "");
    world
        .run(&["-C", "other", "apply", "--env", "staging", "--auto-approve"])
        .code(1)
        .says("out/shop")
        .says("is not there");
}

#[test]
fn an_instance_that_crashes_is_started_again_and_the_reason_is_kept() {
    let mut world = World::new();
    let crash = world.file("crash").display().to_string();
    world.env.insert("CRASH_FILE".to_owned(), crash);
    world.apply().code(0);
    world.put("crash", "");
    crate::support::until("it was started again", || {
        let status = world.status();
        let instance = &status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0];
        instance["restarts"].as_u64() > Some(0) && instance["last_exit"] == "exit code 4"
    });
    world
        .run(&["logs", "--env", "staging"])
        .code(0)
        .says("crashing as told");
}
