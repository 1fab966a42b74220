//! What comes of a step.

use jiff::Timestamp;

use crate::model::release::Actor;
use crate::model::{Address, Digest};
use crate::port::builder::BuildError;
use crate::port::checker::CheckFailed;
use crate::port::engine::EngineError;
use crate::port::hold::LockLost;
use crate::port::provider::ProviderError;
use crate::port::registry::RegistryError;
use crate::port::secret::{SecretError, SecretErrorKind};
use crate::port::store::StoreError;
use crate::rollout::{Cause, CutOff};

/// A step that is done.
pub(in crate::execute) struct Done {
    /// What came of it, in words.
    pub result: String,
    /// The image that a build made.
    pub digest: Option<Digest>,
}

impl Done {
    pub fn say(result: impl Into<String>) -> Self {
        Self {
            result: result.into(),
            digest: None,
        }
    }
}

/// Why a step is not done.
#[derive(Debug, thiserror::Error)]
pub(in crate::execute) enum StepError {
    /// It was told to stop.
    #[error("it stopped before it was done, and nobody had asked for that")]
    Stopped,
    #[error(transparent)]
    LockLost(#[from] LockLost),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Check(#[from] CheckFailed),
    /// A task has failed.
    #[error("{how}")]
    Task { how: String, log: Vec<String> },
    /// What happened is not in the journal.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The prober saw requests fail.
    #[error("{failures} of {requests} requests failed while traffic was switched")]
    Lost {
        failures: u64,
        requests: u64,
        examples: Vec<String>,
    },
    /// The plan cannot be carried out as it stands.
    #[error("{0}")]
    Plan(String),
}

impl StepError {
    pub fn reason(&self) -> String {
        self.to_string()
    }

    /// What helps to understand it.
    pub fn detail(&self) -> Vec<String> {
        match self {
            Self::Engine(EngineError::NotReady { not_ready, .. }) => not_ready.log.clone(),
            Self::Engine(
                EngineError::Refused { help, .. } | EngineError::Unreachable { help, .. },
            ) => {
                vec![format!("help: {help}")]
            }
            Self::Build(BuildError::Command { log, .. }) | Self::Task { log, .. } => log.clone(),
            Self::Provider(ProviderError::Failed { help, .. }) => vec![format!("help: {help}")],
            Self::Registry(error) => vec![format!("help: {}", error.help())],
            Self::Check(failed) => failed.detail.clone(),
            Self::Lost { examples, .. } => examples.clone(),
            Self::Secret(error) => vec![format!("help: {}", error.help)],
            _ => Vec::new(),
        }
    }

    /// Whether it ends the run where it stands.
    pub const fn cut_off(&self) -> Option<CutOff> {
        match self {
            Self::LockLost(_)
            | Self::Engine(EngineError::Fenced { .. } | EngineError::LockLost)
            | Self::Store(StoreError::Lost { .. })
            | Self::Provider(ProviderError::LockLost) => Some(CutOff::LockLost),
            _ => None,
        }
    }

    /// What it means for the rollout.
    pub fn means(&self, address: &Address) -> Result<Cause, CutOff> {
        if let Some(by) = self.cut_off() {
            return Err(by);
        }
        Ok(match self {
            Self::Engine(EngineError::Moved { by, at, .. }) => {
                Cause::Stale(moved(address, by.as_ref(), *at))
            }
            Self::Secret(SecretError {
                kind: SecretErrorKind::Gone,
                ..
            })
            | Self::Build(BuildError::InputsMoved { .. })
            | Self::Provider(ProviderError::Moved { .. }) => Cause::Stale(self.reason()),
            _ => Cause::Failed(format!("{address}: {}", self.reason())),
        })
    }
}

/// What moved, and who moved it.
pub(in crate::execute) fn moved(
    address: &Address,
    by: Option<&Actor>,
    at: Option<Timestamp>,
) -> String {
    let by = by
        .map(|actor| format!(", changed by {actor}"))
        .unwrap_or_default();
    let at = at.map(|at| format!(" at {at:.0}")).unwrap_or_default();
    format!("{address} is not what the plan saw{by}{at}")
}
