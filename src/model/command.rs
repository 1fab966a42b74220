//! Commands that people run in instances, or beside them: what is kept of each.

use jiff::Timestamp;

use crate::model::release::Actor;
use crate::model::{ServiceName, Slot};

/// Where a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandPlace {
    /// In an instance that runs.
    Instance,
    /// By itself, in the release's image.
    OneOff,
}

impl CommandPlace {
    /// The command of shipit's that it is run by.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Instance => "exec",
            Self::OneOff => "run",
        }
    }
}

/// That somebody ran a command.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CommandRecord {
    /// What tells it from others: two records with one id are of one command, and the later one
    /// counts.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Where it ran.
    pub place: CommandPlace,
    /// In which slot.
    pub slot: Slot,
    /// Of which service.
    pub service: ServiceName,
    /// The program and its arguments, without values of secrets.
    pub command: Vec<String>,
    /// How it ended; none while it runs, and when nobody was there to see it.
    pub exit: Option<u8>,
}

/// The last record of each command, in the order in which they began.
#[must_use]
pub fn latest(records: Vec<CommandRecord>) -> Vec<CommandRecord> {
    let mut kept: Vec<CommandRecord> = Vec::new();
    for record in records {
        match kept.iter_mut().find(|other| other.id == record.id) {
            Some(earlier) => *earlier = record,
            None => kept.push(record),
        }
    }
    kept
}
