//! What carries jobs out: each in a process of its own that outlives whoever has started it.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::job::{JobEnd, JobKind, JobNumber, Lane, Requester};
use crate::model::job_report::JobReport;
use crate::model::pipeline::Pipeline;

/// Why a runner could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct RunnerError {
    /// What was being done.
    pub what: String,
    /// Why it was not.
    pub reason: String,
}

/// One attempt at a job, and everything that it needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Which job.
    pub number: JobNumber,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The environment.
    pub lane: Lane,
    /// What is done.
    pub kind: JobKind,
    /// The full name of the ref.
    pub reference: String,
    /// Who asked.
    pub by: Requester,
    /// The repository's URL, from `server.yaml`.
    pub url: String,
    /// The project's folder in the repository.
    pub folder: PathBuf,
    /// The folder of the lane: the checkout, with the state that stays in it.
    pub place: PathBuf,
    /// A word that all programs have which work in the checkout, and nobody else: what is left of
    /// them is found by it. Empty in what an earlier version has written.
    #[serde(default)]
    pub mark: String,
    /// What is run in the checkout before.
    #[serde(default)]
    pub pipeline: Option<Pipeline>,
    /// What the repository may ask for.
    pub may: crate::model::bounds::Bounds,
    /// How long it may take.
    pub within: Duration,
    /// How long it waits for the environment's lock.
    pub lock_timeout: Duration,
    /// How much of its log is kept, in bytes.
    pub log: u64,
    /// The names of variables that it sees of the server's environment; one that ends in `*` is all
    /// that begin so.
    pub variables: Vec<String>,
}

/// How an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Something of it runs.
    Running,
    /// It has ended, and said how.
    Ended(JobEnd),
    /// Nothing of it runs, and it did not say how it ended.
    Gone,
}

/// A piece of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPiece {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the next piece begins.
    pub next: u64,
}

/// What carries jobs out.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Starts an attempt. One that is under way already is left alone.
    async fn start(&self, spec: &JobSpec) -> Result<(), RunnerError>;

    /// How an attempt stands, whoever has started it.
    async fn look(&self, number: JobNumber, attempt: u32) -> Result<Standing, RunnerError>;

    /// Asks an attempt to stop. Whether it was told: one that is only about to begin is asked
    /// again.
    async fn stop(&self, number: JobNumber, attempt: u32) -> Result<bool, RunnerError>;

    /// A piece of a job's log from an offset in bytes, as long as this at the most.
    async fn log(&self, number: JobNumber, from: u64, most: usize)
    -> Result<LogPiece, RunnerError>;

    /// How long a job's log is by now, in bytes.
    async fn log_size(&self, number: JobNumber) -> Result<u64, RunnerError>;

    /// What an attempt has reported of itself by now; nothing where it was not begun.
    async fn report(&self, number: JobNumber, attempt: u32) -> Result<JobReport, RunnerError>;

    /// Where the branches and tags of a repository point: their full names, each with its commit or
    /// tag object. What is in no checkout yet is asked for, and nothing is fetched.
    async fn refs(&self, url: &str) -> Result<Vec<(String, String)>, RunnerError>;

    /// Forgets what a job left.
    async fn forget(&self, number: JobNumber) -> Result<(), RunnerError>;
}
