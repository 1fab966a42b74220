//! Which files a unit was made of when it was started, and whether they are the same still: its own,
//! and all drop-ins (`systemd.unit(5)`).
//!
//! ```text
//! AGENT/units/NAME/seal.json     their hashes, by their paths
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::agent::front::seen::changed_at;
use crate::agent::runtime::systemd::{run, tool};
use crate::files;
use crate::model::ContentHash;
use crate::model::drift::MovedField;

/// The hash of each file, by its path.
type Sealed = BTreeMap<PathBuf, ContentHash>;

/// A unit's files as systemd names them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    is_loaded: bool,
    /// Whether systemd says that it has not read them since they changed.
    is_behind: bool,
    files: Vec<PathBuf>,
}

impl Named {
    /// Of what `systemctl show` says.
    fn of(text: &str) -> Self {
        let mut named = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "LoadState" => named.is_loaded = value == "loaded",
                "NeedDaemonReload" => named.is_behind = value == "yes",
                "FragmentPath" | "DropInPaths" => {
                    named
                        .files
                        .extend(value.split_whitespace().map(PathBuf::from));
                }
                _ => {}
            }
        }
        named
    }
}

/// The largest file that is compared, in bytes.
const LARGEST: u64 = 16 << 20;

async fn named(unit: &str) -> io::Result<Named> {
    let mut command = tool("systemctl");
    command
        .arg("show")
        .arg(unit)
        .arg("--property=LoadState,NeedDaemonReload,FragmentPath,DropInPaths");
    let output = run(command).await?;
    Ok(Named::of(&String::from_utf8_lossy(&output.stdout)))
}

fn hashes(files: &[PathBuf]) -> Sealed {
    let read = files.iter().filter_map(|path| {
        let bytes = files::read(path, LARGEST).ok()?;
        Some((path.clone(), ContentHash::of(&bytes)))
    });
    read.collect()
}

fn path(folder: &Path) -> PathBuf {
    folder.join("seal.json")
}

/// Keeps what a unit was made of, in its folder. One that cannot be kept is never found changed.
pub(super) async fn seal(folder: &Path, unit: &str) {
    let Ok(named) = named(unit).await else { return };
    if !named.is_loaded {
        return;
    }
    let written = serde_json::to_vec(&hashes(&named.files))
        .map_err(io::Error::from)
        .and_then(|bytes| files::replace(&path(folder), &bytes));
    if let Err(error) = written {
        tracing::warn!(%error, unit, "what the unit was made of could not be kept");
    }
}

/// What of a unit's files is not as it was when it was started. Of one that does not run any more,
/// or that an earlier agent has started, nothing is said.
pub(super) async fn altered(folder: &Path, unit: &str) -> Vec<MovedField> {
    let kept = files::read(&path(folder), LARGEST).unwrap_or_default();
    let Ok(before) = serde_json::from_slice::<Sealed>(&kept) else {
        return Vec::new();
    };
    match named(unit).await {
        Ok(named) if named.is_loaded => compare(&before, &named, unit),
        _ => Vec::new(),
    }
}

fn compare(before: &Sealed, named: &Named, unit: &str) -> Vec<MovedField> {
    let mut paths = named.files.clone();
    paths.extend(before.keys().cloned());
    paths.sort();
    paths.dedup();
    let now = hashes(&paths);

    let mut moved = Vec::new();
    for path in paths {
        let (was, is) = (before.get(&path), now.get(&path));
        if was == is {
            continue;
        }
        moved.push(MovedField {
            field: path.display().to_string(),
            was: was.map(|_| "as it was when the unit was started".to_owned()),
            is: is.map(|_| match was {
                Some(_) => "has other content".to_owned(),
                None => "is new".to_owned(),
            }),
            by: None,
            at: std::fs::metadata(&path).ok().as_ref().and_then(changed_at),
        });
    }
    if moved.is_empty() && named.is_behind {
        moved.push(MovedField {
            field: unit.to_owned(),
            was: Some("as systemd has read it".to_owned()),
            is: Some(
                "has files that systemd has not read yet (`systemctl daemon-reload`)".to_owned(),
            ),
            by: None,
            at: None,
        });
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_new_other_or_gone_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let [unit, first, second] =
            ["a.service", "1.conf", "2.conf"].map(|name| folder.path().join(name));
        for file in [&unit, &first] {
            std::fs::write(file, "one").expect("written");
        }
        let text = |behind: &str| {
            format!(
                "LoadState=loaded\nNeedDaemonReload={behind}\nFragmentPath={}\nDropInPaths={} {}\n",
                unit.display(),
                first.display(),
                second.display()
            )
        };
        let named = Named::of(&text("no"));
        assert!(named.is_loaded && named.files.len() == 3, "{named:?}");
        let before = hashes(&named.files);
        assert_eq!(compare(&before, &named, "a.service"), []);
        let behind = compare(&before, &Named::of(&text("yes")), "a.service");
        assert_eq!(behind.len(), 1, "{behind:?}");

        std::fs::write(&unit, "two").expect("written");
        std::fs::write(&second, "new").expect("written");
        std::fs::remove_file(&first).expect("removed");
        let moved = compare(&before, &named, "a.service");
        let words: Vec<Option<&str>> = moved.iter().map(|it| it.is.as_deref()).collect();
        assert_eq!(words, [None, Some("is new"), Some("has other content")]);
        assert!(moved[1].at.is_some() && moved[1].was.is_none(), "{moved:?}");
    }
}
