//! Images for several platforms, built and deployed: each engine takes the one for its machine.

use std::process::Command;

use crate::support::{World, has};

/// This machine's platform, and another one.
fn platforms() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") {
        ("linux/arm64", "linux/amd64")
    } else {
        ("linux/amd64", "linux/arm64")
    }
}

fn named(world: &mut World, platforms: &[&str]) {
    world.build = vec![format!("platforms: [{}]", platforms.join(", "))];
}

/// Plans, applies, and sees that the second time there is nothing to build.
fn deploys(mut world: World) -> World {
    let (own, other) = platforms();
    named(&mut world, &[other, own]);
    let line = if own < other {
        format!("build for {own}, {other}: ")
    } else {
        format!("build for {other}, {own}: ")
    };
    world.run(&["plan", "--env", "staging"]).code(0).says(&line);
    world.apply().code(0).says("for linux/arm64:");
    assert_eq!(world.get(), "v1");
    world
        .run(&["plan", "--env", "staging", "--detailed-exitcode"])
        .code(0);
    // In another order they are the same platforms; another environment of them is another image.
    named(&mut world, &[own, other]);
    world
        .run(&["plan", "--env", "staging", "--detailed-exitcode"])
        .code(0);
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(world.get(), "v1");
    world
}

#[test]
fn a_process_starts_from_the_image_for_its_machine() {
    let mut world = deploys(World::new());
    // One for another machine alone is pushed, and not started; live traffic stays.
    let (own, other) = platforms();
    named(&mut world, &[other]);
    world.message("v3");
    let said = world.apply().code(1).says("build.platforms");
    assert!(
        said.stderr.contains(&format!("not made for {own}")),
        "{}",
        said.stderr
    );
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_container_starts_from_the_image_for_its_machine() {
    let Some(world) = crate::containers::world() else {
        return;
    };
    deploys(world);
}

#[test]
fn docker_gets_the_image_for_its_machine_from_a_layout_and_from_a_registry() {
    let Some(world) = crate::docker::world() else {
        return;
    };
    deploys(world);
    let Ok(endpoint) = std::env::var("SHIPIT_TEST_REGISTRY") else {
        return;
    };
    let Some(mut world) = crate::docker::world() else {
        return;
    };
    let repository = format!(
        "platforms-{}/{{{{ service }}}}",
        uuid::Uuid::new_v4().simple()
    );
    world.project.push(format!(
        "registry: {{kind: oci, endpoint: \"{endpoint}\", repository: \"{repository}\"}}"
    ));
    let mut world = deploys(world);
    let (own, other) = platforms();
    named(&mut world, &[other]);
    world.message("v3");
    // The engine itself says that there is none for it.
    let said = world.apply().code(1).says("no matching manifest");
    assert!(said.stderr.contains(own), "{}", said.stderr);
    assert_eq!(world.get(), "v1");
}

#[test]
fn what_cannot_be_built_is_told_with_the_plan() {
    let mut world = World::new();
    named(&mut world, &["linux/x86_64"]);
    world
        .run(&["validate"])
        .code(1)
        .says("write `linux/amd64`")
        .says("shipit.yaml:");
    named(&mut world, &["windows/amd64"]);
    world
        .run(&["validate"])
        .code(1)
        .says("images are made for `linux`");
    if !has("docker") {
        return;
    }
    // A command of Docker that is new, and without its plugin for BuildKit.
    named(&mut world, &[platforms().0]);
    let script = "#!/bin/sh\n[ \"$1\" = version ] && echo 28.0.0 && exit\nexit 1\n";
    world.put("bin/docker", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.file("bin/docker"), mode).expect("a mode");
    world.configure();
    let text = world
        .read("shipit.yaml")
        .replace("kind: pack", "kind: docker");
    let drop = ["copy:", "workdir:", "entrypoint:"];
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !drop.iter().any(|key| line.trim().starts_with(key)))
        .collect();
    world.put("shipit.yaml", &lines.join("\n"));
    world.put("app/Dockerfile", "FROM scratch\nCOPY message.txt /\n");
    let path = format!(
        "{}:{}",
        world.file("bin").display(),
        std::env::var("PATH").expect("a path")
    );
    let mut plan = Command::new(crate::support::shipit());
    plan.args(["plan", "--env", "staging"])
        .current_dir(world.path())
        .env("PATH", path);
    let output = plan
        .env("SHIPIT_AGENT_DIR", world.agent_folder())
        .output()
        .expect("shipit starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("install `docker-buildx`"),
        "{said}"
    );
}
