//! Looking at jobs, stopping them, and doing them again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::intake::{Taken, store};
use super::{DoorError, Doors};
use crate::jobs::{Happening, happen};
use crate::model::ContentHash;
use crate::model::delivery::{Delivery, RecordedDelivery, Verdict};
use crate::model::job::{Job, JobNumber, JobRequest, JobState, Lane, Requester, Via};
use crate::port::queue::JobQuery;
use crate::port::runner::LogPiece;

/// A job, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// What it waits for, in words; none when it does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// The newest jobs, the newest first.
///
/// # Errors
/// The queue cannot be read.
pub async fn list(
    doors: &Doors,
    lane: Option<Lane>,
    last: usize,
) -> Result<Vec<JobView>, DoorError> {
    let query = JobQuery {
        lane,
        is_open: false,
        last,
    };
    let open = open(doors).await?;
    let jobs = doors.queue.jobs(query).await?;
    Ok(jobs
        .into_iter()
        .map(|job| viewed(doors, job, &open))
        .collect())
}

/// A job.
///
/// # Errors
/// There is none, or the queue cannot be read.
pub async fn show(doors: &Doors, number: JobNumber) -> Result<JobView, DoorError> {
    let job = doors.queue.job(number).await?.ok_or_else(|| none(number))?;
    let open = open(doors).await?;
    Ok(viewed(doors, job, &open))
}

fn none(number: JobNumber) -> DoorError {
    DoorError::Unknown(format!(
        "there is no job {number}; `shipit jobs list` shows them"
    ))
}

async fn open(doors: &Doors) -> Result<Vec<Job>, DoorError> {
    let query = JobQuery {
        lane: None,
        is_open: true,
        last: usize::MAX,
    };
    Ok(doors.queue.jobs(query).await?)
}

fn viewed(doors: &Doors, job: Job, open: &[Job]) -> JobView {
    JobView {
        waits_for: waits_for(doors, &job, open),
        job,
    }
}

/// Why a job does not run yet: nobody has to guess whether it is stuck.
fn waits_for(doors: &Doors, job: &Job, open: &[Job]) -> Option<String> {
    let JobState::Waiting { not_before, reason } = &job.state else {
        return None;
    };
    if *not_before > Timestamp::now() {
        let why = reason.as_deref().unwrap_or("it was put off");
        return Some(format!("until {}: {why}", not_before.strftime("%H:%M:%S")));
    }
    let runs = |other: &&Job| matches!(other.state, JobState::Running { .. });
    if let Some(ahead) = open
        .iter()
        .filter(runs)
        .find(|other| other.request.lane == job.request.lane)
    {
        return Some(format!("behind job {}", ahead.number));
    }
    let (busy, workers) = (
        open.iter().filter(runs).count(),
        doors.config.runner.workers,
    );
    (busy >= usize::from(workers.get()))
        .then(|| format!("for a worker ({busy} of {workers} busy)"))
        .or_else(|| Some("for its turn".to_owned()))
}

/// Has a job stopped: one that waits is over, one that runs stops cleanly.
///
/// # Errors
/// There is none, it is over, or the queue cannot store it.
pub async fn cancel(doors: &Doors, number: JobNumber, by: &str) -> Result<Job, DoorError> {
    let job = doors.queue.job(number).await?.ok_or_else(|| none(number))?;
    let asked = Happening::CancelAsked { by: by.to_owned() };
    happen(&job, asked.clone(), Timestamp::now())
        .map_err(|error| DoorError::Impossible(error.to_string()))?;
    let change = Box::new(move |job: &Job| happen(job, asked, Timestamp::now()).ok());
    let changed = doors.queue.update(number, change).await?;
    doors.wake.notify_one();
    changed.ok_or_else(|| none(number))
}

/// Does a job again that is over, as a new one.
///
/// # Errors
/// There is none, it is not over, or the queue cannot store it.
pub async fn retry(doors: &Doors, number: JobNumber, by: &str) -> Result<Taken, DoorError> {
    let job = doors.queue.job(number).await?.ok_or_else(|| none(number))?;
    if job.is_open() {
        return Err(DoorError::Impossible(format!(
            "job {number} is not over: it is {}",
            job.word()
        )));
    }
    let request = JobRequest {
        by: Requester {
            name: by.to_owned(),
            via: Via::Command,
        },
        retry_of: Some(number),
        ..job.request
    };
    let delivery = Delivery {
        door: "command".to_owned(),
        key: uuid::Uuid::new_v4().to_string(),
        received: Timestamp::now(),
        event: "retry".to_owned(),
        size: 0,
        sha256: ContentHash::of(&[]).to_string(),
        verdict: Verdict::Accepted,
    };
    store(doors, delivery, vec![request], Vec::new()).await
}

/// A piece of a job's log.
///
/// # Errors
/// There is no such job, or the log cannot be read.
pub async fn log(
    doors: &Doors,
    number: JobNumber,
    from: u64,
    most: usize,
) -> Result<LogPiece, DoorError> {
    doors.queue.job(number).await?.ok_or_else(|| none(number))?;
    Ok(doors.runner.log(number, from, most).await?)
}

/// The newest deliveries, the newest first.
///
/// # Errors
/// The queue cannot be read.
pub async fn deliveries(doors: &Doors, last: usize) -> Result<Vec<RecordedDelivery>, DoorError> {
    Ok(doors.queue.deliveries(last).await?)
}

/// How many jobs wait, and how many run.
///
/// # Errors
/// The queue cannot be read.
pub async fn counted(doors: &Doors) -> Result<(usize, usize), DoorError> {
    let open = open(doors).await?;
    let running = open
        .iter()
        .filter(|job| matches!(job.state, JobState::Running { .. }))
        .count();
    Ok((open.len() - running, running))
}
