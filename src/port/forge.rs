//! The forge: where a commit's status is shown to those who review it.

use async_trait::async_trait;

use crate::model::commit_status::{CommitStatus, StatusPlace};

/// Why a status was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the status of commit {commit} was not set: {reason}")]
pub struct ForgeError {
    /// Whose status.
    pub commit: String,
    /// Why.
    pub reason: String,
    /// What to do.
    pub help: String,
}

/// A forge.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Sets the status of a commit. It has a deadline of its own.
    async fn report(&self, place: &StatusPlace, status: &CommitStatus) -> Result<(), ForgeError>;
}
