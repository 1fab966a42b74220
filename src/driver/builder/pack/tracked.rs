//! What Git tracks although its ignore files name it: for Git such a file is one like any other, and so it is an input.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::driver::builder::io;
use crate::files::environment;
use crate::port::builder::BuildError;

/// The tracked files below a folder that an ignore file names, relative to it. None without Git, and outside of a
/// repository.
pub(super) fn ignored(folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut git = environment::program("git");
    git.args(["-c", "core.fsmonitor=false", "-C"])
        .arg(folder)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--ignored",
            "--exclude-standard",
        ])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::null());
    let output = match git.as_std_mut().output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("asking git about", folder)(error)),
    };
    if !output.status.success() {
        return Ok(Vec::new());
    }

    let names = output.stdout.split(|byte| *byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .filter(|path| is_file(&folder.join(path)))
        .collect())
}

/// A tracked file may be gone, and a submodule is a folder.
fn is_file(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path);
    meta.is_ok_and(|meta| meta.is_file() || meta.is_symlink())
}
