//! The queue: deliveries and jobs, on stable storage before anybody is told that they were
//! accepted.
//!
//! What becomes of a job is the caller's to say, by the functions in [`Rules`] and by a [`Change`];
//! the queue calls them within the transaction that stores what they say.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::delivery::{Delivery, DeliveryNumber, RecordedDelivery};
use crate::model::job::{Job, JobNumber, JobRequest, Lane, Placing};

/// Why the queue could not do it. Nothing of it was stored.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the queue: {what}: {reason}")]
pub struct QueueError {
    /// What was being done.
    pub what: String,
    /// Why it was not.
    pub reason: String,
}

/// The rules that hold for jobs.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Where a job goes, beside the open ones of its lane.
    pub place: fn(&JobRequest, &[Job]) -> Placing,
    /// A waiting job that another supersedes.
    pub supersede: fn(&Job, JobNumber, Timestamp) -> Option<Job>,
    /// A waiting job that is begun, with the number of its lane.
    pub claim: fn(&Job, u64, Timestamp) -> Option<Job>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules")
    }
}

/// What becomes of a job; none: it stays as it is.
pub type Change = Box<dyn FnOnce(&Job) -> Option<Job> + Send>;

/// A job that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The job that does it.
    pub number: JobNumber,
    /// Whether it is a new one.
    pub is_new: bool,
}

/// A delivery that is stored, with its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub delivery: DeliveryNumber,
    /// Whether it had come before; nothing was added then.
    pub is_repeated: bool,
    /// Its jobs.
    pub jobs: Vec<Placed>,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Only those of this lane.
    pub lane: Option<Lane>,
    /// Only those that wait or run.
    pub is_open: bool,
    /// Only those that were asked for before this one.
    pub before: Option<JobNumber>,
    /// The newest of them, as many as these.
    pub last: usize,
}

/// Deliveries and jobs.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores a delivery and its jobs, all or nothing. When it returns, stable storage has them.
    async fn accept(
        &self,
        delivery: Delivery,
        requests: Vec<JobRequest>,
    ) -> Result<Accepted, QueueError>;

    /// Begins the oldest job that may be: its lane has no other that runs, and its time has come.
    /// A lane's jobs are given growing numbers. None: there is none.
    async fn claim(&self, now: Timestamp) -> Result<Option<Job>, QueueError>;

    /// Changes a job. The job as it is then; none: there is no such job.
    async fn update(&self, number: JobNumber, change: Change) -> Result<Option<Job>, QueueError>;

    /// A job.
    async fn job(&self, number: JobNumber) -> Result<Option<Job>, QueueError>;

    /// Jobs, the newest first.
    async fn jobs(&self, query: JobQuery) -> Result<Vec<Job>, QueueError>;

    /// The newest deliveries, the newest first; of those that came before one, where it is named.
    async fn deliveries(
        &self,
        before: Option<DeliveryNumber>,
        last: usize,
    ) -> Result<Vec<RecordedDelivery>, QueueError>;

    /// Forgets deliveries that came before a time, and jobs that ended before one: their numbers.
    async fn forget(
        &self,
        deliveries: Timestamp,
        jobs: Timestamp,
    ) -> Result<Vec<JobNumber>, QueueError>;
}
