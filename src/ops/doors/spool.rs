//! Pushes that a hook could not tell of: files in the repository, which the server reads where the
//! repository is a folder of this machine.
//!
//! ```text
//! shipit/spool/KEY.json        no server was there
//! shipit/spool/KEY.announced   what is about to be pushed: whoever pushes may be gone before Git
//! calls the hook that
//!                              tells of it, and the ref has moved all the same
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::intake::{Push, push};
use super::pushed::git;
use super::{DoorError, Doors};
use crate::files;
use crate::model::ProjectName;
use crate::model::trigger::is_reference;

/// The largest of them, in bytes.
const LARGEST: u64 = 1 << 20;

/// The most that are read at once.
const MOST: usize = 1_000;

/// How long after it was announced a push is looked for: its own hook tells of it sooner.
const GRACE: Duration = Duration::from_secs(15);

/// How long an announced push is looked for. It was refused by then.
const ANNOUNCED: Duration = Duration::from_mins(10);

/// What a file is called that no server has been told of.
pub(super) const TOLD: &str = "json";

/// What a file is called that announces a push.
pub(super) const COMING: &str = "announced";

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
        for path in spooled(&folders, COMING) {
            if let Some(found) = arrived(&repository, &path, name).await {
                push(doors, &found).await?;
                taken += 1;
                let _ = fs::remove_file(&path);
            }
        }
        for path in spooled(&folders, TOLD) {
            let found = read(&path).filter(|found| found.project == *name);
            if let Some(found) = found {
                push(doors, &found).await?;
                taken += 1;
                let _ = fs::remove_file(&path);
            } else {
                // A person may know what was meant.
                let aside = path.with_extension("json.bad");
                tracing::warn!(path = %aside.display(), "a spooled push is not understood, and \
                    kept aside");
                let _ = fs::rename(&path, &aside);
            }
        }
    }
    Ok(taken)
}

/// What has come of a push that was announced, and that its own hook has not told of; none where
/// nothing has, or it is too early to tell. One that nothing came of is forgotten.
async fn arrived(repository: &Path, path: &Path, project: &ProjectName) -> Option<Push> {
    let changed = fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let age = changed.elapsed().unwrap_or_default();
    if age < GRACE {
        return None;
    }

    let mut push = read(path).filter(|push| push.project == *project)?;
    let mut refs = Vec::new();
    for pushed in push.refs {
        if points_at(repository, &pushed.name).await.as_ref() == Some(&pushed.new) {
            refs.push(pushed);
        }
    }
    if refs.is_empty() {
        if age > ANNOUNCED {
            let _ = fs::remove_file(path);
        }
        return None;
    }
    push.refs = refs;
    Some(push)
}

/// What a ref of a repository points at.
async fn points_at(repository: &Path, name: &str) -> Option<String> {
    let repository = repository.to_str().filter(|_| is_reference(name))?;
    let said = git(&["-C", repository, "rev-parse", "--verify", "--quiet", name]).await;
    let text = String::from_utf8(said.ok()?.answer).ok()?;
    Some(text.trim().to_owned())
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

/// The files with this ending that are whole, the first first. What is being written, or was put
/// aside, is none.
pub(super) fn spooled(folders: &[PathBuf], ending: &str) -> Vec<PathBuf> {
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_whole = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == ending)
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_whole).collect();
    paths.sort();
    paths.truncate(MOST);
    paths
}
