//! Approval: who says that a plan may be carried out. That a plan was made, and is in a file, says
//! nothing of the kind.

use crate::model::loss::Consents;

/// How a plan came to be approved. Signatures over a plan's hash belong here, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// A person saw it at a terminal, and said yes.
    AtTerminal,
    /// Whoever gave the command said in advance that it needs no asking (`--auto-approve`).
    InAdvance,
    /// It changes nothing.
    NotNeeded,
}

/// A plan that may be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// By whose word.
    pub by: Approval,
    /// What of what it destroys may go.
    pub consents: Consents,
}
