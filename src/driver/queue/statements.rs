//! The statements, each within a transaction of the writer's.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::delivery::{Delivery, DeliveryNumber, RecordedDelivery};
use crate::model::job::{Job, JobNumber, JobRequest, JobState, Placing};
use crate::port::queue::{Accepted, JobQuery, Placed, Rules};

pub(super) fn accept(
    database: &Connection,
    rules: Rules,
    delivery: &Delivery,
    requests: &[JobRequest],
) -> rusqlite::Result<Accepted> {
    let known = database
        .prepare_cached("select number from delivery where door = ?1 and key = ?2")?
        .query_row(params![delivery.door, delivery.key], |row| row.get(0))
        .optional()?;
    if let Some(number) = known {
        return Ok(Accepted {
            delivery: DeliveryNumber(unsigned(number)),
            is_repeated: true,
            jobs: asked(database, number)?
                .into_iter()
                .map(|number| Placed {
                    number,
                    is_new: false,
                })
                .collect(),
        });
    }

    database
        .prepare_cached(
            "insert into delivery (door, key, received, document) values (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            delivery.door,
            delivery.key,
            millis(delivery.received),
            text(delivery)?
        ])?;
    let number = database.last_insert_rowid();
    let mut jobs = Vec::new();
    for request in requests {
        let placed = place(database, rules, request, delivery.received)?;
        database
            .prepare_cached("insert or ignore into asked (delivery, job) values (?1, ?2)")?
            .execute(params![number, signed(placed.number)])?;
        jobs.push(placed);
    }
    Ok(Accepted {
        delivery: DeliveryNumber(unsigned(number)),
        is_repeated: false,
        jobs,
    })
}

fn place(
    database: &Connection,
    rules: Rules,
    request: &JobRequest,
    now: Timestamp,
) -> rusqlite::Result<Placed> {
    let lane = request.lane.to_string();
    let open: Vec<Job> = database
        .prepare_cached(
            "select document from job where lane = ?1 and state in ('waiting', \
                         'running') order by number",
        )?
        .query_map(params![lane], document)?
        .collect::<rusqlite::Result<_>>()?;
    let superseded = match (rules.place)(request, &open) {
        Placing::Same(number) => {
            return Ok(Placed {
                number,
                is_new: false,
            });
        }
        Placing::New(superseded) => superseded,
    };

    database
        .prepare_cached("insert or ignore into lane (name, fence) values (?1, 0)")?
        .execute(params![lane])?;
    // Its number is in its document: the row comes first, as one that no one claims.
    database
        .prepare_cached(
            "insert into job (lane, state, not_before, document) values (?1, 'ended', 0, '{}')",
        )?
        .execute(params![lane])?;
    let number = JobNumber(unsigned(database.last_insert_rowid()));
    for old in open.iter().filter(|job| superseded.contains(&job.number)) {
        if let Some(next) = (rules.supersede)(old, number, now) {
            store(database, &next)?;
        }
    }
    store(
        database,
        &Job {
            number,
            request: request.clone(),
            created: now,
            attempt: 0,
            fence: 0,
            checked_out: None,
            state: JobState::Waiting {
                not_before: now,
                reason: None,
            },
        },
    )?;
    Ok(Placed {
        number,
        is_new: true,
    })
}

pub(super) fn claim(
    database: &Connection,
    rules: Rules,
    now: Timestamp,
) -> rusqlite::Result<Option<Job>> {
    let next: Option<Job> = database
        .prepare_cached(
            "select document from job as one
             where state = 'waiting' and not_before <= ?1 and not exists
                 (select 1 from job as other where other.lane = one.lane and other.state = \
                 'running')
             order by number limit 1",
        )?
        .query_row(params![millis(now)], document)
        .optional()?;
    let Some(job) = next else {
        return Ok(None);
    };

    let fence: i64 = database
        .prepare_cached("update lane set fence = fence + 1 where name = ?1 returning fence")?
        .query_row(params![job.request.lane.to_string()], |row| row.get(0))?;
    let begun = (rules.claim)(&job, unsigned(fence), now);
    if let Some(begun) = &begun {
        store(database, begun)?;
    }
    Ok(begun)
}

/// Stores a job that is there.
pub(super) fn store(database: &Connection, job: &Job) -> rusqlite::Result<()> {
    let (state, not_before, ended) = match &job.state {
        JobState::Waiting { not_before, .. } => ("waiting", millis(*not_before), None),
        JobState::Running { .. } => ("running", 0, None),
        JobState::Ended { at, .. } => ("ended", 0, Some(millis(*at))),
    };
    // What names no commit may be asked for again while it runs.
    let request = &job.request;
    let identity = request
        .commit
        .as_ref()
        .map(|commit| format!("{} {} {commit}", request.kind.word(), request.reference));
    database
        .prepare_cached(
            "update job set state = ?2, not_before = ?3, ended = ?4, identity = ?5, document = ?6 \
             where number = ?1",
        )?
        .execute(params![
            signed(job.number),
            state,
            not_before,
            ended,
            identity,
            text(job)?
        ])?;
    Ok(())
}

pub(super) fn job(database: &Connection, number: JobNumber) -> rusqlite::Result<Option<Job>> {
    database
        .prepare_cached("select document from job where number = ?1")?
        .query_row(params![signed(number)], document)
        .optional()
}

pub(super) fn jobs(database: &Connection, query: &JobQuery) -> rusqlite::Result<Vec<Job>> {
    let lane = query.lane.as_ref().map(ToString::to_string);
    let last = i64::try_from(query.last).unwrap_or(i64::MAX);
    let before = query.before.map(signed);
    database
        .prepare_cached(
            "select document from job
             where (?1 is null or lane = ?1) and (not ?2 or state in ('waiting', 'running'))
                 and (?4 is null or number < ?4)
             order by number desc limit ?3",
        )?
        .query_map(params![lane, query.is_open, last, before], document)?
        .collect()
}

pub(super) fn deliveries(
    database: &Connection,
    before: Option<DeliveryNumber>,
    last: usize,
) -> rusqlite::Result<Vec<RecordedDelivery>> {
    let last = i64::try_from(last).unwrap_or(i64::MAX);
    let before = before.map(|number| i64::try_from(number.0).unwrap_or(i64::MAX));
    let found: Vec<(i64, Delivery)> = database
        .prepare_cached(
            "select document, number from delivery where ?2 is null or number < ?2
             order by number desc limit ?1",
        )?
        .query_map(params![last, before], |row| {
            Ok((row.get(1)?, document(row)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let recorded = found.into_iter().map(|(number, delivery)| {
        Ok(RecordedDelivery {
            number: DeliveryNumber(unsigned(number)),
            delivery,
            jobs: asked(database, number)?,
        })
    });
    recorded.collect()
}

fn asked(database: &Connection, delivery: i64) -> rusqlite::Result<Vec<JobNumber>> {
    database
        .prepare_cached("select job from asked where delivery = ?1 order by job")?
        .query_map(params![delivery], |row| {
            Ok(JobNumber(unsigned(row.get(0)?)))
        })?
        .collect()
}

pub(super) fn forget(
    database: &Connection,
    deliveries: Timestamp,
    jobs: Timestamp,
) -> rusqlite::Result<Vec<JobNumber>> {
    database
        .prepare_cached("delete from delivery where received < ?1")?
        .execute(params![millis(deliveries)])?;
    database
        .prepare_cached("delete from job where state = 'ended' and ended < ?1 returning number")?
        .query_map(params![millis(jobs)], |row| {
            Ok(JobNumber(unsigned(row.get(0)?)))
        })?
        .collect()
}

/// The document in a row's first column.
fn document<T: DeserializeOwned>(row: &Row<'_>) -> rusqlite::Result<T> {
    let text: String = row.get(0)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn text(document: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(document)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Times are kept in milliseconds, which sort.
fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

fn signed(number: JobNumber) -> i64 {
    i64::try_from(number.0).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
