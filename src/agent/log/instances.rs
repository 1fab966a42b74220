//! The instances' logs: files that processes append to. One that is large is put aside: copied
//! and cut, since its process goes on writing to it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::agent::log::reader::{Part, Reader};

/// How large a log grows, in bytes, until it is put aside.
const LIMIT: u64 = 10 << 20;

/// How many files that were put aside are kept for a log.
pub(super) const KEPT: u32 = 2;

/// How much may have come to a log, in bytes, while it was copied, until it is copied on while
/// nobody reads.
const REST: u64 = 256 << 10;

/// How often it is copied on before that.
const COPIES: usize = 4;

/// How many releases' logs are kept per slot.
const RELEASES: usize = 5;

/// Whether a log was put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Rotated {
    Yes,
    No,
}

/// Held for reading while files of logs are opened and read, and for writing while one is put
/// aside: a reader sees all of it or nothing.
static UNMOVED: RwLock<()> = RwLock::new(());

/// No log is put aside while this is held.
pub(super) fn unmoved() -> RwLockReadGuard<'static, ()> {
    UNMOVED.read().unwrap_or_else(PoisonError::into_inner)
}

/// The path of what was put aside; 1 is the newest.
pub(super) fn aside(log: &Path, number: u32) -> PathBuf {
    log.with_added_extension(number.to_string())
}

/// Puts a log aside, once it is large.
pub(in crate::agent) fn rotate(path: &Path) -> io::Result<Rotated> {
    if fs::metadata(path)?.len() < LIMIT {
        return Ok(Rotated::No);
    }
    put_aside(path)?;
    Ok(Rotated::Yes)
}

/// Copies a log and cuts it. The process goes on writing at the new end, because it appends; what
/// it writes between the last byte of the copy and the cut is lost.
pub(super) fn put_aside(path: &Path) -> io::Result<()> {
    let fresh = path.with_added_extension("new");
    let put = copy_and_cut(path, &fresh);
    if put.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    put
}

fn copy_and_cut(path: &Path, fresh: &Path) -> io::Result<()> {
    let mut log = OpenOptions::new().read(true).write(true).open(path)?;
    let mut copy = File::create(fresh)?;
    for _ in 0..COPIES {
        if io::copy(&mut log, &mut copy)? < REST {
            break;
        }
    }

    let _moved = UNMOVED.write().unwrap_or_else(PoisonError::into_inner);
    io::copy(&mut log, &mut copy)?;
    for number in (1..KEPT).rev() {
        let _ = fs::rename(aside(path, number), aside(path, number + 1));
    }
    fs::rename(fresh, aside(path, 1))?;

    // What came meanwhile: directly before the cut.
    let _ = io::copy(&mut log, &mut copy);
    log.set_len(0)
}

/// The last lines of a log.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> Vec<String> {
    let part = Part {
        last: Some(lines),
        since: None,
    };
    read_all(path, part).unwrap_or_default()
}

fn read_all(path: &Path, part: Part) -> io::Result<Vec<String>> {
    let mut reader = Reader::open(path, part)?;
    let mut lines = Vec::new();
    while let Some(more) = reader.past()? {
        lines.extend(more);
    }
    lines.extend(reader.finish());
    Ok(lines)
}

/// Takes the logs of the oldest releases away.
pub(in crate::agent) fn forget_oldest(slot: &Path) {
    let Ok(entries) = fs::read_dir(slot) else {
        return;
    };
    let mut releases: Vec<u64> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    releases.sort_unstable();
    for release in releases.iter().rev().skip(RELEASES) {
        let _ = fs::remove_dir_all(slot.join(release.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("web.0.log");
        fs::write(&log, "small").expect("written");
        assert_eq!(rotate(&log).expect("looked at"), Rotated::No);

        for text in ["one", "two", "three"] {
            fs::write(&log, text).expect("written");
            put_aside(&log).expect("put aside");
        }
        let read = |path: &Path| fs::read_to_string(path).expect("text");
        assert_eq!(read(&log), "");
        assert_eq!(
            [1, 2].map(|number| read(&aside(&log, number))),
            ["three", "two"]
        );
        let count = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(count, 3, "nothing else is left");
    }
}
