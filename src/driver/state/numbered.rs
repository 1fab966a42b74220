//! What the stores on the network have in common: journals of numbered entries, an object each, and
//! commands, an object each. How an object is written is the store's own.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::model::EnvironmentName;
use crate::model::command::CommandRecord;
use crate::model::journal::{Journal, JournalEntry};
use crate::port::store::StoreError;

/// How many journals are kept.
const JOURNALS: usize = 5;
/// How many commands are kept.
const COMMANDS: usize = 50;
/// How many entries are written at once.
const WIDTH: usize = 8;

/// How many entries each journal of this process has.
#[derive(Default)]
pub(in crate::driver) struct Numbers(Mutex<BTreeMap<String, usize>>);

impl Numbers {
    /// The number of a run's next entry; 1 for its first.
    fn next(&self, run: &str) -> usize {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(run.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// A store that keeps every entry of a journal, and every command, in an object of its own.
#[async_trait]
pub(in crate::driver) trait Numbered: Send + Sync {
    /// How far the journals of this process are.
    fn numbers(&self) -> &Numbers;

    /// Writes one entry of a run's journal, in the place of one with the same number.
    async fn write_entry(
        &self,
        environment: &EnvironmentName,
        (run, number): (&str, usize),
        entry: &JournalEntry,
    ) -> Result<(), StoreError>;

    /// Deletes the journals but the newest ones of these many others, and this run's own: its clock
    /// may be behind that of others.
    async fn forget_journals(
        &self,
        environment: &EnvironmentName,
        own: &str,
        others: usize,
    ) -> Result<(), StoreError>;

    /// Writes a command, in the place of one with the same id.
    async fn write_command(
        &self,
        environment: &EnvironmentName,
        record: &CommandRecord,
    ) -> Result<(), StoreError>;

    /// Deletes the commands but the newest ones, of which these many stay.
    async fn forget_commands(
        &self,
        environment: &EnvironmentName,
        stay: usize,
    ) -> Result<(), StoreError>;

    /// Writes the next entry of a run's journal. Old journals go when one begins; that one cannot
    /// be removed is no reason to fail.
    async fn append_entry(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let number = self.numbers().next(run);
        self.write_entry(environment, (run, number), entry).await?;
        if number == 1 {
            let _ = self.forget_journals(environment, run, JOURNALS - 1).await;
        }
        Ok(())
    }

    /// Writes the newest of another store's journals: how many.
    async fn take_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<usize, StoreError> {
        let newest = newest(journals, JOURNALS);
        for journal in newest {
            let entries: Vec<(usize, JournalEntry)> =
                (1..).zip(journal.entries.iter().cloned()).collect();
            let write = |(number, entry): (usize, JournalEntry)| async move {
                self.write_entry(environment, (&journal.run, number), &entry)
                    .await
            };
            let writes = stream::iter(entries).map(write).buffer_unordered(WIDTH);
            writes.try_collect::<Vec<()>>().await?;
        }
        Ok(newest.len())
    }

    /// Writes the newest of these commands: how many. Old ones go, as far as they can be found and
    /// deleted.
    async fn take_commands(
        &self,
        environment: &EnvironmentName,
        records: &[CommandRecord],
    ) -> Result<usize, StoreError> {
        let newest = newest(records, COMMANDS);
        for record in newest {
            self.write_command(environment, record).await?;
        }
        let _ = self.forget_commands(environment, COMMANDS).await;
        Ok(newest.len())
    }
}

fn newest<T>(all: &[T], kept: usize) -> &[T] {
    &all[all.len().saturating_sub(kept)..]
}
