//! What a forge shows beside a commit: whether a deployment of it goes on, went well, or did not.

use std::fmt;

/// The most characters of a description: GitHub refuses more.
pub const LONGEST: usize = 140;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// It is to begin.
    Pending,
    /// It goes on.
    Running,
    /// It went well.
    Success,
    /// It did not.
    Failure,
    /// It could not be told.
    Error,
}

/// A forge, by whose API it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeKind {
    /// GitHub, and GitHub Enterprise.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
}

impl fmt::Display for ForgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Github => "GitHub",
            Self::Gitlab => "GitLab",
            Self::Gitea => "Gitea",
        })
    }
}

/// The status of a commit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CommitStatus {
    /// How it stands.
    pub state: StatusState,
    /// What is said about it, in one line.
    pub description: String,
    /// Where more is to be read; none where there is nothing.
    pub target_url: Option<String>,
    /// Tells the statuses of one commit apart: `shipit/staging`. A later one with the same context
    /// takes the place of the earlier.
    pub context: String,
}

/// The commit that a status is for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StatusPlace {
    /// Who keeps it.
    pub forge: ForgeKind,
    /// Where its API is: `https://api.github.com`.
    pub api: String,
    /// The repository: `owner/name`, of GitLab also a number.
    pub repository: String,
    /// The commit's whole hash.
    pub commit: String,
}
