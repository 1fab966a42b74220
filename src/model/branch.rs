//! Branch rules: which branch deploys where, and what may reach it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::EnvironmentName;
use crate::model::source::Commit;

/// The rule of one branch, or of all branches that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRule {
    /// A branch's name, or a glob as `feature/*`.
    pub pattern: String,
    /// Where it deploys; none for a branch that has rules only.
    pub environment: Option<EnvironmentName>,
    /// The branches from which it takes merges, and the environments' branches it takes promotions
    /// from.
    pub accepts: Vec<String>,
    /// The only branches that may take it; none: whoever accepts it.
    pub gives: Option<Vec<String>>,
    /// Whether commits may be made on it directly.
    pub direct_commits: DirectCommits,
    /// How an accepted branch may come to it.
    pub merges: MergeKinds,
    /// Whether other branches may be made from it.
    pub offshoots: Offshoots,
    /// Which tags its commits have; none: nothing is asked of tags.
    pub release: Option<ReleaseRule>,
    /// The commit or tag that the rules about commits begin with; none: the first commit.
    pub since: Option<String>,
}

impl BranchRule {
    /// One that asks nothing.
    #[must_use]
    pub fn open(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            environment: None,
            accepts: Vec::new(),
            gives: None,
            direct_commits: DirectCommits::Allowed,
            merges: MergeKinds::from([MergeKind::Merge]),
            offshoots: Offshoots::Allowed,
            release: None,
            since: None,
        }
    }

    /// Its key in the configuration, with a key of its own behind it.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        format!("branches.{}.{key}", self.pattern)
    }
}

/// Whether other branches may be made from a branch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Offshoots {
    /// They may.
    #[default]
    Allowed,
    /// None may be: only the branches that accept it have its own commits.
    Refused,
}

/// Which tag each commit on a branch's own line has.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRule {
    /// The channel: which versions its tags are.
    pub kind: ReleaseKind,
    /// Which tags are looked at, a glob as `v*` or `web/v*`. What the tag has behind the fixed
    /// beginning of the glob, and behind a `v`, is its version.
    #[serde(default = "any_tag")]
    pub tag: String,
    /// By when a commit has its tag.
    #[serde(default)]
    pub when: ReleaseWhen,
}

fn any_tag() -> String {
    "*".to_owned()
}

/// The channel of a release, by its version (semver).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseKind {
    /// A version with a pre-release part, as `1.4.0-beta.2`.
    Beta,
    /// A version without one, as `1.4.0`.
    Stable,
}

impl ReleaseKind {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Beta => "beta",
            Self::Stable => "stable",
        }
    }
}

/// By when a commit has its tag.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseWhen {
    /// Before it is deployed.
    #[default]
    Required,
    /// Before the commit after it is deployed.
    Later,
}

/// A tag, and the commit that it leads to in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name, without `refs/tags/`.
    pub name: String,
    /// The full id of the commit.
    pub commit: String,
    /// Whether it is an object of its own, that says who made it and when. A tag that is not can be
    /// moved without a trace.
    pub is_annotated: bool,
}

/// What the rules between branches need of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BranchLines {
    /// The branches that are here and that a rule names, by name.
    pub lines: BTreeMap<String, BranchLine>,
    /// The branches that rules name, and that are not here.
    pub missing: Vec<String>,
    /// The commits whose parents are looked at.
    pub scope: Vec<Commit>,
    /// The branches that are judged, with the commit that each is at.
    pub tips: BTreeMap<String, String>,
}

/// One branch's own line of commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BranchLine {
    /// Its first parents.
    pub all: HashSet<String>,
    /// Those of them that came since its rule began.
    pub since: HashSet<String>,
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
    /// It is nearly a merge without a merge commit.
    Altered(Altered),
    /// It cannot be told.
    Unknown {
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
}

/// A merge without a merge commit that somebody has changed by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    /// How it would have been merged.
    pub kind: MergeKind,
    /// The commit of the accepted branch that it is from.
    pub of: String,
    /// The files in which it is not what the merge gives.
    pub files: Vec<String>,
}
