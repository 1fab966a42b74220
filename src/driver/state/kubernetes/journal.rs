//! The journals of an environment's runs, an entry a Secret.

use std::collections::BTreeMap;

use serde_json::Value;

use super::KubernetesStore;
use crate::driver::state::kubernetes::document::unpack;
use crate::model::EnvironmentName;
use crate::model::journal::{Journal, JournalEntry, fence_of};
use crate::port::store::StoreError;

/// The run that a journal's entry belongs to.
const RUN: &str = "shipit.dev/run";

impl KubernetesStore {
    pub(super) async fn write_numbered(
        &self,
        environment: &EnvironmentName,
        (run, number): (&str, usize),
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

    /// The journals that are kept, oldest first.
    pub(super) async fn read_journals(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<Journal>, StoreError> {
        let runs = self.entries(environment).await?.into_iter();
        let journals = runs.map(|(run, objects)| Journal {
            run,
            entries: objects
                .iter()
                .map_while(|object| serde_json::from_slice(&unpack(object).ok()?).ok())
                .collect(),
        });
        let mut journals: Vec<Journal> = journals.collect();
        journals.sort_by(|one, other| one.order().cmp(&other.order()));
        Ok(journals)
    }

    /// Deletes the journals but the newest ones of these many others, and this run's own.
    pub(super) async fn delete_journals(
        &self,
        environment: &EnvironmentName,
        own: &str,
        others: usize,
    ) -> Result<(), StoreError> {
        let entries = self.entries(environment).await?;
        let runs = entries.iter().filter(|(run, _)| *run != own);
        let mut runs: Vec<_> = runs.collect();
        runs.sort_by_cached_key(|(run, objects)| {
            let first = objects.first().and_then(|object| unpack(object).ok());
            (first.and_then(|line| fence_of(&line)), (*run).clone())
        });
        for (_, objects) in runs.into_iter().rev().skip(others) {
            for object in objects {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let key = self.object("Secret", name.to_owned());
                let _ = self.api().await?.delete(&key, None).await;
            }
        }
        Ok(())
    }

    /// The journals' entries by run.
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
