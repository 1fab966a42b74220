//! Why an engine did not do what it was asked for.

use jiff::Timestamp;

use crate::model::release::Actor;
use crate::model::{Address, ObjectKey, Slot};
use crate::port::engine::Scope;
use crate::port::hold::LockLost;

/// Why a slot is not ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NotReady {
    /// In one line: `web.0 ended with exit code 1, 3 times`.
    pub reason: String,
    /// The last lines of what failed.
    pub log: Vec<String>,
}

/// Why an engine did not do what it was asked for. It travels between the agent and its clients as
/// it is.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum EngineError {
    /// The engine cannot be reached.
    #[error("{what}: {reason}")]
    Unreachable {
        /// What was being done.
        what: String,
        /// Why it cannot.
        reason: String,
        /// What to do.
        help: String,
    },
    /// What is there is not what the plan saw.
    #[error("{address} is not what the plan saw")]
    Moved {
        /// Which resource.
        address: Address,
        /// Who changed the environment last, as far as it is known.
        by: Option<Actor>,
        /// When.
        at: Option<Timestamp>,
    },
    /// The lock went to another run.
    #[error("another run has the lock")]
    LockLost,
    /// A newer run holds the environment.
    #[error(
        "run with fence {fence} has lost {scope}: a run with fence {seen} has acted there since"
    )]
    Fenced {
        /// Which environment.
        scope: Scope,
        /// The number of the permit.
        fence: u64,
        /// The number that was seen.
        seen: u64,
    },
    /// Another state owns the environment.
    #[error("{scope} belongs to the state with lineage {owner}, not to {lineage}")]
    Foreign {
        /// Which environment.
        scope: Scope,
        /// Whose it is.
        owner: String,
        /// Who asked.
        lineage: String,
    },
    /// The slot did not become ready, or is not.
    #[error("{slot} is not ready: {}", not_ready.reason)]
    NotReady {
        /// Which slot.
        slot: Slot,
        /// Why.
        not_ready: NotReady,
    },
    /// It was asked for something that cannot be.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// What to do.
        help: String,
    },
    /// It tried and failed.
    #[error("{what}: {reason}")]
    Failed {
        /// What was being done.
        what: String,
        /// Why it failed.
        reason: String,
    },
}

impl From<LockLost> for EngineError {
    fn from(LockLost: LockLost) -> Self {
        Self::LockLost
    }
}

/// What an engine without objects says of one.
pub(super) fn no_objects(key: &ObjectKey) -> EngineError {
    EngineError::Refused {
        reason: format!("{key}: this engine has no objects"),
        help: "`cluster.kind: kubernetes` has".to_owned(),
    }
}
