//! Pushes that a hook could not tell of, because no server was there: files in the repository,
//! which the server reads where the repository is a folder of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::intake::{Push, push};
use super::{DoorError, Doors};
use crate::files;

/// The largest of them, in bytes.
const LARGEST: u64 = 1 << 20;

/// The most that are read at once.
const MOST: usize = 1_000;

/// Where a repository has them.
#[must_use]
pub fn folder(repository: &Path) -> PathBuf {
    repository.join("shipit/spool")
}

/// Takes what was spooled in the repositories of this machine. How many there were.
///
/// # Errors
/// The queue cannot store it; it stays where it is.
pub async fn collect(doors: &Doors) -> Result<usize, DoorError> {
    let mut taken = 0;
    for (name, project) in &doors.config.projects {
        let url = &project.source.url;
        let Some(repository) = local(url) else {
            continue;
        };
        // A repository with a checkout has it one folder below.
        let folders = [folder(&repository), folder(&repository.join(".git"))];
        for path in spooled(&folders) {
            let found = read(&path).filter(|found| found.project == *name);
            if let Some(found) = found {
                push(doors, &found).await?;
                taken += 1;
                let _ = fs::remove_file(&path);
            } else {
                // A person may know what was meant.
                let aside = path.with_extension("json.bad");
                tracing::warn!(path = %aside.display(), "a spooled push is not understood, and kept aside");
                let _ = fs::rename(&path, &aside);
            }
        }
    }
    Ok(taken)
}

/// The folder that a URL means, if it is one of this machine.
fn local(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    path.starts_with('/').then(|| path.into())
}

/// What a file says; none when it is no push.
pub(super) fn read(path: &Path) -> Option<Push> {
    let bytes = files::read(path, LARGEST).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The files that are whole, the first first. What is being written, or was put aside, is none.
pub(super) fn spooled(folders: &[PathBuf]) -> Vec<PathBuf> {
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_whole = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_whole).collect();
    paths.sort();
    paths.truncate(MOST);
    paths
}
