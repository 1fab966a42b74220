//! What the rules between branches ask: where each branch and each tag is, and what a branch says.

use std::collections::{BTreeMap, BTreeSet};

use crate::driver::scm::git::Git;
use crate::driver::scm::git::history::{LINE, WHOLE, commit, help, is_shallow, reference};
use crate::model::branch::Tag;
use crate::model::source::Commit;
use crate::port::scm::{BranchFile, Commits, ScmError};

/// The most branches that are looked at together.
const MOST_BRANCHES: usize = 5_000;

/// The largest file of a branch that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

pub(super) async fn tips(git: &Git) -> Result<BTreeMap<String, String>, ScmError> {
    let format = "--format=%(objectname) %(refname)";
    let refs = git
        .ask(&["for-each-ref", format, "refs/heads", "refs/remotes"])
        .await?;
    let remote = git.remote().await;
    let of_remote = remote.map(|remote| format!("refs/remotes/{remote}/"));

    let mut tips = BTreeMap::new();
    for line in refs.lines() {
        let Some((commit, name)) = line.split_once(' ') else {
            continue;
        };
        let remote = of_remote
            .as_ref()
            .and_then(|prefix| name.strip_prefix(prefix));
        if let Some(branch) = remote.filter(|branch| *branch != "HEAD") {
            tips.insert(branch.to_owned(), commit.to_owned());
        } else if let Some(branch) = name.strip_prefix("refs/heads/") {
            let there = tips.entry(branch.to_owned());
            there.or_insert_with(|| commit.to_owned());
        }
    }
    Ok(tips)
}

pub(super) async fn parents(git: &Git, commit: &str) -> Result<Vec<String>, ScmError> {
    let line = git
        .ask(&["rev-list", "--parents", "--max-count=1", commit, "--"])
        .await?;
    let ids = line.split_whitespace().skip(1);
    Ok(ids.map(str::to_owned).collect())
}

pub(super) async fn line(git: &Git, tip: &str, since: &[String]) -> Result<Vec<String>, ScmError> {
    let until: Vec<String> = since.iter().map(|since| format!("^{since}")).collect();
    let arguments: Vec<&str> = ["rev-list", "--first-parent", tip]
        .into_iter()
        .chain(until.iter().map(String::as_str))
        .chain(["--"])
        .collect();
    let line = git.ask(&arguments).await?;
    Ok(line.lines().map(str::to_owned).collect())
}

pub(super) async fn reached(
    git: &Git,
    tips: &[String],
    without: &[String],
    most: usize,
) -> Result<Commits, ScmError> {
    let incomplete = |reason: String, help: &str| {
        Ok(Commits::Incomplete {
            reason,
            help: help.to_owned(),
        })
    };
    if is_shallow(git).await? {
        let reason = "the history of this checkout is cut off (it is a shallow clone)";
        return incomplete(reason.to_owned(), WHOLE);
    }
    if tips.len() > MOST_BRANCHES {
        let reason = format!(
            "there are {} branches, of {MOST_BRANCHES} at the most",
            tips.len()
        );
        return incomplete(reason, "delete those that are merged");
    }

    let until: Vec<String> = without.iter().map(|commit| format!("^{commit}")).collect();
    let count = format!("--max-count={}", most.saturating_add(1));
    let log: Vec<&str> = ["log", &count, LINE]
        .into_iter()
        .chain(tips.iter().map(String::as_str))
        .chain(until.iter().map(String::as_str))
        .chain(["--"])
        .collect();
    let log = git.ask(&log).await?;
    let commits: Vec<Commit> = log.lines().filter_map(commit).collect();
    if commits.len() > most {
        let help = "name the commit with which the rules begin by `since`";
        return incomplete(format!("there are more than {most} commits"), help);
    }
    Ok(Commits::Whole(commits))
}

pub(super) async fn messages(
    git: &Git,
    tip: &str,
    without: &[String],
    most: usize,
) -> Result<Option<Vec<(Commit, String)>>, ScmError> {
    if is_shallow(git).await? {
        return Ok(None);
    }
    let until: Vec<String> = without.iter().map(|commit| format!("^{commit}")).collect();
    let count = format!("--max-count={}", most.saturating_add(1));
    let format = format!("{LINE}%x1e%B");
    let log: Vec<&str> = ["log", "-z", &count, &format, tip]
        .into_iter()
        .chain(until.iter().map(String::as_str))
        .chain(["--"])
        .collect();
    let log = git.ask(&log).await?;
    let commits: Vec<(Commit, String)> = log
        .split('\0')
        .filter_map(|entry| {
            let (line, message) = entry.split_once('\u{1e}')?;
            Some((commit(line)?, message.to_owned()))
        })
        .collect();
    Ok((commits.len() <= most).then_some(commits))
}

pub(super) async fn authors(
    git: &Git,
    tip: &str,
    without: &[String],
    most: usize,
) -> Result<Option<BTreeSet<String>>, ScmError> {
    if is_shallow(git).await? {
        return Ok(None);
    }
    let until: Vec<String> = without.iter().map(|commit| format!("^{commit}")).collect();
    let count = format!("--max-count={}", most.saturating_add(1));
    // Not the names of a `.mailmap`, which is a file of what is looked at.
    let format = "--format=%ae%n%(trailers:key=Co-authored-by,valueonly,unfold)";
    let log: Vec<&str> = [
        "log",
        "-z",
        "--no-merges",
        "--no-mailmap",
        &count,
        format,
        tip,
    ]
    .into_iter()
    .chain(until.iter().map(String::as_str))
    .chain(["--"])
    .collect();
    let log = git.ask(&log).await?;
    let commits: Vec<&str> = log.split('\0').filter(|entry| !entry.is_empty()).collect();
    if commits.len() > most {
        return Ok(None);
    }
    let addresses = commits.iter().flat_map(|commit| {
        let mut lines = commit.lines();
        let author = lines.next().unwrap_or_default();
        std::iter::once(author).chain(lines.filter_map(address))
    });
    Ok(Some(addresses.map(str::to_lowercase).collect()))
}

/// The address in `Kim <kim@example.com>`.
fn address(named: &str) -> Option<&str> {
    let (_, address) = named.rsplit_once('<')?;
    address.split_once('>').map(|(address, _)| address.trim())
}

/// Each tag, and behind it the object that it leads to in the end: a tag may be one of a tag.
pub(super) async fn tags(git: &Git) -> Result<Vec<Tag>, ScmError> {
    let listed = match git.ask(&["show-ref", "--tags", "--dereference"]).await {
        Ok(listed) => listed,
        // There is none.
        Err(error) if error.reason.is_empty() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut tags: BTreeMap<&str, Tag> = BTreeMap::new();
    for line in listed.lines() {
        let Some((object, name)) = line.split_once(' ') else {
            continue;
        };
        let Some(name) = name.strip_prefix("refs/tags/") else {
            continue;
        };
        let (name, is_annotated) = match name.strip_suffix("^{}") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let tag = Tag {
            name: name.to_owned(),
            commit: object.to_owned(),
            is_annotated,
        };
        tags.insert(name, tag);
    }
    Ok(tags.into_values().collect())
}

pub(super) async fn file_on(git: &Git, branch: &str, path: &str) -> Result<BranchFile, ScmError> {
    let remote = git.remote().await;
    let Some(reference) = reference(git, remote.as_deref(), branch).await else {
        return Ok(BranchFile::Unknown {
            reason: format!("{branch} is not in this checkout"),
            help: help(remote.as_deref(), &[branch.to_owned()]),
        });
    };
    let unreadable = |reason: &str| {
        Ok(BranchFile::Unknown {
            reason: format!("{path} of {branch} {reason}"),
            help: format!("put it right on {branch}"),
        })
    };

    let prefix = git.ask(&["rev-parse", "--show-prefix"]).await?;
    let whole = format!("{prefix}{path}");
    let entry = git
        .ask(&[
            "ls-tree",
            "-l",
            "--full-tree",
            "-z",
            &reference,
            "--",
            &whole,
        ])
        .await?;
    let entry = entry.trim_end_matches('\0');
    if entry.is_empty() {
        return Ok(BranchFile::NoFile);
    }
    let mut fields = entry.split_whitespace();
    let (mode, _, object) = (fields.next(), fields.next(), fields.next());
    let size = fields.next().and_then(|size| size.parse::<u64>().ok());
    let (true, Some(object), Some(size)) = (
        mode.is_some_and(|mode| mode.starts_with("100")),
        object,
        size,
    ) else {
        return unreadable("is no file");
    };
    if size > FILE_LIMIT {
        return unreadable("is larger than one mebibyte");
    }
    let bytes = git.bytes(&["cat-file", "blob", object]).await?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(BranchFile::Text(text)),
        Err(_) => unreadable("is not UTF-8"),
    }
}
