//! A file that is put aside when it is full.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

/// Where a log is, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file that is written now; older ones are beside it with `.1`, `.2` and so on.
    pub path: PathBuf,
    /// The size, in bytes, at which it is put aside.
    pub most_bytes: u64,
    /// How many files there are in all.
    pub files: u32,
    /// In how long a time no more than one file is filled. What is more is dropped and counted, so
    /// that nobody can have the past pushed out: the files reach back for as many of these times as
    /// there are, less two.
    pub window: Duration,
}

impl LogFile {
    /// The access log: eight files of 64 mebibytes, which reach back an hour at the least.
    #[must_use]
    pub fn access(path: PathBuf) -> Self {
        Self {
            path,
            most_bytes: allowed(64 << 20),
            files: 8,
            window: Duration::from_mins(10),
        }
    }

    /// The agent's own log: four files of eight mebibytes, which reach back two hours at the least.
    #[must_use]
    pub fn agent(path: PathBuf) -> Self {
        Self {
            path,
            most_bytes: allowed(8 << 20),
            files: 4,
            window: Duration::from_hours(1),
        }
    }
}

/// So many bytes, or as many as this process may write to a file: one that is full by that limit is
/// put aside as well.
fn allowed(bytes: u64) -> u64 {
    let limit = getrlimit(Resource::Fsize).current;
    limit.map_or(bytes, |limit| bytes.min(limit))
}

/// How much may be written in a stretch of time, in all and of one source.
#[derive(Debug)]
pub struct Quota {
    most: u64,
    window: Duration,
    began: Instant,
    written: u64,
    by_source: HashMap<IpAddr, u64>,
}

/// Which part of all one source may have.
const PART: u64 = 4;
/// How many sources are told apart; what comes from more counts as one.
const MOST_SOURCES: usize = 1 << 14;
/// The source of what comes from nobody, or from too many.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Quota {
    /// The file's.
    #[must_use]
    pub fn of(settings: &LogFile, now: Instant) -> Self {
        Self {
            most: settings.most_bytes,
            window: settings.window,
            began: now,
            written: 0,
            by_source: HashMap::new(),
        }
    }

    /// Whether so many bytes more may be written.
    pub fn allows(&mut self, now: Instant, bytes: u64) -> bool {
        if now.duration_since(self.began) >= self.window {
            (self.began, self.written) = (now, 0);
            self.by_source.clear();
        }
        let written = self.written + bytes;
        let allowed = written <= self.most;
        if allowed {
            self.written = written;
        }
        allowed
    }

    /// Whether so many bytes more may be written about this source.
    pub fn allows_about(&mut self, now: Instant, source: IpAddr, bytes: u64) -> bool {
        let knows = self.by_source.len() < MOST_SOURCES || self.by_source.contains_key(&source);
        let source = if knows { source } else { NOBODY };
        let so_far = self.by_source.get(&source).copied().unwrap_or_default();
        let is_new = now.duration_since(self.began) >= self.window;
        let own = if is_new { bytes } else { so_far + bytes };
        if own > self.most / PART || !self.allows(now, bytes) {
            return false;
        }
        self.by_source.insert(source, own);
        true
    }
}

/// The file, open.
#[derive(Debug)]
pub struct Rotating {
    settings: LogFile,
    open: Option<(BufWriter<File>, u64)>,
}

impl Rotating {
    /// Opened with the first line.
    #[must_use]
    pub const fn new(settings: LogFile) -> Self {
        Self {
            settings,
            open: None,
        }
    }

    /// Adds a line; a full file is put aside first. After an error the next line opens the file
    /// again.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => open(&self.settings.path)?,
        };
        if size > 0 && size + length > self.settings.most_bytes {
            file.flush()?;
            put_aside(&self.settings)?;
            (file, size) = open(&self.settings.path)?;
        }
        file.write_all(line)?;
        self.open = Some((file, size + length));
        Ok(())
    }

    /// Hands all lines to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |(file, _)| file.flush())
    }
}

fn open(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((BufWriter::new(file), size))
}

/// Each file takes the next number; the last one goes.
fn put_aside(settings: &LogFile) -> io::Result<()> {
    let name = |number: u32| match number {
        0 => settings.path.clone(),
        _ => settings.path.with_added_extension(number.to_string()),
    };
    for number in (1..settings.files).rev() {
        match fs::rename(name(number - 1), name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match settings.files {
        0 | 1 => fs::remove_file(&settings.path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut log = Rotating::new(LogFile {
            path: path.clone(),
            most_bytes: 10,
            files: 3,
            window: Duration::ZERO,
        });
        for line in [
            "one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n", "eight\n",
        ] {
            log.write(line.as_bytes()).unwrap();
        }
        log.flush().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("access.log"), "eight\n");
        assert_eq!(read("access.log.1"), "six\nseven\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    fn quota(began: Instant) -> Quota {
        Quota::of(
            &LogFile {
                path: PathBuf::new(),
                most_bytes: 100,
                files: 3,
                window: Duration::from_secs(10),
            },
            began,
        )
    }

    #[test]
    fn no_more_than_one_file_is_filled_in_its_time() {
        let began = Instant::now();
        let (mut quota, later) = (quota(began), began + Duration::from_secs(9));
        assert!(quota.allows(began, 60) && quota.allows(later, 40));
        assert!(!quota.allows(later, 1));
        let next = began + Duration::from_secs(10);
        assert!(quota.allows(next, 100) && !quota.allows(next, 1));
    }

    #[test]
    fn one_source_has_a_part_and_leaves_the_rest_to_others() {
        let began = Instant::now();
        let mut quota = quota(began);
        let source = |last| IpAddr::from([10, 0, 0, last]);
        let allowed = (0..100).filter(|_| quota.allows_about(began, source(1), 5));
        assert_eq!(allowed.count(), 5, "a quarter");
        assert!(quota.allows_about(began, source(2), 25));
        let next = began + Duration::from_secs(10);
        assert!(
            quota.allows_about(next, source(1), 25),
            "a new time, a new part"
        );
    }

    #[test]
    fn what_was_there_counts_as_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "old line\n").unwrap();
        let mut log = Rotating::new(LogFile {
            path: path.clone(),
            most_bytes: 10,
            files: 2,
            window: Duration::ZERO,
        });
        log.write(b"new\n").unwrap();
        log.flush().unwrap();
        assert_eq!(
            fs::read_to_string(path.with_added_extension("1")).unwrap(),
            "old line\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    }
}
