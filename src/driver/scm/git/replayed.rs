//! Merges that leave no merge commit: squashed into one commit, or replayed one by one (rebased). A
//! forge writes new commits for both, which are on no accepted branch. Each is made again here and
//! compared, so that nothing comes in beside it.

use crate::driver::scm::git::Git;
use crate::driver::scm::git::history::{LINE, Scratch, Tried, commit, reference, try_merge};
use crate::model::branch::{MergeKind, MergeKinds};
use crate::model::source::Commit;
use crate::port::scm::{Replayed, ScmError};

/// How many commits of an accepted branch may have been the one that was squashed; the newest
/// before it are tried.
const NEWEST: &str = "--max-count=100";

/// How much later by its clock a commit may have been made than the one that squashes it.
const CLOCKS: u64 = 24 * 60 * 60;

/// How many commits with the same author, time and subject are tried.
const ALIKE: usize = 20;

/// Whether a commit with one parent is what a squash or a rebase of an accepted branch gives.
pub(super) async fn replayed(
    git: &Git,
    id: &str,
    branches: &[String],
    merges: &MergeKinds,
) -> Result<Replayed, ScmError> {
    let names = [format!("{id}^1"), format!("{id}^{{tree}}")];
    let Ok(found) = git.ask(&["rev-parse", &names[0], &names[1]]).await else {
        // The first commit of a history has no parent, and is nothing again.
        return Ok(Replayed::No);
    };
    let (parent, tree) = found.split_once('\n').unwrap_or_default();
    let remote = git.remote().await;
    let scratch = Scratch::new(git).await?;
    for branch in branches {
        let Some(name) = reference(git, remote.as_deref(), branch).await else {
            continue;
        };
        if merges.contains(&MergeKind::Squash) {
            for squashed in before(git, id, &name).await? {
                match try_merge(git, &scratch, parent, &squashed).await? {
                    Tried::Clean(made) if made == tree => {
                        return Ok(Replayed::As(MergeKind::Squash));
                    }
                    Tried::Clean(_) | Tried::Conflict(..) => {}
                    Tried::Unknown { reason, help } => {
                        return Ok(Replayed::Unknown { reason, help });
                    }
                }
            }
        }
        if merges.contains(&MergeKind::Rebase) {
            for one in alike(git, id, parent, &name).await? {
                match pick(git, &scratch, parent, &one).await? {
                    Tried::Clean(made) if made == tree => {
                        return Ok(Replayed::As(MergeKind::Rebase));
                    }
                    Tried::Clean(_) | Tried::Conflict(..) => {}
                    Tried::Unknown { reason, help } => {
                        return Ok(Replayed::Unknown { reason, help });
                    }
                }
            }
        }
    }

    Ok(Replayed::No)
}

/// The commits of a branch's own line that were there when this one was made, the newest first.
async fn before(git: &Git, id: &str, branch: &str) -> Result<Vec<String>, ScmError> {
    let made = git.ask(&["show", "--no-patch", "--format=%ct", id]).await?;
    let until = made
        .trim()
        .parse::<u64>()
        .unwrap_or(u64::MAX)
        .saturating_add(CLOCKS);
    let until = format!("--min-age={until}");
    let line = git
        .ask(&["rev-list", "--first-parent", NEWEST, &until, branch, "--"])
        .await?;
    Ok(line.lines().map(str::to_owned).collect())
}

/// The commits of a branch that the one before this one does not have, by the same author, of the
/// same time and with the same subject: a rebase keeps all three.
async fn alike(git: &Git, id: &str, parent: &str, branch: &str) -> Result<Vec<Commit>, ScmError> {
    const WHO: &str = "--format=%an%x1f%at%x1f%s";
    let who = git.ask(&["show", "--no-patch", WHO, id]).await?;
    let range = format!("{parent}..{branch}");
    let [lines, whose] =
        [LINE, WHO].map(|format| ["log", "--no-merges", format, &range, "--"].map(str::to_owned));
    let lines = git.ask(&lines.each_ref().map(String::as_str)).await?;
    let whose = git.ask(&whose.each_ref().map(String::as_str)).await?;
    let same = lines
        .lines()
        .zip(whose.lines())
        .filter(|(_, it)| *it == who);
    Ok(same
        .filter_map(|(line, _)| commit(line))
        .take(ALIKE)
        .collect())
}

/// The change of one commit on top of another: a merge whose base is what the commit was made on.
async fn pick(git: &Git, scratch: &Scratch, onto: &str, one: &Commit) -> Result<Tried, ScmError> {
    let [before] = &one.parents[..] else {
        return Ok(Tried::Conflict(String::new(), Vec::new()));
    };
    let base = scratch.commit(git, before, None).await?;
    let ours = scratch.commit(git, onto, Some(&base)).await?;
    let theirs = scratch.commit(git, &one.id, Some(&base)).await?;
    try_merge(git, scratch, &ours, &theirs).await
}
