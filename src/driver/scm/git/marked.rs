//! Files that somebody has told Git not to look at: marked `assume-unchanged`, or `skip-worktree`
//! and there all the same. Git says that such a file is as committed, whatever is in it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::driver::scm::git::call::run_on;
use crate::driver::scm::git::{Git, LIMIT, files};
use crate::port::scm::ScmError;

/// A file of the repository with a mark.
pub(super) struct Marked {
    /// Relative to the folder.
    path: PathBuf,
    mark: Mark,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    AssumeUnchanged,
    SkipWorktree,
    Both,
}

/// The marked files of the whole repository, without those that a sparse checkout has left out.
pub(super) async fn marked(git: &Git) -> Result<Vec<Marked>, ScmError> {
    let listed = git.bytes(&["ls-files", "-v", "-z", "--", ":/"]).await?;
    let lines = listed.split(|byte| *byte == 0);
    let marked = lines.filter_map(|line| {
        let (tag, path) = (line.first()?, files::path(line.get(2..)?));
        let mark = match tag {
            b's' => Mark::Both,
            b'S' => Mark::SkipWorktree,
            tag if tag.is_ascii_lowercase() => Mark::AssumeUnchanged,
            _ => return None,
        };
        let is_looked_at =
            mark == Mark::AssumeUnchanged || files::is_there(&git.folder.join(&path));
        is_looked_at.then_some(Marked { path, mark })
    });
    Ok(marked.collect())
}

/// A copy of the index, for as long as it is kept.
pub(super) struct Index {
    /// It goes with this.
    _folder: TempDir,
    path: PathBuf,
}

impl Index {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A copy of the index without the marks of these files.
pub(super) async fn unmarked_index(git: &Git, marked: &[Marked]) -> Result<Index, ScmError> {
    let told = git.bytes(&["rev-parse", "--git-path", "index"]).await?;
    let told = files::path(told.strip_suffix(b"\n").unwrap_or(&told));
    let folder = crate::files::temporary::folder().map_err(|error| failed(&error))?;
    let path = folder.path().join("index");
    copied(&git.folder.join(told), &path).map_err(|error| failed(&error))?;
    let index = Index {
        _folder: folder,
        path,
    };

    for (option, other) in [
        ("--no-assume-unchanged", Mark::SkipWorktree),
        ("--no-skip-worktree", Mark::AssumeUnchanged),
    ] {
        let paths = marked.iter().filter(|marked| marked.mark != other);
        let paths: Vec<&Path> = paths.map(|marked| marked.path.as_path()).collect();
        if !paths.is_empty() {
            take_off(git, &index, option, &paths).await?;
        }
    }
    Ok(index)
}

/// Copies an index with its time: a file that was changed in the moment in which the index was
/// written is known by that.
fn copied(from: &Path, to: &Path) -> std::io::Result<()> {
    let written = std::fs::metadata(from)?.modified()?;
    std::fs::copy(from, to)?;
    let copy = std::fs::File::options().write(true).open(to)?;
    copy.set_modified(written)
}

async fn take_off(git: &Git, index: &Index, option: &str, paths: &[&Path]) -> Result<(), ScmError> {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(path.as_os_str().as_bytes());
        list.push(0);
    }
    let arguments = ["update-index", option, "-z", "--stdin"];
    let variables = [("GIT_INDEX_FILE", index.path())];
    let command = git.command(&arguments, &variables).await;
    let what = "git update-index";
    let answer = run_on(Some(list), command, what, LIMIT).await?;
    answer.good(what)?;
    Ok(())
}

fn failed(error: &std::io::Error) -> ScmError {
    ScmError {
        what: "looking at the files that Git is told not to look at".to_owned(),
        reason: error.to_string(),
        help: None,
    }
}
