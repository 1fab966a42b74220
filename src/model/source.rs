//! What a build starts from.

use crate::model::ContentHash;

/// The commit and branch of a working tree, as far as they are known: a folder without Git is a
/// source too.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Source {
    /// The full commit id.
    pub commit: Option<String>,
    /// The branch's short name. None in a change request, whose commit is on no branch yet, and at
    /// a tag.
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

/// The longest part of a tag that is a branch's own name. A tag has 128 characters at most.
const LONGEST_BRANCH: usize = 80;

impl Source {
    /// By which tag people find an image: branch and commit. What was built from other files than
    /// the commit's says so, and leaves the commit's own tag alone.
    #[must_use]
    pub fn tag(&self) -> Option<String> {
        let (branch, commit) = (self.branch.as_ref()?, self.commit.as_ref()?);
        let (branch, commit) = (tag_of(branch), short(commit));
        let dirty = if self.dirty { "-dirty" } else { "" };
        Some(format!("{branch}-{commit}{dirty}"))
    }

    /// Seven digits of the commit, with `+` when files differ from it.
    #[must_use]
    pub fn short(&self) -> String {
        let Some(commit) = &self.commit else {
            return "no commit".to_owned();
        };
        shown(commit, self.dirty)
    }
}

/// How many digits of a commit people compare.
pub const SHORT: usize = 7;

/// The digits of a commit that people compare.
#[must_use]
pub fn short(commit: &str) -> String {
    commit.chars().take(SHORT).collect()
}

/// The same, with `+` when files differ from the commit.
#[must_use]
pub fn shown(commit: &str, is_dirty: bool) -> String {
    short(commit) + if is_dirty { "+" } else { "" }
}

/// A branch's name as a part of a tag. Where much of it is lost, a part of its hash tells it from
/// others.
fn tag_of(branch: &str) -> String {
    let text: String = branch
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let is_whole = branch.is_ascii() && text.len() <= LONGEST_BRANCH && !text.starts_with('-');
    if is_whole {
        return text;
    }
    let hash = ContentHash::of(branch.as_bytes());
    let short: String = text
        .trim_start_matches('-')
        .chars()
        .take(LONGEST_BRANCH)
        .collect();
    let short = short.trim_end_matches('-');
    let name = if short.is_empty() { "branch" } else { short };
    format!("{name}-{}", hash.short())
}

/// A request to merge one branch into another: a pull request, a merge request. Nothing of it is
/// deployed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(branch: &str, dirty: bool) -> String {
        let source = Source {
            commit: Some("765afaf0123".to_owned()),
            branch: Some(branch.to_owned()),
            dirty,
            ..Source::default()
        };
        source.tag().expect("a tag")
    }

    #[test]
    fn a_tag_is_one_whatever_the_branch_is_called() {
        assert_eq!(tag("feature/cart_2.0", false), "feature-cart-2-0-765afaf");
        assert_eq!(tag("main", true), "main-765afaf-dirty");
        let names = [
            "x".repeat(250),
            "feature/".to_owned() + &"long-".repeat(60),
            "feature/\u{e4}nderung".to_owned(),
            "\u{65e5}\u{672c}\u{8a9e}".to_owned(),
            "\u{65e5}\u{672c}".to_owned(),
            "_private".to_owned(),
            "--".to_owned(),
        ];
        let tags: std::collections::BTreeSet<String> =
            names.iter().map(|name| tag(name, true)).collect();
        assert_eq!(tags.len(), names.len(), "{tags:?}");
        for tag in tags {
            let mut characters = tag.chars();
            assert!(tag.len() <= 128, "{tag}");
            assert!(
                characters.next().is_some_and(|c| c.is_ascii_alphanumeric()),
                "{tag}"
            );
            assert!(
                characters.all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "{tag}"
            );
        }
    }
}
