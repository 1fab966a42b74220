//! Where secrets come from.

use async_trait::async_trait;

use crate::model::secret::{SecretRef, SecretValue, SecretVersion};

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
    /// What it means for a plan that names the version.
    pub kind: SecretErrorKind,
}

/// What an error means for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretErrorKind {
    /// It cannot be read now.
    Unreadable,
    /// The version that was asked for is not there any more: a plan that names it is stale.
    Gone,
}

/// What a source gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretReading {
    /// The value.
    pub value: SecretValue,
    /// Its version; none where the source has none.
    pub version: Option<SecretVersion>,
}

/// A source of secrets. Whatever it asks has a deadline, and gives a bounded answer.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Reads one secret: the version that `from` names, or else the newest. What was read once is
    /// not asked for again.
    async fn read(&self, name: &str, from: &SecretRef) -> Result<SecretReading, SecretError>;
}
