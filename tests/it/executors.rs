//! Runs that are killed at each step and gone on with by another executor, whose workspace has
//! never seen them: all that they share is the state.

use std::path::Path;
use std::process::Command;

use crate::support::killed::{is_over_before, workspace};
use crate::support::s3::{CAREFUL, OtherS3};
use crate::support::{Said, World};

fn apply(world: &World, at: &Path) -> Command {
    let mut command = world.command(&[
        "apply",
        "--env",
        "staging",
        "--auto-approve",
        "--output",
        "json",
    ]);
    command
        .current_dir(at)
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all");
    command
}

/// Each run is killed one moment later than the one before, until one comes to its end.
fn killed_at_each_step(mut world: World, state: &str) {
    world.project.push(state.to_owned());
    // All executors have one registry, too.
    let registry = world.file("registry").display().to_string();
    world
        .project
        .push(format!("registry: {{kind: layout, path: \"{registry}\"}}"));
    world.configure();
    let said = Said::from(&apply(&world, world.path()).output().expect("it ran"));
    said.code(0);
    for count in 1.. {
        let text = format!("killed at {count}");
        world.message(&text);
        world.configure();
        let [killed, other] =
            ["killed", "other"].map(|it| workspace(world.path(), &format!("{it}-{count}")));
        let is_over = is_over_before(&mut apply(&world, &killed), count);
        let answer = world.get();
        let before = format!("killed at {}", count - 1);
        let is_one = [&text, &before].into_iter().any(|it| *it == answer);
        assert!(is_one || count == 1, "{count}: {answer}");

        Said::from(&apply(&world, &other).output().expect("it ran")).code(0);
        assert_eq!(world.get(), text);
        let again = Said::from(&apply(&world, &killed).output().expect("it ran"));
        assert!(again.stdout.contains("no_changes"), "{count}: {again:?}");
        if is_over {
            assert!(count > 8, "the run had only {count} moments");
            return;
        }
    }
}

#[test]
fn a_run_that_is_killed_at_each_step_is_gone_on_with_elsewhere_by_a_state_in_a_bucket() {
    let Some(server) = OtherS3::start(CAREFUL) else {
        return;
    };
    let at = &server.endpoint;
    let more = "path_style: true, region: eu-central-1";
    let state = format!("state: {{kind: s3, bucket: shop, endpoint: \"{at}\", {more}}}");
    killed_at_each_step(World::new(), &state);
}

#[test]
fn a_run_that_is_killed_at_each_step_is_gone_on_with_elsewhere_by_a_state_in_a_shared_folder() {
    let world = World::new();
    let folder = world.file("shared").display().to_string();
    killed_at_each_step(
        world,
        &format!("state: {{kind: local, path: \"{folder}\"}}"),
    );
}
