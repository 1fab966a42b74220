//! The files of a job, and the process of one attempt at it.
//!
//! That an attempt is under way is a lock: its process has it, and so has the command that it waits
//! for, as its standard input. A killed process is thereby told from one whose command still runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files;
use crate::model::job::JobEnd;
use crate::model::job_report::{JobMark, JobReport};
use crate::port::runner::JobSpec;

/// How long another may have the lock that only looks at it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest of its files, in bytes.
const LARGEST: u64 = 1 << 20;

/// The most that an attempt reports of itself, in bytes: less than what is read of it.
const REPORTED: u64 = LARGEST - (8 << 10);

/// The files of a job.
#[derive(Debug, Clone)]
pub struct JobFiles {
    folder: PathBuf,
}

/// The process of an attempt, so that no other is taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProcess {
    /// Its number, which is also that of its session and process group.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub started: u64,
    /// The boot.
    pub boot: String,
}

impl JobFiles {
    /// Those in a folder.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log of all attempts.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The lock.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    fn of(&self, what: &str, attempt: u32) -> PathBuf {
        self.folder.join(format!("{what}-{attempt}.json"))
    }

    /// Writes what an attempt is to do.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_spec(&self, spec: &JobSpec) -> io::Result<()> {
        write(&self.of("spec", spec.attempt), spec)
    }

    /// What an attempt is to do.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn spec(&self, attempt: u32) -> io::Result<JobSpec> {
        let found = read(&self.of("spec", attempt))?;
        found.ok_or_else(|| io::Error::other("there is no such attempt"))
    }

    /// How an attempt ended; none when it did not say so.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn end(&self, attempt: u32) -> io::Result<Option<JobEnd>> {
        read(&self.of("ended", attempt))
    }

    /// What an attempt has reported by now. A line that is just being written is none yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn report(&self, attempt: u32) -> io::Result<JobReport> {
        let bytes = files::read_if_there(&self.of("report", attempt), LARGEST)?;
        let bytes = bytes.unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n');
        Ok(JobReport::of(
            lines.filter_map(|line| serde_json::from_slice(line).ok()),
        ))
    }

    /// The process of an attempt; none when it was not begun.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn process(&self, attempt: u32) -> io::Result<Option<JobProcess>> {
        read(&self.of("process", attempt))
    }
}

fn write(path: &Path, document: &impl Serialize) -> io::Result<()> {
    files::replace(path, &serde_json::to_vec(document)?)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = files::read_if_there(path, LARGEST)?;
    Ok(bytes
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose()?)
}

/// This process, as that of an attempt.
#[derive(Debug)]
pub struct Attempt {
    files: JobFiles,
    spec: JobSpec,
    lock: File,
    log: JobLog,
    report: JobLog,
}

impl Attempt {
    /// Makes this process that of an attempt, in a session of its own. None: another process is, or
    /// a later attempt has taken its place.
    ///
    /// # Errors
    /// Its files cannot be read or written.
    pub fn begin(folder: PathBuf, number: u32) -> io::Result<Option<Self>> {
        // One that has a session already is not led by whoever started it.
        let _ = rustix::process::setsid();
        let files = JobFiles::new(folder);
        let spec = files.spec(number)?;
        let lock = match files::lock_within(&files.lock(), PATIENCE) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(None),
            other => other?,
        };
        if files.spec(number + 1).is_ok() || files.end(number)?.is_some() {
            return Ok(None);
        }

        let pid = std::process::id();
        let process = JobProcess {
            pid,
            started: files::process::started(pid).unwrap_or_default(),
            boot: files::process::boot(),
        };
        write(&files.of("process", number), &process)?;
        let log = JobLog::open(&files.log(), spec.log)?;
        let report = JobLog::open(&files.of("report", number), REPORTED)?;
        Ok(Some(Self {
            files,
            spec,
            lock,
            log,
            report,
        }))
    }

    /// What it is to do.
    #[must_use]
    pub const fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// Its log.
    pub const fn log(&mut self) -> &mut JobLog {
        &mut self.log
    }

    /// Its log, and where it reports what it does.
    pub const fn told(&mut self) -> (&mut JobLog, &mut JobLog) {
        (&mut self.log, &mut self.report)
    }

    /// Reports something of itself.
    pub fn report(&mut self, mark: &JobMark) {
        self.report.mark(mark);
    }

    /// The lock, for a command that it waits for.
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub fn share_lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// Says how it ended.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self, end: &JobEnd) -> io::Result<()> {
        self.log.file.sync_data()?;
        write(&self.files.of("ended", self.spec.attempt), end)
    }
}

/// A log of lines with a bound. What does not fit is left out, and the log says so.
#[derive(Debug)]
pub struct JobLog {
    file: File,
    left: u64,
    is_cut: bool,
}

impl JobLog {
    fn open(path: &Path, most: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        let left = most.saturating_sub(file.metadata()?.len());
        Ok(Self {
            file,
            left,
            is_cut: false,
        })
    }

    /// Adds a mark as a line.
    pub fn mark(&mut self, mark: &JobMark) {
        if let Ok(line) = serde_json::to_string(mark) {
            self.line(&line);
        }
    }

    /// Adds a line. A log that cannot be written keeps no deployment from going on.
    pub fn line(&mut self, text: &str) {
        let length = text.len() as u64 + 1;
        if length <= self.left {
            self.left -= length;
            let _ = self.file.write_all(format!("{text}\n").as_bytes());
        } else if !self.is_cut {
            self.is_cut = true;
            self.left = 0;
            let _ = self
                .file
                .write_all(b"(the log is full: what follows is left out)\n");
        }
    }
}
