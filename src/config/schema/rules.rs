//! Rules of a project's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Period;
use crate::model::own_rule::{Ask, OwnRule, ProgramRule};

/// A rule of the project's own: an expression that must hold (`must`), or a program that must end
/// with 0 (`run`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// What it is called, for whoever it refuses. A program has its own name without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it is asked at all, an expression. Without it it always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What must hold, an expression (CEL) over `plan`, `source`, `change`, `environment`, `actor`,
    /// `now` and `live`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must: Option<String>,
    /// What to do when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// A program and its arguments. It gets the plan as JSON through its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Vec<String>>,
    /// How long the program may take.
    #[serde(default = "thirty_seconds")]
    pub timeout: Period,
}

const fn thirty_seconds() -> Period {
    Period::from_secs(30)
}

impl PolicyConfig {
    /// The rule, by its place in the list.
    #[must_use]
    pub fn rule(&self, index: usize) -> OwnRule {
        let ask = match &self.run {
            Some(command) => Ask::Program(ProgramRule {
                command: command.clone(),
                timeout: self.timeout,
            }),
            None => Ask::Expression {
                when: self.when.clone(),
                must: self.must.clone().unwrap_or_default(),
                help: self.help.clone(),
            },
        };
        let program = self.run.iter().flatten().next();
        OwnRule {
            key: format!("policy.{index}"),
            name: self
                .name
                .clone()
                .or_else(|| program.cloned())
                .unwrap_or_default(),
            ask,
        }
    }
}
