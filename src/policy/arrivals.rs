//! How commits came to a branch that takes merges.

use crate::model::branch::{
    Altered, Arrival, BranchRule, DirectCommits, MergeKind, MergeKinds, Origin,
};
use crate::model::first_of::first_of;
use crate::model::source::{Source, short};
use crate::model::verdict::Verdict;
use crate::policy::{Refusal, bounded, shown};

/// That a branch whose commits are looked at deploys these, and no files that are in none of them.
///
/// # Errors
/// Files differ from the commit.
pub fn is_committed(rule: &BranchRule, source: &Source) -> Result<(), Refusal> {
    if rule.direct_commits == DirectCommits::Allowed || !source.dirty {
        return Ok(());
    }
    let commit = source.commit.as_deref().map(short).unwrap_or_default();
    Err(Refusal {
        what: format!(
            "{} takes only what was committed, and files here differ from commit {commit}",
            rule.pattern
        ),
        help: "`git status` lists them (but for those that `git update-index` has hidden, which \
               `git ls-files -v` marks `h` or `S`): take them back, or have Git ignore what a \
               build leaves"
            .to_owned(),
    })
}

/// Whether every commit came to the branch as its rule says: a verdict for each that did not, or
/// one for all of them.
#[must_use]
pub fn came_by_merge(rule: &BranchRule, branch: &str, arrivals: &[Arrival]) -> Vec<Verdict> {
    if rule.direct_commits == DirectCommits::Allowed {
        return Vec::new();
    }
    let key = rule.key("direct_commits");
    let against: Vec<Verdict> = arrivals
        .iter()
        .filter_map(|arrival| {
            let verdict = refused(rule, &key, arrival)?;
            Some(verdict.on(branch).at(&arrival.commit.id))
        })
        .collect();
    if against.is_empty() {
        let reason = format!(
            "each of {} commits came to {branch} by a merge",
            arrivals.len()
        );
        return vec![Verdict::passed(key, reason).on(branch)];
    }
    bounded(against)
}

/// How many files a refusal names.
const SHOWN: usize = 3;

/// Why a commit may not be on a branch.
fn refused(rule: &BranchRule, key: &str, arrival: &Arrival) -> Option<Verdict> {
    let commit = shown(&arrival.commit);
    let branch = &rule.pattern;
    let accepts = if rule.accepts.is_empty() {
        "no branch".to_owned()
    } else {
        rule.accepts.join(", ")
    };

    let past = format!(
        "what is on {branch} already is taken off by resetting it, or let through by `since: \
         COMMIT`, with which the rule begins"
    );
    let (what, help) = match &arrival.origin {
        Origin::Accepted => return None,
        Origin::Unknown { reason, help } => {
            let what = format!("it cannot be told how {commit} came to {branch}: {reason}");
            return Some(Verdict::undecided(key, what, help));
        }
        Origin::NotTaken(kind) => (
            format!(
                "{commit} came by a {}, and {branch} takes {accepts} by {} only",
                kind.as_str(),
                kinds(&rule.merges)
            ),
            format!(
                "bring it so, or add `{}` to `merges` of {branch}; {past}",
                kind.as_str()
            ),
        ),
        Origin::Direct => direct(rule, &commit, &accepts, &past),
        Origin::Altered(Altered { kind, of, files }) => (
            format!(
                "{commit} is a {} of {accepts} at {} that was changed by hand: it differs from \
                 what the merge gives in {}, and {branch} only takes {accepts} by {}",
                kind.as_str(),
                short(of),
                first_of(files, SHOWN),
                kinds(&rule.merges)
            ),
            format!("bring these changes to {accepts} first, and merge that into {branch}; {past}"),
        ),
        Origin::Foreign => (
            format!(
                "{commit} merges what was not merged into {accepts} before, and {branch} only \
                 takes merges from {accepts}"
            ),
            format!("merge into {accepts} first, and {accepts} into {branch}; {past}"),
        ),
        Origin::Added(files) => (
            format!(
                "{commit} is a merge, and changes {} that neither side of it changed, on {branch}, \
                 which only takes merges from {accepts}",
                first_of(files, SHOWN)
            ),
            format!("bring these changes to {accepts} first and merge that into {branch}; {past}"),
        ),
    };
    Some(Verdict::refused(key, what, help))
}

/// What is said of a commit that is no merge, by the kinds of merges that its branch takes.
fn direct(rule: &BranchRule, commit: &str, accepts: &str, past: &str) -> (String, String) {
    let branch = &rule.pattern;
    let bring = format!("bring the commit to {accepts} first and merge that into {branch}");
    if rule.merges.iter().any(|kind| *kind != MergeKind::Merge) {
        let what = format!(
            "{commit} was made on {branch} directly, which only takes {accepts} by {}: it is not \
             what such a merge of {accepts} gives",
            kinds(&rule.merges)
        );
        return (what, format!("{bring}; {past}"));
    }
    let what =
        format!("{commit} was made on {branch} directly, which only takes merges from {accepts}");
    let help = format!(
        "{bring}; if it is a squash or a rebase of {accepts}, `merges: [merge, squash, rebase]` \
         takes these; {past}"
    );
    (what, help)
}

fn kinds(merges: &MergeKinds) -> String {
    let words: Vec<&str> = merges.iter().map(|kind| kind.as_str()).collect();
    words.join(", ")
}
