//! Plan files: carried out as they are or not at all, and never a way to bring something in.

use crate::support::{Said, World};

/// A world whose next plan is in a file.
fn planned(world: &World) {
    world
        .run(&["plan", "--env", "staging", "--out", "p.json"])
        .code(0);
}

fn apply(world: &World) -> Said {
    world.run(&["apply", "p.json", "--auto-approve"])
}

#[test]
fn a_plan_file_is_carried_out_as_it_is_or_not_at_all() {
    let world = World::live();
    world.message("v2");
    planned(&world);
    apply(&world).code(0).says("Done: release 2");
    assert_eq!(world.get(), "v2");

    world.message("v3");
    planned(&world);
    world.message("v4");
    apply(&world)
        .code(5)
        .says("the plan is stale")
        .says("the build inputs of web changed");
    assert_eq!(world.get(), "v2");
}

/// As in a pipeline: the plan for the reviewers and the plan for the run are both written into the
/// checkout.
#[test]
fn what_a_plan_writes_into_the_checkout_is_neither_an_input_nor_a_change() {
    let mut world = World::live();
    world.build = vec!["run: {shell: \"true\"}".to_owned()];
    world.configure();
    // An agent goes on writing in its folder.
    world.put(".gitignore", "state/\n.shipit/\n/a\n");
    for arguments in [
        &["init", "--quiet", "--initial-branch", "main"][..],
        &["add", "."],
        &["commit", "--quiet", "-m", "v1"],
    ] {
        world.git(arguments);
    }
    let commit = world.git(&["rev-parse", "--short=7", "HEAD"]);

    let markdown = |out: &str| {
        let comment = std::fs::File::create(world.file("app/comment.md")).expect("a file");
        let arguments = [
            "plan", "--env", "staging", "--output", "markdown", "--out", out,
        ];
        let mut plan = world.command(&arguments);
        let ended = plan.stdout(comment).status().expect("shipit starts");
        assert!(ended.success());
        world.read("app/comment.md")
    };
    let first = markdown("app/p.json");
    assert!(
        first.contains(commit.trim()) && !first.contains(&format!("{}+", commit.trim())),
        "{first}"
    );
    assert_eq!(
        markdown("app/p.json"),
        first,
        "the second plan is the first"
    );
    std::fs::remove_file(world.file("app/comment.md")).expect("removed");
    world
        .run(&["apply", "app/p.json", "--auto-approve"])
        .code(0)
        .says("Done: release 2");

    world.put("app/notes.md", "of the project");
    world
        .run(&["plan", "--env", "staging"])
        .code(0)
        .says(&format!("{}+", commit.trim()));
}

#[test]
fn a_plan_file_that_was_carried_out_is_not_carried_out_again() {
    let world = World::live();
    world.message("v2");
    planned(&world);
    apply(&world).code(0);
    apply(&world)
        .code(5)
        .says("the plan is stale: it was carried out already, by");

    world.message("v3");
    planned(&world);
    world.message("v4");
    world.apply().code(0);
    apply(&world).code(5).says("somebody has applied since");
    assert_eq!(world.get(), "v4");
}

#[test]
fn a_plan_file_does_not_stand_for_an_approval() {
    let world = World::live();
    world.message("v2");
    planned(&world);
    world
        .run(&["apply", "p.json"])
        .code(1)
        .says("nobody is here to approve the plan")
        .says("--auto-approve");
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_plan_of_another_configuration_brings_nothing_in() {
    let mut world = World::live();
    world.message("v2");
    // What somebody else had in their checkout when they made the file.
    world.build = vec![
        "run: {shell: touch ../brought-in}".to_owned(),
        "inputs: [message.txt]".to_owned(),
    ];
    world
        .env
        .insert("TOKEN".to_owned(), "{secret: token}".to_owned());
    world
        .staging
        .push("secrets: {token: {env: SOME_OTHER_TOKEN}}".to_owned());
    planned(&world);

    world.build.clear();
    world.env.clear();
    world.staging.pop();

    apply(&world)
        .code(5)
        .says("the plan is stale: environments/staging.yaml and shipit.yaml changed since");
    assert!(!world.file("brought-in").exists());
    assert_eq!(world.get(), "v1");
}

#[test]
fn a_plan_file_that_was_edited_is_refused_even_with_its_checksum_made_anew() {
    let mut world = World::live();
    world.message("v2");
    world.staging = vec![
        "promotion: {before: [{run: {command: [touch, gate]}}], probe: {linger: 50ms}}".to_owned(),
    ];
    planned(&world);
    let text = world.read("p.json");
    let edited = text.replace("\"touch\"", "\"true\"");
    assert_ne!(edited, text);

    world.put("p.json", &edited);
    apply(&world)
        .code(1)
        .says("its content does not fit its checksum");

    world.put("p.json", &with_its_checksum(&edited));
    apply(&world).code(1).says(
        "it says something else than the configuration does about the checks before the switch",
    );
    assert!(!world.file("gate").exists());
    assert_eq!(world.get(), "v1");
}

/// The same file as somebody writes it who knows how the checksum is made.
fn with_its_checksum(text: &str) -> String {
    let mut document: serde_json::Value = serde_json::from_str(text).expect("a document");
    let plan: shipit::model::plan::Plan = serde_json::from_value(document.clone()).expect("a plan");
    document["made"]["checksum"] = plan.hash().to_string().into();
    document.to_string()
}

#[test]
fn what_is_no_plan_of_this_place_is_said_to_be_none() {
    let world = World::live();
    world.message("v2");
    planned(&world);
    let text = world.read("p.json");

    let other = text.replace("\"project\": \"shop\"", "\"project\": \"other\"");
    world.put("p.json", &with_its_checksum(&other));
    apply(&world)
        .code(1)
        .says("it was made for other → staging, and this is shop → staging");

    let lineage = "11111111-2222-3333-4444-555555555555";
    let mut document: serde_json::Value = serde_json::from_str(&text).expect("a document");
    document["state"]["lineage"] = lineage.into();
    world.put("p.json", &with_its_checksum(&document.to_string()));
    apply(&world)
        .code(1)
        .says("it was made with another state of staging");

    world.put("p.json", &text[..text.len() / 2]);
    apply(&world).code(1).says("it is cut off");
    std::fs::remove_file(world.file("p.json")).expect("gone");
    std::os::unix::fs::symlink("/dev/zero", world.file("p.json")).expect("a link");
    apply(&world).code(1).says("it is a device, not a file");
    assert_eq!(world.get(), "v1");
}

#[test]
fn branch_rules_are_asked_again_when_a_plan_file_is_applied() {
    let mut world = World::live();
    world.message("v2");
    world.project = vec!["branches: {main: {environment: staging}}".to_owned()];
    world.put(".gitignore", "*");
    world.git(&["init", "--quiet"]);
    world.git(&["commit", "--allow-empty", "--quiet", "--message", "one"]);
    planned(&world);
    world.git(&["checkout", "--quiet", "-b", "not-allowed"]);
    apply(&world)
        .code(6)
        .says("branch not-allowed does not deploy to staging");
    assert_eq!(world.get(), "v1");
    world.git(&["checkout", "--quiet", "main"]);
    apply(&world).code(0).says("Done: release 2");
}

#[test]
fn a_plan_file_is_shown_as_it_is_and_refused_as_apply_refuses_it() {
    let world = World::live();
    world.message("v2");
    let plan = world.run(&["plan", "--env", "staging", "--out", "p.json"]);
    let show = |arguments: &[&str]| world.run(&[&["show", "p.json"], arguments].concat());
    assert_eq!(show(&[]).code(0).stdout, plan.code(0).stdout);
    show(&["--output", "markdown"])
        .code(0)
        .says("### shop → staging");
    assert_eq!(world.get(), "v1", "it is shown and not carried out");

    apply(&world).code(0);
    show(&[]).code(0).says("stale: it was carried out already");

    let text = world.read("p.json");
    world.put("p.json", &text.replace("\"auto\"", "\"manual\""));
    show(&[]).code(1).says("it was edited");
    world.put("p.json", &text);
    world.put("environments/production.yaml", "promotion: {mode: auto}\n");
    show(&["--env", "production"])
        .code(1)
        .says("made for shop → staging");
    world.run(&["show", "none.json"]).code(1).says("none.json");
}
