//! Why the server did not do it.

use http::StatusCode;
use kube::core::Status;

use super::call::BODY_LIMIT;
use crate::model::chain;
use crate::port::engine::EngineError;
use crate::port::hold::LockLost;

/// Why the server did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::driver) enum ApiError {
    #[error("{reason}")]
    Unreachable { reason: String },
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
    #[error(transparent)]
    LockLost(#[from] LockLost),
    /// An object of the name that we give it is another environment's.
    #[error("{what} is of {owner}, whose names read the same when they are joined")]
    Foreign { what: String, owner: String },
    #[error("the server's answer is larger than {} MiB", BODY_LIMIT >> 20)]
    TooLarge,
}

/// What to do where two environments have one name in one namespace.
pub(in crate::driver) const ANOTHER_NAME: &str =
    "give one of the two another namespace with `cluster: {namespace: …}`, or another name";

impl ApiError {
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(status) => status.code,
            _ => 0,
        }
    }

    pub fn is(&self, code: StatusCode) -> bool {
        self.code() == code.as_u16()
    }

    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused(status) => Some(status),
            _ => None,
        }
    }

    /// As an engine's error, while `what` was being done.
    pub fn while_(self, what: impl Into<String>) -> EngineError {
        let what = what.into();
        match self {
            Self::LockLost(lost) => lost.into(),
            Self::Unreachable { reason } => {
                let help = if reason.contains("certificate") || reason.contains("UnknownIssuer") {
                    "the server's certificate is not the one that the kubeconfig's authority has signed"
                } else {
                    "look at `server:` in the kubeconfig, and whether the cluster is up"
                };
                EngineError::Unreachable { what, reason, help: help.to_owned() }
            }
            Self::Refused(status) if status.code == 401 => EngineError::Unreachable {
                what,
                reason: "the server does not know who this is (401)".to_owned(),
                help: "the token or certificate has expired, or belongs to another cluster; on EKS this identity may have no access entry".to_owned(),
            },
            Self::Refused(status) if status.code == 403 => EngineError::Refused {
                reason: format!("{what}: {}", status.message),
                help: "`shipit doctor` lists every permission that is missing; docs/guide/kubernetes.md has the Role"
                    .to_owned(),
            },
            Self::Refused(status) if status.code == 422 => EngineError::Refused {
                reason: format!("{what}: {}", status.message),
                help: "`shipit render` shows the objects as they are sent".to_owned(),
            },
            foreign @ Self::Foreign { .. } => EngineError::Refused {
                reason: foreign.to_string(),
                help: ANOTHER_NAME.to_owned(),
            },
            other => EngineError::Failed { what, reason: other.to_string() },
        }
    }
}

pub(super) fn fault(error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => ApiError::Refused(status.clone()),
        other => ApiError::Unreachable {
            reason: chain(other),
        },
    }
}

pub(super) fn status(code: StatusCode, bytes: &[u8]) -> Status {
    serde_json::from_slice::<Status>(bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
            .trim()
            .to_owned();
        let message = if text.is_empty() {
            code.to_string()
        } else {
            text
        };
        Status::failure(&message, "").with_code(code.as_u16())
    })
}
