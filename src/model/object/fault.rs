//! Why a server would not take an object.

use super::{ObjectFacts, ObjectState};

/// One thing about an object for which a server would not take it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObjectFault {
    /// What the server says, with the object's name.
    pub reason: String,
    /// The field that it is about, as the server writes its path:
    /// `.spec.template.spec.containers[name="web"].image`; none when it is the whole object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do about it; none where there is nothing to say but to look at the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl ObjectFault {
    /// One of which nothing else is known.
    #[must_use]
    pub const fn plain(reason: String) -> Self {
        Self {
            reason,
            field: None,
            help: None,
        }
    }
}

impl std::fmt::Display for ObjectFault {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.help {
            Some(help) => write!(to, "{} ({help})", self.reason),
            None => write!(to, "{}", self.reason),
        }
    }
}

impl ObjectFacts {
    /// Why the server would refuse it; nothing of one that it would not.
    #[must_use]
    pub fn faults(&self) -> &[ObjectFault] {
        match &self.state {
            ObjectState::Refused { faults } => faults,
            _ => &[],
        }
    }
}

impl ObjectState {
    /// One that the server would refuse for what it is as a whole.
    #[must_use]
    pub fn refused(reason: String) -> Self {
        let faults = vec![ObjectFault::plain(reason)];
        Self::Refused { faults }
    }
}
