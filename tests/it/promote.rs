//! From one environment to the next: the same images, and the rules for what may go where.

use crate::support::World;

fn two_environments(branches: &str) -> World {
    let mut world = World::new();
    world.project.push(branches.to_owned());
    world.configure();
    let staging = world.read("environments/staging.yaml");
    let production =
        format!("{staging}\nservices: {{web: {{port: 9080, env: {{STAGE: production}}}}}}\n");
    world.put("environments/production.yaml", &production);
    world
}

const BRANCHES: &str = "branches:\n  main: {environment: staging}\n  release: {environment: production, accepts: [main]}\n";

#[test]
fn production_gets_the_digests_that_staging_has_and_builds_nothing() {
    let world = two_environments(BRANCHES);
    world.apply().code(0);
    let carry = ["promote", "staging", "--to", "production", "--auto-approve"];
    let said = world
        .run(&carry)
        .code(0)
        .says("promoted from staging release 1");
    assert!(!said.stdout.contains("  build:"), "{}", said.stdout);
    let address = world.live_address().replace(":8080", ":9080");
    assert_eq!(
        crate::support::http::get(&address, "/")
            .expect("an answer")
            .body,
        "v1"
    );
    assert_eq!(
        crate::support::http::get(&address, "/env?STAGE")
            .expect("an answer")
            .body,
        "production"
    );
    let image = |environment: &str| {
        let said = world
            .run(&["history", "--env", environment, "--output", "json"])
            .code(0);
        let releases: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
        releases["releases"][0]["workloads"]["web"]["image"]["value"]
            .as_str()
            .expect("a digest")
            .to_owned()
    };
    assert_eq!(image("staging"), image("production"));
    world
        .run(&["history", "--env", "production"])
        .code(0)
        .says("from staging release 1");
    world.run(&carry).code(0).says("No changes");
}

#[test]
fn what_this_folder_does_not_know_to_be_live_is_not_carried_on() {
    let world = two_environments(BRANCHES);
    world.apply().code(0);
    let (state, first) = (world.file("state/staging"), world.file("first"));
    std::fs::rename(&state, &first).expect("another folder has no state");
    world.message("v2");
    world.apply().code(0).says("release 2");

    std::fs::remove_dir_all(&state).expect("the other folder's");
    std::fs::rename(&first, &state).expect("the first folder's");
    let carry = ["promote", "staging", "--to", "production", "--auto-approve"];
    world
        .run(&carry)
        .code(64)
        .says("this state is behind: release 2 is in green");
}

#[test]
fn what_the_rules_do_not_accept_is_refused() {
    let world = two_environments(
        "branches:\n  main: {environment: staging}\n  other: {environment: staging}\n  \
         release: {environment: production, accepts: [other], direct_commits: false}\n",
    );
    world.apply().code(0);
    world.put(".gitignore", "/state\n/a\n");
    world.git(&["init", "--quiet"]);
    world.git(&["add", "."]);
    world.git(&["commit", "--quiet", "-m", "first"]);
    let apply = ["apply", "--env", "production", "--auto-approve"];
    world
        .run(&apply)
        .code(6)
        .says("branch main does not deploy to production, which takes release");
    world.git(&["branch", "other"]);
    world.git(&["checkout", "--quiet", "-b", "release"]);
    world.put("app/other.txt", "a direct commit");
    world.git(&["add", "."]);
    world.git(&["commit", "--quiet", "-m", "quick fix"]);
    world
        .run(&apply)
        .code(6)
        .says("quick fix")
        .says("was made on release directly");
    world.run(&["check", "--env", "production"]).code(6);
}

#[test]
fn an_environment_without_a_live_release_has_nothing_to_carry_on() {
    let world = two_environments(BRANCHES);
    let carry = ["promote", "staging", "--to", "production", "--auto-approve"];
    world
        .run(&carry)
        .code(64)
        .says("staging has no live release to promote");
}
