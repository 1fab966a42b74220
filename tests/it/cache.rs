//! Layers of other builds, from a registry: what one machine has built another one does not build
//! again.

use std::process::Command;

use crate::support::{World, has};

const DOCKERFILE: &str = r#"FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "touch", "/once"]
COPY message.txt /
ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/"]
"#;

/// A world that builds a Dockerfile with one step that should be done once, and pushes to the
/// tests' registry.
fn world(repository: &str, kind: &str, cache: &str) -> World {
    let world = World::new();
    world.put("app/Dockerfile", DOCKERFILE);
    std::fs::copy("/bin/busybox", world.file("app/busybox")).expect("busybox-static is there");
    let endpoint = std::env::var("SHIPIT_TEST_REGISTRY").expect("an address");
    world.put(
        "shipit.yaml",
        &format!(
            "version: 1\nproject: shop\nregistry: {{kind: oci, endpoint: \"{endpoint}\", repository: {repository}}}\n\
             cluster: {{runtime: docker}}\nservices:\n  web:\n    port: 8080\n    health: {{path: /message.txt}}\n    \
             build: {{kind: {kind}, context: app, {cache}}}\n"
        ),
    );
    let address = world.live_address().replace(":8080", "");
    world.put(
        "environments/staging.yaml",
        &format!("traffic: {{address: {address}}}\n"),
    );
    world
}

/// What an apply says whose build runs with these variables; the agent's own engine is the tests'.
fn build(world: &World, variables: &[(&str, &str)]) -> String {
    let output = Command::new(crate::support::shipit())
        .args([
            "apply",
            "--env",
            "staging",
            "--auto-approve",
            "--output",
            "json",
        ])
        .current_dir(world.path())
        .env("SHIPIT_AGENT_DIR", world.agent_folder())
        .envs(variables.iter().copied())
        .output()
        .expect("shipit starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn repository() -> Option<String> {
    let there = std::env::var("SHIPIT_TEST_REGISTRY").is_ok();
    assert!(
        there || std::env::var_os("SHIPIT_TEST_REAL").is_none(),
        "no registry"
    );
    if !there {
        eprintln!("SKIPPED: SHIPIT_TEST_REGISTRY names no registry");
    }
    there.then(|| format!("cache-{}/web", uuid::Uuid::new_v4().simple()))
}

#[test]
fn buildah_keeps_its_layers_in_a_repository_and_takes_them_from_there() {
    let Some(repository) = repository() else {
        return;
    };
    if !has("buildah") || crate::docker::world().is_none() {
        return;
    }
    let place = format!(
        "{}/{repository}-layers",
        std::env::var("SHIPIT_TEST_REGISTRY").expect("an address")
    );
    let world = world(
        &repository,
        "buildah",
        &format!("cache_from: [\"{place}\"], cache_to: \"{place}\""),
    );
    // Storages of their own: machines that know nothing of each other.
    let storage = |name: &str| {
        let folder = world.file(name).display().to_string();
        let text = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{folder}/g\"\nrunroot = \"{folder}/r\"\n"
        );
        let file = format!("{name}.conf");
        world.put(&file, &text);
        world.file(&file).display().to_string()
    };
    let (one, two) = (storage("one"), storage("two"));
    let said = build(&world, &[("CONTAINERS_STORAGE_CONF", &one)]);
    assert!(said.contains("Pushing cache"), "{said}");
    world.message("v2");
    let said = build(&world, &[("CONTAINERS_STORAGE_CONF", &two)]);
    let (_, step) = said.split_once("touch").expect("the step");
    let (step, _) = step.split_once("COPY message.txt").expect("the next step");
    assert!(step.contains("Cache pulled from remote"), "{said}");
}

#[test]
fn docker_looks_for_layers_in_an_image_that_tells_of_its_own() {
    let Some(repository) = repository() else {
        return;
    };
    if crate::docker::world().is_none() {
        return;
    }
    let image = format!(
        "{}/{repository}:staging",
        std::env::var("SHIPIT_TEST_REGISTRY").expect("an address")
    );
    let world = world(&repository, "docker", &format!("cache_from: [\"{image}\"]"));
    let looked = format!("importing cache manifest from {image}");
    let said = build(&world, &[]);
    assert!(
        said.contains(&looked) && said.contains("exporting cache"),
        "{said}"
    );
    // What was pushed is an image that BuildKit takes layers from: it tells of them in its
    // configuration.
    let pushed = Command::new("skopeo")
        .args([
            "inspect",
            "--config",
            "--raw",
            "--tls-verify=false",
            &format!("docker://{image}"),
        ])
        .output()
        .expect("skopeo starts");
    let config: serde_json::Value = serde_json::from_slice(&pushed.stdout).expect("JSON");
    assert!(config["moby.buildkit.cache.v0"].is_string(), "{config}");
    world.message("v2");
    let said = build(&world, &[]);
    let (_, import) = said.split_once(&looked).expect("it is looked for");
    assert!(!import.contains("ERROR"), "{said}");
}
