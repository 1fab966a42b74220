//! Files and processes of this machine: small things that several drivers and the agent need.
//!
//! Replacing files so that a reader sees the old content or the new one, and a power cut loses
//! neither ([`replace`]); reading them without being held up or filled up by what is no file
//! ([`read`]); locks that go with their process. A path that somebody else wrote is opened by
//! [`beneath`], and a tar read by [`archive`]. What a command itself writes into the project's
//! folder is told by [`outputs`].

pub mod archive;
pub mod beneath;
pub mod environment;
pub mod interpreter;
mod lock;
pub mod login;
pub mod outputs;
pub mod process;
mod read;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

pub use lock::{lock_within, try_lock};
pub use read::{read, read_if_there, read_text};

/// Replaces a file's content: written beside it, synced, renamed over it, the folder synced. Only
/// its owner can read it.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut beside = NamedTempFile::new_in(folder)?;
    beside.write_all(content)?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Waits until the disk has a folder's entries.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder that only its owner can enter, unless it is there; one of ours that others can
/// enter is closed to them.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
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
