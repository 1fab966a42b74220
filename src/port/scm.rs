//! Source control: which commit and branch a folder is, and what the branch rules need of its history.

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

/// Source control.
#[async_trait]
pub trait Scm: Send + Sync {
    /// The source in the project's folder. A folder without Git gives [`Source::default`]. In a detached
    /// checkout the branch comes from the variables that Jenkins, GitLab and GitHub set.
    async fn source(&self) -> Result<Source, ScmError>;

    /// The names of all branches, local ones first.
    async fn branches(&self) -> Result<Vec<String>, ScmError>;

    /// The commits along first parents from `tip` back to `since` (without it), newest first, at most `limit`.
    /// With no `since`, or one that is not an ancestor, only `tip` itself.
    async fn first_parents(
        &self,
        tip: &str,
        since: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Commit>, ScmError>;

    /// Which of `branches` (local or of a remote) contain the commit.
    async fn containing(&self, commit: &str, branches: &[String]) -> Result<Vec<String>, ScmError>;
}
