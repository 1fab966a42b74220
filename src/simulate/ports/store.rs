//! The state store, as a run sees it.

use std::time::Duration;

use async_trait::async_trait;

use crate::model::EnvironmentName;
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry, What};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::port::StateStore;
use crate::port::store::{Lease, StoreError};
use crate::simulate::fault::Call;
use crate::simulate::world::Runner;

#[async_trait]
impl StateStore for Runner {
    fn place(&self, environment: &EnvironmentName) -> String {
        self.world.store.place(environment)
    }

    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        self.world.store.read(environment).await
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let call = Call::acts("save");
        self.make(call, self.world.store.save(lease, state)).await
    }

    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError> {
        self.world.store.replace(lease, state).await
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        let store = &self.world.store;
        store
            .lock(environment, actor, command, fence_above, wait)
            .await
    }

    async fn holder(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        self.world.store.holder(environment).await
    }

    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError> {
        self.world.store.request_abort(environment).await
    }

    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError> {
        self.world.store.break_lock(environment).await
    }

    async fn append(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let call = Call::acts("append");
        let moment = self.moment();
        let of_step = match &entry.what {
            What::Done { step, back, .. } => self.faults.ends(*step, *back),
            _ => None,
        };
        let fault = of_step.or_else(|| self.faults.at(&call));
        let append = self.world.store.append(environment, run, entry);
        self.make_at(moment, fault, call, append).await?;

        if let What::Intent { step, back } = &entry.what {
            self.faults.began(*step, *back);
        }
        Ok(())
    }

    async fn last_journal(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<Journal>, StoreError> {
        self.world.store.last_journal(environment).await
    }

    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        self.world.store.journals(environment).await
    }

    async fn keep_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        self.world.store.keep_journals(environment, journals).await
    }

    async fn keep_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        self.world.store.keep_commands(environment, records).await
    }

    async fn commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        self.world.store.commands(environment).await
    }

    async fn keep_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        self.world.store.keep_notice(environment, entry).await
    }

    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        self.world.store.notices(environment).await
    }

    async fn forget_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError> {
        self.world.store.forget_notice(environment, id).await
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        self.world.store.environments().await
    }
}
