//! What the branch rules ask of a history.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::driver::scm::git::{Answer, FETCH_LIMIT, Git, LIMIT, what};
use crate::model::source::{Commit, SHORT, short};
use crate::port::scm::{Commits, Contained, FetchTags, Merged, ScmError};

/// What to do about a history that is not all there.
pub(super) const WHOLE: &str = "fetch the whole history: `git fetch --unshallow`, `fetch-depth: 0` \
                                in the checkout of a build server, or `--fetch`";

/// A commit, its parents, who wrote it and its first line, in one line.
pub(super) const LINE: &str = "--format=%H%x1f%P%x1f%an%x1f%s";

/// The full id of a commit by the beginning of its id, or by a tag. A branch of the same name is
/// another thing, and moves.
pub(super) async fn tagged(git: &Git, name: &str) -> Result<Option<String>, ScmError> {
    // An id of SHA-1 has 40 digits, and one of SHA-256 has 64.
    let is_id = (SHORT..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_hexdigit());
    let of_tag = format!("refs/tags/{name}");
    for name in is_id.then_some(name).into_iter().chain([&*of_tag]) {
        let is_tag = name == of_tag;
        let commit = format!("{name}^{{commit}}");
        let asked = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &commit,
        ];
        match git.ask(&asked).await {
            // Git takes a branch of that name before an id that is cut short.
            Ok(commit) if is_tag || commit.starts_with(&name.to_ascii_lowercase()) => {
                return Ok(Some(commit));
            }
            Ok(_) => {}
            Err(error) if error.reason.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

pub(super) async fn first_parents(
    git: &Git,
    tip: &str,
    since: &[String],
    most: usize,
) -> Result<Commits, ScmError> {
    for since in since {
        if !has(git, since).await {
            let short = short(since);
            return Ok(Commits::Incomplete {
                reason: format!("commit {short} of the live release is not in this checkout"),
                help: WHOLE.to_owned(),
            });
        }
    }

    let until: Vec<String> = since.iter().map(|since| format!("^{since}")).collect();
    let count = format!("--max-count={}", most.saturating_add(1));
    let log: Vec<&str> = ["log", "--first-parent", &count, LINE, tip]
        .into_iter()
        .chain(until.iter().map(String::as_str))
        .chain(["--"])
        .collect();
    let log = git.ask(&log).await?;
    let commits: Vec<Commit> = log.lines().filter_map(commit).collect();
    if commits.len() > most {
        return Ok(Commits::Incomplete {
            reason: format!("there are more than {most} of them"),
            help: "release more often; for a first release, name the commit with which the rule \
                   begins by `since`"
                .to_owned(),
        });
    }

    // The first commit of a history has no parents, and nor has the one at which a shallow checkout
    // is cut off.
    let is_begun = commits.last().is_some_and(|last| last.parents.is_empty());
    if is_begun && is_shallow(git).await? {
        return Ok(Commits::Incomplete {
            reason: "the history of this checkout is cut off (it is a shallow clone)".to_owned(),
            help: WHOLE.to_owned(),
        });
    }
    Ok(Commits::Whole(commits))
}

pub(super) async fn containing(
    git: &Git,
    commits: &BTreeSet<String>,
    branches: &[String],
) -> Result<Contained, ScmError> {
    let remote = git.remote().await;
    let mut contained = Contained::default();
    for branch in branches {
        let Some(name) = reference(git, remote.as_deref(), branch).await else {
            contained.missing.push(branch.clone());
            continue;
        };
        let line = git
            .ask(&["rev-list", "--first-parent", &name, "--"])
            .await?;
        for commit in line.lines().filter(|commit| commits.contains(*commit)) {
            let found = contained.found.entry(commit.to_owned()).or_default();
            found.push(branch.clone());
        }
    }

    contained.help = help(remote.as_deref(), &contained.missing);
    if is_shallow(git).await? {
        contained.is_cut_off = true;
        WHOLE.clone_into(&mut contained.help);
    }
    Ok(contained)
}

/// Where a branch is: at the remote, and only without that here. A branch of this checkout is
/// whatever somebody made it.
pub(super) async fn reference(git: &Git, remote: Option<&str>, branch: &str) -> Option<String> {
    let of_remote = remote.map(|remote| format!("refs/remotes/{remote}/{branch}"));
    let local = format!("refs/heads/{branch}");
    for name in of_remote.into_iter().chain([local]) {
        let exists = ["show-ref", "--verify", "--quiet", &name];
        if git.ask(&exists).await.is_ok() {
            return Some(name);
        }
    }
    None
}

/// The command that brings branches which are not in the checkout.
pub(super) fn help(remote: Option<&str>, missing: &[String]) -> String {
    let Some(remote) = remote else {
        return "make the branch, or write another one under `accepts`; here is no remote that \
                could have it"
            .to_owned();
    };
    let branches: Vec<String> = missing
        .iter()
        .map(|branch| format!("{branch}:refs/remotes/{remote}/{branch}"))
        .collect();
    format!(
        "fetch them: `git fetch {remote} {}`, or `--fetch`",
        branches.join(" ")
    )
}

pub(super) async fn merged(git: &Git, merge: &str) -> Result<Merged, ScmError> {
    let names = [
        format!("{merge}^1"),
        format!("{merge}^2"),
        format!("{merge}^{{tree}}"),
    ];
    let resolved = git
        .ask(&["rev-parse", &names[0], &names[1], &names[2]])
        .await?;
    let ids: Vec<&str> = resolved.lines().collect();
    let [first, second, tree] = ids[..] else {
        return Err(ScmError {
            what: format!("git rev-parse of the parents of {merge}"),
            reason: format!("{} lines came", ids.len()),
            help: None,
        });
    };

    let scratch = Scratch::new(git).await?;
    let (clean, conflicts) = match try_merge(git, &scratch, first, second).await? {
        Tried::Clean(made) => (made, Vec::new()),
        Tried::Conflict(made, files) => (made, files),
        Tried::Unknown { reason, help } => return Ok(Merged::Unknown { reason, help }),
    };
    if clean == tree {
        return Ok(Merged::AsGit);
    }

    // Who resolves a conflict has to edit the file that has it, and no other.
    let mut files = scratch.changed(git, &clean, tree).await?;
    let conflicts: BTreeSet<String> = conflicts.into_iter().collect();
    files.retain(|file| !conflicts.contains(file));
    Ok(if files.is_empty() {
        Merged::AsGit
    } else {
        Merged::ByHand { files }
    })
}

/// What a merge that was tried gave.
pub(super) enum Tried {
    /// A tree, without conflicts.
    Clean(String),
    /// A tree, and the files in it that have conflicts.
    Conflict(String, Vec<String>),
    /// It cannot be tried.
    Unknown {
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
}

/// Merges two commits again, without a working tree.
pub(super) async fn try_merge(
    git: &Git,
    scratch: &Scratch,
    ours: &str,
    theirs: &str,
) -> Result<Tried, ScmError> {
    let arguments = [
        "merge-tree",
        "--write-tree",
        "--name-only",
        "-z",
        "--no-messages",
        ours,
        theirs,
    ];
    let again = scratch.call(git, &arguments).await?;
    if !matches!(again.code, Some(0 | 1)) {
        let (reason, help) = if again.stderr.contains("usage:") {
            ("this git is too old for it", "use a git of 2.38 or later")
        } else if is_shallow(git).await? {
            ("the history of this checkout is cut off", WHOLE)
        } else {
            (&*again.stderr, "look at the merge with `git show`")
        };
        return Ok(Tried::Unknown {
            reason: reason.to_owned(),
            help: help.to_owned(),
        });
    }

    let listed = again.text();
    let mut lines = listed.split('\0').filter(|line| !line.is_empty());
    let tree = lines.next().unwrap_or_default().to_owned();
    if again.code == Some(0) {
        return Ok(Tried::Clean(tree));
    }
    Ok(Tried::Conflict(tree, lines.map(str::to_owned).collect()))
}

/// A place for the objects of a merge that is tried: the repository itself may not be written to,
/// and keeps none.
pub(super) struct Scratch {
    objects: tempfile::TempDir,
    alternates: PathBuf,
}

impl Scratch {
    pub async fn new(git: &Git) -> Result<Self, ScmError> {
        let objects = crate::files::temporary::folder().map_err(|error| ScmError {
            what: "a folder for a merge that is tried".to_owned(),
            reason: error.to_string(),
            help: None,
        })?;
        let own = git.ask(&["rev-parse", "--git-path", "objects"]).await?;
        let own = git.folder.join(own);
        let own = std::fs::canonicalize(&own).unwrap_or(own);

        let mut alternates = own.into_os_string();
        if let Some(more) = std::env::var_os("GIT_ALTERNATE_OBJECT_DIRECTORIES") {
            alternates.push(":");
            alternates.push(more);
        }
        Ok(Self {
            objects,
            alternates: alternates.into(),
        })
    }

    /// A commit with the files of another, on top of `parent` alone.
    pub async fn commit(
        &self,
        git: &Git,
        files_of: &str,
        parent: Option<&str>,
    ) -> Result<String, ScmError> {
        let tree = format!("{files_of}^{{tree}}");
        let mut arguments = vec![
            "-c",
            "user.name=shipit",
            "-c",
            "user.email=shipit@localhost",
            "commit-tree",
            "--no-gpg-sign",
            &tree,
            "-m",
            "tried",
        ];
        arguments.extend(parent.into_iter().flat_map(|parent| ["-p", parent]));
        let answer = self.call(git, &arguments).await?;
        if answer.code == Some(0) {
            return Ok(answer.text());
        }

        Err(ScmError {
            what: what(&arguments),
            reason: answer.stderr,
            help: None,
        })
    }

    /// The files in which two trees differ.
    pub(super) async fn changed(
        &self,
        git: &Git,
        before: &str,
        after: &str,
    ) -> Result<Vec<String>, ScmError> {
        let arguments = [
            "diff-tree",
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            before,
            after,
        ];
        let changed = self.call(git, &arguments).await?;
        if changed.code != Some(0) {
            return Err(ScmError {
                what: what(&arguments),
                reason: changed.stderr,
                help: None,
            });
        }
        let listed = changed.text();
        let files = listed.split('\0').filter(|file| !file.is_empty());
        Ok(files.map(str::to_owned).collect())
    }

    async fn call(&self, git: &Git, arguments: &[&str]) -> Result<Answer, ScmError> {
        let variables = [
            ("GIT_OBJECT_DIRECTORY", self.objects.path()),
            (
                "GIT_ALTERNATE_OBJECT_DIRECTORIES",
                &self.alternates as &Path,
            ),
        ];
        git.call(arguments, &variables, LIMIT).await
    }
}

pub(super) async fn fetch(git: &Git, branches: &[String], tags: FetchTags) -> Result<(), ScmError> {
    let Some(remote) = git.remote().await else {
        return Err(ScmError {
            what: "git fetch".to_owned(),
            reason: "there is no remote `origin`, and not exactly one other".to_owned(),
            help: None,
        });
    };
    let refs: Vec<String> = branches
        .iter()
        .map(|branch| format!("+refs/heads/{branch}:refs/remotes/{remote}/{branch}"))
        .collect();
    let tags = match tags {
        FetchTags::All => "--tags",
        FetchTags::None => "--no-tags",
    };
    let mut arguments = vec!["fetch", "--quiet", tags, "--no-recurse-submodules"];
    if is_shallow(git).await? {
        arguments.push("--unshallow");
    }
    arguments.push(&remote);
    arguments.extend(refs.iter().map(String::as_str));

    let answer = git.call(&arguments, &[], FETCH_LIMIT).await?;
    if answer.code == Some(0) {
        return Ok(());
    }
    Err(ScmError {
        what: format!("git fetch {remote}"),
        reason: answer.stderr,
        help: None,
    })
}

async fn has(git: &Git, commit: &str) -> bool {
    let name = format!("{commit}^{{commit}}");
    git.ask(&["cat-file", "-e", &name]).await.is_ok()
}

pub(super) async fn is_shallow(git: &Git) -> Result<bool, ScmError> {
    let answer = git.ask(&["rev-parse", "--is-shallow-repository"]).await?;
    Ok(answer != "false")
}

pub(super) fn commit(line: &str) -> Option<Commit> {
    let mut fields = line.split('\u{1f}');
    let id = fields.next()?.to_owned();
    let parents = fields
        .next()?
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let author = fields.next()?.to_owned();

    Some(Commit {
        id,
        parents,
        author,
        subject: fields.next().unwrap_or_default().to_owned(),
    })
}
