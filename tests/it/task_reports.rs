//! Tests of a release as a task: what their `JUnit` files say is in the outcome, in the reports of the
//! command and in the history, whatever runs them.

use crate::support::{World, docker_answers};
use crate::tasks::recorded;

/// A world whose next release is tested in the preview slot: its tests say this, and exit so.
fn with_tests(world: &mut World, result: &str, code: u8) {
    let script = format!(
        "set -e; got=$(/bin/busybox wget -qO- http://{}/); cd \"$SHIPIT_REPORTS\"; mkdir unit; \
         ln -s /etc/passwd unit/link.xml; echo \"<testsuite name='cart'><testcase classname='shop' \
         name='greets' time='1.5'/><testcase classname='shop' name='answers'>{result}</testcase>\
         </testsuite>\" > unit/cart.xml; exit {code}",
        world.preview_address()
    );
    let words = serde_json::json!(["/bin/sh", "-c", script]);
    let is_docker = world.project.iter().any(|line| line.contains("docker"));
    let network = if is_docker { ", network: host" } else { "" };
    world.staging = vec![
        "promotion: {mode: auto, keep_previous: 10m, probe: {linger: 50ms}}".to_owned(),
        format!(
            "tasks: {{test: {{run: {words}, when: preview, reports: {{junit: ['**/*.xml']}}{network}}}}}"
        ),
    ];
}

/// The folders that tasks have written reports into and that are there still.
fn left(world: &World) -> usize {
    let name = std::fs::read_to_string(world.agent_folder().join("files-in-memory"));
    let folder = std::path::Path::new("/dev/shm").join(name.expect("its name"));
    std::fs::read_dir(folder).expect("there").count()
}

fn tests_are_reported(world: &mut World) {
    world.apply().code(0);
    world.message("v2");
    with_tests(world, "<failure message='it says $got'/>", 7);
    let [junit, markdown, sarif] = [
        "junit=report.xml",
        "markdown=report.md",
        "sarif=report.sarif",
    ];
    world
        .apply_with(&["--report", junit, "--report", markdown, "--report", sarif])
        .code(1)
        .says("task.green/test: exit code 7: 1 of 2 tests failed: shop answers")
        .says("failed: shop answers: it says v2")
        .says("unit/link.xml: it is a link");
    assert_eq!(world.get(), "v1");
    let report = world.read("report.xml");
    let suite = "<testsuite name=\"task.green/test: cart\" tests=\"2\" failures=\"1\" errors=\"0\"";
    assert!(report.contains(suite), "{report}");
    assert!(report.contains("message=\"it says v2\""), "{report}");
    assert!(!report.contains("root:"), "{report}");
    let comment = world.read("report.md");
    assert!(comment.contains("✗ shop answers: it says v2"), "{comment}");
    let sarif = world.read("report.sarif");
    assert!(sarif.contains("shop answers: it says v2"), "{sarif}");
    let tests = &recorded(world, 2)[0]["tests"];
    assert_eq!(
        (&tests["total"], &tests["failing"][0]),
        (&2.into(), &"shop answers".into())
    );

    with_tests(world, "", 0);
    world.apply().code(0).says("done: 2 tests, none failed");
    assert_eq!(world.get(), "v2");
    assert_eq!(left(world), 0, "no folder of reports stays");
}

#[test]
fn tests_of_a_release_run_against_the_preview_and_are_reported() {
    tests_are_reported(&mut World::new());
}

#[test]
fn tests_of_a_container_are_reported() {
    for users in ["preferred", "\"off\""] {
        let Some(mut world) = crate::containers::world() else {
            return;
        };
        let cluster = format!("cluster: {{runtime: container, user_namespace: {users}}}");
        world.project = vec![cluster];
        tests_are_reported(&mut world);
    }
}

#[test]
fn tests_of_a_docker_container_are_reported() {
    if !docker_answers() {
        return;
    }
    let Some(mut world) = crate::docker::world() else {
        return;
    };
    let volumes = world.service.get_mut("volumes").expect("volumes");
    *volumes = volumes.replace('}', ", /bin: /bin}");
    tests_are_reported(&mut world);
}

/// A value of a secret is hidden in what tests say, and a task in an instance reports, too.
#[test]
fn a_secret_is_hidden_in_what_tests_say() {
    let mut world = World::new();
    let secret = "canary-0123456789-abcdefghij";
    world.put("secret.txt", secret);
    world.project = vec!["secrets: {db: {file: secret.txt}}".to_owned()];
    world.env.insert("DB".to_owned(), "{secret: db}".to_owned());
    let script = "echo \"<testsuite><testcase name='$DB'><error message='$DB'>$DB</error></testcase>\
                  </testsuite>\" > $SHIPIT_REPORTS/a.xml; exit 1";
    let words = serde_json::json!(["/bin/sh", "-c", script]);
    let reports = "reports: {junit: [a.xml]}, on_failure: note";
    world.staging.push(format!(
        "tasks: {{inside: {{exec: {words}, {reports}}}, alone: {{run: {words}, {reports}}}}}"
    ));
    let said = world
        .apply_with(&["--report", "junit=report.xml"])
        .code(0)
        .says("1 of 1 tests failed");
    let everything = format!(
        "{}{}{}{}{}",
        said.stdout,
        said.stderr,
        world.read("report.xml"),
        world.newest_journal(),
        recorded(&world, 1)[0]
    );
    assert!(!everything.contains("canary-0123456789"), "{everything}");
    let report = world.read("report.xml");
    for task in ["task.blue/inside: a.xml", "task.blue/alone: a.xml"] {
        assert!(report.contains(task), "{report}");
    }
    assert_eq!(report.matches("errors=\"1\"").count(), 2, "{report}");
}

#[test]
fn tests_beside_units_are_reported() {
    let Some((mut world, _machine)) = crate::systemd::world("root") else {
        return;
    };
    let script = "echo \"<testsuite name='cart'><testcase name='a'/></testsuite>\" > \
                  $SHIPIT_REPORTS/a.xml";
    let words = serde_json::json!(["/bin/sh", "-c", script]);
    world.staging.push(format!(
        "tasks: {{test: {{run: {words}, when: preview, reports: {{junit: [a.xml]}}}}}}"
    ));
    world
        .apply()
        .code(0)
        .says("done: 1 test, which did not fail");
}
