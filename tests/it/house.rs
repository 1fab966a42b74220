//! Who may use whom: the `use` lines of `src/` are the edges of the house, and a wrong one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may use besides itself.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("model", vec![]),
        ("files", vec![]),
        ("port", vec!["model"]),
        ("config", vec!["files", "model"]),
        ("desired", vec!["config", "model"]),
        ("observe", vec!["port", "model"]),
        ("plan", vec!["model"]),
        ("policy", vec!["model"]),
        ("rollout", vec!["model"]),
        ("execute", vec!["port", "model", "plan", "rollout"]),
        ("proto", vec!["port", "model"]),
        ("driver", vec!["port", "model", "files", "proto"]),
        ("agent", vec!["port", "model", "files", "proto"]),
        ("output", vec!["model"]),
        (
            "ops",
            vec![
                "agent", "config", "desired", "driver", "execute", "files", "model", "observe",
                "output", "plan", "policy", "port", "proto", "rollout",
            ],
        ),
        (
            "cli",
            vec![
                "config", "files", "model", "observe", "ops", "output", "plan", "port",
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
        if inside.ends_with("tests.rs") {
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
    // The agent's commands speak to the agent itself, `init` and `session` to Git: both are wiring of their own.
    let may = ["wiring.rs", "session.rs", "init.rs", "agent.rs"];
    let names_one = |file: &&PathBuf| {
        fs::read_to_string(file)
            .expect("text")
            .contains("crate::driver")
    };
    let wrong: Vec<_> = files
        .iter()
        .filter(names_one)
        .filter(|file| !may.iter().any(|name| file.ends_with(name)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
