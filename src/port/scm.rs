//! Source control: which commit and branch a folder is, and what the branch rules need of its
//! history.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::model::branch::{Altered, MergeKind, MergeKinds, Tag};
use crate::model::source::{Commit, Source};

/// Why source control could not answer.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct ScmError {
    /// What was being asked.
    pub what: String,
    /// Why there is no answer.
    pub reason: String,
    /// What to do, where more is known than that it is the repository's.
    pub help: Option<String>,
}

/// Commits that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commits {
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

/// Which branches have commits on their own line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contained {
    /// The branches on whose line of first parents each commit is. Commits that are on none are
    /// left out.
    pub found: BTreeMap<String, Vec<String>>,
    /// The branches that are not in this checkout.
    pub missing: Vec<String>,
    /// Whether the checkout's history is cut off, so that what was not found may be on a line all
    /// the same.
    pub is_cut_off: bool,
    /// The command that brings what is missing.
    pub help: String,
}

impl Contained {
    /// Whether all that was asked for could be looked at.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.missing.is_empty() && !self.is_cut_off
    }
}

/// How the tree of a merge commit came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// As Git merges its parents, but for the files in which they conflict.
    AsGit,
    /// These files have something else, that neither parent brought.
    ByHand {
        /// Their paths.
        files: Vec<String>,
    },
    /// It cannot be told.
    Unknown {
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
}

/// Whether a commit with one parent is a merge without a merge commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// It is what such a merge of an accepted branch gives, with nothing added.
    As(MergeKind),
    /// It is not.
    No,
    /// It has all of what such a merge gives, and something else.
    Nearly(Altered),
    /// It cannot be told.
    Unknown {
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
}

/// A file as it is on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchFile {
    /// What it says.
    Text(String),
    /// The branch has no such file.
    NoFile,
    /// It cannot be read.
    Unknown {
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
}

/// Whether tags are fetched beside branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchTags {
    /// All of them. One that is at another commit here is an error: somebody has moved it.
    All,
    /// None.
    None,
}

/// Source control.
#[async_trait]
pub trait Scm: Send + Sync {
    /// The source in the project's folder. A folder without Git gives [`Source::default`]. In a
    /// detached checkout the branch comes from the build server's variables; in a change request
    /// there is none.
    async fn source(&self) -> Result<Source, ScmError>;

    /// The names of all branches, local ones first.
    async fn branches(&self) -> Result<Vec<String>, ScmError>;

    /// The full id of the commit with this id, or with this tag; none when there is none here.
    async fn tagged(&self, name: &str) -> Result<Option<String>, ScmError>;

    /// The commits along first parents from `tip` back to what one of `since` has too; back to the
    /// very first one without any. Never a part of them: more than `most`, or a history that is not
    /// there, is said.
    async fn first_parents(
        &self,
        tip: &str,
        since: &[String],
        most: usize,
    ) -> Result<Commits, ScmError>;

    /// Which of `branches` (local or of the remote) have each of these commits on their line of
    /// first parents: what was merged into a branch from elsewhere is in it, and is not on its
    /// line.
    async fn containing(
        &self,
        commits: &BTreeSet<String>,
        branches: &[String],
    ) -> Result<Contained, ScmError>;

    /// Whether a commit with two parents has anything in it that is not of them.
    async fn merged(&self, merge: &str) -> Result<Merged, ScmError>;

    /// Whether a commit with one parent has what a squash or a rebase of one of `branches` gives,
    /// and nothing else. Only kinds in `merges` are tried.
    async fn replayed(
        &self,
        commit: &str,
        branches: &[String],
        merges: &MergeKinds,
    ) -> Result<Replayed, ScmError>;

    /// The commit that each branch is at: at the remote, and only without that here.
    async fn tips(&self) -> Result<BTreeMap<String, String>, ScmError>;

    /// The parents of a commit, first parent first.
    async fn parents(&self, commit: &str) -> Result<Vec<String>, ScmError>;

    /// The ids of the first parents of a commit, itself first, without what one of `since` has.
    async fn line(&self, tip: &str, since: &[String]) -> Result<Vec<String>, ScmError>;

    /// All that these commits have and none of `without` does. Never a part of it: more than
    /// `most`, or a history that is not there, is said.
    async fn reached(
        &self,
        tips: &[String],
        without: &[String],
        most: usize,
    ) -> Result<Commits, ScmError>;

    /// All that a commit has and none of `without` does, each with its whole message. None where it
    /// cannot be looked at, by a history that is cut off or has more than `most` of them.
    async fn messages(
        &self,
        tip: &str,
        without: &[String],
        most: usize,
    ) -> Result<Option<Vec<(Commit, String)>>, ScmError>;

    /// The addresses of all who wrote what a commit has and none of `without` does, merges aside:
    /// authors, and those whom a message names by `Co-authored-by`. In lower case. None where that
    /// cannot be looked at, as with [`Scm::messages`].
    async fn authors(
        &self,
        tip: &str,
        without: &[String],
        most: usize,
    ) -> Result<Option<BTreeSet<String>>, ScmError>;

    /// All tags that lead to a commit.
    async fn tags(&self) -> Result<Vec<Tag>, ScmError>;

    /// A file as it is on a branch, by its path below the project's folder.
    async fn file_on(&self, branch: &str, path: &str) -> Result<BranchFile, ScmError>;

    /// Brings these branches of the remote, and the whole history of a shallow checkout.
    async fn fetch(&self, branches: &[String], tags: FetchTags) -> Result<(), ScmError>;
}
