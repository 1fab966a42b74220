//! The provider: who has the infrastructure that a plan makes and changes.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::model::resource::{Resource, ResourceFacts, ResourceKey, StoredImage};
use crate::model::{Address, Digest, Fingerprint};
use crate::port::Progress;
use crate::port::engine::{CheckResult, Permit, Scope};
use crate::port::hold::LockLost;

/// Why a provider did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProviderError {
    /// It refused, or cannot be reached.
    #[error("{what}: {reason}")]
    Failed {
        /// What was being done.
        what: String,
        /// Why it was not.
        reason: String,
        /// What to do.
        help: String,
    },
    /// What is there is not what the plan saw.
    #[error("{address} is not what the plan saw")]
    Moved {
        /// Which resource.
        address: Address,
    },
    /// It was waited for too long.
    #[error("{what} was not done within {minutes} minutes")]
    Timeout {
        /// What was being done.
        what: String,
        /// The limit.
        minutes: u64,
    },
    /// Somebody stopped the waiting. What was begun goes on at the provider, and the next run finds
    /// it.
    #[error("stopped while waiting; it goes on at the provider")]
    Cancelled,
    /// The lock went to another run.
    #[error("another run has the lock")]
    LockLost,
}

impl From<LockLost> for ProviderError {
    fn from(LockLost: LockLost) -> Self {
        Self::LockLost
    }
}

/// What a registry's scan of an image found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Findings {
    /// So many of each severity: `critical`, `high`, `medium`, `low`, and others by their own
    /// names.
    Done(std::collections::BTreeMap<String, u64>),
    /// It goes on.
    Pending,
    /// There is no result, and there will be none.
    Unavailable(String),
}

/// Who has infrastructure.
#[async_trait]
pub trait Provider: Send + Sync {
    /// How each wanted resource is now, and which others are there that this environment made.
    async fn observe(
        &self,
        scope: &Scope,
        wanted: &[Resource],
    ) -> Result<Vec<ResourceFacts>, ProviderError>;

    /// Makes a resource, or makes its settings what they should be; with `replace` what is there
    /// goes first. Done when the resource can be used. Whoever calls it again after a kill finds
    /// what was begun and goes on. The lock is asked for before each request that changes something
    /// ([`Permit::hold`]).
    async fn ensure(
        &self,
        permit: &Permit,
        resource: &Resource,
        replace: bool,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), ProviderError>;

    /// Takes a resource away. One that is not there is well.
    async fn delete(
        &self,
        permit: &Permit,
        key: &ResourceKey,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), ProviderError>;

    /// The images of a repository, all of them, with their sizes: what goes when it is deleted.
    /// Nothing of another kind of resource, or of one that is not there.
    async fn images(&self, key: &ResourceKey) -> Result<Vec<StoredImage>, ProviderError> {
        let _ = key;
        Ok(Vec::new())
    }

    /// The permissions and properties that the resources need.
    async fn examine(&self, wanted: &[Resource]) -> Result<Vec<CheckResult>, ProviderError>;

    /// What the scan of an image found; one that was never begun is begun.
    async fn findings(&self, repository: &str, image: &Digest) -> Result<Findings, ProviderError> {
        let _ = (repository, image);
        Ok(Findings::Unavailable(
            "this registry scans no images".to_owned(),
        ))
    }
}

/// For environments without infrastructure.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoProvider;

#[async_trait]
impl Provider for NoProvider {
    async fn observe(
        &self,
        _: &Scope,
        wanted: &[Resource],
    ) -> Result<Vec<ResourceFacts>, ProviderError> {
        match wanted.first() {
            None => Ok(Vec::new()),
            Some(resource) => Err(nobody(&resource.key)),
        }
    }

    async fn ensure(
        &self,
        _: &Permit,
        resource: &Resource,
        _: bool,
        _: Option<Fingerprint>,
        _: Progress<'_>,
        _: &CancellationToken,
    ) -> Result<(), ProviderError> {
        Err(nobody(&resource.key))
    }

    async fn delete(
        &self,
        _: &Permit,
        key: &ResourceKey,
        _: Option<Fingerprint>,
        _: Progress<'_>,
        _: &CancellationToken,
    ) -> Result<(), ProviderError> {
        Err(nobody(key))
    }

    async fn examine(&self, _: &[Resource]) -> Result<Vec<CheckResult>, ProviderError> {
        Ok(Vec::new())
    }
}

fn nobody(key: &ResourceKey) -> ProviderError {
    ProviderError::Failed {
        what: key.to_string(),
        reason: "this environment has no provider of infrastructure".to_owned(),
        help: "make the plan again: the configuration has changed".to_owned(),
    }
}
