//! Reading a tar that somebody else wrote: bounded in what is read, in what comes out of it, in
//! entries and in time.
//!
//! The `tar` crate keeps long names and PAX records in memory, as long as they say they are, and
//! gives out the holes of a sparse file as zeros, as many as it says there are. [`each`] lets
//! neither grow past its [`Budget`].

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tar::EntryType;

/// The most bytes that may say what an entry is: its header, its long name, its PAX records.
const HEADING: u64 = 1 << 20;

/// The most bytes that the paths of entries may have, for each entry that there may be.
const PATH: u64 = 128;

/// What may come out of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, of all entries together.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// How long it may take.
    pub within: Duration,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Of the bytes.
    #[error("more than {} MiB come out of it", .0 >> 20)]
    Bytes(u64),
    /// Of what one archive may become.
    #[error("more than {} MiB come out of one archive, which is far more than it is \
             itself", .0 >> 20)]
    Expansion(u64),
    /// Of the entries.
    #[error("it has more than {0} entries")]
    Entries(u64),
    /// Of the time.
    #[error("it is not unpacked within {} s", .0.as_secs())]
    Time(Duration),
    /// Of the paths of all entries.
    #[error("the paths in it have more than {} KiB together", .0 >> 10)]
    Paths(u64),
    /// Whoever asked for it is gone.
    #[error("whoever asked for it waits no more")]
    Unwanted,
    /// Of one entry's name and records.
    #[error("the name and records of one entry are larger than {} KiB", HEADING >> 10)]
    Heading,
}

impl Exceeded {
    /// The limit that an error is about, if it is about one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Exceeded> for io::Error {
    fn from(exceeded: Exceeded) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, exceeded)
    }
}

/// What is left of the limits. Several archives may share one: its clones count together.
#[derive(Debug, Clone)]
pub struct Budget(Rc<Left>);

#[derive(Debug)]
struct Left {
    limits: Limits,
    /// Set once nobody wants what comes out any more.
    unwanted: Arc<AtomicBool>,
    until: Instant,
    /// Bytes that may still be read from archives.
    read: Cell<u64>,
    /// Bytes of content that may still come out.
    content: Cell<u64>,
    /// Bytes of content that may still come out of this archive, and how many could at first.
    archive: Cell<(u64, u64)>,
    entries: Cell<u64>,
    /// Bytes that paths may still have.
    paths: Cell<u64>,
    /// Bytes that may still be read before the next entry is known; none while its content is read.
    heading: Cell<Option<u64>>,
}

impl Budget {
    /// All of it. Its time begins now.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::wanted(limits, Arc::default())
    }

    /// The same, until this is set: whoever wants what comes out waits no more.
    #[must_use]
    pub fn wanted(limits: Limits, unwanted: Arc<AtomicBool>) -> Self {
        let headings = limits.entries.saturating_mul(2 * 512);
        Self(Rc::new(Left {
            limits,
            unwanted,
            until: Instant::now() + limits.within,
            read: Cell::new(limits.bytes.saturating_add(headings)),
            content: Cell::new(limits.bytes),
            archive: Cell::new((u64::MAX, u64::MAX)),
            entries: Cell::new(limits.entries),
            paths: Cell::new(limits.entries.saturating_mul(PATH)),
            heading: Cell::new(None),
        }))
    }

    /// Begins another archive, which may become so many bytes.
    pub fn next_archive(&self, most: u64) {
        self.0.archive.set((most, most));
    }

    fn content(&self, count: u64) -> Result<(), Exceeded> {
        let (left, most) = self.0.archive.get();
        let left = left.checked_sub(count).ok_or(Exceeded::Expansion(most))?;
        self.0.archive.set((left, most));
        self.take(&self.0.content, count)
    }

    fn take(&self, from: &Cell<u64>, count: u64) -> Result<(), Exceeded> {
        let limits = &self.0.limits;
        let left = from.get().checked_sub(count);
        from.set(left.ok_or(Exceeded::Bytes(limits.bytes))?);
        self.in_time()
    }

    /// Whether there is time left, and somebody who waits.
    ///
    /// # Errors
    /// There is none.
    pub fn in_time(&self) -> Result<(), Exceeded> {
        if self.0.unwanted.load(Ordering::Relaxed) {
            return Err(Exceeded::Unwanted);
        }
        if Instant::now() > self.0.until {
            return Err(Exceeded::Time(self.0.limits.within));
        }
        Ok(())
    }

    fn read(&self, count: u64) -> Result<(), Exceeded> {
        if let Some(heading) = self.0.heading.get() {
            let left = heading.checked_sub(count).ok_or(Exceeded::Heading)?;
            self.0.heading.set(Some(left));
        }
        self.take(&self.0.read, count)
    }

    /// Takes what was made without an entry of its own for entries.
    ///
    /// # Errors
    /// There are too many.
    pub fn entries(&self, count: u64) -> Result<(), Exceeded> {
        let left = self.0.entries.get().checked_sub(count);
        self.0
            .entries
            .set(left.ok_or(Exceeded::Entries(self.0.limits.entries))?);
        Ok(())
    }

    /// Takes the bytes of a path, which whoever walks through what came out reads again and again:
    /// a link makes a short name a long one.
    ///
    /// # Errors
    /// All paths together are too long.
    pub fn path(&self, bytes: usize) -> Result<(), Exceeded> {
        let most = self.0.limits.entries.saturating_mul(PATH);
        let left = self.0.paths.get().checked_sub(bytes as u64);
        self.0.paths.set(left.ok_or(Exceeded::Paths(most))?);
        Ok(())
    }
}

/// One entry of an archive. It is read as its content.
pub struct Member<'a> {
    /// Its name, as it is written.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryType,
    /// Where it leads to, if it is a link.
    pub link: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its group.
    pub gid: u64,
    /// When it was changed, in seconds since 1970.
    pub mtime: u64,
    content: &'a mut dyn Read,
    budget: &'a Budget,
}

impl Read for Member<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.budget.content(count as u64)?;
        Ok(count)
    }
}

/// Reads an archive entry by entry.
pub fn each<E: From<io::Error>>(
    archive: impl Read,
    budget: &Budget,
    mut visit: impl FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(Bounded {
        inner: archive,
        budget: budget.clone(),
    });
    let mut entries = archive.entries()?;
    loop {
        budget.0.heading.set(Some(HEADING));
        let next = entries.next();
        budget.0.heading.set(None);
        let Some(entry) = next else { return Ok(()) };

        let mut entry = entry?;
        budget.entries(1).map_err(io::Error::from)?;
        let kind = entry.header().entry_type();
        if let Some(name) = sparse_by_records(&mut entry)? {
            let reason = format!(
                "{name} is a sparse file as `tar --sparse --format=posix` writes one, which is not \
                 understood: write it without `--sparse`"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason).into());
        }
        let header = entry.header();
        // Fields that some tools leave empty.
        let mode = header.mode().unwrap_or(0o755);
        let (uid, gid) = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
        let mtime = header.mtime().unwrap_or_default();
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let mut member = Member {
            path: OsString::from_vec(entry.path_bytes().into_owned()).into(),
            kind,
            link: OsString::from_vec(link).into(),
            mode,
            uid,
            gid,
            mtime,
            content: &mut entry,
            budget,
        };
        // Records for all entries that follow; none of them changes a path.
        if !kind.is_pax_global_extensions() {
            visit(&mut member)?;
        }
        // What was not wanted is read here, so that what comes next is a heading and nothing else.
        io::copy(&mut member, &mut io::sink())?;
    }
}

/// The name of an entry whose content is a map of a sparse file, and its parts: the `tar` crate
/// would give that out as if it were the file.
fn sparse_by_records(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<String>> {
    let Some(records) = entry.pax_extensions()? else {
        return Ok(None);
    };
    let mut records = records.filter_map(Result::ok);
    let is_sparse = records.any(|record| record.key_bytes().starts_with(b"GNU.sparse."));
    Ok(is_sparse.then(|| String::from_utf8_lossy(&entry.path_bytes()).into_owned()))
}

/// A reader that ends with an error when the budget does.
struct Bounded<R> {
    inner: R,
    budget: Budget,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.budget.read(count as u64)?;
        Ok(count)
    }
}
