//! Looking at jobs, stopping them, and doing them again.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::intake::{Taken, delivery, store};
use super::{Asker, DoorError, Doors};
use crate::jobs::{Happening, happen};
use crate::model::client::Verb;
use crate::model::delivery::RecordedDelivery;
use crate::model::job::{Job, JobNumber, JobRequest, JobState};
use crate::port::queue::JobQuery;
use crate::port::runner::LogPiece;

/// The largest piece of a log, in bytes.
const PIECE: usize = 64 << 10;

/// How long a request waits for a log to go on.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

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
    last: usize,
    asker: &Asker<'_>,
) -> Result<Vec<JobView>, DoorError> {
    let query = JobQuery {
        last,
        ..JobQuery::default()
    };
    let open = open(doors).await?;
    let jobs = doors.queue.jobs(query).await?;
    let may = |job: &Job| asker.may(Verb::View, &job.request.lane).is_ok();
    let seen = jobs.into_iter().filter(may);
    Ok(seen.map(|job| viewed(doors, job, &open)).collect())
}

/// A job.
///
/// # Errors
/// There is none, or the queue cannot be read.
pub async fn show(
    doors: &Doors,
    number: JobNumber,
    asker: &Asker<'_>,
) -> Result<JobView, DoorError> {
    let job = found(doors, number, Verb::View, asker).await?;
    let open = open(doors).await?;
    Ok(viewed(doors, job, &open))
}

/// A job with which whoever asks may do this.
pub(super) async fn found(
    doors: &Doors,
    number: JobNumber,
    verb: Verb,
    asker: &Asker<'_>,
) -> Result<Job, DoorError> {
    let job = doors.queue.job(number).await?.ok_or_else(|| none(number))?;
    asker.may(verb, &job.request.lane)?;
    Ok(job)
}

fn none(number: JobNumber) -> DoorError {
    DoorError::Unknown(format!(
        "there is no job {number}; `shipit jobs list` shows them"
    ))
}

pub(super) async fn open(doors: &Doors) -> Result<Vec<Job>, DoorError> {
    let query = JobQuery {
        is_open: true,
        last: usize::MAX,
        ..JobQuery::default()
    };
    Ok(doors.queue.jobs(query).await?)
}

pub(super) fn viewed(doors: &Doors, job: Job, open: &[Job]) -> JobView {
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
pub async fn cancel(doors: &Doors, number: JobNumber, asker: &Asker<'_>) -> Result<Job, DoorError> {
    let job = found(doors, number, Verb::Cancel, asker).await?;
    let happening = Happening::CancelAsked {
        by: asker.requester().name,
    };
    happen(&job, happening.clone(), Timestamp::now())
        .map_err(|error| DoorError::Impossible(error.to_string()))?;
    let change = Box::new(move |job: &Job| happen(job, happening, Timestamp::now()).ok());
    let changed = doors.queue.update(number, change).await?;
    doors.wake.notify_one();
    changed.ok_or_else(|| none(number))
}

/// Does a job again that is over, as a new one.
///
/// # Errors
/// There is none, it is not over, or the queue cannot store it.
pub async fn retry(
    doors: &Doors,
    number: JobNumber,
    asker: &Asker<'_>,
) -> Result<Taken, DoorError> {
    let job = found(doors, number, Verb::Deploy, asker).await?;
    if job.is_open() {
        return Err(DoorError::Impossible(format!(
            "job {number} is not over: it is {}",
            job.word()
        )));
    }
    let request = JobRequest {
        by: asker.requester(),
        retry_of: Some(number),
        ..job.request
    };
    let key = uuid::Uuid::new_v4().to_string();
    let delivery = delivery("command".to_owned(), key, "retry", &[]);
    store(doors, delivery, vec![request], Vec::new()).await
}

/// A piece of a job's log, and how the job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogText {
    /// The text, which need not end with a line.
    pub text: String,
    /// Where the next piece begins, in bytes.
    pub next: u64,
    /// The job.
    pub job: JobView,
}

/// Whether a log is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// What is there is enough.
    None,
    /// Until there is something new, the job is over, or some seconds have gone.
    Waits,
}

/// A piece of a job's log from an offset on.
///
/// # Errors
/// There is no such job, it may not be looked at, or the log cannot be read.
pub async fn log(
    doors: &Doors,
    number: JobNumber,
    from: u64,
    asker: &Asker<'_>,
    patience: Patience,
) -> Result<LogText, DoorError> {
    let deadline = Instant::now() + LOG_PATIENCE;
    loop {
        // First the job: what it wrote before it ended is in the log by then.
        let job = found(doors, number, Verb::View, asker).await?;
        let piece = doors.runner.log(number, from, PIECE).await?;
        let is_enough = patience == Patience::None
            || !piece.bytes.is_empty()
            || !job.is_open()
            || Instant::now() >= deadline;
        if is_enough {
            let (text, next) = whole(&piece, from);
            let job = viewed(doors, job, &open(doors).await?);
            return Ok(LogText { text, next, job });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A piece as text, and where the next one begins. A character that is cut by the end of the piece
/// is left for the next one.
pub(super) fn whole(piece: &LogPiece, from: u64) -> (String, u64) {
    let cut = match std::str::from_utf8(&piece.bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => piece.bytes.len(),
    };
    let text = String::from_utf8_lossy(&piece.bytes[..cut]).into_owned();
    (text, from + cut as u64)
}

/// The newest deliveries, the newest first.
///
/// # Errors
/// The queue cannot be read.
pub async fn deliveries(doors: &Doors, last: usize) -> Result<Vec<RecordedDelivery>, DoorError> {
    Ok(doors.queue.deliveries(None, last).await?)
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
