//! What a build starts from.

/// The commit and branch of a working tree, as far as they are known: a folder without Git is a source too.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Source {
    /// The full commit id.
    pub commit: Option<String>,
    /// The branch's short name.
    pub branch: Option<String>,
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
