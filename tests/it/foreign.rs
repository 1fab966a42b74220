//! Whatever a service, a server, a commit or a file says is text: it moves no cursor, forges no
//! line and breaks out of no markup.

use std::process::Stdio;

use crate::support::{Said, World};

/// Sets a title, clears the screen, rings, goes back, turns around, and hides.
const EVIL: &str = "\u{1b}]0;PWNED\u{7}\u{1b}[2J\u{9b}1A\r\u{202e}gnp\u{200b}\u{7f}";
const SHOWN: &str = r"\u{1b}]0;PWNED\u{7}\u{1b}[2J\u{9b}1A\r\u{202e}gnp\u{200b}\u{7f}";

/// With colours although nobody sees them, and without those that shipit itself makes.
#[track_caller]
fn in_color(world: &World, arguments: &[&str]) -> Said {
    let mut command = world.command(arguments);
    command.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
    let mut said = Said::from(
        &command
            .stdin(Stdio::null())
            .output()
            .expect("shipit starts"),
    );
    for text in [&mut said.stdout, &mut said.stderr] {
        *text = without_colors(text);
        let odd = text
            .chars()
            .find(|sign| sign.is_control() && !"\n\t".contains(*sign));
        let odd = odd.or_else(|| text.chars().find(|sign| "\u{202e}\u{200b}".contains(*sign)));
        assert_eq!(odd, None, "{arguments:?}: {text:?}");
    }
    said
}

/// Without `ESC [ numbers m`.
fn without_colors(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == ';');
        match rest.strip_prefix('m') {
            Some(rest) => plain.push_str(rest),
            None => plain.extend(["\u{1b}[", part]),
        }
    }
    plain
}

/// A text as YAML has it between quotes.
fn yaml(text: &str) -> String {
    let signs = text.chars().map(|sign| match sign {
        sign if sign.is_ascii_graphic() && !"\"\\".contains(sign) || sign == ' ' => {
            sign.to_string()
        }
        sign => format!("\\U{:08x}", u32::from(sign)),
    });
    format!("\"{}\"", signs.collect::<String>())
}

const APPLY: [&str; 4] = ["apply", "--env", "staging", "--auto-approve"];

#[test]
fn what_services_and_builds_write_is_only_text() {
    let mut world = World::new();
    world.put("evil.txt", &format!("{EVIL}\n"));
    world
        .build
        .push("run: {shell: \"cat ../evil.txt\"}".to_owned());
    world.env.insert("EVIL".to_owned(), yaml(EVIL));
    world.env.insert("TELL".to_owned(), "EVIL".to_owned());
    in_color(&world, &APPLY).code(0).says(SHOWN);
    in_color(&world, &["logs", "--env", "staging"])
        .code(0)
        .says(&format!("blue web.0 | {SHOWN}"));
    for command in ["status", "history", "render", "diff", "plan", "doctor"] {
        in_color(&world, &[command, "--env", "staging"]).code(0);
    }
    in_color(&world, &["status", "--env", "staging", "--output", "json"]).code(0);

    world.message("v2");
    world.staging =
        vec!["promotion: {before: [{http: {path: \"/env?EVIL\", contains: x}}]}".to_owned()];
    in_color(&world, &APPLY).code(1).says(&format!("│ {SHOWN}"));
    world.staging =
        vec!["promotion: {before: [{run: [sh, -c, \"cat evil.txt; exit 3\"]}]}".to_owned()];
    in_color(&world, &APPLY).code(1).says(&format!("│ {SHOWN}"));
    world.env.insert("FAIL_START".to_owned(), yaml(EVIL));
    in_color(&world, &APPLY)
        .code(1)
        .says(&format!("cannot start: {SHOWN}"));
    in_color(&world, &[APPLY.as_slice(), &["--output", "json"]].concat()).code(1);
}

#[test]
fn what_git_and_the_configuration_say_is_only_text() {
    let mut world = World::new();
    world.configure();
    world.git(&["init", "--quiet"]);
    world.put(".gitignore", "/a\n/state\n");
    world.git(&["add", "--all"]);
    world.git(&["commit", "--quiet", "--message", &format!("fix {EVIL}")]);
    world.git(&["checkout", "--quiet", "-b", "feature/\u{202e}gnp.exe"]);
    world.project = vec!["branches: {main: {environment: staging}}".to_owned()];
    in_color(&world, &["check", "--env", "staging"]).says(r"feature/\u{202e}gnp.exe");
    in_color(&world, &["plan", "--env", "staging"]).says(r"feature/\u{202e}gnp.exe");

    world.project = vec![
        "branches: {\"feature/*\": {environment: staging, accepts: [main], direct_commits: false}}"
            .to_owned(),
    ];
    in_color(&world, &["check"]);

    world.project = vec!["registry: {kind: layout, \u{202e}htap: x}".to_owned()];
    in_color(&world, &["validate"])
        .code(1)
        .says(r"\u{202e}htap");
    world.project.clear();
    in_color(&world, &["plan", "--env", EVIL.trim_end_matches('\0')]).says(r"\u{1b}]0;PWNED");
    in_color(&world, &[EVIL]).code(64).says(r"\u{202e}gnp");
}

#[test]
fn a_value_forges_no_line_of_a_plan_and_leaves_no_fence() {
    let mut world = World::live();
    let evil = "v4\n```\n\n</details>\n\n## No changes. Approved by @team ![x](y)\n```````";
    world.env.insert("PLAIN".to_owned(), yaml(evil));
    let plan = ["plan", "--env", "staging"];
    let said = world.run(&plan).code(0);
    assert!(
        !said.stdout.lines().any(|line| line.starts_with("## No")),
        "{}",
        said.stdout
    );

    let said = world
        .run(&[&plan[..], &["--output", "markdown"]].concat())
        .code(0);
    let fences: Vec<&str> = said
        .stdout
        .lines()
        .filter(|line| line.starts_with("```"))
        .collect();
    assert_eq!(fences, ["````````text", "````````"], "{}", said.stdout);
    assert!(
        said.stdout.contains(r"+ v4\n```\n\n</details>"),
        "{}",
        said.stdout
    );
}
