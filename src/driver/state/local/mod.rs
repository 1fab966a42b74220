//! The state store `local`: a folder of files, one subfolder per environment.
//!
//! ```text
//! state/staging/state.json           history, serial, lineage; replaced atomically
//! state/staging/state.previous.json  the one before, for the day it is needed
//! state/staging/journal/RUN.jsonl    intents and results, appended and synced
//! state/staging/outbox/ID.json      what is to be reported of a run, and what was
//! state/staging/lock.json            who holds the lock, with a heartbeat
//! state/staging/failures/RELEASE/    what was known about a failure when it happened
//! ```
//!
//! The lock's file is only ever read and written under an `flock` on `lock.guard`, held for
//! microseconds, so that two takers cannot both win. Start with [`document`] for the format and
//! [`super::lock`] for the lease.

mod commands;
pub(in crate::driver::state) mod document;
mod journal;
mod lock_file;
mod notices;
mod owner;

#[cfg(any(test, fuzzing))]
pub(crate) use document::hostile as hostile_state;
#[cfg(any(test, fuzzing))]
pub(crate) use journal::hostile as hostile_journal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::driver::state::local::lock_file::Folder;
use crate::driver::state::{failure, lock};
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::model::{EnvironmentName, ReleaseNumber};
use crate::port::StateStore;
use crate::port::store::{Lease, StoreError};

/// A folder of state.
#[derive(Debug, Clone)]
pub struct LocalStore {
    folder: PathBuf,
}

impl LocalStore {
    /// The store in this folder, which need not exist yet.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, environment: &EnvironmentName) -> PathBuf {
        self.folder.join(environment.as_str())
    }

    /// An environment's folder, if nobody else may have written what is in it.
    async fn of(&self, environment: &EnvironmentName) -> Result<PathBuf, StoreError> {
        let (store, folder) = (self.folder.clone(), self.path(environment));
        blocking(move || owner::check(&store, &folder).map(|()| folder)).await
    }

    fn place(&self, environment: &EnvironmentName) -> Folder {
        Folder {
            path: self.path(environment),
            environment: environment.clone(),
        }
    }
}

/// Runs what touches the disk where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| {
            Err(StoreError::Io {
                what: "working on the state".to_owned(),
                source: std::io::Error::other(panic.to_string()),
            })
        })
}

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let what = format!("{what} {}", path.display());
    |source| StoreError::Io { what, source }
}

#[async_trait]
impl StateStore for LocalStore {
    fn place(&self, environment: &EnvironmentName) -> String {
        document::path(&self.path(environment))
            .display()
            .to_string()
    }

    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        let folder = self.of(environment).await?;
        blocking(move || document::read(&folder)).await
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let folder = self.of(&state.environment).await?;
        let (fence, state) = (lease.fence(), state.clone());
        blocking(move || {
            let _guard = lock_file::guard(&folder)?;
            lock::still_held(&lock_file::read(&folder)?, fence, &state.environment)?;
            document::write(&folder, &state)
        })
        .await
    }

    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError> {
        let folder = self.of(&state.environment).await?;
        let (fence, state) = (lease.fence(), state.clone());
        blocking(move || {
            let _guard = lock_file::guard(&folder)?;
            lock::still_held(&lock_file::read(&folder)?, fence, &state.environment)?;
            document::replace(&folder, &state)
        })
        .await
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        self.of(environment).await?;
        let taker = lock::Taker {
            actor: actor.clone(),
            command: command.to_owned(),
            fence_above,
        };
        lock::take(self.place(environment), taker, wait).await
    }

    async fn holder(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        self.of(environment).await?;
        lock::holder(&self.place(environment)).await
    }

    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        self.of(environment).await?;
        lock::request_abort(&self.place(environment)).await
    }

    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        self.of(environment).await?;
        lock::break_lock(&self.place(environment)).await
    }

    async fn append(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let folder = self.of(environment).await?;
        let (run, entry) = (run.to_owned(), entry.clone());
        blocking(move || journal::append(&folder, &run, &entry)).await
    }

    async fn keep_failure(
        &self,
        environment: &EnvironmentName,
        release: ReleaseNumber,
        files: &BTreeMap<String, String>,
    ) -> Result<Option<String>, StoreError> {
        self.of(environment).await?;
        failure::keep(&self.folder, environment, release, files).await
    }

    async fn last_journal(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<Journal>, StoreError> {
        let folder = self.of(environment).await?;
        blocking(move || journal::last(&folder)).await
    }

    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        let folder = self.of(environment).await?;
        blocking(move || journal::all(&folder)).await
    }

    async fn keep_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        let (folder, journals) = (self.of(environment).await?, journals.to_vec());
        blocking(move || journal::keep(&folder, &journals)).await
    }

    async fn keep_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        let (folder, records) = (self.of(environment).await?, records.to_vec());
        blocking(move || commands::take(&folder, &records)).await
    }

    async fn commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let folder = self.of(environment).await?;
        blocking(move || commands::all(&folder)).await
    }

    async fn keep_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        let (folder, entry) = (self.of(environment).await?, entry.clone());
        blocking(move || notices::keep(&folder, &entry)).await
    }

    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        let folder = self.of(environment).await?;
        blocking(move || notices::all(&folder)).await
    }

    async fn forget_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError> {
        let (folder, id) = (self.of(environment).await?, id.to_owned());
        blocking(move || notices::forget(&folder, &id)).await
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        let folder = self.folder.clone();
        blocking(move || document::environments(&folder)).await
    }
}

impl LocalStore {
    /// Goes back to the state before a damaged one.
    pub async fn restore(&self, environment: &EnvironmentName) -> Result<State, StoreError> {
        let folder = self.of(environment).await?;
        blocking(move || document::restore(&folder)).await
    }

    /// Takes a hand-edited state as it is.
    pub async fn accept(&self, environment: &EnvironmentName) -> Result<State, StoreError> {
        let folder = self.of(environment).await?;
        blocking(move || document::accept(&folder)).await
    }
}
