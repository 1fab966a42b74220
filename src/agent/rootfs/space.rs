//! Room on the disk: looked at before an image is unpacked and while it is, so that an image that
//! does not fit takes nothing from the services that run.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, StatVfs, fstatvfs};

use crate::model::ByteSize;

/// The most that is left free for others.
const RESERVE: u64 = 512 << 20;

/// The part of the disk that is left free for others, if that is less: a fiftieth.
const PART: u64 = 50;

/// How many files may still be made when no more are unpacked.
const FILES: u64 = 1000;

/// How many bytes are written before the disk is looked at again.
const EVERY: u64 = 64 << 20;

/// How many entries are made before the disk is looked at again.
const EVERY_ENTRY: u64 = 4096;

/// Why an image does not fit.
#[derive(Debug, thiserror::Error)]
pub(in crate::agent) enum NoSpace {
    /// Too few bytes are free.
    #[error(
        "the disk of {place} has {} MiB free: the image needs {} MiB, and {} MiB are kept for what \
         runs",
        mib(*free), mib(*needed), mib(*reserve)
    )]
    Bytes {
        /// Where.
        place: PathBuf,
        /// How many are.
        free: u64,
        /// How many the image needs, as far as it is known.
        needed: u64,
        /// How many stay free.
        reserve: u64,
    },
    /// Too few files can be made.
    #[error("the disk of {place} has no room for more files: {free} inodes are free")]
    Files {
        /// Where.
        place: PathBuf,
        /// How many can.
        free: u64,
    },
    /// It cannot be asked, or not be written.
    #[error("{place}: {source}")]
    Io {
        /// Where.
        place: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(ByteSize::from_mib(1).bytes())
}

/// The disk that a folder is on.
pub(super) struct Space {
    place: PathBuf,
    folder: OwnedFd,
    bytes: Cell<u64>,
    entries: Cell<u64>,
}

impl Space {
    pub fn of(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            place: folder.to_path_buf(),
            folder: rustix::fs::open(folder, flags, Mode::empty())?,
            bytes: Cell::new(0),
            entries: Cell::new(0),
        })
    }

    /// Refuses what does not fit.
    pub fn expect(&self, needed: u64) -> Result<(), NoSpace> {
        let disk = fstatvfs(&self.folder).map_err(|errno| self.failed(errno.into()))?;
        self.judge(&disk, needed)
    }

    fn judge(&self, disk: &StatVfs, needed: u64) -> Result<(), NoSpace> {
        let place = self.place.clone();
        let (free, reserve) = (disk.f_bavail * disk.f_frsize, reserve(disk));
        if needed.saturating_add(reserve) > free {
            return Err(NoSpace::Bytes {
                place,
                free,
                needed,
                reserve,
            });
        }
        // Some file systems have no number of files, and say zero.
        if disk.f_files > 0 && disk.f_favail < FILES.min(disk.f_files / PART) {
            let free = disk.f_favail;
            return Err(NoSpace::Files { place, free });
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> NoSpace {
        NoSpace::Io {
            place: self.place.clone(),
            source,
        }
    }

    /// Looks at the disk again, if it is time.
    fn count(&self, counter: &Cell<u64>, more: u64, every: u64) -> Result<(), NoSpace> {
        counter.set(counter.get() + more);
        if counter.get() < every {
            return Ok(());
        }
        counter.set(0);
        self.expect(0)
    }

    pub fn count_entries(&self, more: u64) -> Result<(), NoSpace> {
        self.count(&self.entries, more, EVERY_ENTRY)
    }

    pub fn count_bytes(&self, more: u64) -> Result<(), NoSpace> {
        self.count(&self.bytes, more, EVERY)
    }
}

fn reserve(disk: &StatVfs) -> u64 {
    RESERVE.min(disk.f_blocks * disk.f_frsize / PART)
}
