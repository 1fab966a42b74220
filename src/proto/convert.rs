//! Between the messages and the model.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Code, Status};

use crate::model::release::Actor;
use crate::model::{Fingerprint, LiveTraffic, Slot};
use crate::port::engine::{EngineError, Permit, Scope};
use crate::port::hold::Hold;
use crate::proto::v1;

/// A word of the model as it travels.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A word of the model from what travelled.
pub fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("{what}: {error}")))
}

/// A text that must be a name, a slot or a fingerprint.
pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &str,
    text: &str,
) -> Result<T, Status> {
    text.parse()
        .map_err(|error| invalid(format!("{what}: {error}")))
}

fn invalid(reason: String) -> Status {
    Status::invalid_argument(reason)
}

/// An optional slot.
pub fn slot(text: Option<&String>) -> Result<Option<Slot>, Status> {
    text.map(|text| parse("slot", text)).transpose()
}

/// Where live traffic goes: a slot, or off without one.
pub fn live_traffic(text: Option<&String>) -> Result<LiveTraffic, Status> {
    slot(text).map(LiveTraffic::from)
}

/// An optional fingerprint.
pub fn fingerprint(text: Option<&String>) -> Result<Option<Fingerprint>, Status> {
    text.map(|text| parse("fingerprint", text)).transpose()
}

impl From<&Scope> for v1::Scope {
    fn from(scope: &Scope) -> Self {
        Self {
            project: scope.project.to_string(),
            environment: scope.environment.to_string(),
        }
    }
}

impl TryFrom<Option<v1::Scope>> for Scope {
    type Error = Status;
    fn try_from(scope: Option<v1::Scope>) -> Result<Self, Status> {
        let scope = scope.ok_or_else(|| invalid("the scope is missing".to_owned()))?;
        Ok(Self {
            project: parse("project", &scope.project)?,
            environment: parse("environment", &scope.environment)?,
        })
    }
}

impl From<&Permit> for v1::Permit {
    fn from(permit: &Permit) -> Self {
        let actor = &permit.actor;
        Self {
            scope: Some((&permit.scope).into()),
            lineage: permit.lineage.clone(),
            fence: permit.fence,
            user: actor.user.clone(),
            host: actor.host.clone(),
            run: actor.run.clone(),
        }
    }
}

impl TryFrom<Option<v1::Permit>> for Permit {
    type Error = Status;
    fn try_from(permit: Option<v1::Permit>) -> Result<Self, Status> {
        let permit = permit.ok_or_else(|| invalid("the permit is missing".to_owned()))?;
        Ok(Self {
            scope: permit.scope.try_into()?,
            lineage: permit.lineage,
            fence: permit.fence,
            actor: Actor {
                user: permit.user,
                host: permit.host,
                run: permit.run,
                ci: None,
            },
            // The client holds the lock; what keeps an old one away here is the fence.
            hold: Hold::none(),
        })
    }
}

/// An engine's error as a status: the code for whoever only sees codes, the whole of it in the
/// details.
impl From<EngineError> for Status {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::Unreachable { .. } => Code::Unavailable,
            EngineError::Moved { .. } | EngineError::Fenced { .. } | EngineError::LockLost => {
                Code::Aborted
            }
            EngineError::Foreign { .. } => Code::PermissionDenied,
            EngineError::NotReady { .. } | EngineError::Refused { .. } => Code::FailedPrecondition,
            EngineError::Failed { .. } => Code::Internal,
        };
        Self::with_details(code, error.to_string(), encode(&error).into())
    }
}

/// A status as an engine's error; one that did not come from an engine is a failure of the
/// connection.
impl From<Status> for EngineError {
    fn from(status: Status) -> Self {
        if let Ok(error) = serde_json::from_slice(status.details()) {
            return error;
        }
        Self::Unreachable {
            what: "asking the agent".to_owned(),
            reason: status.message().to_owned(),
            help:
                "look at `shipit agent logs`, then run the command again: it goes on where it was"
                    .to_owned(),
        }
    }
}
