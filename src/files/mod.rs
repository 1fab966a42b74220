//! Files and processes of this machine: small things that several drivers and the agent need.
//!
//! Replacing files so that a reader sees the old content or the new one, and a power cut loses
//! neither ([`replace`]); reading them without being held up or filled up by what is no file
//! ([`read`]); locks that go with their process. A path that somebody else wrote is opened by
//! [`beneath`], and a tar read by [`archive`]. A program whose answer is what it prints is waited
//! for by [`program`], ends with a process that is killed by [`guard`], and what it prints meanwhile is made lines of by [`lines`]. What a command
//! itself writes into the project's folder is told by [`outputs`].

pub mod archive;
pub mod beneath;
pub mod environment;
pub mod guard;
pub mod interpreter;
pub mod lines;
mod lock;
pub mod login;
pub mod marked;
pub mod outputs;
pub mod process;
pub mod program;
mod read;
pub mod removal;
pub mod temporary;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

pub use lock::{lock_replaced, lock_within, try_lock};
pub use read::{read, read_if_there, read_text};

/// Replaces a file's content: written beside it, synced, renamed over it, the folder synced. Only
/// its owner can read it.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(content))
}

/// The same with what is written bit by bit. Nothing is replaced when that fails.
pub fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    folders(folder, 0o755)?;
    let mut beside = NamedTempFile::new_in(folder)?;
    write(beside.as_file_mut())?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Waits until the disk has a folder's entries.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it that are not there, with this mode at the most, whatever the
/// umask allows.
fn folders(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Lets nobody else write in a folder of this user's: what was made with a umask that lets them is
/// closed. Another user's folder is left as it is.
pub fn close_to_others(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let found = fs::metadata(path)?;
    let mode = found.mode() & 0o7777;
    if found.uid() == rustix::process::geteuid().as_raw() && mode & 0o022 != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & !0o022))?;
    }
    Ok(())
}

/// Makes a folder that only its owner can enter, with those above it that are not there, unless it
/// is there; one of ours that others can enter is closed to them.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
        folders(parent, 0o700)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let there = fs::metadata(path)?;
    if !there.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    if there.uid() == rustix::process::geteuid().as_raw() && there.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether something can be written in a folder, or in the nearest above it that is there: tried
/// with a file that has no name.
pub fn try_writing(folder: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(folder)?;
    let there = absolute.ancestors().find(|path| path.exists());
    tempfile::tempfile_in(there.unwrap_or(&absolute)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o777
    }

    #[test]
    fn a_private_folder_is_in_folders_that_nobody_else_may_write_in() {
        let top = tempfile::tempdir().expect("a folder");
        let folder = top.path().join("state/production");
        private_folder(&folder).expect("made");
        assert_eq!(
            (mode(&folder), mode(&top.path().join("state"))),
            (0o700, 0o700)
        );

        let store = top.path().join("state");
        fs::set_permissions(&store, Permissions::from_mode(0o777)).expect("opened");
        close_to_others(&store).expect("closed");
        assert_eq!(mode(&store), 0o755);
    }
}
