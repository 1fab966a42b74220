//! How each commit came to a branch that takes merges.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::model::branch::{Arrival, BranchRule, DirectCommits, MergeKind, Origin};
use crate::model::source::{Commit, short};
use crate::model::verdict::Verdict;
use crate::ops::policy::{Grounds, Since};
use crate::policy;
use crate::port::scm::{Commits, Contained, Merged, Replayed, ScmError};

/// The most commits that are looked at. A line that is longer is refused, and never looked at in
/// part.
pub(super) const MOST: usize = 10_000;

/// How many merges are tried again at once.
const AT_ONCE: usize = 4;

/// After how many commits that are refused the rest is not looked at: to make a merge again takes
/// its time.
const ENOUGH: usize = 100;

/// What came of looking at a branch's commits.
#[derive(Default)]
pub(super) struct Looked {
    /// How many there were.
    pub commits: usize,
    /// What is said of them.
    pub verdicts: Vec<Verdict>,
}

/// Whether a rule looks at how commits came.
pub(super) fn looks(rule: &BranchRule) -> bool {
    rule.direct_commits == DirectCommits::Refused
}

/// How each commit since the live release came to the branch.
pub(super) async fn of(
    grounds: &Grounds,
    rule: &BranchRule,
    since: &Since<'_>,
    tip: Option<&str>,
) -> Result<Looked, ScmError> {
    if !looks(rule) {
        return Ok(Looked::default());
    }
    let Some(tip) = tip else {
        let reason = "this folder has no commit to look at";
        let help =
            "run it in a checkout with its history; in a Git hook: `shipit check --commit COMMIT`";
        return Ok(unknown(rule, since, reason, help));
    };

    if since.released == Some(tip) {
        return Ok(Looked::default());
    }
    let begin = match grounds.begin(rule).await? {
        Ok(begin) => begin,
        Err(verdict) => return Ok(one(verdict)),
    };
    let released = since.released.map(str::to_owned);
    let until: Vec<String> = released.into_iter().chain(begin).collect();
    let commits = match grounds.scm.first_parents(tip, &until, MOST).await? {
        Commits::Whole(commits) => commits,
        Commits::Incomplete { reason, help } => return Ok(unknown(rule, since, &reason, &help)),
    };

    let asked: BTreeSet<String> = commits
        .iter()
        .flat_map(|commit| commit.parents.iter().skip(1).chain([&commit.id]))
        .cloned()
        .collect();
    let contained = grounds.scm.containing(&asked, &rule.accepts).await?;
    let arrivals = arrivals(grounds, rule, &contained, commits).await?;

    // What was not found may be on a branch that is not there.
    let is_unknown = |arrival: &Arrival| {
        let origin = &arrival.origin;
        matches!(
            origin,
            Origin::Direct | Origin::Foreign | Origin::Altered(_)
        )
    };
    if !contained.is_whole() && arrivals.iter().any(is_unknown) {
        let reason = if contained.is_cut_off {
            "the history of this checkout is cut off (it is a shallow clone)".to_owned()
        } else {
            format!("{} is not in this checkout", contained.missing.join(", "))
        };
        return Ok(unknown(rule, since, &reason, &contained.help));
    }
    Ok(Looked {
        commits: arrivals.len(),
        verdicts: policy::came_by_merge(rule, since.branch, &arrivals),
    })
}

async fn arrivals(
    grounds: &Grounds,
    rule: &BranchRule,
    contained: &Contained,
    commits: Vec<Commit>,
) -> Result<Vec<Arrival>, ScmError> {
    let looked = stream::iter(commits)
        .map(|commit| arrival(grounds, rule, contained, commit))
        .buffered(AT_ONCE);
    let mut looked = std::pin::pin!(looked);
    let (mut arrivals, mut refused) = (Vec::new(), 0);
    while let Some(arrival) = looked.try_next().await? {
        refused += usize::from(arrival.origin != Origin::Accepted);
        arrivals.push(arrival);
        if refused >= ENOUGH && contained.is_whole() {
            break;
        }
    }
    Ok(arrivals)
}

async fn arrival(
    grounds: &Grounds,
    rule: &BranchRule,
    contained: &Contained,
    commit: Commit,
) -> Result<Arrival, ScmError> {
    let is_on_a_line = |id: &String| contained.found.contains_key(id);
    let brought = commit.parents.get(1..).unwrap_or_default();
    let origin = if is_on_a_line(&commit.id) {
        Origin::Accepted
    } else if brought.is_empty() {
        replayed(grounds, rule, &commit).await?
    } else if !brought.iter().all(is_on_a_line) {
        Origin::Foreign
    } else if brought.len() > 1 {
        Origin::Unknown {
            reason: "it merges more than one branch at once".to_owned(),
            help: "merge them one after the other".to_owned(),
        }
    } else if !rule.merges.contains(&MergeKind::Merge) {
        Origin::NotTaken(MergeKind::Merge)
    } else {
        merged(grounds, &commit).await?
    };
    Ok(Arrival { commit, origin })
}

/// Whether a commit with one parent is a squash or a rebase of an accepted branch, where the branch
/// takes them.
async fn replayed(
    grounds: &Grounds,
    rule: &BranchRule,
    commit: &Commit,
) -> Result<Origin, ScmError> {
    let replays = [MergeKind::Squash, MergeKind::Rebase];
    if !replays.iter().any(|kind| rule.merges.contains(kind)) {
        return Ok(Origin::Direct);
    }
    let (scm, accepts) = (&grounds.scm, &rule.accepts);
    match scm.replayed(&commit.id, accepts, &rule.merges).await? {
        Replayed::As(_) => Ok(Origin::Accepted),
        Replayed::No => Ok(Origin::Direct),
        Replayed::Nearly(altered) => Ok(Origin::Altered(altered)),
        Replayed::Unknown { reason, help } => {
            let short = short(&commit.id);
            let reason = format!("what commit {short} brought cannot be told: {reason}");
            Ok(Origin::Unknown { reason, help })
        }
    }
}

/// Whether a merge of an accepted branch has anything else in it.
async fn merged(grounds: &Grounds, commit: &Commit) -> Result<Origin, ScmError> {
    match grounds.scm.merged(&commit.id).await? {
        Merged::AsGit => Ok(Origin::Accepted),
        Merged::ByHand { files } => Ok(Origin::Added(files)),
        Merged::Unknown { reason, help } => {
            let short = short(&commit.id);
            let reason = format!("what the merge {short} brought cannot be told: {reason}");
            Ok(Origin::Unknown { reason, help })
        }
    }
}

fn one(verdict: Verdict) -> Looked {
    Looked {
        commits: 0,
        verdicts: vec![verdict],
    }
}

/// A rule that refuses never passes because something could not be looked at.
fn unknown(rule: &BranchRule, since: &Since<'_>, reason: &str, help: &str) -> Looked {
    let what = format!(
        "{} takes only merges, and not every commit since its live release can be looked at: \
         {reason}",
        rule.pattern
    );
    let verdict = Verdict::undecided(rule.key("direct_commits"), what, help);
    one(verdict.on(since.branch))
}
