//! Where secrets come from.

use async_trait::async_trait;

use crate::model::secret::{SecretRef, SecretValue};

/// Why a secret could not be read. Never says anything of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}`: {reason}")]
pub struct SecretError {
    /// The secret's name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// What to do.
    pub help: String,
}

/// A source of secrets.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Reads one secret.
    async fn read(&self, name: &str, from: &SecretRef) -> Result<SecretValue, SecretError>;
}
