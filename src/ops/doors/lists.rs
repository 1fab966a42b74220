//! Jobs and deliveries page by page, and the end of a log: as far as whoever asks may look.

use super::jobs::{JobView, found, open, viewed, whole};
use super::{Asker, DoorError, Doors, lanes};
use crate::model::ContentHash;
use crate::model::client::Verb;
use crate::model::delivery::{DeliveryNumber, RecordedDelivery};
use crate::model::job::{JobNumber, Lane};
use crate::model::job_report::JobReport;
use crate::port::queue::JobQuery;

/// How many stand on a page.
pub const PAGE: usize = 50;

/// How many are read at once.
const BATCH: usize = 200;

/// How many are looked through for one page: where nearly all are somebody else's, the next page
/// goes on.
const SCANNED: usize = 4_000;

/// A page of jobs, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobsPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Those that were asked for before this one are on the next page; none: there are none.
    pub older: Option<JobNumber>,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those of this environment.
    pub lane: Option<Lane>,
    /// Only those that were asked for before this one.
    pub before: Option<JobNumber>,
}

/// A page of jobs.
///
/// # Errors
/// The queue cannot be read.
pub async fn jobs(
    doors: &Doors,
    wanted: &Wanted,
    asker: &Asker<'_>,
) -> Result<JobsPage, DoorError> {
    let open = open(doors).await?;
    let (mut page, mut before, mut scanned) = (JobsPage::default(), wanted.before, 0);
    loop {
        let query = JobQuery {
            lane: wanted.lane.clone(),
            before,
            last: BATCH,
            ..JobQuery::default()
        };
        let batch = doors.queue.jobs(query).await?;
        scanned += batch.len();
        let is_last = batch.len() < BATCH;
        for job in batch {
            if page.jobs.len() == PAGE {
                page.older = before;
                return Ok(page);
            }
            before = Some(job.number);
            if asker.allows(Verb::View, &job.request.lane) {
                page.jobs.push(viewed(doors, job, &open));
            }
        }
        if is_last || scanned >= SCANNED {
            page.older = before.filter(|_| !is_last);
            return Ok(page);
        }
    }
}

/// A page of deliveries, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveriesPage {
    /// The deliveries, each with the jobs that may be looked at.
    pub deliveries: Vec<RecordedDelivery>,
    /// Those that came before this one are on the next page; none: there are none.
    pub older: Option<DeliveryNumber>,
}

/// A page of deliveries. One that asked for jobs is seen by whoever may look at one of them; one
/// that meant nothing by whoever may look at an environment of its project.
///
/// # Errors
/// The queue cannot be read.
pub async fn deliveries(
    doors: &Doors,
    before: Option<DeliveryNumber>,
    asker: &Asker<'_>,
) -> Result<DeliveriesPage, DoorError> {
    let (mut page, mut before, mut scanned) = (DeliveriesPage::default(), before, 0);
    loop {
        let batch = doors.queue.deliveries(before, BATCH).await?;
        scanned += batch.len();
        let is_last = batch.len() < BATCH;
        for delivery in batch {
            if page.deliveries.len() == PAGE {
                page.older = before;
                return Ok(page);
            }
            before = Some(delivery.number);
            page.deliveries.extend(seen(doors, delivery, asker).await?);
        }
        if is_last || scanned >= SCANNED {
            page.older = before.filter(|_| !is_last);
            return Ok(page);
        }
    }
}

/// What of a delivery may be looked at; none: nothing.
async fn seen(
    doors: &Doors,
    mut delivery: RecordedDelivery,
    asker: &Asker<'_>,
) -> Result<Option<RecordedDelivery>, DoorError> {
    let had_jobs = !delivery.jobs.is_empty();
    let mut jobs = Vec::new();
    for number in delivery.jobs {
        let job = doors.queue.job(number).await?;
        if job.is_some_and(|job| asker.allows(Verb::View, &job.request.lane)) {
            jobs.push(number);
        }
    }
    let is_seen = if had_jobs {
        !jobs.is_empty()
    } else {
        let project = delivery.delivery.door.split('/').next().unwrap_or_default();
        lanes::configured(doors)
            .any(|(lane, _)| lane.project.as_str() == project && asker.allows(Verb::View, &lane))
    };
    delivery.jobs = jobs;
    Ok(is_seen.then_some(delivery))
}

/// What a job's last attempt has reported.
///
/// # Errors
/// There is no such job, it may not be looked at, or the report cannot be read.
pub async fn report(
    doors: &Doors,
    number: JobNumber,
    asker: &Asker<'_>,
) -> Result<JobReport, DoorError> {
    let job = found(doors, number, Verb::View, asker).await?;
    Ok(doors.runner.report(number, job.attempt).await?)
}

/// How long a job's log is by now, in bytes.
///
/// # Errors
/// There is no such job, it may not be looked at, or the log cannot be read.
pub async fn log_size(
    doors: &Doors,
    number: JobNumber,
    asker: &Asker<'_>,
) -> Result<u64, DoorError> {
    found(doors, number, Verb::View, asker).await?;
    Ok(doors.runner.log_size(number).await?)
}

/// The end of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogTail {
    /// The text: whole lines at its beginning.
    pub text: String,
    /// How many bytes of the log are before it.
    pub left_out: u64,
    /// Where what comes next begins, in bytes.
    pub next: u64,
}

/// The end of a job's log, as many bytes as this at the most.
///
/// # Errors
/// There is no such job, it may not be looked at, or the log cannot be read.
pub async fn tail(
    doors: &Doors,
    number: JobNumber,
    most: usize,
    asker: &Asker<'_>,
) -> Result<LogTail, DoorError> {
    let size = log_size(doors, number, asker).await?;
    let from = size.saturating_sub(most as u64);
    let mut piece = doors.runner.log(number, from, most).await?;
    let mut left_out = from;
    if from > 0
        && let Some(end) = piece.bytes.iter().position(|byte| *byte == b'\n')
    {
        piece.bytes.drain(..=end);
        left_out += end as u64 + 1;
    }
    let (text, next) = whole(&piece, left_out);
    Ok(LogTail {
        text,
        left_out,
        next,
    })
}

/// A text that is another one when one of the newest jobs has changed.
///
/// # Errors
/// The queue cannot be read.
pub async fn stamp(doors: &Doors, asker: &Asker<'_>) -> Result<String, DoorError> {
    let query = JobQuery {
        last: PAGE,
        ..JobQuery::default()
    };
    let mut jobs = doors.queue.jobs(query).await?;
    jobs.extend(open(doors).await?);
    jobs.retain(|job| asker.allows(Verb::View, &job.request.lane));
    Ok(ContentHash::of_json(&jobs).hex().to_owned())
}
