//! Source control: which commit and branch a folder is, and what the branch rules need of its history.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::model::source::{Commit, Source};

/// Why source control could not answer.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct ScmError {
    /// What was being asked.
    pub what: String,
    /// Why there is no answer.
    pub reason: String,
}

/// A branch's own line of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstParents {
    /// All of them, newest first.
    Whole(Vec<Commit>),
    /// Not all can be looked at.
    Incomplete {
        /// Why.
        reason: String,
        /// What to do.
        help: String,
    },
}

/// Source control.
#[async_trait]
pub trait Scm: Send + Sync {
    /// The source in the project's folder. A folder without Git gives [`Source::default`]. In a detached
    /// checkout the branch comes from the variables that Jenkins, GitLab and GitHub set.
    async fn source(&self) -> Result<Source, ScmError>;

    /// The names of all branches, local ones first.
    async fn branches(&self) -> Result<Vec<String>, ScmError>;

    /// The commits along first parents from `tip` back to what `since` has too; back to the very first one without
    /// `since`. Never a part of them: more than `most`, or a history that is not there, is said.
    async fn first_parents(
        &self,
        tip: &str,
        since: Option<&str>,
        most: usize,
    ) -> Result<FirstParents, ScmError>;

    /// Which of `branches` (local or of a remote) contain each of these commits; those that none contains are left out.
    async fn containing(
        &self,
        commits: &BTreeSet<String>,
        branches: &[String],
    ) -> Result<BTreeMap<String, Vec<String>>, ScmError>;
}
