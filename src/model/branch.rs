//! Branch rules: which branch deploys where, and what may reach it.

use std::collections::BTreeSet;

use crate::model::EnvironmentName;
use crate::model::source::Commit;

/// The rule of one branch, or of all branches that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRule {
    /// A branch's name, or a glob as `feature/*`.
    pub pattern: String,
    /// Where it deploys.
    pub environment: EnvironmentName,
    /// The branches from which it takes merges, and the environments' branches it takes promotions
    /// from.
    pub accepts: Vec<String>,
    /// Whether commits may be made on it directly.
    pub direct_commits: DirectCommits,
    /// How an accepted branch may come to it.
    pub merges: MergeKinds,
    /// The commit or tag that the rule about commits begins with; none: the first commit.
    pub since: Option<String>,
}

/// Kinds of merges.
pub type MergeKinds = BTreeSet<MergeKind>;

/// How the commits of one branch come to another.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MergeKind {
    /// By a merge commit, or by moving the branch forward.
    Merge,
    /// By one new commit that has all of their changes.
    Squash,
    /// By new commits that have the change of one each.
    Rebase,
}

impl MergeKind {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Squash => "squash",
            Self::Rebase => "rebase",
        }
    }
}

/// Whether commits may be made on a branch directly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirectCommits {
    /// They may.
    #[default]
    Allowed,
    /// Every commit must have come by a merge from an accepted branch.
    Refused,
}

/// A commit on a branch's first-parent line, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The commit.
    pub commit: Commit,
    /// How it came there.
    pub origin: Origin,
}

/// How a commit came to a branch that takes merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is on the own line of an accepted branch, or merges one that is, with nothing added.
    Accepted,
    /// It came from an accepted branch in a way in which the branch takes none.
    NotTaken(MergeKind),
    /// It was made on the branch.
    Direct,
    /// It merges commits that are on no accepted branch's own line: a branch that was merged past
    /// it.
    Foreign,
    /// It merges an accepted branch, and has changes in these files that neither side brought.
    Added(Vec<String>),
}
