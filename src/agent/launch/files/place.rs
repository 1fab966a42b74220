//! The folder that the files of instances are in. The machine's folder for what is in memory is
//! everybody's: a name in it may be taken by anybody, and lead anywhere.
//!
//! So the folder's name is random and recorded in the agent's own folder, and what is looked at and
//! deleted in is the folder that was opened, never what has its name.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, fchmod, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::agent::Directory;
use crate::files;
use crate::files::removal;
use crate::model::Digest;

/// Where files are held in memory.
pub(super) const MEMORY: &str = "/dev/shm";

/// What `statfs(2)` says of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// What the name of every such folder begins with.
const PREFIX: &str = "shipit-";

/// Held while the folder is chosen.
static ORDER: Mutex<()> = Mutex::new(());

/// A folder of this user's own, which nobody else may write in.
pub(super) struct Place {
    path: PathBuf,
    folder: OwnedFd,
}

impl Place {
    /// Opens it.
    ///
    /// # Errors
    /// It is a link or no folder, another user's, or others may write in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match open(path, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(foreign(path, "is no folder")),
            opened => opened?,
        };

        let found = fstat(&folder)?;
        if found.st_uid != geteuid().as_raw() {
            return Err(foreign(path, "is another user's"));
        }
        if found.st_mode & 0o022 != 0 {
            return Err(foreign(path, "can be written in by others"));
        }
        Ok(Self {
            path: path.to_path_buf(),
            folder,
        })
    }

    /// Deletes one name in it, with all that is below.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        removal::remove(&self.folder, name, &|_, _| false)
    }

    /// Deletes all that is in it but these paths.
    pub fn remove_all_but(&self, known: &[PathBuf]) {
        let names = removal::names(&self.folder).unwrap_or_default();
        for name in names {
            let path = self.path.join(&name);
            if known.contains(&path) {
                continue;
            }
            if let Err(error) = self.remove(&name) {
                tracing::error!(folder = %path.display(), %error, "the files of an instance could \
                    not be deleted");
            }
        }
    }
}

fn foreign(path: &Path, what: &str) -> io::Error {
    let reason = format!("{} {what}", path.display());
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// The folder in memory: the recorded one, or a new one when that is gone or not this user's own.
pub(super) fn in_memory(directory: &Directory) -> io::Result<PathBuf> {
    expect_memory()?;
    let _order = ORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = recorded(directory) {
        match Place::open(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "the files of instances are held in another folder");
            }
        }
    }

    let random = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("{PREFIX}{}-{random}", geteuid().as_raw());
    let path = Path::new(MEMORY).join(&name);
    files::replace(&directory.memory_name(), name.as_bytes())?;
    DirBuilder::new().mode(0o700).create(&path)?;
    own(&path)?;
    Ok(path)
}

/// The folder that is recorded; whoever could write the record could write the agent's own folder.
pub(super) fn recorded(directory: &Directory) -> Option<PathBuf> {
    let name = fs::read_to_string(directory.memory_name()).ok()?;
    let is_name = name.starts_with(PREFIX) && !name.contains('/');
    is_name.then(|| Path::new(MEMORY).join(name))
}

/// The one that agents had before, whose name anybody could know.
pub(super) fn predictable(directory: &Directory) -> PathBuf {
    let folder = Digest::of(directory.path().as_os_str().as_encoded_bytes());
    let name = format!("{PREFIX}{}-{}", geteuid().as_raw(), folder.short());
    Path::new(MEMORY).join(name)
}

/// Whether the machine has a folder that is in memory and in which names stay their owner's.
pub(super) fn expect_memory() -> io::Result<()> {
    let refuse = |what: &str| io::Error::other(format!("{MEMORY} {what}"));
    if rustix::fs::statfs(MEMORY)?.f_type != TMPFS {
        return Err(refuse("is no file system in memory"));
    }
    let found = fs::symlink_metadata(MEMORY)?;
    if found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0 {
        return Err(refuse("lets everybody rename what is in it"));
    }
    Ok(())
}

/// Makes a folder of this user's own, which others may go through at the most: root's services may
/// be of any user.
pub(super) fn own(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    Ok(fchmod(
        &Place::open(path)?.folder,
        Mode::from_raw_mode(mode),
    )?)
}
