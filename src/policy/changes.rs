//! Change requests, as far as the build server's words and the branches here tell. Whoever controls
//! the pipeline controls its words: what is deployed later is looked at by its commits again.

use crate::model::branch::{BranchRule, DirectCommits};
use crate::model::source::Change;
use crate::model::verdict::Verdict;
use crate::policy::{Refusal, matches, one_matches, rule_of};

/// The key under which all rules of branches are.
const BRANCHES: &str = "branches";

/// Whether the commits of a change request are those of the branch that it says it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComesFrom {
    /// They are: the server says that it is no fork, or the branch here has the commit.
    Branch,
    /// It comes from another repository, where a branch of any name can be made.
    Fork,
    /// Nobody says so, and the branch here does not have the commit.
    Unknown,
}

/// Whether a change request may be merged: its target has a rule, takes the branch that it comes
/// from, and that branch may go there. Without any rule nothing is asked.
#[must_use]
pub fn may_merge(rules: &[BranchRule], change: &Change, comes: ComesFrom) -> Vec<Verdict> {
    if rules.is_empty() {
        return Vec::new();
    }
    let Some(into) = &change.into else {
        let reason = format!("it is not said which branch {change} is to be merged into");
        let help = "have the build server set its variable of the target branch";
        return vec![Verdict::undecided(BRANCHES, reason, help)];
    };
    let Some(rule) = rule_of(rules, into) else {
        let known: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
        let reason = format!("{change} goes to {into}, of which no rule speaks");
        let help = format!(
            "merge it into one of {}, or write a rule for {into} under `branches`",
            known.join(", ")
        );
        return vec![Verdict::refused(BRANCHES, reason, help).on(into)];
    };

    let mut verdicts = vec![taken(rule, into, change, comes)];
    verdicts.extend(given(rules, into, change, comes));
    verdicts
}

/// Whether the target takes the source.
fn taken(rule: &BranchRule, into: &str, change: &Change, comes: ComesFrom) -> Verdict {
    let key = rule.key("accepts");
    if rule.direct_commits == DirectCommits::Allowed && rule.accepts.is_empty() {
        let reason = format!("{into} takes change requests from any branch");
        return Verdict::passed(key, reason).on(into);
    }
    let accepts = if rule.accepts.is_empty() {
        "no branch".to_owned()
    } else {
        rule.accepts.join(", ")
    };
    let only = format!("{into} only takes merges from {accepts}");
    let help = format!("merge it into {accepts} first, and that into {into}");
    let refused = |why: String| Verdict::refused(&key, format!("{why}, and {only}"), &help);
    let verdict = match (&change.from, comes) {
        (_, ComesFrom::Fork) => refused(format!("{change} comes from another repository")),
        (None, _) => refused(format!("it is not said which branch {change} comes from")),
        (Some(from), _) if !one_matches(&rule.accepts, from) => refused(format!(
            "{change} comes from a branch that {into} takes no merges from"
        )),
        (Some(from), ComesFrom::Unknown) => Verdict::undecided(
            &key,
            format!(
                "{only}, and it cannot be told whether {change} comes from {from} or from a branch \
                 of that name in a fork: {from} is not here with this commit"
            ),
            format!("fetch {from}, and check again"),
        ),
        (Some(from), ComesFrom::Branch) => {
            Verdict::passed(&key, format!("{into} takes merges from {from}"))
        }
    };
    verdict.on(into)
}

/// Whether the source may go to the target. A branch of a fork is no branch of its name.
fn given(rules: &[BranchRule], into: &str, change: &Change, comes: ComesFrom) -> Option<Verdict> {
    let from = change.from.as_ref().filter(|_| comes != ComesFrom::Fork)?;
    let source = rule_of(rules, from)?;
    let gives = source.gives.as_ref()?;
    let key = source.key("gives");
    if may_go(rules, source, into) {
        return Some(Verdict::passed(key, format!("{from} may go to {into}")).on(from));
    }
    Some(goes_elsewhere(&key, from, into, gives).on(from))
}

/// That a branch went, or is to go, where it must not.
pub(super) fn goes_elsewhere(key: &str, from: &str, into: &str, gives: &[String]) -> Verdict {
    let only = if gives.is_empty() {
        "to no branch".to_owned()
    } else {
        format!("to {} only", gives.join(", "))
    };
    let help = if gives.is_empty() {
        format!("leave {from} where it is, or add {into} to `gives` of {from}")
    } else {
        format!(
            "merge {from} into {} and go on from there, or add {into} to `gives` of {from}",
            gives.join(" or ")
        )
    };
    Verdict::refused(key, format!("{from} goes {only}, and not to {into}"), help)
}

/// Whether a branch may be merged into another. Into a branch that deploys nowhere it may where
/// such a branch might also be made from it anew.
pub(super) fn may_go(rules: &[BranchRule], source: &BranchRule, into: &str) -> bool {
    let Some(gives) = &source.gives else {
        return true;
    };
    let is_own = matches(&source.pattern, into) && source.pattern == into;
    let is_workplace = rule_of(rules, into).is_none_or(|target| target.environment.is_none());
    is_own
        || one_matches(gives, into)
        || is_workplace && source.offshoots == crate::model::branch::Offshoots::Allowed
}

/// That nothing of a change request is carried out.
///
/// # Errors
/// There is a change request.
pub fn is_no_change(change: Option<&Change>) -> Result<(), Refusal> {
    let Some(change) = change else {
        return Ok(());
    };
    Err(Refusal {
        what: format!("this is {change}, and nothing of it is deployed"),
        help: "look at `shipit plan` here; it is deployed once it is merged".to_owned(),
    })
}
