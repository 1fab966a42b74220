//! What a build starts from.

/// The commit and branch of a working tree, as far as they are known: a folder without Git is a source too.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Source {
    /// The full commit id.
    pub commit: Option<String>,
    /// The branch's short name. None in a change request, whose commit is on no branch yet, and at a tag.
    pub branch: Option<String>,
    /// The change request whose pipeline this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// When the commit was made, in seconds since 1970: the time stamp of what is built from it.
    pub committed_at: Option<i64>,
    /// Whether files differ from the commit.
    pub dirty: bool,
    /// Where the repository came from, without any credentials.
    pub origin: Option<String>,
}

impl Source {
    /// Seven digits of the commit, with `+` when files differ from it.
    #[must_use]
    pub fn short(&self) -> String {
        let Some(commit) = &self.commit else {
            return "no commit".to_owned();
        };
        let short: String = commit.chars().take(7).collect();
        if self.dirty {
            format!("{short}+")
        } else {
            short
        }
    }
}

/// A request to merge one branch into another: a pull request, a merge request. Nothing of it is deployed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// Its number or key, as the forge has it.
    pub number: String,
    /// The branch that it comes from. Whoever makes the request chooses its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The branch that it is to be merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// Whether it comes from another repository; not known where the build server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_fork: Option<bool>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "change request {}", self.number)?;
        match (&self.from, &self.into) {
            (Some(from), Some(into)) => write!(f, " ({from} into {into})"),
            (None, Some(into)) => write!(f, " (into {into})"),
            _ => Ok(()),
        }
    }
}

/// One commit as the branch rules need it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Commit {
    /// The full commit id.
    pub id: String,
    /// First parent first; two or more make a merge.
    pub parents: Vec<String>,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
}
