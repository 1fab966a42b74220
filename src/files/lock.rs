//! Lock files: the kernel gives a lock up when its process ends, however that comes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// How often a lock is asked for that somebody has.
const LOOK: Duration = Duration::from_millis(10);

/// A lock file's lock, for as long as the returned file lives. None: somebody else has it.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same, waiting for whoever has it: only for locks that are held for moments.
pub fn lock_within(path: &Path, patience: Duration) -> io::Result<File> {
    let began = Instant::now();
    loop {
        if let Some(file) = try_lock(path)? {
            return Ok(file);
        }
        if began.elapsed() >= patience {
            let by = holder(path).map_or_else(
                || "somebody".to_owned(),
                |pid| format!("process {pid}, {},", name(pid)),
            );
            let reason = format!("{by} has had its lock for {patience:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        std::thread::sleep(LOOK);
    }
}

/// The lock of a file that whoever changes it replaces as a whole: that of the file which has the
/// name in the end.
pub fn lock_replaced(path: &Path, patience: Duration) -> io::Result<File> {
    let began = Instant::now();
    loop {
        let file = File::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let (locked, named) = (file.metadata()?, fs::metadata(path)?);
                if (locked.dev(), locked.ino()) == (named.dev(), named.ino()) {
                    return Ok(file);
                }
                continue;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        if began.elapsed() >= patience {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "somebody else writes it",
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// Nobody else can open what is made here: whoever can read a file can lock it. A file of a version
/// that let others read it is closed to them.
fn open(path: &Path) -> io::Result<File> {
    let file = super::open_or_make(path, OpenOptions::new().write(true))?;
    let there = file.metadata()?;
    if !there.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if there.uid() == rustix::process::geteuid().as_raw() && there.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// The process that has a file's lock, as far as the kernel tells: see `proc_locks(5)`.
fn holder(path: &Path) -> Option<u32> {
    let inode = fs::metadata(path).ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let of_file = |line: &&str| {
        line.split_whitespace()
            .find_map(|field| {
                field
                    .rsplit_once(':')
                    .filter(|(left, _)| left.contains(':'))
            })
            .is_some_and(|(_, of)| of == inode)
    };
    let line = locks.lines().find(of_file)?;
    line.split_whitespace().nth(4)?.parse().ok()
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => "whose name is not known".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_under_its_lock_loses_nothing() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("file");
        fs::write(&path, "").expect("written");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _lock = lock_replaced(&path, Duration::from_mins(1)).expect("a lock");
                        let mut text = fs::read(&path).expect("read");
                        text.push(b'x');
                        crate::files::replace(&path, &text).expect("replaced");
                    }
                });
            }
        });
        assert_eq!(fs::read(&path).expect("read").len(), 8 * 20);
        lock_replaced(&place.path().join("none"), Duration::ZERO).expect_err("not there");
    }

    #[test]
    fn a_lock_file_is_its_owners_alone_and_an_old_one_becomes_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("guard");
        fs::write(&path, "").expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("readable");
        let _held = try_lock(&path).expect("opened").expect("free");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    }

    #[test]
    fn whoever_waits_for_a_lock_in_vain_is_told_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("guard");
        let _held = try_lock(&path).expect("opened").expect("free");
        let error = lock_within(&path, Duration::from_millis(20)).expect_err("it is held");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let own = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&own), "{error}");
    }

    #[test]
    fn a_link_in_the_place_of_a_lock_file_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, victim) = (folder.path().join("guard"), folder.path().join("victim"));
        std::os::unix::fs::symlink(&victim, &path).expect("a link");
        assert!(try_lock(&path).is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn what_is_no_file_is_no_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("guard");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("a pipe");
        assert!(try_lock(&path).is_err());
    }
}
