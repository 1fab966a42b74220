//! The programs that shipit starts for a project, and which of its variables each of them sees.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::World;

/// Variables as a build server has them: one of its own, one that a secret is read from, one that a
/// tool knows, and one that a hook names.
const GIVEN: [(&str, &str); 4] = [
    ("CI_JOB_TOKEN", "of-the-job"),
    ("SHOP_PASSWORD", "of-the-service"),
    ("SOPS_EXTRA", "of-sops"),
    ("DEPLOY_CHANNEL", "of-the-hook"),
];

/// Each program, and those that it sees.
const SEEN: [(&str, &[&str]); 7] = [
    ("git", &["CI_JOB_TOKEN", "SOPS_EXTRA", "DEPLOY_CHANNEL"]),
    ("build", &["CI_JOB_TOKEN", "SOPS_EXTRA", "DEPLOY_CHANNEL"]),
    ("check", &["CI_JOB_TOKEN", "SOPS_EXTRA", "DEPLOY_CHANNEL"]),
    ("rule", &["CI_JOB_TOKEN", "SOPS_EXTRA", "DEPLOY_CHANNEL"]),
    ("secret", &["CI_JOB_TOKEN", "SOPS_EXTRA", "DEPLOY_CHANNEL"]),
    ("sops", &["SOPS_EXTRA"]),
    ("hook", &["DEPLOY_CHANNEL"]),
];

/// A program that stands before another one in `PATH`.
fn stand_in(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn each_program_sees_the_variables_that_the_guide_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let tells = |name: &str| format!("env >>{}/{name}.env", folder.path().display());
    let path = std::env::var("PATH").expect("there is one");
    let telling = tells("git");
    stand_in(
        &folder.path().join("git"),
        &format!("{telling}\nPATH={path} exec git \"$@\""),
    );
    let telling = tells("sops");
    stand_in(
        &folder.path().join("sops"),
        &format!("{telling}\necho '{{\"key\": \"kept-in-a-file\"}}'"),
    );

    let mut world = World::new();
    world.put("secrets.yaml", "key: encrypted\n");
    let words = |name: &str| format!("[sh, -c, \"{}\"]", tells(name));
    world.build.push(format!("run: {}", words("build")));
    world.project = vec![
        format!("policy: [{{run: {}}}]", words("rule")),
        format!(
            "hooks: {{h: {{before: deploy, run: {}, pass: [DEPLOY_CHANNEL]}}}}",
            words("hook")
        ),
    ];
    let printed = format!(
        "[sh, -c, \"{}; echo printed-by-a-program\"]",
        tells("secret")
    );
    world.staging = vec![
        format!("promotion: {{before: [{{run: {}}}]}}", words("check")),
        "secrets:".to_owned(),
        "  password: {env: SHOP_PASSWORD}".to_owned(),
        "  kept: {sops: {file: secrets.yaml, key: key}}".to_owned(),
        format!("  printed: {{run: {printed}}}"),
    ];
    for name in ["password", "kept", "printed"] {
        let secret = format!("{{secret: {name}}}");
        world.env.insert(name.to_uppercase(), secret);
    }

    let mut apply = world.command(&["apply", "--env", "staging", "--auto-approve"]);
    apply
        .envs(GIVEN)
        .env("PATH", format!("{}:{path}", folder.path().display()));
    let said = apply.output().expect("shipit starts");
    assert!(said.status.success(), "{said:?}");

    for (program, expected) in SEEN {
        let file = folder.path().join(format!("{program}.env"));
        let env = fs::read_to_string(file).unwrap_or_else(|_| panic!("{program} was started"));
        let seen: Vec<&str> = GIVEN
            .iter()
            .filter(|(name, value)| env.contains(&format!("{name}={value}\n")))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(seen, expected, "{program}");
        for value in ["of-the-service", "kept-in-a-file", "printed-by-a-program"] {
            assert!(!env.contains(value), "{program} sees {value}");
        }
    }
}

#[test]
fn what_nobody_could_start_is_said_with_the_plan() {
    let mut world = World::new();
    world.put("late.sh", "#!/bin/sh\n");
    world.project = vec!["hooks: {tell: {after: deploy, run: [./late.sh]}}".to_owned()];
    world.staging = vec!["promotion: {mode: auto, before: [{run: ./smokee.sh}]}".to_owned()];

    world
        .run(&["plan", "--env", "staging"])
        .says("the check `./smokee.sh` cannot be started as things are: ")
        .says("/smokee.sh is not there")
        .says("the hook tell `./late.sh` cannot be started as things are: ")
        .says("/late.sh is not executable: `chmod +x ");
}

#[test]
fn a_program_of_an_image_is_named_as_it_is_in_the_image() {
    let mut world = World::new();
    world
        .service
        .insert("command".to_owned(), "[/app/message.txt]".to_owned());
    let said = world
        .apply()
        .code(1)
        .says("/app/message.txt is not executable in the image");
    assert!(!said.stdout.contains("rootfs") && !said.stderr.contains("rootfs"));
}
