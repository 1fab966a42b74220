//! State, journal and what is kept of failures, without the values of secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::model::{EnvironmentName, ReleaseNumber};
use crate::port::StateStore;
use crate::port::store::{Lease, StoreError};
use crate::redact::Redactor;

/// A store that writes no value of a secret.
pub struct RedactedStore {
    inner: Arc<dyn StateStore>,
    redactor: Redactor,
}

impl RedactedStore {
    /// Around another store.
    #[must_use]
    pub fn new(inner: Arc<dyn StateStore>, redactor: Redactor) -> Self {
        Self { inner, redactor }
    }
}

impl RedactedStore {
    fn without_secrets(&self, record: &CommandRecord) -> CommandRecord {
        CommandRecord {
            command: self.redactor.lines(record.command.clone()),
            ..record.clone()
        }
    }
}

#[async_trait]
impl StateStore for RedactedStore {
    fn place(&self, environment: &EnvironmentName) -> String {
        self.inner.place(environment)
    }

    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        self.inner.read(environment).await
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let state = self.redactor.state(state.clone());
        self.inner.save(lease, &state).await
    }

    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError> {
        let state = self.redactor.state(state.clone());
        self.inner.replace(lease, &state).await
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        let locking = self
            .inner
            .lock(environment, actor, command, fence_above, wait);
        locking.await
    }

    async fn holder(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        self.inner.holder(environment).await
    }

    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        self.inner.request_abort(environment).await
    }

    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        self.inner.break_lock(environment).await
    }

    async fn append(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let entry = self.redactor.entry(entry.clone());
        self.inner.append(environment, run, &entry).await
    }

    async fn keep_failure(
        &self,
        environment: &EnvironmentName,
        release: ReleaseNumber,
        files: &BTreeMap<String, String>,
    ) -> Result<Option<String>, StoreError> {
        let clean =
            |(name, text): (&String, &String)| (self.redactor.text(name), self.redactor.text(text));
        let files = files.iter().map(clean).collect();
        self.inner.keep_failure(environment, release, &files).await
    }

    async fn last_journal(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<Journal>, StoreError> {
        self.inner.last_journal(environment).await
    }

    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        self.inner.journals(environment).await
    }

    async fn keep_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        let clean = |journal: &Journal| Journal {
            run: journal.run.clone(),
            entries: journal
                .entries
                .iter()
                .map(|entry| self.redactor.entry(entry.clone()))
                .collect(),
        };
        let journals: Vec<Journal> = journals.iter().map(clean).collect();
        self.inner.keep_journals(environment, &journals).await
    }

    async fn keep_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        let records = records.iter().map(|record| self.without_secrets(record));
        let records: Vec<CommandRecord> = records.collect();
        self.inner.keep_commands(environment, &records).await
    }

    async fn commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        self.inner.commands(environment).await
    }

    async fn keep_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        let entry = self.redactor.notice(entry.clone());
        self.inner.keep_notice(environment, &entry).await
    }

    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        self.inner.notices(environment).await
    }

    async fn forget_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError> {
        self.inner.forget_notice(environment, id).await
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        self.inner.environments().await
    }
}
