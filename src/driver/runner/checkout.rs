//! The checkout of a lane: fetched from the URL that `server.yaml` names, and from no other, with
//! nothing in it that a repository could have Git start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::lane;
use crate::files::marked::Mark;
use crate::files::program::{Bounds, Captured, Keep, LeftBehind, captured, captured_as};
use crate::files::{self, environment, writable};
use crate::model::job_report::JobCommit;
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

/// What stays in the checkout may have this many bytes of names.
const KEPT: u64 = 1 << 20;

/// The checkout of a lane.
#[derive(Debug)]
pub struct Checkout {
    folder: PathBuf,
    url: String,
    /// What its programs are found by; none where they are nobody else's to find.
    mark: Option<Mark>,
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
            mark: Some(Mark::of(&spec.mark)).filter(|mark| !mark.word().is_empty()),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fetches all branches and tags, and checks out what a ref points at. Whoever calls has the
    /// lane: what a Git that was killed has left is deleted, and what it has broken made anew.
    ///
    /// # Errors
    /// The remote cannot be asked, or the files not be written.
    pub async fn bring(&self, reference: &str) -> Result<CheckedOut, RunnerError> {
        self.prepare(&self.kept_before())?;
        self.begin().await?;
        let brought = self.fetched(reference).await;
        // A ref whose commit was lost is none, too.
        let is_done = matches!(brought, Ok(CheckedOut::At(_)));
        if is_done || !self.is_broken().await {
            return brought;
        }
        self.begin_anew().await?;
        self.fetched(reference).await
    }

    fn repository(&self) -> PathBuf {
        self.folder.join(".git")
    }

    /// Sees to what a job has left that nobody could work with: Git's locks, and folders that
    /// nobody may write to.
    fn prepare(&self, kept: &[String]) -> Result<(), RunnerError> {
        let opened = fs::create_dir_all(&self.folder).and_then(|()| {
            let stays = |path: &Path| kept.iter().any(|kept| path == Path::new(kept));
            writable::open_up(&self.folder, &stays)
        });
        opened.map_err(failed("preparing", &self.folder))?;
        match lane::unlock(&self.repository()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("unlocking", &self.repository())(error))
            }
            _ => Ok(()),
        }
    }

    /// What stayed of the last job, below the checkout.
    fn kept_before(&self) -> Vec<String> {
        let text = files::read_text(&self.excluded(), KEPT).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix('/'));
        lines.map(str::to_owned).collect()
    }

    fn excluded(&self) -> PathBuf {
        self.repository().join("info/exclude")
    }

    /// Makes the repository, where there is none or it was not made to its end.
    async fn begin(&self) -> Result<(), RunnerError> {
        let is_there = |name: &&str| self.repository().join(name).is_file();
        if !["HEAD", "config"].iter().all(is_there) {
            self.git(&["init", "--quiet", "--template="], LIMIT).await?;
        }
        Ok(())
    }

    /// Whether what Git has stored is not whole, as after a loss of power.
    async fn is_broken(&self) -> bool {
        let check = [
            "fsck",
            "--connectivity-only",
            "--no-dangling",
            "--no-progress",
        ];
        let said = self.said(&check, None, (FETCH_LIMIT, MOST)).await;
        said.is_ok_and(|said| !said.status.success())
    }

    /// Makes the repository anew. The files of the checkout stay, and with them its state.
    async fn begin_anew(&self) -> Result<(), RunnerError> {
        let kept = self.kept_before();
        fs::remove_dir_all(self.repository()).map_err(failed("deleting", &self.repository()))?;
        self.begin().await?;
        self.keep(&kept)
    }

    async fn fetched(&self, reference: &str) -> Result<CheckedOut, RunnerError> {
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
        let checkout = ["checkout", "--quiet", "--force", "--detach", &commit, "--"];
        self.git(&checkout, LIMIT).await?;
        self.name_branch(branch, &commit).await?;
        Ok(CheckedOut::At(commit))
    }

    /// Has the branch checked out that a commit is of, by which shipit knows whose rules count; and
    /// no other one here. One of an earlier job may have a name below which the new one's is.
    async fn name_branch(&self, branch: Option<&str>, commit: &str) -> Result<(), RunnerError> {
        let list = ["for-each-ref", "--format=delete %(refname)", "refs/heads"];
        let earlier = self.git_that_says(&list, None, (LIMIT, MOST_REFS)).await?;
        if !earlier.is_empty() {
            let input = format!("{earlier}\n").into_bytes();
            let delete = ["update-ref", "--no-deref", "--stdin"];
            self.git_that_says(&delete, Some(input), (LIMIT, MOST))
                .await?;
        }

        if let Some(branch) = branch {
            let name = format!("refs/heads/{branch}");
            self.git(&["update-ref", "--no-deref", &name, commit], LIMIT)
                .await?;
            self.git(&["symbolic-ref", "HEAD", &name], LIMIT).await?;
        }
        Ok(())
    }

    /// A commit as its author describes it; without words where Git has none.
    pub async fn described(&self, commit: &str) -> JobCommit {
        let show = [
            "log",
            "-1",
            "--no-show-signature",
            "--format=%<(200,trunc)%s%n%<(100,trunc)%an",
            commit,
            "--",
        ];
        let said = self.git(&show, LIMIT).await.unwrap_or_default();
        let mut lines = said.lines().map(|line| line.trim().to_owned());
        JobCommit {
            commit: commit.to_owned(),
            title: lines.next().unwrap_or_default(),
            author: lines.next().unwrap_or_default(),
        }
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
        self.prepare(kept)?;
        let patterns: Vec<String> = kept
            .iter()
            .map(|path| format!("--exclude=/{path}"))
            .collect();
        let mut arguments = vec!["clean", "--quiet", "-ffdx"];
        arguments.extend(patterns.iter().map(String::as_str));
        self.git(&arguments, LIMIT).await?;
        self.keep(kept)
    }

    /// Has Git take no notice of what stays.
    fn keep(&self, kept: &[String]) -> Result<(), RunnerError> {
        let ignored: Vec<String> = kept.iter().map(|path| format!("/{path}\n")).collect();
        let file = self.excluded();
        files::replace(&file, ignored.concat().as_bytes()).map_err(failed("writing", &file))
    }

    async fn git(&self, arguments: &[&str], within: Duration) -> Result<String, RunnerError> {
        self.git_that_says(arguments, None, (within, MOST)).await
    }

    /// The same with what it reads, and its own bound for what it prints, in bytes.
    async fn git_that_says(
        &self,
        arguments: &[&str],
        input: Option<Vec<u8>>,
        bounds: (Duration, usize),
    ) -> Result<String, RunnerError> {
        let said = self.said(arguments, input, bounds).await?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.answer).trim().to_owned());
        }
        Err(RunnerError {
            what: format!("git {}", arguments[0]),
            reason: String::from_utf8_lossy(&said.beside).trim().to_owned(),
        })
    }

    /// What Git says, and how it ended.
    async fn said(
        &self,
        arguments: &[&str],
        input: Option<Vec<u8>>,
        (within, most): (Duration, usize),
    ) -> Result<Captured, RunnerError> {
        let bounds = Bounds {
            within,
            answer: Keep::Whole(most),
            beside: 4 << 10,
            left_behind: LeftBehind::Ends,
        };
        let command = self.command(arguments);
        let said = match &self.mark {
            Some(mark) => captured_as(command, input, &bounds, mark.clone()).await,
            None => captured(command, input, &bounds).await,
        };
        said.map_err(|error| RunnerError {
            what: format!("git {}", arguments[0]),
            reason: error.to_string(),
        })
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
            // One that is not whole is no reason to take another one further up.
            .env("GIT_CEILING_DIRECTORIES", above(&self.folder))
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
        mark: None,
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
    let said = remote.git_that_says(&ask, None, (LIMIT, MOST_REFS)).await?;
    let lines = said.lines().filter_map(|line| line.split_once('\t'));
    let refs = lines.map(|(object, name)| (name.to_owned(), object.to_owned()));
    Ok(refs.collect())
}

fn failed(doing: &str, path: &Path) -> impl Fn(io::Error) -> RunnerError {
    let what = format!("{doing} {}", path.display());
    move |error| RunnerError {
        what: what.clone(),
        reason: error.to_string(),
    }
}

/// The folder that a folder is in.
fn above(folder: &Path) -> &Path {
    folder.parent().unwrap_or(folder)
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
