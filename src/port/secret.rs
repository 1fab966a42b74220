//! Where secrets come from.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::secret::{SecretRef, SecretValue, SecretVersion};
use crate::port::engine::CheckResult;

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
    /// When the source deletes this version by itself; none where it does not, or does not tell.
    pub until: Option<Timestamp>,
}

/// A source of secrets. Whatever it asks has a deadline, and gives a bounded answer.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Reads one secret: the version that `from` names, or else the newest. What was read once is
    /// not asked for again.
    async fn read(&self, name: &str, from: &SecretRef) -> Result<SecretReading, SecretError>;

    /// Whether the servers that keep these secrets let this process in, and for how long. A source
    /// without a server has nothing to say.
    async fn examine(&self, secrets: &[&SecretRef]) -> Vec<CheckResult>;

    /// Gives back what was taken to read secrets with: tokens of logins that this process made.
    async fn close(&self);
}
