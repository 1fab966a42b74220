//! A state store of objects: history, journal and lock, each in an object of its own, in any place
//! that lets nobody write over a version that they have not read.
//!
//! ```text
//! TOP/ENV/state.json           the history; written only over the version that was read
//! TOP/ENV/lock.json            who holds the lock, with a heartbeat; the same
//! TOP/ENV/journal/RUN/00003    the third entry of a run's journal
//! TOP/ENV/commands/ID          a command that somebody ran
//! TOP/ENV/outbox/ID            what is to be reported of a run, and what was
//! ```
//!
//! Start with [`ObjectStore`]; where the objects are is [`Objects`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::driver::state::failure;
use crate::driver::state::local::document;
use crate::driver::state::lock::{
    LockPlace as _, Taker, break_lock, holder, request_abort, still_held, take,
};
use crate::driver::state::numbered::{Numbered, Numbers};
use crate::driver::state::object_lock::LockObject;
use crate::driver::state::versioned::Versioned;
use crate::model::EnvironmentName;
use crate::model::ReleaseNumber;
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry, fence_of};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::port::StateStore;
use crate::port::store::{Lease, StoreError};

/// How many requests are under way at once.
const WIDTH: usize = 16;

/// An object, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) struct Found {
    pub bytes: Vec<u8>,
    /// What tells it from every other content that it had or will have.
    pub version: String,
}

/// What must be there for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum Guard<'a> {
    /// No object.
    Absent,
    /// The object in this version.
    Is(&'a str),
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(in crate::driver) enum Written {
    /// It happened, and this is the version since.
    As(String),
    /// Its condition did not hold.
    Moved,
}

/// Where objects are.
#[async_trait]
pub(in crate::driver) trait Objects: Send + Sync {
    /// Where an object is, for a reader.
    fn place(&self, key: &str) -> String;

    /// How somebody gets back what was before, where an object cannot be read.
    fn remedy(&self) -> &'static str;

    /// None where there is no such object.
    async fn get(&self, key: &str) -> Result<Option<Found>, StoreError>;

    /// Writes over whatever is there.
    async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError>;

    async fn put(&self, key: &str, bytes: Vec<u8>, guard: Guard<'_>)
    -> Result<Written, StoreError>;

    /// One that is not there is deleted already.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// The keys that begin so, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// The keys that begin so up to the next `/`, that included, sorted.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Whether the conditions of a write are kept; tried before the first lock is taken, by an
    /// object of this name.
    async fn keeps_conditions(&self, key: &str) -> Result<(), StoreError> {
        let _ = key;
        Ok(())
    }
}

/// State in objects.
pub struct ObjectStore {
    objects: Arc<dyn Objects>,
    /// What the keys of the project begin with, up to a `/`.
    top: String,
    /// Where what is known about failures is kept: a folder, for people.
    failures: PathBuf,
    numbers: Numbers,
}

impl ObjectStore {
    pub(in crate::driver) fn new(
        objects: Arc<dyn Objects>,
        top: String,
        failures: PathBuf,
    ) -> Self {
        Self {
            objects,
            top,
            failures,
            numbers: Numbers::default(),
        }
    }

    fn key(&self, environment: &EnvironmentName, name: &str) -> String {
        format!("{}{environment}/{name}", self.top)
    }

    fn lock_object(&self, environment: &EnvironmentName) -> Versioned<LockObject> {
        let key = self.key(environment, "lock.json");
        LockObject::place(Arc::clone(&self.objects), key, environment.clone())
    }

    /// The state, and the version that it has there.
    async fn versioned(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<(State, String)>, StoreError> {
        let key = self.key(environment, "state.json");
        let Some(found) = self.objects.get(&key).await? else {
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
        match self.objects.put(&key, bytes, guard).await? {
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
        let entries = self.all(self.objects.list(folder).await?).await?;
        let entries = entries
            .iter()
            .map_while(|bytes| serde_json::from_slice(bytes).ok())
            .collect();
        Ok(Journal { run, entries })
    }

    fn damaged(&self, key: &str, reason: String) -> StoreError {
        StoreError::Damaged {
            path: self.objects.place(key),
            reason,
            help: format!(
                "nothing was changed; {}; `shipit state push FILE --force` puts a copy in its \
                 place",
                self.objects.remedy()
            ),
        }
    }

    /// The folders of the journals in their order ([`Journal::order`]), oldest first.
    async fn runs(&self, environment: &EnvironmentName) -> Result<Vec<String>, StoreError> {
        let objects = &self.objects;
        let folders = objects.folders(&self.key(environment, "journal/")).await?;
        let fences = folders.iter().map(|folder| async move {
            let first = objects.get(&format!("{folder}00001")).await?;
            Ok::<_, StoreError>(first.and_then(|first| fence_of(&first.bytes)))
        });
        let fences = try_join_all(fences).await?;
        let mut runs: Vec<_> = fences.into_iter().zip(folders).collect();
        runs.sort();
        Ok(runs.into_iter().map(|(_, folder)| folder).collect())
    }

    /// What these objects are, in their order, one that is gone meanwhile left out.
    async fn all(&self, keys: Vec<String>) -> Result<Vec<Vec<u8>>, StoreError> {
        let objects = &self.objects;
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
impl Numbered for ObjectStore {
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
        self.objects.write(&key, bytes).await
    }

    async fn forget_journals(
        &self,
        environment: &EnvironmentName,
        own: &str,
        others: usize,
    ) -> Result<(), StoreError> {
        let objects = &self.objects;
        let own = self.key(environment, &format!("journal/{own}/"));
        let runs = self.runs(environment).await?;
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
        self.objects.write(&key, bytes).await
    }

    async fn forget_commands(
        &self,
        environment: &EnvironmentName,
        stay: usize,
    ) -> Result<(), StoreError> {
        let objects = &self.objects;
        let all = objects.list(&self.key(environment, "commands/")).await?;
        for key in all.iter().rev().skip(stay) {
            let _ = objects.delete(key).await;
        }
        Ok(())
    }
}

#[async_trait]
impl StateStore for ObjectStore {
    fn place(&self, environment: &EnvironmentName) -> String {
        self.objects.place(&self.key(environment, "state.json"))
    }

    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        Ok(self.versioned(environment).await?.map(|(state, _)| state))
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let environment = &state.environment;
        let lock = self.lock_object(environment).read().await?;
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
        let lock = self.lock_object(environment).read().await?;
        still_held(&lock, lease.fence(), environment)?;

        let key = self.key(environment, "state.json");
        let there = self.objects.get(&key).await?;
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
        let place = self.lock_object(environment);
        if place.document.is_new().await? {
            let key = self.key(environment, "probe");
            self.objects.keeps_conditions(&key).await?;
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
        holder(&self.lock_object(environment)).await
    }

    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        request_abort(&self.lock_object(environment)).await
    }

    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        break_lock(&self.lock_object(environment)).await
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
        match self.runs(environment).await?.last() {
            Some(folder) => self.journal(folder).await.map(Some),
            None => Ok(None),
        }
    }

    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        let runs = self.runs(environment).await?;
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
        let objects = &self.objects;
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
        self.objects.write(&key, bytes).await
    }

    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        let objects = &self.objects;
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
        self.objects.delete(&key).await
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        let objects = &self.objects;
        let mut names = Vec::new();
        for folder in objects.folders(&self.top).await? {
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
