//! Which image is believed: what this project's runs have recorded, and not what a registry's tag
//! says.

use serde_json::Value;

use crate::support::World;

const PLAN: [&str; 5] = ["plan", "--env", "staging", "--output", "json"];

/// The inputs that the next apply would build from; none when it would build nothing.
fn built_from(world: &World, arguments: &[&str]) -> Option<String> {
    let said = world.run(arguments).code(0);
    let plan: Value = serde_json::from_str(&said.stdout).expect("a plan");
    let steps = plan["steps"].as_array().expect("steps").iter();
    let mut builds = steps.filter(|step| step["action"]["do"] == "build");
    let inputs = builds.next()?["action"]["inputs"].as_str();
    Some(inputs.expect("a hash").to_owned())
}

#[test]
fn a_tag_that_somebody_has_pushed_is_not_believed() {
    let world = World::live();
    world.message("v2");
    let inputs = built_from(&world, &PLAN).expect("v2 was never built");

    // Somebody who may push puts another image there under the tag of these inputs.
    let index = "state/registry/index.json";
    let mut document: Value = serde_json::from_str(&world.read(index)).expect("an index");
    let mut theirs = document["manifests"][0].clone();
    let tag = format!("web:src-{}", inputs.trim_start_matches("sha256:"));
    theirs["annotations"]["org.opencontainers.image.ref.name"] = tag.into();
    let images = document["manifests"].as_array_mut().expect("images");
    images.push(theirs);
    world.put(index, &document.to_string());

    assert_eq!(
        built_from(&world, &PLAN),
        Some(inputs),
        "it is built all the same"
    );
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn what_was_built_before_is_found_by_the_history_of_any_environment() {
    let world = World::live();
    world.message("v2");
    world.apply().code(0);
    world.message("v1");
    assert_eq!(built_from(&world, &PLAN), None, "release 1 has it");

    // The same service at another address; its port is a part of the image.
    let address = world.live_address().replace(":8080", "");
    let production = world
        .read("environments/staging.yaml")
        .replace(&address, "127.99.98.97");
    world.put("environments/production.yaml", &production);
    let plan = ["plan", "--env", "production", "--output", "json"];
    assert_eq!(built_from(&world, &plan), None, "staging has built it");

    std::fs::remove_dir_all(world.file("state/staging")).expect("removed");
    let plan = built_from(&world, &plan);
    assert!(
        plan.is_some(),
        "nobody has recorded what is in the registry"
    );
}
