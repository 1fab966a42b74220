//! Holding the branch rules against the checkout.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::model::branch::{Arrival, BranchRule, DirectCommits, MergeKind, Origin};
use crate::model::source::{Change, Commit, short};
use crate::ops::{Error, Session};
use crate::policy;
use crate::port::scm::{Contained, FirstParents, Merged, Replayed, Scm as _};

/// The most commits that are looked at. A line that is longer is refused, and never looked at in
/// part.
const MOST: usize = 10_000;

/// How many merges are tried again at once.
const AT_ONCE: usize = 4;

/// What was compared with the rules, for a reader.
#[derive(Debug, Clone)]
pub struct BranchVerdict {
    /// The rule that allows it; none when the environment has no rule.
    pub rule: Option<BranchRule>,
    /// How many commits were looked at.
    pub commits: usize,
}

/// Whether the current branch, with its commits, may deploy to the environment.
pub async fn may_deploy(session: &Session) -> Result<BranchVerdict, Error> {
    let rules = session.project.branch_rules();
    let source = &session.source;
    let Some(rule) = policy::may_deploy(&rules, &session.environment, source)?.cloned() else {
        return Ok(BranchVerdict {
            rule: None,
            commits: 0,
        });
    };

    policy::is_committed(&rule, source)?;
    // Large: it is asked of each commit what Git says of it.
    let arrivals = Box::pin(arrivals(session, &rule)).await?;
    policy::came_by_merge(&rule, &arrivals)?;
    Ok(BranchVerdict {
        rule: Some(rule),
        commits: arrivals.len(),
    })
}

/// Whether a change request may be merged, as far as the build server's words tell, and by which
/// rule.
pub fn may_merge(session: &Session, change: &Change) -> Result<Option<BranchRule>, Error> {
    let rules = session.project.branch_rules();
    let rule = policy::may_merge(&rules, &session.environment, change)?;
    Ok(rule.cloned())
}

/// How each commit since the last live release came to the branch.
async fn arrivals(session: &Session, rule: &BranchRule) -> Result<Vec<Arrival>, Error> {
    if rule.direct_commits == DirectCommits::Allowed {
        return Ok(Vec::new());
    }
    let Some(tip) = &session.source.commit else {
        let reason = "this folder has no commit to look at";
        let help =
            "run it in a checkout with its history; in a Git hook: `shipit check --commit COMMIT`";
        return Err(incomplete(rule, reason, help));
    };
    if session.fetch || session.project.branches.fetch {
        let branch = session.source.branch.iter();
        let branches: Vec<String> = rule.accepts.iter().chain(branch).cloned().collect();
        session.scm.fetch(&branches).await?;
    }

    let state = session.state().await?;
    let released = state
        .live()
        .and_then(|release| release.source.commit.clone());
    if released.as_ref() == Some(tip) {
        return Ok(Vec::new());
    }
    let begin = begin(session, rule).await?;
    let since: Vec<String> = released.into_iter().chain(begin).collect();
    let line = session.scm.first_parents(tip, &since, MOST).await?;
    let commits = match line {
        FirstParents::Whole(commits) => commits,
        FirstParents::Incomplete { reason, help } => return Err(incomplete(rule, &reason, &help)),
    };

    let asked: BTreeSet<String> = commits
        .iter()
        .flat_map(|commit| commit.parents.iter().skip(1).chain([&commit.id]))
        .cloned()
        .collect();
    let contained = session.scm.containing(&asked, &rule.accepts).await?;
    let looked = stream::iter(commits)
        .map(|commit| arrival(session, rule, &contained, commit))
        .buffered(AT_ONCE);
    let mut looked = std::pin::pin!(looked);
    let mut arrivals = Vec::new();
    while let Some(arrival) = looked.try_next().await? {
        let is_refused = arrival.origin != Origin::Accepted;
        arrivals.push(arrival);
        // One is enough, where nothing is missing that could say more of it: to make a merge again
        // takes its time.
        if is_refused && contained.is_whole() {
            break;
        }
    }

    // What was not found may be on a branch that is not there.
    let is_unknown = |arrival: &Arrival| matches!(arrival.origin, Origin::Direct | Origin::Foreign);
    if !contained.is_whole() && arrivals.iter().any(is_unknown) {
        let reason = if contained.is_cut_off {
            "the history of this checkout is cut off (it is a shallow clone)".to_owned()
        } else {
            format!("{} is not in this checkout", contained.missing.join(", "))
        };
        return Err(incomplete(rule, &reason, &contained.help));
    }
    Ok(arrivals)
}

/// The commit that the rule begins with, where it says one.
async fn begin(session: &Session, rule: &BranchRule) -> Result<Option<String>, Error> {
    let Some(name) = &rule.since else {
        return Ok(None);
    };
    let commit = session.scm.tagged(name).await?;
    let Some(commit) = commit else {
        let reason = format!("`since` is {name}, and this checkout has no such commit or tag");
        let help = "fetch it with `git fetch --tags`, or write the id of a commit";
        return Err(incomplete(rule, &reason, help));
    };
    Ok(Some(commit))
}

async fn arrival(
    session: &Session,
    rule: &BranchRule,
    contained: &Contained,
    commit: Commit,
) -> Result<Arrival, Error> {
    let is_on_a_line = |id: &String| contained.found.contains_key(id);
    let brought = commit.parents.get(1..).unwrap_or_default();
    let origin = if is_on_a_line(&commit.id) {
        Origin::Accepted
    } else if brought.is_empty() {
        replayed(session, rule, &commit).await?
    } else if !brought.iter().all(is_on_a_line) {
        Origin::Foreign
    } else if brought.len() > 1 {
        let short = short(&commit.id);
        let reason = format!("commit {short} merges more than one branch at once");
        return Err(incomplete(rule, &reason, "merge them one after the other"));
    } else if !rule.merges.contains(&MergeKind::Merge) {
        Origin::NotTaken(MergeKind::Merge)
    } else {
        merged(session, rule, &commit).await?
    };
    Ok(Arrival { commit, origin })
}

/// Whether a commit with one parent is a squash or a rebase of an accepted branch, where the branch
/// takes them.
async fn replayed(session: &Session, rule: &BranchRule, commit: &Commit) -> Result<Origin, Error> {
    let replays = [MergeKind::Squash, MergeKind::Rebase];
    if !replays.iter().any(|kind| rule.merges.contains(kind)) {
        return Ok(Origin::Direct);
    }
    let (scm, accepts) = (&session.scm, &rule.accepts);
    match scm.replayed(&commit.id, accepts, &rule.merges).await? {
        Replayed::As(_) => Ok(Origin::Accepted),
        Replayed::No => Ok(Origin::Direct),
        Replayed::Unknown { reason, help } => {
            let short = short(&commit.id);
            let reason = format!("what commit {short} brought cannot be told: {reason}");
            Err(incomplete(rule, &reason, &help))
        }
    }
}

/// Whether a merge of an accepted branch has anything else in it.
async fn merged(session: &Session, rule: &BranchRule, commit: &Commit) -> Result<Origin, Error> {
    match session.scm.merged(&commit.id).await? {
        Merged::AsGit => Ok(Origin::Accepted),
        Merged::ByHand { files } => Ok(Origin::Added(files)),
        Merged::Unknown { reason, help } => {
            let short = short(&commit.id);
            let reason = format!("what the merge {short} brought cannot be told: {reason}");
            Err(incomplete(rule, &reason, &help))
        }
    }
}

/// A rule that refuses never passes because something could not be looked at.
fn incomplete(rule: &BranchRule, reason: &str, help: &str) -> Error {
    let what = format!(
        "{} takes only merges, and not every commit since its live release can be looked at: {reason}",
        rule.pattern
    );
    let help = help.to_owned();
    policy::Refusal { what, help }.into()
}
