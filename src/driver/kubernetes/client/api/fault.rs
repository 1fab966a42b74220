//! Why the server did not do it.

use http::StatusCode;
use kube::core::Status;

use super::behind::Behind;
use super::call::BODY_LIMIT;
use super::terminating;
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
    /// What the server has to ask for this does not answer it.
    #[error("{what}: {}", .status.message)]
    Behind { what: Behind, status: Box<Status> },
    /// The namespace is being deleted, and takes nothing new.
    #[error("the namespace {namespace} is being deleted{why}")]
    Terminating {
        namespace: String,
        /// Since when and what it waits for, in words that go on from there.
        why: String,
    },
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

    /// Whether the server refuses what an object says, for whoever asks: the same object is refused
    /// again.
    pub fn is_about_the_object(&self) -> bool {
        let Self::Refused(status) = self else {
            return false;
        };
        let message = &status.message;
        match status.code {
            _ if message.contains("does not support dry run") => false,
            400 | 413 | 422 => true,
            403 => !is_permission(message),
            // What a manifest's types cannot be made of is an error inside the server.
            500 => message.contains("typed patch") || message.contains("cannot be handled as"),
            _ => false,
        }
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
                    "the server's certificate is not the one that the kubeconfig's authority has \
                     signed"
                } else {
                    "look at `server:` in the kubeconfig, and whether the cluster is up"
                };
                EngineError::Unreachable {
                    what,
                    reason,
                    help: help.to_owned(),
                }
            }
            Self::Refused(status) if status.code == 401 => EngineError::Unreachable {
                what,
                reason: "the server does not know who this is (401)".to_owned(),
                help:
                    "the token or certificate has expired, or belongs to another cluster; on EKS \
                       this identity may have no access entry"
                        .to_owned(),
            },
            Self::Refused(status) if status.code == 403 && !is_permission(&status.message) => {
                EngineError::Refused {
                    help: for_admission(&status.message).to_owned(),
                    reason: format!("{what}: {}", status.message),
                }
            }
            Self::Refused(status) if status.code == 403 => EngineError::Refused {
                reason: format!("{what}: {}", status.message),
                help: "`shipit doctor` lists every permission that is missing; \
                       docs/guide/kubernetes.md has the Role"
                    .to_owned(),
            },
            Self::Refused(status) if status.code == 422 => EngineError::Refused {
                reason: format!("{what}: {}", status.message),
                help: "`shipit render` shows the objects as they are sent".to_owned(),
            },
            Self::Behind {
                what: ref behind, ..
            } => EngineError::Refused {
                help: behind.help(),
                reason: format!("{what}: {self}"),
            },
            Self::Terminating { ref namespace, .. } => EngineError::Refused {
                help: terminating::help(namespace),
                reason: format!("{what}: {self}"),
            },
            foreign @ Self::Foreign { .. } => EngineError::Refused {
                reason: foreign.to_string(),
                help: ANOTHER_NAME.to_owned(),
            },
            other => EngineError::Failed {
                what,
                reason: other.to_string(),
            },
        }
    }
}

/// Whether a refusal (403) is about the account, and not about what it asked for: a rule of the
/// cluster forbids an object to whoever asks.
pub(in crate::driver) fn is_permission(message: &str) -> bool {
    let may_not = message.contains(" cannot ")
        && [" resource \"", " path \""]
            .iter()
            .any(|of| message.contains(of));
    may_not
        || message.contains("attempting to grant RBAC permissions")
        || !message.contains("forbidden: ")
}

/// What to do about an object that a rule of the cluster forbids.
fn for_admission(message: &str) -> &'static str {
    if message.contains("pvc can be resized") {
        "its StorageClass has to say `allowVolumeExpansion: true`; else write the size that it has"
    } else {
        "a rule of the cluster forbids this object, whoever applies it: change its manifest, or \
         the rule; `shipit render` shows the objects as they are sent"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> ApiError {
        ApiError::Refused(Box::new(Status::failure(message, "").with_code(code)))
    }

    const RBAC: &str = "persistentvolumeclaims \"pc\" is forbidden: User \"shipit\" cannot patch \
        resource \"persistentvolumeclaims\" in API group \"\" in the namespace \"shop\"";
    const RESIZE: &str = "persistentvolumeclaims \"pc\" is forbidden: only dynamically provisioned \
        pvc can be resized and the storageclass that provisions the pvc must support resize";

    #[test]
    fn what_a_rule_of_the_cluster_forbids_is_no_missing_permission() {
        let help = |message: &str| match refused(403, message).while_("comparing it") {
            EngineError::Refused { help, .. } => help,
            other => panic!("{other:?}"),
        };
        assert!(help(RBAC).contains("shipit doctor"));
        assert!(help(RESIZE).contains("allowVolumeExpansion"));
        let quota = "pods \"web\" is forbidden: exceeded quota: small, requested: pods=1";
        assert!(help(quota).contains("a rule of the cluster"));
        let grant = "roles \"r\" is forbidden: user \"shipit\" is attempting to grant RBAC \
            permissions not currently held";
        assert!(help(grant).contains("shipit doctor"));
        assert!(help("Forbidden").contains("shipit doctor"));
    }

    #[test]
    fn what_would_be_refused_again_is_told_from_what_may_pass() {
        let typed = "failed to create typed patch object (shop/po; /v1, Kind=Pod): .spec: no";
        for (code, message) in [(422, "invalid"), (400, "bad"), (403, RESIZE), (500, typed)] {
            assert!(refused(code, message).is_about_the_object(), "{message}");
        }
        for (code, message) in [
            (403, RBAC),
            (500, "etcd is away"),
            (404, "none"),
            (409, "x"),
        ] {
            assert!(!refused(code, message).is_about_the_object(), "{message}");
        }
        let webhook = "admission webhook \"a\" does not support dry run";
        assert!(!refused(400, webhook).is_about_the_object());
    }
}
