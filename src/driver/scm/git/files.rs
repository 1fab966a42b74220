//! The files of a checkout that its ignore files or its submodules make special.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::driver::scm::git::call::{run, run_on};
use crate::driver::scm::git::{Git, LIMIT, marked};
use crate::files::outputs;
use crate::port::scm::ScmError;

/// How many bytes a pointer of Git LFS has at the most.
const POINTER: u64 = 1024;

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

/// Which of these files below the folder Git ignores: none that it tracks.
pub(super) async fn ignored<'a>(
    git: &Git,
    files: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>, ScmError> {
    let list: Vec<u8> = files
        .flat_map(|file| [file, "\0"].concat().into_bytes())
        .collect();
    let command = git.command(&["check-ignore", "-z", "--stdin"], &[]).await;
    let what = "git check-ignore";
    let answer = run_on(Some(list), command, what, LIMIT).await?;
    // That is how it says that it ignores none.
    if answer.code == Some(1) {
        return Ok(Vec::new());
    }
    let said = answer.good(what)?.stdout;
    Ok(paths(&said)
        .map(|path| path.display().to_string())
        .collect())
}

/// What differs from the commit, in Git's words; nothing where all is as committed. Neither the
/// user's settings nor marks in the index hide a difference: a build packs what is there.
pub(super) async fn status(git: &Git) -> Result<String, ScmError> {
    let said = status_by(git, &[]).await?;
    if !said.is_empty() {
        return Ok(said);
    }
    let marked = marked::marked(git).await?;
    if marked.is_empty() {
        return Ok(said);
    }

    let index = marked::unmarked_index(git, &marked).await?;
    status_by(git, &[("GIT_INDEX_FILE", index.path())]).await
}

async fn status_by(git: &Git, variables: &[(&str, &Path)]) -> Result<String, ScmError> {
    let command = [
        "-c",
        "core.trustctime=true",
        "-c",
        "core.checkStat=default",
        "status",
        "--porcelain",
        "--untracked-files=normal",
        "--ignore-submodules=untracked",
    ];
    let written = written(git);
    let top: &[&str] = if written.is_empty() {
        &[]
    } else {
        &["--", ":(top)"]
    };
    let written = written.iter().map(String::as_str);
    let all = command.into_iter().chain(top.iter().copied());
    let all: Vec<&str> = all.chain(written).collect();

    let (command, what) = (git.command(&all, variables).await, "git status");
    let answer = run(command, what, LIMIT).await?;
    answer.good(what).map(|answer| answer.text())
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

/// The files of the commit below the folder that a sparse checkout has left out.
pub(super) async fn left_out(git: &Git) -> Result<Vec<String>, ScmError> {
    if !git.is_repository().await? {
        return Ok(Vec::new());
    }
    let listed = git.bytes(&["ls-files", "-v", "-z"]).await?;
    let skipped = listed.split(|byte| *byte == 0);
    let skipped = skipped.filter_map(|line| {
        let name = line
            .strip_prefix(b"S ")
            .or_else(|| line.strip_prefix(b"s "))?;
        Some(path(name))
    });
    let absent = skipped.filter(|path| !is_there(&git.folder.join(path)));
    Ok(absent.map(|path| path.display().to_string()).collect())
}

/// The files below the folder of which the checkout has the pointers of Git LFS alone.
pub(super) async fn pointers(git: &Git) -> Result<Vec<String>, ScmError> {
    if !git.is_repository().await? {
        return Ok(Vec::new());
    }
    let listed = git.bytes(&["ls-files", "-z", ":(attr:filter=lfs)"]).await?;
    let pointers = paths(&listed).filter(|path| is_pointer(&git.folder.join(path)));
    Ok(pointers.map(|path| path.display().to_string()).collect())
}

/// Whether a file has what Git LFS commits in the place of a file's content.
fn is_pointer(path: &Path) -> bool {
    let content = crate::files::read(path, POINTER);
    content.is_ok_and(|content| content.starts_with(b"version https://git-lfs.github.com/spec/"))
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

pub(super) fn path(name: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name))
}

pub(super) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn is_file(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path);
    meta.is_ok_and(|meta| meta.is_file() || meta.is_symlink())
}
