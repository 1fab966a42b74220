//! Pushes that a hook could not tell of: files in the repository, which the server reads where the
//! repository is a folder of this machine.
//!
//! ```text
//! shipit/spool/KEY.json        no server was there
//! shipit/spool/KEY.announced   what is about to be pushed: whoever pushes may be gone before Git
//!                              calls the hook that tells of it, and the ref has moved all the same
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::intake::{Push, PushedRef, push};
use super::pushed::git;
use super::{DoorError, Doors};
use crate::files;
use crate::model::ProjectName;
use crate::model::trigger::is_reference;
use crate::port::queue::JobQuery;

/// The largest of them, in bytes.
const LARGEST: u64 = 1 << 20;

/// The most that are read at once.
const MOST: usize = 1_000;

/// How long after it was announced a push is looked for: its own hook tells of it sooner.
const GRACE: Duration = Duration::from_secs(15);

/// How long an announced push is looked for. It was refused by then.
const ANNOUNCED: Duration = Duration::from_mins(10);

/// The most announced pushes that are looked for at once in a repository.
const MOST_COMING: usize = 50;

/// How Git tells of a ref.
const FORM: &str = "--format=%(objectname) %(refname)";

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
        for path in spooled(&folders, COMING).into_iter().take(MOST_COMING) {
            let Some((found, announced)) = arrived(&repository, &path, name).await else {
                continue;
            };
            if let Some(found) = without_jobs(doors, found, announced).await? {
                push(doors, &found).await?;
                taken += 1;
            }
            let _ = fs::remove_file(&path);
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

/// A push without the refs that have a job since it was announced, or shortly before: of several
/// tries of one push each is announced, and a tag points for ever where a refused try would have
/// had it. None when nothing is left.
async fn without_jobs(
    doors: &Doors,
    mut push: Push,
    announced: SystemTime,
) -> Result<Option<Push>, DoorError> {
    let last = JobQuery {
        last: MOST,
        ..JobQuery::default()
    };
    let since = announced.checked_sub(GRACE).unwrap_or(announced);
    let jobs = doors.queue.jobs(last).await?;
    let has_one = |pushed: &PushedRef| {
        jobs.iter().any(|job| {
            job.request.lane.project == push.project
                && job.request.reference == pushed.name
                && job.request.commit.as_deref() == Some(pushed.new.as_str())
                && SystemTime::from(job.created) >= since
        })
    };
    push.refs = push
        .refs
        .iter()
        .filter(|pushed| !has_one(pushed))
        .cloned()
        .collect();
    Ok((!push.refs.is_empty()).then_some(push))
}

/// What has come of a push that was announced, and that its own hook has not told of, and when it
/// was announced; none where nothing has, or it is too early to tell. One that nothing came of is
/// forgotten.
async fn arrived(
    repository: &Path,
    path: &Path,
    project: &ProjectName,
) -> Option<(Push, SystemTime)> {
    let changed = fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let age = changed.elapsed().unwrap_or_default();
    if age < GRACE {
        return None;
    }

    let push = read(path).filter(|push| push.project == *project);
    let push = match push {
        Some(push) => moved(repository, push).await,
        None => None,
    };
    if push.is_none() && age > ANNOUNCED {
        let _ = fs::remove_file(path);
    }
    push.map(|push| (push, changed))
}

/// A push with those of its refs that point at what was pushed; none when there is no such.
async fn moved(repository: &Path, mut push: Push) -> Option<Push> {
    push.refs.retain(|pushed| is_reference(&pushed.name));
    let mut words = vec!["-C", repository.to_str()?, "for-each-ref", FORM];
    words.extend(push.refs.iter().map(|pushed| pushed.name.as_str()));
    let said = git(&words).await.ok().filter(|_| !push.refs.is_empty())?;
    let text = String::from_utf8(said.answer).ok()?;
    let there: BTreeSet<&str> = text.lines().collect();
    let is_there = |pushed: &PushedRef| {
        let line = format!("{} {}", pushed.new, pushed.name);
        there.contains(line.as_str())
    };
    push.refs.retain(is_there);
    (!push.refs.is_empty()).then_some(push)
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
    // In the order in which they came: a later push counts more than an earlier one.
    let written = |path: &PathBuf| {
        fs::symlink_metadata(path)
            .and_then(|file| file.modified())
            .ok()
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_whole).collect();
    paths.sort_by_cached_key(|path| (written(path), path.clone()));
    paths.truncate(MOST);
    paths
}
