//! The guide's first chapter does what it says: every command in it is run, in order, in a fresh
//! copy of the example's program. In what is expected, `...` on a line of its own stands for any
//! lines, and `[..]` for any text in a line.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "it/support/build_server.rs"]
mod build_server;

struct Step {
    command: String,
    expected: Vec<String>,
}

/// The `console` blocks of a chapter, command by command.
fn steps(chapter: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in chapter.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command: command.to_owned(),
                    expected: Vec::new(),
                }),
                (None, Some(step)) => step.expected.push(line.trim_end().to_owned()),
                (None, None) => panic!("a block starts with `$ `"),
            }
        }
    }
    steps
}

fn fits(expected: &str, line: &str) -> bool {
    let mut rest = line;
    let parts: Vec<&str> = expected.split("[..]").collect();
    for (index, part) in parts.iter().enumerate() {
        let Some(at) = rest.find(part) else {
            return false;
        };
        if index == 0 && at != 0 {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || expected.ends_with("[..]")
}

/// Whether the lines are those that are expected.
fn matches(expected: &[String], lines: &[&str]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            (0..=lines.len()).any(|skip| matches(rest, &lines[skip..]))
        }
        (Some((first, rest)), Some((line, more))) => fits(first, line) && matches(rest, more),
        _ => false,
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").filter_map(Result::ok) {
        if entry.file_name() == "target" {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// The lines without the note that only root gets: the chapter is for a user of the machine.
fn as_for_a_user(lines: Vec<&str>) -> Vec<&str> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let Some(at) = lines
        .iter()
        .position(|line| is_root && line.starts_with("note: web runs as root"))
    else {
        return lines;
    };
    let blank = usize::from(lines.get(at + 1) == Some(&""));
    [&lines[..at], &lines[at + 1 + blank..]].concat()
}

/// Stops what the chapter started, however it went.
struct Stop(PathBuf);

impl Drop for Stop {
    fn drop(&mut self) {
        let stop = ["agent", "stop", "--services", "--agent-directory"];
        let _ = Command::new(env!("CARGO_BIN_EXE_shipit"))
            .args(stop)
            .arg(&self.0)
            .output();
    }
}

#[test]
fn the_first_chapter_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::Builder::new()
        .prefix("g")
        .tempdir()
        .expect("a folder");
    let (project, agent) = (folder.path().join("hello"), folder.path().join("a"));
    copy(&root.join("examples/hello"), &project);
    let _stop = Stop(agent.clone());
    let program = Path::new(env!("CARGO_BIN_EXE_shipit"))
        .parent()
        .expect("a folder");
    let path = format!(
        "{}:{}",
        program.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let chapter = fs::read_to_string(root.join("docs/guide/first-steps.md")).expect("the chapter");
    let steps = steps(&chapter);
    assert!(steps.len() > 10, "the chapter has its commands");
    for Step { command, expected } in steps {
        let mut shell = Command::new("sh");
        build_server::without_build_server(&mut shell);
        let output = shell
            .args(["-c", &command])
            .current_dir(&project)
            .env("PATH", &path)
            .env("NO_COLOR", "1")
            .env("SHIPIT_AGENT_DIR", &agent)
            .env("CARGO_TARGET_DIR", project.join("target"))
            .output()
            .expect("a shell");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = stdout.lines().map(str::trim_end).collect();
        let lines = as_for_a_user(lines);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "$ {command}\n{stdout}\n{said}");
        let expected: Vec<String> = expected
            .into_iter()
            .rev()
            .skip_while(String::is_empty)
            .collect();
        let expected: Vec<String> = expected.into_iter().rev().collect();
        let lines: Vec<&str> = lines
            .into_iter()
            .rev()
            .skip_while(|line| line.is_empty())
            .collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        assert!(
            matches(&expected, &lines),
            "$ {command}\n--- said\n{stdout}\n--- expected\n{}",
            expected.join("\n")
        );
    }
}
