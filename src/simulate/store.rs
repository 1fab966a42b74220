//! A state store in memory: one environment's state, journals and lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::model::EnvironmentName;
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry, What};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::port::StateStore;
use crate::port::hold::Hold;
use crate::port::store::{Lease, StoreError};

#[derive(Debug, Default)]
struct Kept {
    state: Option<State>,
    journals: Vec<Journal>,
    notices: Vec<OutboxEntry>,
    /// The highest fencing number that was given.
    fence: u64,
    holder: Option<Arc<Holder>>,
}

#[derive(Debug)]
struct Holder {
    fence: u64,
    who: LockHolder,
    hold: Hold,
}

/// A store in memory. A lock has no clock: it is held until it is released or taken away.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

impl MemoryStore {
    /// With a state, and the journal of the last run.
    #[must_use]
    pub fn seeded(state: State, journal: Option<Journal>) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            state: Some(state),
            journals: journal.into_iter().collect(),
            ..Kept::default()
        })))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease of whoever holds the lock runs out, and nobody has told its holder yet.
    pub fn expire(&self) {
        self.kept().holder = None;
    }

    /// The journal of a run.
    #[must_use]
    pub fn journal(&self, run: &str) -> Option<Journal> {
        let kept = self.kept();
        let mut journals = kept.journals.iter();
        journals.find(|journal| journal.run == run).cloned()
    }

    /// How many intents a run has written down.
    pub(super) fn intents(&self, run: &str) -> usize {
        let kept = self.kept();
        let journal = kept.journals.iter().find(|journal| journal.run == run);
        let entries = journal.iter().flat_map(|journal| &journal.entries);
        entries
            .filter(|entry| matches!(entry.what, What::Intent { .. }))
            .count()
    }

    /// Everything that is written down, for who looks for what must not be in it.
    #[must_use]
    pub fn texts(&self) -> String {
        let kept = self.kept();
        let journals = kept.journals.iter().flat_map(|journal| &journal.entries);
        let state = serde_json::to_string(&kept.state).unwrap_or_default();
        let entries = journals.map(|entry| serde_json::to_string(entry).unwrap_or_default());
        std::iter::once(state).chain(entries).collect()
    }
}

struct MemoryLease {
    store: MemoryStore,
    holder: Arc<Holder>,
    aborts: CancellationToken,
}

#[async_trait]
impl Lease for MemoryLease {
    fn fence(&self) -> u64 {
        self.holder.fence
    }

    fn hold(&self) -> Hold {
        self.holder.hold.clone()
    }

    fn abort_requested(&self) -> CancellationToken {
        self.aborts.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        let mut kept = self.store.kept();
        kept.holder.take_if(|held| held.fence == self.holder.fence);
        Ok(())
    }
}

impl Kept {
    fn holds(&self, environment: &EnvironmentName, lease: &dyn Lease) -> Result<(), StoreError> {
        let holder = self.holder.as_ref().map(|holder| holder.fence);
        if holder == Some(lease.fence()) {
            return Ok(());
        }
        Err(StoreError::Lost {
            environment: environment.clone(),
            reason: "another run has it".to_owned(),
        })
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    fn place(&self, environment: &EnvironmentName) -> String {
        format!("{environment}, in memory")
    }

    async fn read(&self, _: &EnvironmentName) -> Result<Option<State>, StoreError> {
        Ok(self.kept().state.clone())
    }

    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.holds(&state.environment, lease)?;
        let found = kept.state.as_ref().map_or(0, |state| state.serial);
        if kept.state.is_some() && state.serial <= found {
            return Err(StoreError::Moved {
                environment: state.environment.clone(),
                expected: state.serial.saturating_sub(1),
                found,
            });
        }
        kept.state = Some(state.clone());
        Ok(())
    }

    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError> {
        let mut kept = self.kept();
        kept.holds(&state.environment, lease)?;
        let serial = kept.state.as_ref().map_or(0, |state| state.serial);
        let written = State {
            serial: state.serial.max(serial + 1),
            ..state.clone()
        };
        kept.state = Some(written.clone());
        Ok(written)
    }

    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        _: Duration,
    ) -> Result<Box<dyn Lease>, StoreError> {
        let mut kept = self.kept();
        if let Some(holder) = &kept.holder {
            return Err(StoreError::Locked {
                environment: environment.clone(),
                holder: Box::new(holder.who.clone()),
            });
        }
        kept.fence = kept.fence.max(fence_above) + 1;
        let now = Timestamp::now();
        let holder = Arc::new(Holder {
            fence: kept.fence,
            who: LockHolder {
                actor: actor.clone(),
                pid: 0,
                pid_started: 0,
                process: None,
                command: command.to_owned(),
                since: now,
                heartbeat: now,
                beats: 0,
                fence: kept.fence,
            },
            hold: Hold::none(),
        });
        kept.holder = Some(Arc::clone(&holder));
        Ok(Box::new(MemoryLease {
            store: self.clone(),
            holder,
            aborts: CancellationToken::new(),
        }))
    }

    async fn holder(&self, _: &EnvironmentName) -> Result<Option<LockHolder>, StoreError> {
        Ok(self.kept().holder.as_ref().map(|holder| holder.who.clone()))
    }

    async fn request_abort(&self, _: &EnvironmentName) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn break_lock(&self, _: &EnvironmentName) -> Result<Option<LockHolder>, StoreError> {
        let held = self.kept().holder.take();
        Ok(held.map(|held| {
            held.hold.lose();
            held.who.clone()
        }))
    }

    async fn append(
        &self,
        _: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let journal = kept.journals.iter_mut().find(|journal| journal.run == run);
        if let Some(journal) = journal {
            journal.entries.push(entry.clone());
        } else {
            kept.journals.push(Journal {
                run: run.to_owned(),
                entries: vec![entry.clone()],
            });
        }
        Ok(())
    }

    async fn last_journal(&self, _: &EnvironmentName) -> Result<Option<Journal>, StoreError> {
        Ok(self.kept().journals.last().cloned())
    }

    async fn journals(&self, _: &EnvironmentName) -> Result<Vec<Journal>, StoreError> {
        Ok(self.kept().journals.clone())
    }

    async fn keep_journals(
        &self,
        _: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        let mut kept = self.kept();
        let runs: Vec<&String> = journals.iter().map(|journal| &journal.run).collect();
        kept.journals
            .retain(|journal| !runs.contains(&&journal.run));
        kept.journals.extend(journals.iter().cloned());
        Ok(journals.len())
    }

    async fn keep_commands(
        &self,
        _: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        Ok(records.len())
    }

    async fn commands(&self, _: &EnvironmentName) -> Result<Vec<CommandRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn keep_notice(
        &self,
        _: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.notices.retain(|it| it.notice.id != entry.notice.id);
        kept.notices.push(entry.clone());
        kept.notices
            .sort_by(|one, two| one.notice.id.cmp(&two.notice.id));
        Ok(())
    }

    async fn notices(&self, _: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError> {
        Ok(self.kept().notices.clone())
    }

    async fn forget_notice(&self, _: &EnvironmentName, id: &str) -> Result<(), StoreError> {
        self.kept().notices.retain(|it| it.notice.id != id);
        Ok(())
    }

    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError> {
        let kept = self.kept();
        let states = kept.state.iter();
        Ok(states.map(|state| state.environment.clone()).collect())
    }
}
