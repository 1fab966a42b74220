//! Files and processes of this machine: small things that several drivers and the agent need.
//!
//! Replacing files so that a reader sees the old content or the new one, and a power cut loses
//! neither ([`replace`]); reading them without being held up or filled up by what is no file
//! ([`read`]); locks that go with their process. A path that somebody else wrote is opened by
//! [`beneath`], a tar read by [`archive`], and what is packed by [`packed`]. A program whose answer
//! is what it prints is waited for by [`program`], ends with a process that is killed by [`guard`],
//! and what it prints meanwhile is made lines of by [`lines`]. What a command itself writes into
//! the project's folder is told by [`outputs`].

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
pub mod packed;
pub mod process;
pub mod program;
mod read;
pub mod removal;
pub mod temporary;
pub mod writable;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::fs::{fchown, fstat, statat};
use rustix::io::Errno;

use tempfile::NamedTempFile;

pub use lock::{lock_replaced, lock_within, try_lock};
pub use read::{first_line, read, read_if_there, read_text};

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
    let folder = parent(path);
    folders(folder, 0o755)?;
    let mut beside = NamedTempFile::new_in(folder)?;
    give_to_owner(beside.as_file(), beside.path())?;
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
pub fn folders(path: &Path, mode: u32) -> io::Result<()> {
    let mut done = made_folder(path, mode);
    if matches!(&done, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        folders(parent(path), mode)?;
        done = made_folder(path, mode);
    }
    if path.is_dir() { Ok(()) } else { done }
}

/// Makes a folder, which is its parent's owner's.
fn made_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }

    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    // What is not empty is not what was made.
    if removal::names(&folder)?.is_empty() {
        give_to_owner(&folder, path)?;
    }
    Ok(())
}

/// The folder that a path is in.
fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Whom the kernel names in the place of a user that a user namespace does not know
/// (`/proc/sys/kernel/overflowuid`).
const UNMAPPED: u32 = 65_534;

/// Gives what was just made at a path to the owner of the folder that it is in. Root works in other
/// users' folders (`sudo`, a build container): who has the folder could not even read it else. That
/// user may change what the path leads through: only what is certainly in that folder is given.
pub fn give_to_owner(made: &impl AsFd, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some(name) = path.file_name() else {
        return Ok(());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(parent(path), flags, Mode::empty())?;
    let owner = fstat(&folder)?;
    if [0, UNMAPPED].contains(&owner.st_uid) {
        return Ok(());
    }
    let (own, there) = (
        fstat(made)?,
        statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW),
    );
    let is_there = there.is_ok_and(|it| (it.st_dev, it.st_ino) == (own.st_dev, own.st_ino));
    if !is_there {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    match fchown(made, Some(user), Some(group)) {
        // Root without the right to, and file systems without owners: it stays root's.
        Err(Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        given => Ok(given?),
    }
}

/// Opens a file as options say, or makes it, for its folder's owner alone. What is there already
/// stays whose it is. A link in its place is not followed, since somebody else may have put it
/// there, and a pipe is not waited for.
pub fn open_or_make(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = options.clone();
    options.mode(0o600).custom_flags(flags.bits().cast_signed());

    let fresh = options.clone().create_new(true).open(path);
    if matches!(&fresh, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
        // It may go away at this moment.
        return options.create(true).open(path).map_err(|error| {
            if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
                return io::Error::other("it is a link, which is not followed here; remove it");
            }
            error
        });
    }
    let file = fresh?;
    give_to_owner(&file, path)?;
    Ok(file)
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
    match made_folder(path, 0o700) {
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

    /// Root alone can try it.
    #[test]
    fn what_root_makes_is_the_folders_owners() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(top.path(), Some(1000), Some(1000)).expect("given away");
        let folder = top.path().join("state/staging");
        private_folder(&folder).expect("made");
        replace(&folder.join("state.json"), b"{}").expect("written");
        replace(&top.path().join("registry/index.json"), b"{}").expect("written");
        let options = OpenOptions::new().append(true).clone();
        open_or_make(&folder.join("log"), &options).expect("made");

        let owner = |path: &str| fs::metadata(top.path().join(path)).expect(path).uid();
        for path in [
            "state",
            "state/staging",
            "state/staging/state.json",
            "registry",
        ] {
            assert_eq!(owner(path), 1000, "{path}");
        }
        for path in ["registry/index.json", "state/staging/log"] {
            assert_eq!(owner(path), 1000, "{path}");
        }

        // Another user's file is not given away because root opens it, nor opened through a link.
        fs::write(top.path().join("roots"), "").expect("written");
        open_or_make(&top.path().join("roots"), &options).expect("opened");
        assert_eq!(owner("roots"), 0);
        std::os::unix::fs::symlink("roots", top.path().join("link")).expect("a link");
        let error = open_or_make(&top.path().join("link"), &options).expect_err("a link");
        assert!(error.to_string().contains("it is a link"), "{error}");
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
