//! Rules that a project writes itself: an expression, or a program that is asked.

use crate::model::Period;

/// A rule of a project's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRule {
    /// Its key in the configuration: `policy.0`.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// How it is asked.
    pub ask: Ask,
}

/// How a rule is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// By an expression (CEL).
    Expression {
        /// Whether the rule is asked at all; none: always.
        when: Option<String>,
        /// What has to hold.
        must: String,
        /// What to do when it does not.
        help: Option<String>,
    },
    /// By a program, which gets the plan through its standard input and ends with 0 where it holds.
    Program(ProgramRule),
}

/// A program that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRule {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Period,
}
