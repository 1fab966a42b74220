//! The commands that people ran, a Secret each.

use serde_json::Value;

use super::KubernetesStore;
use crate::driver::state::kubernetes::document::unpack;
use crate::model::EnvironmentName;
use crate::model::command::CommandRecord;
use crate::port::store::StoreError;

impl KubernetesStore {
    pub(super) async fn write_record(
        &self,
        environment: &EnvironmentName,
        record: &CommandRecord,
    ) -> Result<(), StoreError> {
        let name = format!("{}-x-{}", self.name(environment), record.id.to_lowercase());
        let text = serde_json::to_vec(&record.clone().shortened()).unwrap_or_default();
        let labels = self.labels(environment, "command");
        self.write_secret(&name, labels, &text).await
    }

    pub(super) async fn read_commands(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let objects = self.command_objects(environment).await?;
        let records = objects
            .iter()
            .filter_map(|object| serde_json::from_slice(&unpack(object).ok()?).ok());
        Ok(records.collect())
    }

    /// Deletes all but the newest ones.
    pub(super) async fn delete_commands(
        &self,
        environment: &EnvironmentName,
        stay: usize,
    ) -> Result<(), StoreError> {
        let objects = self.command_objects(environment).await?;
        for object in objects.iter().rev().skip(stay) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let key = self.object("Secret", name.to_owned());
            let _ = self.api().await?.delete(&key, None).await;
        }
        Ok(())
    }

    /// Oldest first: their names sort by time.
    async fn command_objects(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<Value>, StoreError> {
        let mut objects = self.secrets_of(environment, "command").await?;
        objects.sort_by_key(|object: &Value| {
            let name = object["metadata"]["name"].as_str();
            name.unwrap_or_default().to_owned()
        });
        Ok(objects)
    }
}
