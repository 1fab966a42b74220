//! Values that could be read and would not mean what they say.

use super::{GOOD, faults, project, write};
use crate::config::load;

fn refused(overlay: &str, expected: &str) {
    let said = faults(GOOD, overlay).join("\n");
    assert!(said.contains(expected), "{overlay}: {said}");
}

#[test]
fn a_list_is_never_taken_for_a_map() {
    for (overlay, at) in [
        (
            "services: {web: {health: [/healthz]}}",
            "services.web.health",
        ),
        (
            "registry: {kind: oci, repository: a/b, retention: [5]}",
            "registry.retention",
        ),
        (
            "traffic: {listeners: {web: [27090, 27091]}}",
            "traffic.listeners.web",
        ),
        ("secrets: {db: [/x]}", "secrets.db"),
        ("services: {web: [1]}", "services.web"),
        (
            "promotion: {before: [{http: [web, /x]}]}",
            "promotion.before.0.http",
        ),
    ] {
        refused(
            overlay,
            &format!("{at}: this is a list, and a map is needed"),
        );
    }
    refused(
        "services: {web: {env: [A=b]}}",
        "services.web.env: this is a list, and a map is needed | write each variable as an entry of \
         a map: `env: {NAME: value}`",
    );
    let branches = format!("{GOOD}branches: {{main: [staging]}}\n");
    let said = faults(&branches, "").join("\n");
    assert!(said.contains("branches.main: this is a list"), "{said}");
    assert_eq!(
        faults("[]", "version: 1"),
        ["shipit.yaml:1:1: this is a list, and a map is needed | "]
    );
    for empty in ["", "{}", "# nothing\n"] {
        let said = faults(empty, "strategy: rolling");
        assert_eq!(
            said.len(),
            1,
            "one fault, and no other for want of it: {said:?}"
        );
    }
}

#[test]
fn a_tag_that_means_nothing_here_is_refused_at_its_line() {
    let overlay = "services:\n  web:\n    env:\n      PASSWORD: !vault secretref\n";
    refused(overlay, "staging.yaml:4:");
    refused(overlay, "the tag `!vault` has no meaning here");
    refused("services: !keep {web: {replicas: 2}}", "`!keep`");
    project(GOOD, "services: {web: {env: {A: !!str 5}}}").expect("a tag of YAML itself");
}

#[test]
fn what_is_no_yaml_is_explained_by_what_it_is() {
    let explained = |shipit: &str| faults(shipit, "").join("\n");
    let second = explained(&format!("{GOOD}---\nversion: 1\n"));
    assert!(second.contains("a second document begins here"), "{second}");
    let empty = explained(&format!("{GOOD}~: 1\n"));
    assert!(empty.contains("a key is empty"), "{empty}");
    let blank = explained(&format!("{GOOD}strategy:\u{a0}rolling\n"));
    assert!(blank.contains("no-break space"), "{blank}");
}

#[test]
fn digits_that_are_no_number_of_a_machine_are_a_text_or_said_as_they_are() {
    let env = "services: {web: {env: {COMMIT: 12e4567, BUILD: 007}}}";
    let read = project(GOOD, env).expect("texts");
    let web = &read.environments.values().next().expect("one").services["web"];
    let shown = format!("{:?}", web.env);
    assert!(
        shown.contains("\"12e4567\"") && shown.contains("\"007\""),
        "{shown}"
    );
    refused(
        "services: {web: {port: 027080}}",
        "this is `027080`, which begins with a zero, and ",
    );
}

#[test]
fn an_environment_has_one_file_and_the_project_has_the_one_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    write(root, "shipit.yml", GOOD);
    let said = load(root).expect_err("another name").faults[0].to_string();
    assert!(said.contains("a shipit.yml and no shipit.yaml"), "{said}");

    write(root, "shipit.yaml", GOOD);
    write(root, "environments/staging.yaml", "version: 1");
    write(root, "environments/staging.yml", "version: 1");
    let said = load(root).expect_err("two files").faults[0].to_string();
    assert!(said.starts_with("environments/staging.yml"), "{said}");
    assert!(
        said.contains("environments/staging.yaml is this environment"),
        "{said}"
    );
}

#[test]
fn a_variable_that_shipit_sets_cannot_be_set() {
    for (overlay, name) in [
        ("services: {web: {env: {PORT: 1}}}", "PORT"),
        ("services: {web: {env: {SHIPIT_SLOT: x}}}", "SHIPIT_SLOT"),
        (
            "services: {web: {ports: {admin: 9000}, env: {PORT_ADMIN: 1}}}",
            "PORT_ADMIN",
        ),
    ] {
        refused(overlay, &format!("shipit itself sets {name}"));
    }
    let own = "services: {web: {env: {PORT_METRICS: 1, SHIPIT_TOKEN: x, SHIPIT_FILES: x}}}";
    project(GOOD, own).expect("nothing sets them");
    project(GOOD, "services: {web: {port: none, env: {PORT: 1}}}").expect("a worker's own");
}

#[test]
fn a_value_that_nothing_can_hold_or_ask_is_refused() {
    for (overlay, expected) in [
        (
            "services: {web: {env: {A: \"a\\0b\"}}}",
            "env.A: no variable holds a NUL",
        ),
        (
            "services: {web: {build: {entrypoint: ['']}}}",
            "the program has no name",
        ),
        (
            "services: {web: {health: {path: /health z}}}",
            "no request has a path with blanks",
        ),
        (
            "promotion: {before: [{http: {path: healthz}}]}",
            "write `/healthz`",
        ),
        (
            "promotion: {after: [{http: {path: /a b}}]}",
            "no request has a path with blanks",
        ),
        (
            "secrets: {db: {file: ''}}",
            "secrets.db.file: there is no path",
        ),
        (
            "secrets: {db: {env: $DBX}}",
            "write the name alone: `env: DBX`",
        ),
        (
            "services: {web: {build: {copy: {../e1: /x}}}}",
            "only what is in the context",
        ),
        (
            "services: {web: {build: {copy: {/etc/hostname: /x}}}}",
            "only what is in the context",
        ),
        (
            "services: {web: {build: {copy: {'': /x}}}}",
            "only what is in the context",
        ),
    ] {
        refused(overlay, expected);
    }
    project(GOOD, "services: {web: {build: {copy: {./a/../b: /x}}}}").expect("below it");
}

#[test]
fn a_merge_that_nobody_has_settled_is_said_where_it_begins() {
    let base = format!(
        "{GOOD}# More.\n<<<<<<< HEAD\nstrategy: rolling\n=======\nstrategy: recreate\n>>>>>>> theirs\n"
    );
    let line = base
        .lines()
        .position(|line| line.starts_with("<<<<<<<"))
        .expect("it is there")
        + 1;
    let said = faults(&base, "version: 1");
    let wanted = format!("shipit.yaml:{line}:1: here begins a conflict of a merge");
    assert!(
        said.iter().any(|fault| fault.starts_with(&wanted)),
        "{said:?}"
    );
}
