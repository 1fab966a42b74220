//! The state store: history, journal and lock of the environments.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry};
use crate::model::notice::OutboxEntry;
use crate::model::release::Actor;
use crate::model::state::{LockHolder, State};
use crate::model::{EnvironmentName, ReleaseNumber};
use crate::port::hold::Hold;

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else holds the lock.
    #[error("{environment} is locked by {} since {}, for \
             `{}`", holder.actor, holder.since, holder.command)]
    Locked {
        /// Which environment.
        environment: EnvironmentName,
        /// Who.
        holder: Box<LockHolder>,
    },
    /// The lock was lost to another run.
    #[error("the lock of {environment} was lost: {reason}")]
    Lost {
        /// Which environment.
        environment: EnvironmentName,
        /// How that was seen.
        reason: String,
    },
    /// Somebody wrote the state since it was read.
    #[error("the state of {environment} is at serial {found}, and this run read serial {expected}")]
    Moved {
        /// Which environment.
        environment: EnvironmentName,
        /// What was read.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The place where it would be kept is not there yet: a namespace, or the whole cluster.
    #[error("{what}: {reason}")]
    Absent {
        /// What was being done.
        what: String,
        /// What is not there, and what to do about it.
        reason: String,
    },
    /// The state was migrated: what is left here is of before.
    #[error(
        "the state of {environment} is not in {from} any more: {by} migrated it to {to} at {at:.0}"
    )]
    Migrated {
        /// Which environment.
        environment: EnvironmentName,
        /// Where it was looked for.
        from: String,
        /// Where it is.
        to: String,
        /// Who migrated it.
        by: Box<Actor>,
        /// When.
        at: Timestamp,
    },
    /// A document is torn, or was edited by hand.
    #[error("{path} cannot be used: {reason}")]
    Damaged {
        /// Which.
        path: String,
        /// Why.
        reason: String,
        /// What to do; nothing is lost until then.
        help: String,
    },
    /// A store on the network refused, or cannot be reached.
    #[error("{what}: {reason}")]
    Remote {
        /// What was being done.
        what: String,
        /// Why it was not.
        reason: String,
        /// What to do about it.
        help: String,
    },
    /// Reading or writing a file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A held lock. Its heartbeat goes on until [`Lease::release`] or until the process ends.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Counts up with each taking of the lock.
    fn fence(&self) -> u64;

    /// Whether the lock is still held: what acts under it asks before each effect.
    fn hold(&self) -> Hold;

    /// Is cancelled when the lock is lost: the run must stop before its next effect.
    fn lost(&self) -> CancellationToken {
        self.hold().lost()
    }

    /// Is cancelled when somebody asked for this run to be aborted.
    fn abort_requested(&self) -> CancellationToken;

    /// Gives the lock back.
    async fn release(self: Box<Self>) -> Result<(), StoreError>;
}

/// A store.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Where the state of an environment is, for a reader: a file, an object's address.
    fn place(&self, environment: &EnvironmentName) -> String;

    /// The environment's state, even one that was migrated to another store; none before anything
    /// was written.
    async fn read(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError>;

    /// The environment's state; none before anything was written. One that is in use in another
    /// store is [`StoreError::Migrated`].
    async fn load(&self, environment: &EnvironmentName) -> Result<Option<State>, StoreError> {
        let state = self.read(environment).await?;
        let migrated = state.as_ref().and_then(|state| state.migrated_to.clone());
        match migrated {
            None => Ok(state),
            Some(migrated) => Err(StoreError::Migrated {
                environment: environment.clone(),
                from: self.place(environment),
                to: migrated.to,
                by: Box::new(migrated.by),
                at: migrated.at,
            }),
        }
    }

    /// Replaces the state, atomically and durably. `state.serial` must be above what is there,
    /// or [`StoreError::Moved`]; the lease must still be held, or [`StoreError::Lost`].
    async fn save(&self, lease: &dyn Lease, state: &State) -> Result<(), StoreError>;

    /// Puts a state in the place of whatever is there, even of what cannot be read, and gives it as
    /// it was written: with a serial above that of what was there, as far as that can be told. The
    /// lease must still be held, or [`StoreError::Lost`].
    async fn replace(&self, lease: &dyn Lease, state: &State) -> Result<State, StoreError>;

    /// Takes the lock, with a fencing number of at least `fence_above + 1`. A dead holder's lock is
    /// taken over. A living holder is waited for, `wait` at the most, then [`StoreError::Locked`].
    async fn lock(
        &self,
        environment: &EnvironmentName,
        actor: &Actor,
        command: &str,
        fence_above: u64,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, StoreError>;

    /// Who holds the lock, if somebody living does.
    async fn holder(&self, environment: &EnvironmentName)
    -> Result<Option<LockHolder>, StoreError>;

    /// Asks the holder's run to abort, as if by Ctrl-C. False when nobody holds the lock.
    async fn request_abort(&self, environment: &EnvironmentName) -> Result<bool, StoreError>;

    /// Takes the lock away from its holder, whoever that is: their run stops before its next
    /// effect.
    async fn break_lock(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<LockHolder>, StoreError>;

    /// Appends to the run's journal and waits until the disk has it.
    async fn append(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError>;

    /// Keeps what is known about a release's failure: file name → text. Gives where that is; none
    /// for a store that keeps no files.
    async fn keep_failure(
        &self,
        environment: &EnvironmentName,
        release: ReleaseNumber,
        files: &BTreeMap<String, String>,
    ) -> Result<Option<String>, StoreError> {
        let _ = (environment, release, files);
        Ok(None)
    }

    /// The newest journal, torn last line left out; none before the first run.
    async fn last_journal(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Option<Journal>, StoreError>;

    /// The journals that are kept, oldest first, each without a torn last line.
    async fn journals(&self, environment: &EnvironmentName) -> Result<Vec<Journal>, StoreError>;

    /// Keeps journals of another store, oldest first, each in the place of one of the same run. A
    /// store that keeps fewer takes the newest. Gives how many it took.
    async fn keep_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError>;

    /// Keeps that somebody ran a command; a record with the same id is replaced. Only the newest
    /// ones are kept.
    async fn keep_command(
        &self,
        environment: &EnvironmentName,
        record: &CommandRecord,
    ) -> Result<(), StoreError> {
        let one = std::slice::from_ref(record);
        self.keep_commands(environment, one).await.map(|_| ())
    }

    /// Keeps commands of another store, oldest first, each in the place of one with the same id. A
    /// store that keeps fewer takes the newest. Gives how many it took.
    async fn keep_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError>;

    /// The commands that people ran, oldest first.
    async fn commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError>;

    /// Keeps what is to be reported of a run, in the place of what has the same id. It needs no
    /// lock: nobody else writes it who has no lock of their own.
    async fn keep_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError>;

    /// What is to be reported, and what was, oldest first. What cannot be read is left out.
    async fn notices(&self, environment: &EnvironmentName) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Deletes one, if it is there.
    async fn forget_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError>;

    /// The environments that have a state here.
    async fn environments(&self) -> Result<Vec<EnvironmentName>, StoreError>;
}
