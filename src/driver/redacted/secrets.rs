//! Whatever is read is hidden from then on.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::secret::SecretRef;
use crate::port::SecretSource;
use crate::port::engine::CheckResult;
use crate::port::secret::{SecretError, SecretReading};
use crate::redact::Redactor;

/// A source that tells what it gives.
pub struct RememberedSecrets {
    inner: Arc<dyn SecretSource>,
    redactor: Redactor,
}

impl RememberedSecrets {
    /// Around another source.
    #[must_use]
    pub fn new(inner: Arc<dyn SecretSource>, redactor: Redactor) -> Self {
        Self { inner, redactor }
    }
}

#[async_trait]
impl SecretSource for RememberedSecrets {
    async fn read(&self, name: &str, from: &SecretRef) -> Result<SecretReading, SecretError> {
        let reading = self.inner.read(name, from).await?;
        self.redactor.remember(&reading.value);
        Ok(reading)
    }

    async fn examine(&self, secrets: &[&SecretRef]) -> Vec<CheckResult> {
        self.inner.examine(secrets).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
