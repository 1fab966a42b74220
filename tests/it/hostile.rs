//! What is no file, and what is no ordinary template: refused with its place, and never a reason to
//! hang or to die.

use std::path::Path;

use crate::support::World;

/// A pipe that nobody writes to.
fn pipe(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).expect("a pipe");
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_a_file_is_refused_at_once() {
    let world = World::new();
    world.configure();
    let place = |path: &str| {
        let file = world.file(path);
        let _ = std::fs::remove_file(&file);
        file
    };
    let validate = || {
        let mut command = world.command(&["validate"]);
        // What `command` has just configured is put out of its way again.
        let file = place("shipit.yaml");
        pipe(&file);
        let said = crate::support::Said::from(&command.output().expect("it starts"));
        std::fs::remove_file(file).expect("gone");
        said
    };
    validate().code(1).says("it is a pipe, not a file");

    let mut command = world.command(&["plan", "--env", "staging"]);
    let overlay = place("environments/staging.yaml");
    std::os::unix::fs::symlink("/dev/zero", &overlay).expect("a link");
    crate::support::Said::from(&command.output().expect("it starts"))
        .code(1)
        .says("it is a device, not a file");
    std::fs::remove_file(overlay).expect("gone");

    let world = World::live();
    world.message("v2");
    std::fs::remove_file(world.file("state/staging/lock.json")).expect("gone");
    pipe(&world.file("state/staging/lock.json"));
    world.apply().code(1).says("it is a pipe, not a file");
}

#[test]
fn a_template_that_would_fill_all_memory_is_refused_with_its_place() {
    let mut world = World::new();
    let doubling = "'{% set n = namespace(x=\"abcd\") %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}'";
    world.env.insert("GREETING".to_owned(), doubling.to_owned());
    world
        .run(&["plan", "--env", "staging"])
        .code(1)
        .says("services.web.env.GREETING")
        .says("it needs more than 512 MiB of memory");
    // The next one is rendered as ever.
    world.env.insert(
        "GREETING".to_owned(),
        "'{{ project }}{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'".to_owned(),
    );
    world
        .run(&["plan", "--env", "staging"])
        .code(1)
        .says("it takes more than 1000000 steps");
    let deep = format!("'{{{{ {}1 }}}}'", "-".repeat(30_000));
    world.env.insert("GREETING".to_owned(), deep);
    world
        .run(&["plan", "--env", "staging"])
        .code(1)
        .says("a tag of 30005 bytes");
    world
        .env
        .insert("GREETING".to_owned(), "'hello {{ project }}'".to_owned());
    world.apply().code(0);
    assert_eq!(world.get_path("/env?GREETING"), "hello shop");
}

#[test]
fn certificates_that_are_no_file_are_refused() {
    let mut world = World::new();
    world.project =
        vec!["registry: {kind: oci, endpoint: registry.example.com, ca: /dev/zero}".to_owned()];
    world.apply().code(1).says("it is a device, not a file");
}

#[test]
fn a_long_line_in_the_configuration_is_reported_without_being_shown() {
    let mut world = World::new();
    let long = format!("wrong: [{}]", "1, ".repeat(15_000));
    world.project.push(long);
    let said = world.run(&["validate"]).code(1).says("wrong");
    assert!(said.stderr.len() < 10_000, "{} bytes", said.stderr.len());
}
