//! Git, through its program: by argument vector, without prompts, and with a time limit.

mod branches;
mod call;
mod files;
mod history;
mod hook;
mod marked;
mod replayed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::driver::scm::ci;
use crate::driver::scm::git::call::{program, run};
use crate::model::branch::{MergeKinds, Tag};
use crate::model::source::{Commit, Source};
use crate::port::Scm;
use crate::port::scm::{BranchFile, Commits, Contained, FetchTags, Merged, Replayed, ScmError};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How long fetching may take.
const FETCH_LIMIT: Duration = Duration::from_mins(5);

/// How much of a file `.git` is read, in bytes.
const LINK: u64 = 16 << 10;

/// What is said where there is no Git.
const NO_GIT: &str = "git is not installed";

/// What Git says of a repository without a checkout that nobody has named.
const BARE: &str = "cannot use bare repository";

/// What Git says of a repository of another user's that nobody has named.
const FOREIGN: &str = "detected dubious ownership";

/// The Git repository that a folder is in, if it is in one.
#[derive(Debug, Clone)]
pub struct Git {
    folder: PathBuf,
    /// The hook that this runs in, once that has been looked at.
    hook: OnceCell<hook::Hook>,
}

/// What a call of the program ended with.
struct Answer {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Answer {
    fn text(&self) -> String {
        text(&self.stdout)
    }

    /// The same when it ended well.
    fn good(self, what: &str) -> Result<Self, ScmError> {
        if self.code == Some(0) {
            return Ok(self);
        }
        // Git's hint is what to do: its reason is one line.
        let lines = || self.stderr.lines().map(str::trim);
        let foreign = lines().find(|line| line.contains(FOREIGN));
        let exception = lines().find(|line| line.starts_with("git config --global"));
        let reason = foreign.unwrap_or(&self.stderr).to_owned();
        Err(ScmError {
            what: what.to_owned(),
            reason,
            help: foreign.and(exception).map(|command| {
                format!(
                    "`{command}`, as the user that runs shipit; or give the folder to that user"
                )
            }),
        })
    }
}

/// The top of the checkout, in what `rev-parse` says of one; none outside of a checkout. A folder's
/// name may end in blanks, and need not be text.
fn top(printed: &[u8]) -> Option<PathBuf> {
    let top = printed.strip_prefix(b"true\n")?;
    Some(files::path(top.strip_suffix(b"\n").unwrap_or(top)))
}

/// What the program printed, without the end of its last line.
fn text(printed: &[u8]) -> String {
    String::from_utf8_lossy(printed).trim_end().to_owned()
}

impl Git {
    /// The repository of this folder.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            hook: OnceCell::const_new(),
        }
    }

    /// How many files below `path` differ between a commit and the working tree.
    pub async fn changed_files(&self, commit: &str, path: &Path) -> Result<usize, ScmError> {
        let path = path.to_string_lossy();
        let changed = self
            .ask(&["diff", "--name-only", "--relative", commit, "--", &path])
            .await?;
        let list = ["ls-files", "--others", "--exclude-standard", "--", &path];
        let written = files::written(self);
        let written = written.iter().map(String::as_str);
        let new = self
            .ask(&list.into_iter().chain(written).collect::<Vec<_>>())
            .await?;

        Ok(changed.lines().count() + new.lines().count())
    }

    /// Which of these files Git ignores; they are named as in a folder below `self`'s.
    pub async fn ignored<'a>(
        &self,
        within: &Path,
        files: impl Iterator<Item = &'a String>,
    ) -> Result<Vec<String>, ScmError> {
        files::ignored(&Self::new(self.folder.join(within)), files).await
    }

    /// The submodules below the folder that are not checked out: their folders are empty.
    pub async fn missing_submodules(&self) -> Result<Vec<String>, ScmError> {
        files::missing_submodules(self).await
    }

    /// The files of the commit below the folder that a sparse checkout has left out.
    pub async fn left_out(&self) -> Result<Vec<String>, ScmError> {
        files::left_out(self).await
    }

    /// The files below the folder of which the checkout has the pointers of Git LFS alone.
    pub async fn pointers(&self) -> Result<Vec<String>, ScmError> {
        files::pointers(self).await
    }

    /// What Git tracks below the folder although an ignore file names it, relative to the folder.
    pub async fn tracked_but_ignored(&self) -> Result<Vec<PathBuf>, ScmError> {
        files::tracked_but_ignored(self).await
    }

    /// The full id of the commit that a person names.
    pub async fn commit_of(&self, name: &str) -> Result<String, ScmError> {
        let name = format!("{name}^{{commit}}");
        self.ask(&["rev-parse", "--verify", "--end-of-options", &name])
            .await
    }

    /// What the program says, when it ends well.
    async fn ask(&self, arguments: &[&str]) -> Result<String, ScmError> {
        let bytes = self.bytes(arguments).await?;
        Ok(text(&bytes))
    }

    /// The same as bytes: a path may be no text.
    async fn bytes(&self, arguments: &[&str]) -> Result<Vec<u8>, ScmError> {
        let answer = self.call(arguments, &[], LIMIT).await?;
        Ok(answer.good(&what(arguments))?.stdout)
    }

    /// What the program says, in the repository of the folder.
    async fn call(
        &self,
        arguments: &[&str],
        variables: &[(&str, &Path)],
        limit: Duration,
    ) -> Result<Answer, ScmError> {
        let command = self.command(arguments, variables).await;
        run(command, &what(arguments), limit).await
    }

    async fn command(
        &self,
        arguments: &[&str],
        variables: &[(&str, &Path)],
    ) -> tokio::process::Command {
        let hook = self.hook().await;
        let mut command = program(&self.folder, arguments);
        hook.prepare(&mut command);
        // As a ref may, a file may say that a commit has other parents than it has.
        command.env("GIT_GRAFT_FILE", "/dev/null");
        command.envs(variables.iter().copied());
        command
    }

    async fn hook(&self) -> &hook::Hook {
        self.hook.get_or_init(|| hook::Hook::of(&self.folder)).await
    }

    /// Whether the folder is in a checkout. Without Git, or outside of one, it is not; anything
    /// else that keeps Git from answering is an error, because branch rules must not be passed by a
    /// broken repository.
    async fn is_repository(&self) -> Result<bool, ScmError> {
        if self.hook().await.is_unpacked() {
            return Ok(false);
        }
        let asked = ["rev-parse", "--is-inside-work-tree", "--show-toplevel"];
        match self.bytes(&asked).await {
            Ok(answer) => match top(&answer) {
                Some(top) if self.has_settings_of_its_own(&top) => Ok(true),
                Some(top) => Err(Self::of_a_commit(&top)),
                None => Ok(false),
            },
            Err(error) if error.reason.contains(BARE) => Err(Self::of_a_commit(&self.folder)),
            Err(error) if error.reason.contains("not a git repository") => {
                match self.lost_repository() {
                    Some(lost) => Err(lost),
                    None => Ok(false),
                }
            }
            Err(error) if error.reason == NO_GIT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A commit can bring what a repository is made of, but no `.git`. Without one, the settings
    /// that Git goes by are the commit's: programs among them, and what is said of branches.
    fn has_settings_of_its_own(&self, top: &Path) -> bool {
        let is_named = matches!(self.hook.get(), Some(hook::Hook::Own));
        is_named || top.join(".git").symlink_metadata().is_ok()
    }

    /// What is wrong where a file `.git` names a repository that is gone; none where there is no
    /// such file.
    fn lost_repository(&self) -> Option<ScmError> {
        let folder = std::path::absolute(&self.folder).ok()?;
        let link = folder.ancestors().map(|folder| folder.join(".git"));
        let link = link.into_iter().find(|link| link.is_file())?;
        let text = crate::files::read_text(&link, LINK).unwrap_or_default();
        let named = text.trim_end_matches('\n').strip_prefix("gitdir: ")?;
        Some(ScmError {
            what: "looking for the checkout".to_owned(),
            reason: format!(
                "{} names the repository {named}, which is not there: `git worktree repair` in the \
                 repository, or make the checkout again",
                link.display()
            ),
            help: None,
        })
    }

    fn of_a_commit(folder: &Path) -> ScmError {
        ScmError {
            what: "looking for the checkout".to_owned(),
            reason: format!(
                "{} has the files of a Git repository (HEAD, objects, refs) and no .git: Git would \
                 take its settings from there; take them out, or run shipit in a checkout",
                folder.display()
            ),
            help: None,
        }
    }

    /// The branch that is checked out, else the one that a build server says.
    async fn branch(&self, said: &ci::CiFacts) -> Option<String> {
        if said.change.is_some() {
            return None;
        }

        // The whole ref: the short name is another one where a tag has it, too.
        if let Ok(head) = self.ask(&["symbolic-ref", "--quiet", "HEAD"]).await {
            return Some(ci::short(&head, &[]));
        }
        if let Some(built) = &said.commit {
            let head = self.ask(&["rev-parse", "--verify", "--quiet", "HEAD"]);
            if head.await.ok().as_ref() != Some(built) {
                return None;
            }
        }
        // Another remote may be a stranger's.
        let remote = self.remote().await;
        said.branch
            .as_ref()
            .map(|branch| ci::short(branch, remote.as_slice()))
    }

    async fn remotes(&self) -> Vec<String> {
        let remotes = self.ask(&["remote"]).await.unwrap_or_default();
        remotes.lines().map(str::to_owned).collect()
    }

    /// The remote that branches are looked for at and fetched from: `origin`, else the only one.
    async fn remote(&self) -> Option<String> {
        let remotes = self.remotes().await;
        let origin = remotes.iter().find(|name| *name == "origin");
        match (origin, &remotes[..]) {
            (Some(origin), _) => Some(origin.clone()),
            (None, [only]) => Some(only.clone()),
            _ => None,
        }
    }
}

/// What is being asked, for whoever reads that it failed.
fn what(arguments: &[&str]) -> String {
    format!("git {}", arguments.first().unwrap_or(&""))
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
        let said = ci::said();
        if !self.is_repository().await? {
            return Ok(Source {
                change: said.change,
                ..Source::default()
            });
        }

        let branch = self.branch(&said).await;
        // Quiet, so that a branch without a commit yet says nothing, and everything else that is
        // wrong does.
        let commit = match self
            .ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .await
        {
            Ok(commit) => commit,
            Err(error) if error.reason.is_empty() => {
                return Ok(Source {
                    branch,
                    change: said.change,
                    ..Source::default()
                });
            }
            Err(error) => return Err(error),
        };

        let time = self
            .ask(&["show", "--no-patch", "--format=%ct", "HEAD"])
            .await?;
        let status = files::status(self).await?;
        let origin = self
            .ask(&["config", "--get", "remote.origin.url"])
            .await
            .ok();

        Ok(Source {
            commit: Some(commit),
            branch,
            change: said.change,
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

    async fn tagged(&self, name: &str) -> Result<Option<String>, ScmError> {
        history::tagged(self, name).await
    }

    async fn first_parents(
        &self,
        tip: &str,
        since: &[String],
        most: usize,
    ) -> Result<Commits, ScmError> {
        history::first_parents(self, tip, since, most).await
    }

    async fn containing(
        &self,
        commits: &BTreeSet<String>,
        branches: &[String],
    ) -> Result<Contained, ScmError> {
        history::containing(self, commits, branches).await
    }

    async fn merged(&self, merge: &str) -> Result<Merged, ScmError> {
        history::merged(self, merge).await
    }

    async fn replayed(
        &self,
        commit: &str,
        branches: &[String],
        merges: &MergeKinds,
    ) -> Result<Replayed, ScmError> {
        replayed::replayed(self, commit, branches, merges).await
    }

    async fn tips(&self) -> Result<BTreeMap<String, String>, ScmError> {
        branches::tips(self).await
    }

    async fn parents(&self, commit: &str) -> Result<Vec<String>, ScmError> {
        branches::parents(self, commit).await
    }

    async fn line(&self, tip: &str, since: &[String]) -> Result<Vec<String>, ScmError> {
        branches::line(self, tip, since).await
    }

    async fn reached(
        &self,
        tips: &[String],
        without: &[String],
        most: usize,
    ) -> Result<Commits, ScmError> {
        branches::reached(self, tips, without, most).await
    }

    async fn messages(
        &self,
        tip: &str,
        without: &[String],
        most: usize,
    ) -> Result<Option<Vec<(Commit, String)>>, ScmError> {
        branches::messages(self, tip, without, most).await
    }

    async fn authors(
        &self,
        tip: &str,
        without: &[String],
        most: usize,
    ) -> Result<Option<BTreeSet<String>>, ScmError> {
        branches::authors(self, tip, without, most).await
    }

    async fn tags(&self) -> Result<Vec<Tag>, ScmError> {
        branches::tags(self).await
    }

    async fn file_on(&self, branch: &str, path: &str) -> Result<BranchFile, ScmError> {
        branches::file_on(self, branch, path).await
    }

    async fn fetch(&self, branches: &[String], tags: FetchTags) -> Result<(), ScmError> {
        history::fetch(self, branches, tags).await
    }
}
