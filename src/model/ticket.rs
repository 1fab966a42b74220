//! Tickets: what a change is asked to name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a ticket looks like, and where it is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TicketRule {
    /// What a ticket looks like, a regular expression: `[A-Z]+-[0-9]+`.
    pub pattern: String,
    /// Where it is looked for; one of these places is enough.
    #[serde(rename = "in", default = "both")]
    pub places: Vec<TicketPlace>,
}

fn both() -> Vec<TicketPlace> {
    vec![TicketPlace::Branch, TicketPlace::Commits]
}

/// Where a ticket is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TicketPlace {
    /// In the branch's name; in a change request that of its source.
    Branch,
    /// In the message of each commit that is no merge.
    Commits,
}
