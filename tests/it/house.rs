//! Who may use whom: the `use` lines of `src/` are the edges of the house, and a wrong one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use besides itself.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("model", vec![]),
        ("files", vec![]),
        ("redact", vec!["model"]),
        ("port", vec!["model", "redact"]),
        // An expression is read with the file that it stands in.
        ("config", vec!["files", "model", "policy"]),
        ("desired", vec!["config", "model"]),
        ("discover", vec!["model"]),
        ("observe", vec!["port", "model"]),
        ("plan", vec!["model"]),
        ("policy", vec!["model"]),
        ("rollout", vec!["model"]),
        ("receiver", vec!["model"]),
        ("jobs", vec!["model"]),
        (
            "execute",
            vec!["port", "model", "plan", "redact", "rollout"],
        ),
        (
            "simulate",
            vec!["execute", "model", "plan", "port", "redact", "rollout"],
        ),
        ("proto", vec!["port", "model"]),
        // Only built for a fuzzer.
        (
            "fuzzing.rs",
            vec!["agent", "config", "driver", "model", "ops"],
        ),
        ("driver", vec!["port", "model", "files", "proto", "redact"]),
        ("agent", vec!["port", "model", "files", "proto", "redact"]),
        ("output", vec!["model", "redact"]),
        (
            "ops",
            vec![
                "agent", "config", "desired", "discover", "driver", "execute", "files", "jobs",
                "model", "observe", "output", "plan", "policy", "port", "proto", "receiver",
                "redact", "rollout", "simulate",
            ],
        ),
        // The doors: only `cli` opens them.
        (
            "serve",
            vec!["config", "files", "model", "ops", "output", "proto"],
        ),
        (
            "cli",
            vec![
                "config", "files", "jobs", "model", "observe", "ops", "output", "plan", "port",
                "redact", "serve",
            ],
        ),
    ])
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .filter_map(Result::ok)
    {
        if entry.path().is_dir() {
            sources(&entry.path(), found);
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            found.push(entry.path());
        }
    }
}

#[test]
fn the_rooms_use_only_what_they_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let allowed = allowed();
    let mut wrong = BTreeSet::new();
    for file in files {
        let inside = file.strip_prefix(&root).expect("below").to_owned();
        let top: String = inside
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let Some(may) = allowed.get(top.as_str()) else {
            assert!(
                top == "lib.rs" || top == "main.rs",
                "{top} is a new room: say here what it may use"
            );
            continue;
        };
        let is_test = inside
            .iter()
            .any(|part| part == "tests" || part == "tests.rs");
        if is_test {
            continue;
        }
        let text = fs::read_to_string(&file).expect("text");
        for used in text.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let is_room = allowed.contains_key(used.as_str());
            if is_room && used != top && !may.contains(&used.as_str()) {
                wrong.insert(format!("{} uses {used}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_wiring_names_a_driver() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut files = Vec::new();
    sources(&root, &mut files);
    // The agent's commands speak to the agent itself, `init` and `session` to Git, and the process of
    // a job is the runner's other half: all are wiring of their own.
    let may = [
        "wiring.rs",
        "session.rs",
        "init.rs",
        "agent.rs",
        "agent_elsewhere/mod.rs",
        "run_job.rs",
    ];
    // What this machine can start is asked of a port.
    let names_one = |file: &&PathBuf| {
        let text = fs::read_to_string(file).expect("text");
        ["crate::driver", "crate::agent::runtime"]
            .iter()
            .any(|room| text.contains(room))
    };
    let wrong: Vec<_> = files
        .iter()
        .filter(names_one)
        .filter(|file| !may.iter().any(|name| file.ends_with(name)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn everything_that_is_printed_goes_through_the_screen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    // The screen itself; the agent, whose stderr is its log; who renders templates, and answers
    // whoever started it; who asks which files the output goes to, and who asks a person; the processes beside a container,
    // whose other side is the agent or who looks on.
    let may = [
        "output/screen.rs",
        "ops/agent.rs",
        "agent/log/own.rs",
        "agent/runtime/container/beside.rs",
        "agent/runtime/container/confined.rs",
        "agent/runtime/container/contain.rs",
        "desired/render/worker.rs",
        "files/outputs.rs",
        "cli/ask.rs",
    ];
    let prints = [
        "println!",
        "print!(",
        "dbg!",
        "stdout()",
        "stderr()",
        "io::stderr",
    ];
    let mut wrong = Vec::new();
    for file in files
        .iter()
        .filter(|file| may.iter().all(|may| !file.ends_with(may)))
    {
        let text = fs::read_to_string(file).expect("text");
        // To ask whether somebody looks is not to print.
        let text = text
            .replace("use_stderr()", "")
            .replace("stderr().is_terminal()", "")
            .replace("stdout().is_terminal()", "")
            // The other side of a command's streams in a cluster.
            .replace("process.stdout()", "")
            .replace("process.stderr()", "")
            .replace("ProgressDrawTarget::stderr()", "");
        wrong.extend(
            prints
                .iter()
                .filter(|print| text.contains(**print))
                .map(|print| format!("{} has {print}", file.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The longest file: past this, a second thing has moved in.
const LONGEST_FILE: usize = 500;

/// How many lines of a thousand may be wider than a page.
const WIDE: usize = 4;

#[test]
fn a_file_has_one_reason_and_a_line_fits_on_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    // What a tool writes, and what tests are made of.
    let counts = |file: &&PathBuf| {
        let inside = file.strip_prefix(&root).expect("below");
        let is_tests = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
        !inside.starts_with("proto") && !inside.iter().any(is_tests)
    };

    let (mut long, mut lines, mut wide) = (Vec::new(), 0, 0);
    for file in files.iter().filter(counts) {
        let text = fs::read_to_string(file).expect("text");
        let code = text.split("\n#[cfg(test)]\nmod tests {").next();
        let code = code.unwrap_or_default().lines();
        let length = code.clone().count();
        lines += length;
        wide += code.filter(|line| line.chars().count() > 100).count();
        if length > LONGEST_FILE {
            long.push(format!("{}: {length}", file.display()));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
    assert!(
        wide * 1000 < lines * WIDE,
        "{wide} of {lines} lines are wide"
    );
}

/// Which files may start a program by themselves: with an environment that they make, or as the
/// agent, which has none of a caller's.
const STARTERS: [&str; 12] = [
    "src/agent/front/nginx.rs",
    "src/agent/launch/become_user.rs",
    "src/agent/launch/hold.rs",
    "src/agent/launch/launcher.rs",
    "src/agent/runtime/container/confined.rs",
    "src/agent/runtime/container/contain.rs",
    "src/agent/runtime/container/id_map.rs",
    "src/agent/runtime/container/mod.rs",
    "src/agent/runtime/container/userns.rs",
    "src/agent/runtime/systemd.rs",
    "src/desired/render/worker.rs",
    "src/driver/host/connect.rs",
];

#[test]
fn a_program_is_started_in_one_place_and_a_template_rendered_in_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    for file in files {
        let name = file
            .strip_prefix(root)
            .expect("below")
            .display()
            .to_string();
        let text = fs::read_to_string(&file).expect("text");
        let code = text
            .split("\n#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let starts = code.contains("Command::new(") && name != "src/files/environment.rs";
        let may = STARTERS.contains(&name.as_str()) || name.contains("tests");
        assert!(
            !starts || may,
            "{name}: `files::environment` starts programs, without secrets"
        );
        let renders = code.contains("minijinja::") && !name.starts_with("src/desired/render/");
        assert!(!renders, "{name}: `desired::render` renders within bounds");
    }
}

/// Which files wait for a program that they start by themselves: a build's output comes line by line
/// and may be cancelled, `ssh-keygen` and a browser have the terminal, and a job outlives whoever has
/// started it; a connection of ssh lasts as long as a run, and what ends programs behind a run that was
/// killed outlives it.
const WAITERS: [&str; 7] = [
    "src/cli/open.rs",
    "src/driver/builder/command.rs",
    "src/driver/host/tunnel/ssh.rs",
    "src/driver/runner/process.rs",
    "src/driver/signer.rs",
    "src/files/guard.rs",
    "src/ops/doors/run_job.rs",
];

#[test]
fn a_program_is_waited_for_in_one_place_with_its_bounds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let mut starters = BTreeSet::new();
    for file in files {
        let name = file.strip_prefix(root).expect("below");
        let name = name.display().to_string();
        let text = fs::read_to_string(&file).expect("text");
        let code = text
            .split("\n#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let starts = ["program(", "blocking_program(", "tool("]
            .iter()
            .any(|start| code.contains(&format!("environment::{start}")));
        if starts && !code.contains("captured(") {
            starters.insert(name);
        }
    }
    assert_eq!(
        starters,
        WAITERS.map(str::to_owned).into(),
        "`files::program` waits for programs, with a bound, a deadline and their children"
    );
}

#[test]
fn the_security_guide_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    let texts: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("text"))
        .collect();
    let guide = fs::read_to_string(root.join("docs/guide/security.md")).expect("the guide");

    let is_test = |word: &&str| {
        let is_name = word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
        is_name && word.matches('_').count() > 3
    };
    let named: BTreeSet<&str> = guide
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(is_test)
        .collect();
    assert!(named.len() > 40, "{} are named", named.len());
    for name in named {
        let text = format!("fn {name}(");
        assert!(
            texts.iter().any(|file| file.contains(&text)),
            "{name} is no test"
        );
    }
    for section in guide.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap_or_default();
        assert!(text.trim().len() > 100, "{title} says nothing");
    }
}
