//! The journals of an environment's runs, an entry a Secret.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde_json::Value;

use super::{KubernetesStore, PART, failed};
use crate::driver::kubernetes::client::api::Selector;
use crate::model::EnvironmentName;
use crate::model::journal::JournalEntry;
use crate::model::object::mark;
use crate::port::store::StoreError;

/// The run that a journal's entry belongs to.
const RUN: &str = "shipit.dev/run";
/// How many journals are kept.
const JOURNALS: usize = 5;

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

        let mut labels = self.labels(environment, "journal");
        labels[RUN] = run.into();
        let name = format!(
            "{}-j-{}-{number:05}",
            self.name(environment),
            run.to_lowercase()
        );
        self.write_secret(
            &name,
            labels,
            &serde_json::to_vec(entry).unwrap_or_default(),
        )
        .await?;

        if number == 1 {
            self.forget_oldest(environment).await
        } else {
            Ok(())
        }
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
        let api = self.api().await?;
        let reading = || failed("reading the journal");
        let kind = api.must(("v1", "Secret")).await.map_err(reading())?;
        let labels = format!(
            "{}={},{}={environment},{PART}=journal",
            mark::PROJECT,
            self.project,
            mark::ENVIRONMENT
        );
        let selector = Selector::Labels(labels);

        let mut runs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let take = |object: Value| {
            let run = object["metadata"]["labels"][RUN]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            runs.entry(run).or_default().push(object);
        };
        api.list(&kind, Some(&self.namespace), &selector, take)
            .await
            .map_err(reading())?;

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
