//! Whether two environments are alike, as a line of cron asks for it.

use crate::support::{Said, World};

fn diff(world: &World, more: &[&str]) -> Said {
    world.run(&[&["diff", "staging", "--with", "production"], more].concat())
}

/// Writes the file of the other environment, which nothing was done with.
fn production(world: &World, more: &str) {
    let text = "traffic: {address: 127.0.0.9, limits: {drain: 5s, hold: 5s}}\n".to_owned();
    world.put("environments/production.yaml", &(text + more));
}

#[test]
fn two_environments_are_alike_but_for_what_may_differ() {
    let mut world = World::live();
    world.put("one.txt", "the-first-secret");
    world.put("two.txt", "the-second-secret");
    production(
        &world,
        "services: {web: {replicas: 3}}\nsecrets: {db: {file: two.txt}}\n",
    );
    world.staging = vec!["secrets: {db: {file: one.txt}}".to_owned()];

    let said = diff(&world, &["--output", "json"]).code(2);
    for secret in ["the-first-secret", "the-second-secret"] {
        assert!(!said.stdout.contains(secret), "{}", said.stdout);
    }
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(document["kind"], "comparison");
    let differences = document["differences"].as_array().expect("a list").iter();
    let differences: Vec<(&str, &str)> = differences
        .map(|one| {
            let text = |name: &str| one[name].as_str().expect("a text");
            (text("part"), text("field"))
        })
        .collect();
    let expected = [
        ("live", "services.web.image"),
        ("configuration", "services.web.replicas"),
        ("configuration", "services.web.route.live"),
        ("configuration", "services.web.route.preview"),
        ("secrets", "secrets.db"),
    ];
    for one in expected {
        assert!(differences.contains(&one), "{one:?}: {differences:?}");
    }

    // What may differ stands in the project's file, or in that of one environment.
    world.project =
        vec!["may_differ: [services.*.route, services.web.image, secrets.*]".to_owned()];
    diff(&world, &[])
        .code(2)
        .says("~ services.web.replicas")
        .says("staging     1")
        .says("production  3")
        .says("= secrets.db")
        .says_not("~ secrets.db");
    production(&world, "secrets: {db: {file: one.txt}}\n");
    diff(&world, &[])
        .code(0)
        .says("staging and production are alike")
        .says("`may_differ` has `secrets.*`, and nothing like it differs here");
    diff(&world, &["--output", "markdown"])
        .code(0)
        .says("### shop: staging and production");

    // What could not be looked at is not alike.
    production(&world, "secrets: {db: {file: gone.txt}}\n");
    let patterns = "may_differ: [services.*.route, services.web.image]";
    world.project = vec![patterns.to_owned()];
    diff(&world, &[])
        .code(1)
        .says("whether secrets.db has the same value is not known: production: ")
        .says("are not known to be alike: 1 field could not be compared");
    world.project = vec![patterns.replace(']', ", secrets.db]")];
    diff(&world, &[]).code(0);

    world
        .run(&["diff", "staging", "--with", "staging"])
        .code(64)
        .says("compared with itself");
}
