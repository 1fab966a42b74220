//! Git, through its program: by argument vector, without prompts, and with a time limit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;

use crate::files::environment;
use crate::model::source::{Commit, Source};
use crate::port::Scm;
use crate::port::scm::{FirstParents, ScmError};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What to do about a history that is not all there.
const WHOLE: &str = "fetch the whole history: `git fetch --unshallow`, or `fetch-depth: 0` in the checkout of a build server";

/// What is said where there is no Git.
const NO_GIT: &str = "git is not installed";

/// Variables in which build servers say the branch of a detached checkout: Jenkins, GitLab, GitHub. Those that name
/// the source of a change request are not among them: a fork may call its branch what it likes.
const BRANCH_VARIABLES: [&str; 4] = [
    "BRANCH_NAME",
    "GIT_BRANCH",
    "CI_COMMIT_BRANCH",
    "GITHUB_REF_NAME",
];

/// Variables that Git sets for its hooks, and that would point this Git elsewhere than at the project's folder.
const HOOK_VARIABLES: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];

/// The Git repository that a folder is in, if it is in one.
#[derive(Debug, Clone)]
pub struct Git {
    folder: PathBuf,
}

impl Git {
    /// The repository of this folder.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// How many files below `path` differ between a commit and the working tree.
    pub async fn changed_files(&self, commit: &str, path: &Path) -> Result<usize, ScmError> {
        let path = path.to_string_lossy();
        let changed = self
            .ask(&["diff", "--name-only", "--relative", commit, "--", &path])
            .await?;
        let new = self
            .ask(&["ls-files", "--others", "--exclude-standard", "--", &path])
            .await?;
        Ok(changed.lines().count() + new.lines().count())
    }

    async fn ask(&self, arguments: &[&str]) -> Result<String, ScmError> {
        let what = format!("git {}", arguments.first().unwrap_or(&""));
        let failed = |reason: String| ScmError {
            what: what.clone(),
            reason,
        };
        let mut command = environment::program("git");
        command
            .arg("-c")
            .arg("core.fsmonitor=false")
            .arg("-C")
            .arg(&self.folder)
            .args(arguments)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in HOOK_VARIABLES {
            command.env_remove(name);
        }
        let output = tokio::time::timeout(LIMIT, command.output())
            .await
            .map_err(|_| failed(format!("no answer within {} s", LIMIT.as_secs())))?
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => failed(NO_GIT.to_owned()),
                _ => failed(error.to_string()),
            })?;
        if !output.status.success() {
            return Err(failed(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// Whether the folder is in a repository. Without Git, or outside of one, it is not; anything else that keeps Git
    /// from answering is an error, because branch rules must not be passed by a broken repository.
    async fn is_repository(&self) -> Result<bool, ScmError> {
        match self.ask(&["rev-parse", "--git-dir"]).await {
            Ok(_) => Ok(true),
            Err(error) if error.reason.contains("not a git repository") => Ok(false),
            Err(error) if error.reason == NO_GIT => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn branch(&self) -> Option<String> {
        if let Ok(branch) = self
            .ask(&["symbolic-ref", "--quiet", "--short", "HEAD"])
            .await
        {
            return Some(branch);
        }
        let named = BRANCH_VARIABLES
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        named.map(|branch| branch.trim_start_matches("origin/").to_owned())
    }
}

/// A URL without what stands before `@`.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

#[async_trait]
impl Scm for Git {
    async fn source(&self) -> Result<Source, ScmError> {
        if !self.is_repository().await? {
            return Ok(Source::default());
        }
        // Quiet, so that a branch without a commit yet says nothing, and everything else that is wrong does.
        let commit = match self
            .ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .await
        {
            Ok(commit) => commit,
            Err(error) if error.reason.is_empty() => {
                return Ok(Source {
                    branch: self.branch().await,
                    ..Source::default()
                });
            }
            Err(error) => return Err(error),
        };
        let time = self
            .ask(&["show", "--no-patch", "--format=%ct", "HEAD"])
            .await?;
        let status = self
            .ask(&["status", "--porcelain", "--ignore-submodules=untracked"])
            .await?;
        let origin = self
            .ask(&["config", "--get", "remote.origin.url"])
            .await
            .ok();
        Ok(Source {
            commit: Some(commit),
            branch: self.branch().await,
            committed_at: time.parse().ok(),
            dirty: !status.is_empty(),
            origin: origin.map(|url| without_credentials(&url)),
        })
    }

    async fn branches(&self) -> Result<Vec<String>, ScmError> {
        let format = "--format=%(refname:short)";
        let names = self
            .ask(&["for-each-ref", format, "refs/heads", "refs/remotes"])
            .await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    async fn first_parents(
        &self,
        tip: &str,
        since: Option<&str>,
        most: usize,
    ) -> Result<FirstParents, ScmError> {
        if let Some(since) = since
            && self
                .ask(&["cat-file", "-e", &format!("{since}^{{commit}}")])
                .await
                .is_err()
        {
            let short: String = since.chars().take(7).collect();
            return Ok(FirstParents::Incomplete {
                reason: format!("commit {short} of the live release is not in this checkout"),
                help: WHOLE.to_owned(),
            });
        }
        let range = since.map_or_else(|| tip.to_owned(), |since| format!("{since}..{tip}"));
        let count = format!("--max-count={}", most.saturating_add(1));
        let format = "--format=%H%x1f%P%x1f%an%x1f%s";
        let log = self
            .ask(&["log", "--first-parent", &count, format, &range, "--"])
            .await?;
        let commits: Vec<Commit> = log.lines().filter_map(commit).collect();
        if commits.len() > most {
            return Ok(FirstParents::Incomplete {
                reason: format!("there are more than {most} of them"),
                help: "release more often; for a first release, allow direct commits with `direct_commits: true` once"
                    .to_owned(),
            });
        }

        // The first commit of a history has no parents, and nor has the one at which a shallow checkout is cut off.
        let is_begun = commits.last().is_some_and(|last| last.parents.is_empty());
        if is_begun && self.ask(&["rev-parse", "--is-shallow-repository"]).await? != "false" {
            return Ok(FirstParents::Incomplete {
                reason: "the history of this checkout is cut off (it is a shallow clone)"
                    .to_owned(),
                help: WHOLE.to_owned(),
            });
        }
        Ok(FirstParents::Whole(commits))
    }

    async fn containing(
        &self,
        commits: &BTreeSet<String>,
        branches: &[String],
    ) -> Result<BTreeMap<String, Vec<String>>, ScmError> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for branch in branches {
            for name in [
                format!("refs/heads/{branch}"),
                format!("refs/remotes/origin/{branch}"),
            ] {
                if self
                    .ask(&["show-ref", "--verify", "--quiet", &name])
                    .await
                    .is_err()
                {
                    continue;
                }
                let all = self.ask(&["rev-list", &name, "--"]).await?;
                for commit in all.lines().filter(|commit| commits.contains(*commit)) {
                    let there = found.entry(commit.to_owned()).or_default();
                    if !there.contains(branch) {
                        there.push(branch.clone());
                    }
                }
            }
        }
        Ok(found)
    }
}

fn commit(line: &str) -> Option<Commit> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_without_credentials() {
        assert_eq!(
            without_credentials("https://kim:pw@host/a/b.git"),
            "https://host/a/b.git"
        );
        assert_eq!(without_credentials("git@host:a/b.git"), "git@host:a/b.git");
    }

    #[tokio::test]
    async fn a_folder_without_git_is_a_source_without_a_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Git::new(folder.path().to_path_buf())
            .source()
            .await
            .expect("a source");
        assert_eq!((source.commit, source.dirty), (None, false));
    }

    /// A repository in which `master` takes merges from `develop` only, made by these words: a commit on a branch, a merge
    /// of `develop` into `master`.
    struct Repository(tempfile::TempDir);

    impl Repository {
        fn new() -> Self {
            let repository = Self(tempfile::tempdir().expect("a folder"));
            repository.git(&["init", "--quiet", "--initial-branch=master"]);
            repository.git(&["commit", "--quiet", "--allow-empty", "--message", "first"]);
            repository.git(&["branch", "develop"]);
            repository
        }

        fn git(&self, arguments: &[&str]) -> String {
            let output = std::process::Command::new("git")
                .args([
                    "-c",
                    "user.name=t",
                    "-c",
                    "user.email=t@example.com",
                    "-c",
                    "commit.gpgsign=false",
                ])
                .args(arguments)
                .current_dir(self.0.path())
                .output()
                .expect("git starts");
            assert!(output.status.success(), "git {arguments:?}: {output:?}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }

        fn commit(&self, branch: &str, message: &str) -> String {
            if self.git(&["branch", "--list", branch]).is_empty() {
                self.git(&["checkout", "--quiet", "-B", branch]);
            } else {
                self.git(&["checkout", "--quiet", branch]);
            }
            self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
            self.git(&["rev-parse", "HEAD"])
        }

        fn merge(&self) -> String {
            self.git(&["checkout", "--quiet", "master"]);
            self.git(&[
                "merge",
                "--quiet",
                "--no-ff",
                "--message",
                "merged",
                "develop",
            ]);
            self.git(&["rev-parse", "HEAD"])
        }

        async fn line(&self, since: Option<&str>, most: usize) -> FirstParents {
            let tip = self.git(&["rev-parse", "master"]);
            let git = Git::new(self.0.path().to_path_buf());
            git.first_parents(&tip, since, most)
                .await
                .expect("an answer")
        }

        async fn subjects(&self, since: Option<&str>) -> Vec<String> {
            match self.line(since, 100).await {
                FirstParents::Whole(commits) => {
                    commits.into_iter().map(|commit| commit.subject).collect()
                }
                incomplete @ FirstParents::Incomplete { .. } => panic!("{incomplete:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_whole_line_since_a_release_is_looked_at_and_before_the_first_all_of_it() {
        let repository = Repository::new();
        let released = repository.commit("master", "released");
        repository.commit("master", "direct");
        repository.commit("develop", "change");
        repository.merge();
        let since = repository.subjects(Some(&released)).await;
        assert_eq!(since, ["merged", "direct"]);
        let all = repository.subjects(None).await;
        assert_eq!(all, ["merged", "direct", "released", "first"]);
        // A release from elsewhere does not make the rest of the line known.
        let elsewhere = repository.commit("other", "elsewhere");
        repository.git(&["checkout", "--quiet", "master"]);
        repository.commit("master", "later");
        let since = repository.subjects(Some(&elsewhere)).await;
        assert_eq!(since, ["later"]);
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_looked_at_whole_is_said_to_be_so() {
        let repository = Repository::new();
        for message in ["one", "two", "three"] {
            repository.commit("master", message);
        }
        let reason = |line: FirstParents| match line {
            FirstParents::Incomplete { reason, .. } => reason,
            FirstParents::Whole(commits) => panic!("{commits:?}"),
        };
        assert!(matches!(
            repository.line(None, 4).await,
            FirstParents::Whole(_)
        ));
        let many = reason(repository.line(None, 3).await);
        assert_eq!(many, "there are more than 3 of them");
        let unknown = reason(repository.line(Some(&"0".repeat(40)), 10).await);
        assert!(unknown.contains("is not in this checkout"), "{unknown}");

        let clone = Repository(tempfile::tempdir().expect("a folder"));
        let from = format!("file://{}", repository.0.path().display());
        clone.git(&[
            "clone",
            "--quiet",
            "--depth=2",
            "--branch=master",
            &from,
            ".",
        ]);
        let shallow = reason(clone.line(None, 10).await);
        assert!(shallow.contains("shallow"), "{shallow}");
    }

    #[tokio::test]
    async fn what_a_branch_contains_is_asked_for_all_commits_at_once() {
        let repository = Repository::new();
        let change = repository.commit("develop", "change");
        let direct = repository.commit("master", "direct");
        let git = Git::new(repository.0.path().to_path_buf());
        let commits = BTreeSet::from([change.clone(), direct]);
        let branches = ["develop".to_owned(), "nowhere".to_owned()];
        let found = git
            .containing(&commits, &branches)
            .await
            .expect("an answer");
        let expected = BTreeMap::from([(change, vec!["develop".to_owned()])]);
        assert_eq!(found, expected);
    }
}
