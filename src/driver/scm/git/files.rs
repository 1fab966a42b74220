//! The files of a checkout that its ignore files or its submodules make special.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::driver::scm::git::Git;
use crate::files::outputs;
use crate::port::scm::ScmError;

/// How Git lists a submodule in its index.
const SUBMODULE: &str = "160000 ";

/// What Git tracks below the folder although an ignore file names it, in its submodules, too: for
/// Git such a file is one like any other. None outside of a checkout.
pub(super) async fn tracked_but_ignored(git: &Git) -> Result<Vec<PathBuf>, ScmError> {
    if !git.is_repository().await? {
        return Ok(Vec::new());
    }
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--ignored",
        "--exclude-standard",
    ];
    let mut found: Vec<PathBuf> = paths(&git.bytes(&arguments).await?).collect();
    // A tracked file may be gone, and a submodule is a folder.
    found.retain(|path| is_file(&git.folder.join(path)));

    for path in submodules(git).await? {
        if !is_checked_out(git, &path) {
            continue;
        }
        let inner = Git::new(git.folder.join(&path));
        let inside = Box::pin(tracked_but_ignored(&inner)).await?;
        found.extend(inside.into_iter().map(|file| path.join(file)));
    }
    Ok(found)
}

/// What differs from the commit, in Git's words; nothing where all is as committed.
pub(super) async fn status(git: &Git) -> Result<String, ScmError> {
    let command = ["status", "--porcelain", "--ignore-submodules=untracked"];
    let written = written(git);
    if written.is_empty() {
        return git.ask(&command).await;
    }
    let written = written.iter().map(String::as_str);
    let all = command.into_iter().chain(["--", ":(top)"]).chain(written);
    git.ask(&all.collect::<Vec<_>>()).await
}

/// What leaves out the files that this command writes below the folder, as they are no files of the
/// project.
pub(super) fn written(git: &Git) -> Vec<String> {
    let written = outputs::below(&git.folder);
    let written = written.iter().filter_map(|path| path.to_str());
    written
        .map(|path| format!(":(exclude,literal){path}"))
        .collect()
}

/// The submodules below the folder that are not checked out: their folders are empty.
pub(super) async fn missing_submodules(git: &Git) -> Result<Vec<String>, ScmError> {
    let submodules = submodules(git).await?;
    let missing = submodules.iter().filter(|path| !is_checked_out(git, path));
    Ok(missing.map(|path| path.display().to_string()).collect())
}

/// All submodules of the repository that are below the folder.
async fn submodules(git: &Git) -> Result<Vec<PathBuf>, ScmError> {
    let names = |folder: &Path| folder.join(".gitmodules").exists();
    if !git.folder.ancestors().any(names) || !git.is_repository().await? {
        return Ok(Vec::new());
    }
    let listed = git.bytes(&["ls-files", "--stage", "-z"]).await?;
    let lines = listed.split(|byte| *byte == 0);
    let paths = lines.filter_map(|line| {
        let rest = line.strip_prefix(SUBMODULE.as_bytes())?;
        let tab = rest.iter().position(|byte| *byte == b'\t')?;
        Some(path(&rest[tab + 1..]))
    });
    Ok(paths.collect())
}

fn is_checked_out(git: &Git, submodule: &Path) -> bool {
    git.folder.join(submodule).join(".git").exists()
}

fn paths(listed: &[u8]) -> impl Iterator<Item = PathBuf> {
    let names = listed.split(|byte| *byte == 0);
    names.filter(|name| !name.is_empty()).map(path)
}

fn path(name: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name))
}

fn is_file(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path);
    meta.is_ok_and(|meta| meta.is_file() || meta.is_symlink())
}
