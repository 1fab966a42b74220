//! The journals of an environment's runs, an entry a Secret.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::KubernetesStore;
use crate::driver::state::kubernetes::document::unpack;
use crate::model::EnvironmentName;
use crate::model::journal::{Journal, JournalEntry};
use crate::port::store::StoreError;

/// The run that a journal's entry belongs to.
const RUN: &str = "shipit.dev/run";
/// How many journals are kept.
const JOURNALS: usize = 5;
/// How many entries are written at once.
const WIDTH: usize = 8;

impl KubernetesStore {
    pub(super) async fn write_entry(
        &self,
        environment: &EnvironmentName,
        run: &str,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let number = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(run.to_owned()).or_default();
            *count += 1;
            *count
        };

        self.write_numbered(environment, run, number, entry).await?;

        if number == 1 {
            self.forget_oldest(environment).await
        } else {
            Ok(())
        }
    }

    /// Writes one entry of a journal, in the place of one with the same number.
    async fn write_numbered(
        &self,
        environment: &EnvironmentName,
        run: &str,
        number: usize,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let mut labels = self.labels(environment, "journal");
        labels[RUN] = run.into();
        let name = format!(
            "{}-j-{}-{number:05}",
            self.name(environment),
            run.to_lowercase()
        );
        let bytes = serde_json::to_vec(entry).unwrap_or_default();
        self.write_secret(&name, labels, &bytes).await
    }

    /// Keeps the newest of another store's journals.
    pub(super) async fn write_journals(
        &self,
        environment: &EnvironmentName,
        journals: &[Journal],
    ) -> Result<(), StoreError> {
        for journal in &journals[journals.len().saturating_sub(JOURNALS)..] {
            let entries: Vec<(usize, JournalEntry)> =
                (1..).zip(journal.entries.iter().cloned()).collect();
            let write = |(number, entry): (usize, JournalEntry)| async move {
                self.write_numbered(environment, &journal.run, number, &entry)
                    .await
            };
            let writes = stream::iter(entries).map(write).buffer_unordered(WIDTH);
            writes.try_collect::<Vec<()>>().await?;
        }
        Ok(())
    }

    /// The journals that are kept, oldest first.
    pub(super) async fn read_journals(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<Journal>, StoreError> {
        let runs = self.entries(environment).await?.into_iter();
        Ok(runs
            .map(|(run, objects)| Journal {
                run,
                entries: objects
                    .iter()
                    .map_while(|object| serde_json::from_slice(&unpack(object).ok()?).ok())
                    .collect(),
            })
            .collect())
    }

    /// Old journals go. That one cannot be removed is no reason to fail.
    async fn forget_oldest(&self, environment: &EnvironmentName) -> Result<(), StoreError> {
        let entries = self.entries(environment).await?;
        let runs: Vec<&String> = entries.keys().collect();
        for run in runs.iter().rev().skip(JOURNALS) {
            for object in &entries[*run] {
                let name = object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let _ = self
                    .api()
                    .await?
                    .delete(&self.object("Secret", name), None)
                    .await;
            }
        }
        Ok(())
    }

    /// The journals' entries by run; the names of runs sort by time.
    pub(super) async fn entries(
        &self,
        environment: &EnvironmentName,
    ) -> Result<BTreeMap<String, Vec<Value>>, StoreError> {
        let mut runs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for object in self.secrets_of(environment, "journal").await? {
            let run = object["metadata"]["labels"][RUN].as_str();
            let run = run.unwrap_or_default().to_owned();
            runs.entry(run).or_default().push(object);
        }

        for entries in runs.values_mut() {
            entries.sort_by_key(|object| {
                object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            });
        }
        Ok(runs)
    }
}
