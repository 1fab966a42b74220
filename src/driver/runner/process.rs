//! Jobs as processes of this machine: children of whoever starts them at first, and found again by
//! their files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rustix::process::Signal;

use super::attempt::JobFiles;
use super::checkout;
use crate::files::{self, environment, process};
use crate::model::job::JobNumber;
use crate::model::job_report::JobReport;
use crate::port::runner::{JobSpec, LogPiece, Runner, RunnerError, Standing};

/// Attempts that this process has started and that have not ended.
type Children = Arc<Mutex<BTreeSet<(JobNumber, u32)>>>;

/// Jobs as processes of this machine.
#[derive(Debug)]
pub struct ProcessRunner {
    folder: PathBuf,
    children: Children,
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> RunnerError {
    move |error| RunnerError {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}

impl ProcessRunner {
    /// One that keeps what it knows of jobs in a folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            children: Arc::default(),
        }
    }

    fn files(&self, number: JobNumber) -> JobFiles {
        JobFiles::new(self.folder.join(number.to_string()))
    }

    fn is_child(&self, number: JobNumber, attempt: u32) -> bool {
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.contains(&(number, attempt))
    }
}

#[async_trait]
impl Runner for ProcessRunner {
    async fn start(&self, spec: &JobSpec) -> Result<(), RunnerError> {
        let files = self.files(spec.number);
        files::private_folder(files.folder()).map_err(failed("making the job's folder"))?;
        files
            .write_spec(spec)
            .map_err(failed("writing what the job is"))?;

        let variables: Vec<&str> = spec.variables.iter().map(String::as_str).collect();
        let mut command = environment::tool(process::program(), &variables);
        command
            .args(["serve", "run-job", "--attempt", &spec.attempt.to_string()])
            .arg("--folder")
            .arg(files.folder())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command
            .spawn()
            .map_err(failed("starting the job's process"))?;

        let (children, key) = (Arc::clone(&self.children), (spec.number, spec.attempt));
        let known = || children.lock().unwrap_or_else(PoisonError::into_inner);
        known().insert(key);
        let children = Arc::clone(&self.children);
        tokio::spawn(async move {
            let _ = child.wait().await;
            let mut children = children.lock().unwrap_or_else(PoisonError::into_inner);
            children.remove(&key);
        });
        Ok(())
    }

    async fn look(&self, number: JobNumber, attempt: u32) -> Result<Standing, RunnerError> {
        let files = self.files(number);
        let end = || {
            files
                .end(attempt)
                .map_err(failed("reading how the job ended"))
        };
        if self.is_child(number, attempt) {
            return Ok(Standing::Running);
        }
        if let Some(end) = end()? {
            return Ok(Standing::Ended(end));
        }
        if !files.folder().is_dir() {
            return Ok(Standing::Gone);
        }
        let lock = files::try_lock(&files.lock()).map_err(failed("looking at the job's lock"))?;
        if lock.is_none() {
            return Ok(Standing::Running);
        }
        // It may have ended meanwhile.
        Ok(end()?.map_or(Standing::Gone, Standing::Ended))
    }

    async fn stop(&self, number: JobNumber, attempt: u32) -> Result<bool, RunnerError> {
        let files = self.files(number);
        let lock = files::try_lock(&files.lock()).map_err(failed("looking at the job's lock"))?;
        let process = files
            .process(attempt)
            .map_err(failed("reading the job's process"))?;
        // While somebody has the lock, the group has a member, and its number is nobody else's.
        if let (None, Some(process)) = (lock, process)
            && process.boot == process::boot()
        {
            process::kill_group(process.pid, Signal::TERM);
            return Ok(true);
        }
        Ok(false)
    }

    async fn log(
        &self,
        number: JobNumber,
        from: u64,
        most: usize,
    ) -> Result<LogPiece, RunnerError> {
        let read = || {
            let mut file = match fs::File::open(self.files(number).log()) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(LogPiece {
                        bytes: Vec::new(),
                        next: from,
                    });
                }
                other => other?,
            };
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(most as u64).read_to_end(&mut bytes)?;
            let next = from + bytes.len() as u64;
            Ok(LogPiece { bytes, next })
        };
        read().map_err(failed("reading the job's log"))
    }

    async fn log_size(&self, number: JobNumber) -> Result<u64, RunnerError> {
        match fs::metadata(self.files(number).log()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            other => Ok(other.map_err(failed("looking at the job's log"))?.len()),
        }
    }

    async fn report(&self, number: JobNumber, attempt: u32) -> Result<JobReport, RunnerError> {
        let report = self.files(number).report(attempt);
        report.map_err(failed("reading what the job reports"))
    }

    async fn refs(&self, url: &str) -> Result<Vec<(String, String)>, RunnerError> {
        checkout::refs(&self.folder, url).await
    }

    async fn forget(&self, number: JobNumber) -> Result<(), RunnerError> {
        match fs::remove_dir_all(self.files(number).folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("deleting what the job left")(error))
            }
            _ => Ok(()),
        }
    }
}
