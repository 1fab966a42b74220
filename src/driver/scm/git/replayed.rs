//! Merges that leave no merge commit: squashed into one commit, or replayed one by one (rebased). A
//! forge writes new commits for both, which are on no accepted branch. Each is made again here and
//! compared, so that nothing comes in beside it.

use std::collections::HashSet;

use crate::driver::scm::git::Git;
use crate::driver::scm::git::history::{Scratch, Tried, reference, try_merge};
use crate::model::branch::{Altered, MergeKind, MergeKinds};
use crate::port::scm::{Replayed, ScmError};

/// How many commits of an accepted branch may have been the one that was squashed; the newest
/// before it are tried.
const NEWEST: &str = "--max-count=100";

/// How much later by its clock a commit may have been made than the one that squashes it.
const CLOCKS: u64 = 24 * 60 * 60;

/// How many merges that give something else are compared with a commit.
const LOOKED_AT: usize = 10;

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
    let mut others = Vec::new();
    for branch in branches {
        let Some(name) = reference(git, remote.as_deref(), branch).await else {
            continue;
        };
        if merges.contains(&MergeKind::Squash) {
            for squashed in before(git, id, &name).await? {
                let tried = try_merge(git, &scratch, parent, &squashed).await?;
                match told(tried, tree, MergeKind::Squash) {
                    Ok(found) => return Ok(found),
                    Err(made) => others.extend(made.map(|made| Other {
                        made,
                        of: squashed,
                        kind: MergeKind::Squash,
                    })),
                }
            }
        }
        if merges.contains(&MergeKind::Rebase) {
            for one in alike(git, id, parent, &name).await? {
                let tried = pick(git, &scratch, parent, &one).await?;
                match told(tried, tree, MergeKind::Rebase) {
                    Ok(found) => return Ok(found),
                    Err(made) => others.extend(made.map(|made| Other {
                        made,
                        of: one.id,
                        kind: MergeKind::Rebase,
                    })),
                }
            }
        }
    }

    let nearest = nearest(git, &scratch, (parent, tree), others).await?;
    Ok(nearest.map_or(Replayed::No, Replayed::Nearly))
}

/// What a merge that was tried says of a commit with this tree; else the other tree that it gives,
/// if it gives one.
fn told(tried: Tried, tree: &str, kind: MergeKind) -> Result<Replayed, Option<String>> {
    match tried {
        Tried::Clean(made) if made == tree => Ok(Replayed::As(kind)),
        Tried::Clean(made) => Err(Some(made)),
        Tried::Conflict(..) => Err(None),
        Tried::Unknown { reason, help } => Ok(Replayed::Unknown { reason, help }),
    }
}

/// A merge that was tried and gives another tree.
struct Other {
    made: String,
    of: String,
    kind: MergeKind,
}

/// The merge that a commit is but for changes by hand: one that brings something, and nothing but
/// to files that the commit changes, too. Of several it is the one that differs in the fewest
/// files.
async fn nearest(
    git: &Git,
    scratch: &Scratch,
    (parent, tree): (&str, &str),
    others: Vec<Other>,
) -> Result<Option<Altered>, ScmError> {
    if others.is_empty() {
        return Ok(None);
    }
    let own = scratch.changed(git, parent, tree).await?;
    let own: HashSet<&str> = own.iter().map(String::as_str).collect();
    let mut nearest: Option<Altered> = None;
    for other in others.into_iter().take(LOOKED_AT) {
        let brought = scratch.changed(git, parent, &other.made).await?;
        if brought.is_empty() || !brought.iter().all(|file| own.contains(file.as_str())) {
            continue;
        }
        let files = scratch.changed(git, &other.made, tree).await?;
        if nearest
            .as_ref()
            .is_none_or(|it| files.len() < it.files.len())
        {
            let Other { of, kind, .. } = other;
            nearest = Some(Altered { kind, of, files });
        }
    }
    Ok(nearest)
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

/// A commit that may have been replayed, and the one that it was made on.
struct Original {
    id: String,
    parent: String,
}

/// The commits of a branch that the one before this one does not have, by the same author, of the
/// same time and with the same subject: a rebase keeps all three.
async fn alike(git: &Git, id: &str, parent: &str, branch: &str) -> Result<Vec<Original>, ScmError> {
    const WHO: &str = "%an%x1f%at%x1f%s";
    let format = format!("--format={WHO}");
    let who = git.ask(&["show", "--no-patch", &format, id]).await?;

    let (format, range) = (
        format!("--format=%H %P%x1f{WHO}"),
        format!("{parent}..{branch}"),
    );
    let log = git
        .ask(&["log", "--no-merges", &format, &range, "--"])
        .await?;
    let same = log.lines().filter_map(|line| {
        let (ids, its) = line.split_once('\u{1f}')?;
        // The first commit of a history has no parent.
        let (id, parent) = ids.trim_end().split_once(' ').filter(|_| its == who)?;
        Some(Original {
            id: id.to_owned(),
            parent: parent.to_owned(),
        })
    });
    Ok(same.take(ALIKE).collect())
}

/// The change of one commit on top of another: a merge whose base is what the commit was made on.
async fn pick(
    git: &Git,
    scratch: &Scratch,
    onto: &str,
    original: &Original,
) -> Result<Tried, ScmError> {
    let base = scratch.commit(git, &original.parent, None).await?;
    let ours = scratch.commit(git, onto, Some(&base)).await?;
    let theirs = scratch.commit(git, &original.id, Some(&base)).await?;
    try_merge(git, scratch, &ours, &theirs).await
}
