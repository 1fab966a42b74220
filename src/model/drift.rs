//! Drift: what of an environment is not as shipit left it, and who moved it.

use jiff::Timestamp;

use crate::model::plan::Change;
use crate::model::{EnvironmentName, ProjectName};

/// What moved in an environment since shipit acted there last.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DriftReport {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// How many things were looked at.
    pub looked_at: usize,
    /// What moved.
    pub moved: Vec<Moved>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

impl DriftReport {
    /// Whether anything moved.
    #[must_use]
    pub const fn has_moved(&self) -> bool {
        !self.moved.is_empty()
    }
}

/// One thing that moved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// Its address.
    pub address: String,
    /// What happened to it.
    pub what: Movement,
    /// What it belongs to, or what else is known, in words; empty where the fields say all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The fields that moved.
    pub fields: Vec<MovedField>,
}

/// What happened to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Movement {
    /// Fields of it are others.
    Changed,
    /// It is not there.
    Gone,
    /// It is there, and shipit has not put it there.
    Added,
}

/// A field that moved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MovedField {
    /// Which.
    pub field: String,
    /// What shipit had left there; none when that was nothing.
    pub was: Option<String>,
    /// What is there; none when that is nothing.
    pub is: Option<String>,
    /// Who moved it; none when nobody is known to have. On a cluster it is a program that the
    /// server names, elsewhere who acted with shipit last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When they wrote last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl MovedField {
    /// The same as a change of a plan, which puts it back.
    #[must_use]
    pub fn put_back(&self) -> Change {
        let at = self.at.map(|at| format!(" at {at}")).unwrap_or_default();
        let by = self.by.as_deref().unwrap_or("somebody else");
        Change {
            field: self.field.clone(),
            before: self.is.clone(),
            after: self.was.clone(),
            origin: Some(format!("changed by {by}{at}")),
            by: None,
        }
    }
}
