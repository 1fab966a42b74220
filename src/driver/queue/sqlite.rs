//! The queue in a file of `SQLite`: WAL, synced at each commit, one thread that writes.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;

use super::statements;
use super::writer::{Writer, failed};
use crate::model::delivery::{Delivery, DeliveryNumber, RecordedDelivery};
use crate::model::job::{Job, JobNumber, JobRequest};
use crate::port::queue::{Accepted, Change, JobQuery, Queue, QueueError, Rules};

/// How long another process may have the file.
const BUSY: Duration = Duration::from_secs(5);

/// The version of the tables.
const VERSION: i64 = 1;

/// The tables. A job is one document; the columns beside it are what it is found by. That a lane
/// has one running job, and that the same is not asked for twice, the database itself sees to.
const TABLES: &str = "
    create table delivery (
        number   integer primary key autoincrement,
        door     text not null,
        key      text not null,
        received integer not null,
        document text not null,
        unique (door, key)
    ) strict;
    create index delivery_received on delivery (received);

    create table lane (
        name  text primary key,
        fence integer not null
    ) strict, without rowid;

    create table job (
        number     integer primary key autoincrement,
        lane       text not null references lane (name),
        identity   text,
        state      text not null check (state in ('waiting', 'running', 'ended')),
        not_before integer not null,
        ended      integer,
        document   text not null
    ) strict;
    create unique index job_one_runs on job (lane) where state = 'running';
    create unique index job_once on job (lane, identity) where state in ('waiting', 'running');
    create index job_open on job (state, number);

    create table asked (
        delivery integer not null references delivery (number) on delete cascade,
        job      integer not null references job (number) on delete cascade,
        primary key (delivery, job)
    ) strict, without rowid;
    create index asked_job on asked (job);
";

/// The queue in a file.
#[derive(Debug)]
pub struct SqliteQueue {
    writer: Writer,
    rules: Rules,
}

impl SqliteQueue {
    /// Opens the file, and makes it when there is none.
    ///
    /// # Errors
    /// It cannot be opened, or is of a later version.
    pub fn open(path: &Path, rules: Rules) -> Result<Self, QueueError> {
        let what = format!("opening {}", path.display());
        let database = opened(path).map_err(|error| failed(&what, &error))?;
        let version: i64 = database
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|error| failed(&what, &error))?;
        match version {
            0 => {
                let made = format!("begin; {TABLES} pragma user_version = {VERSION}; commit;");
                database
                    .execute_batch(&made)
                    .map_err(|error| failed(&what, &error))?;
            }
            VERSION => {}
            other => {
                return Err(QueueError {
                    what,
                    reason: format!("it is of version {other}, and this shipit knows {VERSION}"),
                });
            }
        }
        let writer = Writer::start(database).map_err(|error| QueueError {
            what,
            reason: error.to_string(),
        })?;
        Ok(Self { writer, rules })
    }
}

fn opened(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.pragma_update(None, "synchronous", "full")?;
    database.pragma_update(None, "foreign_keys", true)?;
    Ok(database)
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn accept(
        &self,
        delivery: Delivery,
        requests: Vec<JobRequest>,
    ) -> Result<Accepted, QueueError> {
        let rules = self.rules;
        let call =
            move |database: &Connection| statements::accept(database, rules, &delivery, &requests);
        self.writer.call("accepting a delivery", call).await
    }

    async fn claim(&self, now: Timestamp) -> Result<Option<Job>, QueueError> {
        let rules = self.rules;
        let call = move |database: &Connection| statements::claim(database, rules, now);
        self.writer.call("beginning a job", call).await
    }

    async fn update(&self, number: JobNumber, change: Change) -> Result<Option<Job>, QueueError> {
        let call = move |database: &Connection| {
            let Some(job) = statements::job(database, number)? else {
                return Ok(None);
            };
            let Some(next) = change(&job) else {
                return Ok(Some(job));
            };
            statements::store(database, &next)?;
            Ok(Some(next))
        };
        self.writer.call("changing a job", call).await
    }

    async fn job(&self, number: JobNumber) -> Result<Option<Job>, QueueError> {
        let call = move |database: &Connection| statements::job(database, number);
        self.writer.call("reading a job", call).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<Vec<Job>, QueueError> {
        let call = move |database: &Connection| statements::jobs(database, &query);
        self.writer.call("reading jobs", call).await
    }

    async fn deliveries(
        &self,
        before: Option<DeliveryNumber>,
        last: usize,
    ) -> Result<Vec<RecordedDelivery>, QueueError> {
        let call = move |database: &Connection| statements::deliveries(database, before, last);
        self.writer.call("reading deliveries", call).await
    }

    async fn forget(
        &self,
        deliveries: Timestamp,
        jobs: Timestamp,
    ) -> Result<Vec<JobNumber>, QueueError> {
        let call = move |database: &Connection| statements::forget(database, deliveries, jobs);
        self.writer.call("forgetting what is old", call).await
    }
}
