//! The lock as an object with a version.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::state::lock::Lock;
use crate::driver::state::objects::{Guard, Objects, Written};
use crate::driver::state::versioned::{LockDocument, Versioned};
use crate::model::EnvironmentName;
use crate::port::store::StoreError;

/// Where the lock of an environment is.
#[derive(Clone)]
pub(super) struct LockObject {
    objects: Arc<dyn Objects>,
    key: String,
    environment: EnvironmentName,
}

impl LockObject {
    pub fn place(
        objects: Arc<dyn Objects>,
        key: String,
        environment: EnvironmentName,
    ) -> Versioned<Self> {
        Versioned::of(Self {
            objects,
            key,
            environment,
        })
    }

    /// Whether it was never taken.
    pub async fn is_new(&self) -> Result<bool, StoreError> {
        Ok(self.objects.get(&self.key).await?.is_none())
    }
}

impl LockDocument for LockObject {
    fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    fn poll(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn look(&self) -> Result<(Lock, Option<String>), StoreError> {
        let Some(found) = self.objects.get(&self.key).await? else {
            return Ok((Lock::default(), None));
        };
        // A holder that cannot be read is not taken for none.
        let lock = serde_json::from_slice(&found.bytes).map_err(|error| StoreError::Damaged {
            path: self.objects.place(&self.key),
            reason: format!("it does not say who holds the lock: {error}"),
            help: "make sure that no shipit runs for this environment, then delete the object"
                .to_owned(),
        })?;
        Ok((lock, Some(found.version)))
    }

    async fn write(&self, lock: &Lock, over: Option<&str>) -> Result<Option<String>, StoreError> {
        let guard = over.map_or(Guard::Absent, Guard::Is);
        let bytes = serde_json::to_vec(lock).unwrap_or_default();
        Ok(match self.objects.put(&self.key, bytes, guard).await? {
            Written::As(version) => Some(version),
            Written::Moved => None,
        })
    }
}
