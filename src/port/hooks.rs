//! What calls a project's hooks.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::model::hook::{Hook, HookFacts};
use crate::model::secret::SecretValue;
use crate::port::Progress;

/// Why a hook has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct HookFailure {
    /// Why, in one line.
    pub reason: String,
    /// The last lines that it wrote.
    pub detail: Vec<String>,
}

/// What calls hooks.
#[async_trait]
pub trait HookCaller: Send + Sync {
    /// Calls one, and waits for its end, for as long as it may take. `secrets` are the values that
    /// it names, and nobody else sees them. Whoever drops this ends it with all that it started.
    async fn call(
        &self,
        hook: &Hook,
        facts: &HookFacts,
        secrets: &BTreeMap<String, SecretValue>,
        progress: Progress<'_>,
    ) -> Result<(), HookFailure>;
}
