//! Git, through its program: by argument vector, without prompts, and with a time limit.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

use crate::model::source::{Commit, Source};
use crate::port::Scm;
use crate::port::scm::ScmError;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(30);

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
        let mut command = Command::new("git");
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
        limit: usize,
    ) -> Result<Vec<Commit>, ScmError> {
        let count = format!("--max-count={}", if since.is_some() { limit } else { 1 });
        let range = match since {
            Some(since)
                if self
                    .ask(&["merge-base", "--is-ancestor", since, tip])
                    .await
                    .is_ok() =>
            {
                format!("{since}..{tip}")
            }
            _ => tip.to_owned(),
        };
        let format = "--format=%H%x1f%P%x1f%an%x1f%s";
        let log = self
            .ask(&["log", "--first-parent", &count, format, &range, "--"])
            .await?;
        Ok(log.lines().filter_map(commit).collect())
    }

    async fn containing(&self, commit: &str, branches: &[String]) -> Result<Vec<String>, ScmError> {
        let mut found = Vec::new();
        for branch in branches {
            for name in [
                format!("refs/heads/{branch}"),
                format!("refs/remotes/origin/{branch}"),
            ] {
                if self
                    .ask(&["merge-base", "--is-ancestor", commit, &name])
                    .await
                    .is_ok()
                {
                    found.push(branch.clone());
                    break;
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
}
