//! What is to be reported of runs, a Secret each.

use serde_json::Value;

use super::KubernetesStore;
use crate::driver::state::kubernetes::document::unpack;
use crate::model::EnvironmentName;
use crate::model::notice::OutboxEntry;
use crate::port::store::StoreError;

/// What the label of such a Secret says.
const PART: &str = "notice";

impl KubernetesStore {
    fn notice_name(&self, environment: &EnvironmentName, id: &str) -> String {
        format!("{}-n-{}", self.name(environment), id.to_lowercase())
    }

    pub(super) async fn write_notice(
        &self,
        environment: &EnvironmentName,
        entry: &OutboxEntry,
    ) -> Result<(), StoreError> {
        let name = self.notice_name(environment, &entry.notice.id);
        let text = serde_json::to_vec(entry).unwrap_or_default();
        let labels = self.labels(environment, PART);
        self.write_secret(&name, labels, &text).await
    }

    /// Oldest first: their ids sort by time.
    pub(super) async fn read_notices(
        &self,
        environment: &EnvironmentName,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let objects: Vec<Value> = self.secrets_of(environment, PART).await?;
        let entries = objects
            .iter()
            .filter_map(|object| serde_json::from_slice(&unpack(object).ok()?).ok());
        let mut entries: Vec<OutboxEntry> = entries.collect();
        entries.sort_by(|one, two| one.notice.id.cmp(&two.notice.id));
        Ok(entries)
    }

    pub(super) async fn delete_notice(
        &self,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<(), StoreError> {
        let key = self.object("Secret", self.notice_name(environment, id));
        let deleted = self.api().await?.delete(&key, None).await;
        deleted.map_err(super::failed("deleting a notice"))
    }
}
