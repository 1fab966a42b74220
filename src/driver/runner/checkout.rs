//! The checkout of a lane: fetched from the URL that `server.yaml` names, and from no other, with
//! nothing in it that a repository could have Git start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::files::program::{Bounds, Keep, LeftBehind, captured};
use crate::files::{self, environment};
use crate::port::runner::{JobSpec, RunnerError};

/// How long a call may take that fetches nothing.
const LIMIT: Duration = Duration::from_mins(2);

/// How long fetching may take.
const FETCH_LIMIT: Duration = Duration::from_mins(10);

/// The most that a call may print, in bytes.
const MOST: usize = 1 << 20;

/// The most that a repository may say of its refs, in bytes: some 200,000 of them.
const MOST_REFS: usize = 16 << 20;

/// What Git needs beside what every program does, to reach a remote.
const VARIABLES: [&str; 4] = [
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "GIT_SSH",
    "GIT_SSL_CAINFO",
];

/// Settings of every call: no hooks, no monitor, no submodules, no credentials of a person.
const SETTINGS: [&str; 5] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
    "gc.auto=0",
];

/// The checkout of a lane.
#[derive(Debug)]
pub struct Checkout {
    folder: PathBuf,
    url: String,
}

/// What was checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckedOut {
    /// This commit.
    At(String),
    /// Nothing: the remote has no such ref.
    NoRef,
}

impl Checkout {
    /// That of an attempt's lane.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        Self {
            folder: spec.place.join("checkout"),
            url: spec.url.clone(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fetches all branches and tags, and checks out what a ref points at.
    ///
    /// # Errors
    /// The remote cannot be asked, or the files not be written.
    pub async fn bring(&self, reference: &str) -> Result<CheckedOut, RunnerError> {
        std::fs::create_dir_all(&self.folder).map_err(|error| RunnerError {
            what: format!("making {}", self.folder.display()),
            reason: error.to_string(),
        })?;
        if !self.folder.join(".git").is_dir() {
            self.git(&["init", "--quiet", "--template="], LIMIT).await?;
        }
        self.git(&["config", "remote.origin.url", &self.url], LIMIT)
            .await?;
        let (branches, tags) = (
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        );
        self.git(&["config", "remote.origin.fetch", branches], LIMIT)
            .await?;
        let fetch = [
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--no-recurse-submodules",
            "origin",
        ];
        self.git(&[&fetch[..], &[branches, tags]].concat(), FETCH_LIMIT)
            .await?;

        let branch = reference.strip_prefix("refs/heads/");
        let fetched = match branch {
            Some(branch) => format!("refs/remotes/origin/{branch}"),
            None => reference.to_owned(),
        };
        // A tag may be an object of its own: what it is on is deployed.
        let peeled = format!("{fetched}^{{commit}}");
        let resolve = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &peeled,
        ];
        let Ok(commit) = self.git(&resolve, LIMIT).await else {
            return Ok(CheckedOut::NoRef);
        };
        let checkout = match branch {
            Some(branch) => vec!["checkout", "--quiet", "--force", "-B", branch, &commit],
            None => vec!["checkout", "--quiet", "--force", "--detach", &commit],
        };
        self.git(&[&checkout[..], &["--"]].concat(), LIMIT).await?;
        Ok(CheckedOut::At(commit))
    }

    /// Deletes what an earlier job left among the files of the configuration in a folder.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub async fn clean_configuration(&self, folder: &Path) -> Result<(), RunnerError> {
        let place = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (file, environments) = (place("shipit.yaml"), place("environments"));
        self.git(
            &["clean", "--quiet", "-ffdx", "--", &file, &environments],
            LIMIT,
        )
        .await?;
        Ok(())
    }

    /// Deletes what an earlier job left, but for these paths below the checkout. They are none of
    /// the commit's files, whatever its `.gitignore` says: Git takes no notice of them.
    ///
    /// # Errors
    /// It cannot be deleted, or Git cannot be told.
    pub async fn clean(&self, kept: &[String]) -> Result<(), RunnerError> {
        let patterns: Vec<String> = kept
            .iter()
            .map(|path| format!("--exclude=/{path}"))
            .collect();
        let mut arguments = vec!["clean", "--quiet", "-ffdx"];
        arguments.extend(patterns.iter().map(String::as_str));
        self.git(&arguments, LIMIT).await?;

        let ignored: Vec<String> = kept.iter().map(|path| format!("/{path}\n")).collect();
        let file = self.folder.join(".git/info/exclude");
        files::replace(&file, ignored.concat().as_bytes()).map_err(|error| RunnerError {
            what: format!("writing {}", file.display()),
            reason: error.to_string(),
        })
    }

    async fn git(&self, arguments: &[&str], within: Duration) -> Result<String, RunnerError> {
        self.git_that_says(arguments, within, MOST).await
    }

    /// The same with its own bound for what it prints, in bytes.
    async fn git_that_says(
        &self,
        arguments: &[&str],
        within: Duration,
        most: usize,
    ) -> Result<String, RunnerError> {
        let failed = |reason: String| RunnerError {
            what: format!("git {}", arguments[0]),
            reason,
        };
        let bounds = Bounds {
            within,
            answer: Keep::Whole(most),
            beside: 4 << 10,
            left_behind: LeftBehind::Ends,
        };
        let said = captured(self.command(arguments), None, &bounds).await;
        let said = said.map_err(|error| failed(error.to_string()))?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.answer).trim().to_owned());
        }
        Err(failed(
            String::from_utf8_lossy(&said.beside).trim().to_owned(),
        ))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = environment::tool("git", &VARIABLES);
        command.arg("-C").arg(&self.folder);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
            .args(arguments)
            // A repository's files name no other way than the one that is configured.
            .env("GIT_ALLOW_PROTOCOL", protocol(&self.url))
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("LC_ALL", "C");
        command
    }
}

/// Where the branches and tags of a repository point, as it says from a folder that is none.
///
/// # Errors
/// It cannot be asked.
pub async fn refs(folder: &Path, url: &str) -> Result<Vec<(String, String)>, RunnerError> {
    let remote = Checkout {
        folder: folder.to_owned(),
        url: url.to_owned(),
    };
    let ask = [
        "ls-remote",
        "--quiet",
        "--refs",
        "--heads",
        "--tags",
        "--",
        url,
    ];
    let said = remote.git_that_says(&ask, LIMIT, MOST_REFS).await?;
    let lines = said.lines().filter_map(|line| line.split_once('\t'));
    let refs = lines.map(|(object, name)| (name.to_owned(), object.to_owned()));
    Ok(refs.collect())
}

/// How Git reaches a URL.
fn protocol(url: &str) -> &str {
    match url.split_once("://") {
        Some(("git+ssh" | "ssh+git", _)) => "ssh",
        Some((scheme, _)) => scheme,
        // `git@host:path`, and a path.
        None if url.starts_with(['/', '.']) => "file",
        None => "ssh",
    }
}
