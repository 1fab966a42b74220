//! The state store `s3`: history, journal and lock as objects of a bucket.
//!
//! ```text
//! PREFIX/PROJECT/ENV/state.json           the history; written only over the version that was read
//! PREFIX/PROJECT/ENV/lock.json            who holds the lock, with a heartbeat; the same
//! PREFIX/PROJECT/ENV/journal/RUN/00003    the third entry of a run's journal
//! PREFIX/PROJECT/ENV/commands/ID          a command that somebody ran
//! PREFIX/PROJECT/ENV/outbox/ID            what is to be reported of a run, and what was
//! ```
//!
//! All that keeps two runs apart is that the bucket refuses a write whose `If-Match` or
//! `If-None-Match` does not hold (S3 has known both since 2024). A store that ignores them looks
//! the same until the day that it matters, so it is tried before the first lock is taken in it
//! ([`probe`]). Start with [`S3Store`].

mod lock;
mod objects;
mod probe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;

use crate::driver::aws::Aws;
use crate::driver::state::failure;
use crate::driver::state::local::document;
use crate::driver::state::lock::{
    LockPlace as _, Taker, break_lock, holder, request_abort, still_held, take,
};
use crate::driver::state::numbered::{Numbered, Numbers};
use crate::driver::state::s3::lock::LockObject;
use crate::driver::state::s3::objects::{Guard, Objects, Written};
use crate::driver::state::versioned::Versioned;
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::model::{EnvironmentName, ProjectName, ReleaseNumber};
use crate::port::StateStore;
use crate::port::store::{Lease, StoreError};

/// How many requests are under way at once.
const WIDTH: usize = 16;

/// Where a bucket is, and where in it the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What all keys begin with; nothing for the top of the bucket.
    pub prefix: String,
    /// The address of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path of a URL, and not in its host.
    pub path_style: bool,
}

/// State in a bucket.
pub struct S3Store {
    aws: Arc<Aws>,
    bucket: Bucket,
    project: ProjectName,
    /// Where what is known about failures is kept: a folder, for people.
    failures: PathBuf,
    objects: OnceCell<Objects>,
    numbers: Numbers,
}

impl S3Store {
    /// The store in a bucket, which must be there. Nothing is asked of it yet.
    #[must_use]
    pub fn new(aws: Arc<Aws>, bucket: Bucket, project: ProjectName, failures: PathBuf) -> Self {
        Self {
            aws,
            bucket,
            project,
            failures,
            objects: OnceCell::new(),
            numbers: Numbers::default(),
        }
    }

    async fn objects(&self) -> &Objects {
        let open = async || {
            let client = self.aws.s3(&self.bucket).await;
            Objects::new(client, self.bucket.name.clone())
        };
        self.objects.get_or_init(open).await
    }

    /// The key of something of the project's.
    fn of_project(&self) -> String {
        let prefix = self.bucket.prefix.trim_matches('/');
        if prefix.is_empty() {
            format!("{}/", self.project)
        } else {
            format!("{prefix}/{}/", self.project)
        }
    }

    fn key(&self, environment: &EnvironmentName, name: &str) -> String {
        format!("{}{environment}/{name}", self.of_project())
    }

    async fn lock_object(&self, environment: &EnvironmentName) -> Versioned<LockObject> {
        let key = self.key(environment, "lock.json");
        LockObject::place(self.objects().await.clone(), key, environment.clone())
    }

    /// The state, and the version that it has in the bucket.
    async fn versioned(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<(State, String)>, StoreError> {
        let key = self.key(environment, "state.json");
        let Some(found) = self.objects().await.get(&key).await? else {
            return Ok(None);
        };
        let state = document::decode(&found.bytes).map_err(|reason| self.damaged(&key, reason))?;
        Ok(Some((state, found.version)))
    }

    /// Writes a state over this version, or where there is none.
    async fn put(&self, state: &State, over: Option<&str>) -> Result<(), StoreError> {
        let key = self.key(&state.environment, "state.json");
        let bytes = document::encode(state);
        let guard = over.map_or(Guard::Absent, Guard::Is);
        match self.objects().await.put(&key, bytes, guard).await? {
            Written::As(_) => Ok(()),
            // A write whose answer was lost is in its own way when it is sent again.
            Written::Moved => match self.versioned(&state.environment).await? {
                Some((now, _)) if now == *state => Ok(()),
                now => Err(moved(state, now.map_or(0, |(state, _)| state.serial))),
            },
        }
    }

    /// The entries of a run's journal, up to the first that is none.
    async fn journal(&self, folder: &str) -> Result<Journal, StoreError> {
        let run = folder.trim_end_matches('/').rsplit('/').next();
        let run = run.unwrap_or_default().to_owned();
        let entries = self.all(self.objects().await.list(folder).await?).await?;
        let entries = entries
            .iter()
            .map_while(|bytes| serde_json::from_slice(bytes).ok())
            .collect();
        Ok(Journal { run, entries })
    }

    fn damaged(&self, key: &str, reason: String) -> StoreError {
        StoreError::Damaged {
            path: format!("s3://{}/{key}", self.bucket.name),
            reason,
            help: "nothing was changed; where the bucket keeps versions, the one before can be brought back; `shipit \
                   state push FILE --force` puts a copy in its place"
                .to_owned(),
        }
    }

    /// What these objects are, in their order, one that is gone meanwhile left out.
    async fn all(&self, keys: Vec<String>) -> Result<Vec<Vec<u8>>, StoreError> {
        let objects = self.objects().await;
        let get = |key: String| async move { objects.get(&key).await };
        let found = stream::iter(keys).map(get).buffered(WIDTH);
        let found: Vec<_> = found.try_collect().await?;
        Ok(found
            .into_iter()
            .flatten()
            .map(|found| found.bytes)
            .collect())
    }
}

fn moved(state: &State, found: u64) -> StoreError {
    StoreError::Moved {
        environment: state.environment.clone(),
        expected: state.serial.saturating_sub(1),
        found,
    }
}

#[async_trait]
impl Numbered for S3Store {
    fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    async fn write_entry(
        &self,
        environment: &EnvironmentName,
        (run, number): (&str, usize),
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let key = self.key(environment, &format!("journal/{run}/{number:05}"));
        let bytes = serde_json::to_vec(entry).unwrap_or_default();
        self.objects().await.write(&key, bytes).await
    }

    async fn forget_journals(
        &self,
        environment: &EnvironmentName,
        own: &str,
        others: usize,
    ) -> Result<(), StoreError> {
        let objects = self.objects().await;
        let own = self.key(environment, &format!("journal/{own}/"));
        let runs = objects.folders(&self.key(environment, "journal/")).await?;
        let runs = runs.iter().filter(|run| **run != own);
        for run in runs.rev().skip(others) {
            for key in objects.list(run).await? {
                let _ = objects.delete(&key).await;
            }
        }
        Ok(())
    }

    async fn write_command(
        &self,
        environment: &EnvironmentName,
        record: &CommandRecord,
    ) -> Result<(), StoreError> {
        let key = self.key(environment, &format!("commands/{}", record.id));
        let bytes = serde_json::to_vec(&record.clone().shortened()).unwrap_or_default();
        self.objects().await.write(&key, bytes).await
    }

    async fn forget_commands(
        &self,
        environment: &EnvironmentName,
        stay: usize,
    ) -> Result<(), StoreError> {
        let objects = self.objects().await;
        let all = objects.list(&self.key(environment, "commands/")).await?;
        for key in all.iter().rev().skip(stay) {
            let _ = objects.delete(key).await;
        }
        Ok(())
    }
}

#[async_trait]
impl StateStore for S3Store {
    fn place(&self, environment: &EnvironmentName) -> String {
        let key = self.key(environment, "state.json");
        let place = format!("s3://{}/{key}", self.bucket.name);
        match &self.bucket.endpoint {
            Some(endpoint) => format!("{place} at {endpoint}"),
            None => place,
        }
    }

    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        Ok(self.versioned(environment).await?.map(|(state, _)| state))
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let environment = &state.environment;
        let lock = self.lock_object(environment).await.read().await?;
        still_held(&lock, lease.fence(), environment)?;

        let there = self.versioned(environment).await?;
        let found = there.as_ref().map_or(0, |(state, _)| state.serial);
        if state.serial <= found {
            return Err(moved(state, found));
        }
        self.put(state, there.as_ref().map(|(_, version)| version.as_str()))
            .await
    }

    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError> {
        let environment = &state.environment;
        let lock = self.lock_object(environment).await.read().await?;
        still_held(&lock, lease.fence(), environment)?;

        let key = self.key(environment, "state.json");
        let there = self.objects().await.get(&key).await?;
        let found = there
            .as_ref()
            .map_or(0, |there| document::serial_in(&there.bytes));
        let state = document::after(state, found);
        self.put(&state, there.as_ref().map(|there| there.version.as_str()))
            .await?;
        Ok(state)
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        let place = self.lock_object(environment).await;
        if place.document.is_new().await? {
            let key = self.key(environment, "probe");
            probe::keeps_conditions(self.objects().await, &key).await?;
        }
        let taker = Taker {
            actor: actor.clone(),
            command: command.to_owned(),
            fence_above,
        };
        take(place, taker, wait).await
    }

    async fn holder(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        holder(&self.lock_object(environment).await).await
    }

    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        request_abort(&self.lock_object(environment).await).await
    }

    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        break_lock(&self.lock_object(environment).await).await
    }

    async fn append(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        self.append_entry(environment, run, entry).await
    }

    async fn keep_failure(
        &self,
        environment: &EnvironmentName,
        release: ReleaseNumber,
        files: &BTreeMap<String, String>,
    ) -> Result<Option<String>, StoreError> {
        failure::keep(&self.failures, environment, release, files).await
    }

    async fn last_journal(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<Journal>, StoreError> {
        let objects = self.objects().await;
        // The names of runs sort by time.
        let runs = objects.folders(&self.key(environment, "journal/")).await?;
        match runs.last() {
            Some(folder) => self.journal(folder).await.map(Some),
            None => Ok(None),
        }
    }

    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        let objects = self.objects().await;
        let runs = objects.folders(&self.key(environment, "journal/")).await?;
        try_join_all(runs.iter().map(|folder| self.journal(folder))).await
    }

    async fn keep_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        self.take_journals(environment, journals).await
    }

    async fn keep_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        self.take_commands(environment, records).await
    }

    async fn commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let objects = self.objects().await;
        // Oldest first: their names sort by time.
        let keys = objects.list(&self.key(environment, "commands/")).await?;
        let records = self.all(keys).await?;
        let records = records
            .iter()
            .filter_map(|bytes| serde_json::from_slice(bytes).ok());
        Ok(records.collect())
    }

    async fn keep_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        let key = self.key(environment, &format!("outbox/{}", entry.notice.id));
        let bytes = serde_json::to_vec(entry).unwrap_or_default();
        self.objects().await.write(&key, bytes).await
    }

    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        let objects = self.objects().await;
        // Oldest first: their ids sort by time.
        let keys = objects.list(&self.key(environment, "outbox/")).await?;
        let entries = self.all(keys).await?;
        let entries = entries
            .iter()
            .filter_map(|bytes| serde_json::from_slice(bytes).ok());
        Ok(entries.collect())
    }

    async fn forget_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError> {
        let key = self.key(environment, &format!("outbox/{id}"));
        self.objects().await.delete(&key).await
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        let objects = self.objects().await;
        let mut names = Vec::new();
        for folder in objects.folders(&self.of_project()).await? {
            let name = folder.trim_end_matches('/').rsplit('/').next();
            let Some(Ok(name)) = name.map(str::parse::<EnvironmentName>) else {
                continue;
            };
            if objects.get(&self.key(&name, "state.json")).await?.is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }
}
