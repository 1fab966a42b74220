//! Branch and promotion rules: pure functions from rules and facts to verdicts. All that is wrong
//! is said at once.

mod access;
pub mod admission;
pub mod approvals;
mod arrivals;
mod changes;
mod crossings;
pub mod lifecycle;
mod losses;
pub mod own;
mod owners;
mod promotions;
mod releases;
mod replace;
pub mod rights;
#[cfg(test)]
mod tests;
mod tickets;
mod windows;

use globset::Glob;

pub use access::may_enter;
pub use approvals::{approved, wants_approvals};
pub use arrivals::{came_by_merge, is_committed};
pub use changes::{ComesFrom, is_no_change, may_merge};
pub use crossings::{asks_of_others, crossings};
pub use losses::{Protection, consented, may_lose, protected};
pub use owners::{may_take, would_be_refused};
pub use promotions::may_promote_from;
pub use releases::released;
pub use replace::may_replace;
pub use tickets::has_ticket;
pub use windows::may_touch;

use crate::model::EnvironmentName;
use crate::model::branch::{BranchRule, DirectCommits};
use crate::model::source::{Commit, Source, short};
use crate::model::verdict::Verdict;

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What is refused, and by which rule.
    pub what: String,
    /// What to do instead.
    pub help: String,
}

/// Whether a branch may deploy to an environment, and by which rule. Without a rule for the
/// environment every branch may; without a known branch only an environment whose rules ask nothing
/// of commits.
///
/// # Errors
/// The rule that forbids it.
pub fn may_deploy<'a>(
    rules: &'a [BranchRule],
    environment: &EnvironmentName,
    source: &Source,
) -> Result<Option<&'a BranchRule>, Refusal> {
    let of_environment: Vec<&BranchRule> = rules
        .iter()
        .filter(|rule| rule.environment.as_ref() == Some(environment))
        .collect();
    if of_environment.is_empty() {
        return Ok(None);
    }
    let Some(branch) = source.branch.as_deref() else {
        let strict = of_environment
            .iter()
            .any(|rule| rule.direct_commits == DirectCommits::Refused);
        // A folder outside of Git is on no branch; a commit of which no branch is known may be
        // anybody's.
        return if strict || source.commit.is_some() {
            Err(unknown_branch(&of_environment, environment))
        } else {
            Ok(None)
        };
    };

    let rule = of_environment
        .iter()
        .find(|rule| matches(&rule.pattern, branch));
    rule.map(|rule| Some(*rule))
        .ok_or_else(|| wrong_branch(&of_environment, environment, branch))
}

fn unknown_branch(rules: &[&BranchRule], environment: &EnvironmentName) -> Refusal {
    let takes: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
    Refusal {
        what: format!(
            "{environment} takes only what is on {}, and of this checkout no branch is known",
            takes.join(", ")
        ),
        help: "check a branch out; a detached checkout is on the one that its build server says, \
               for the commit that the server built"
            .to_owned(),
    }
}

fn wrong_branch(rules: &[&BranchRule], environment: &EnvironmentName, branch: &str) -> Refusal {
    let takes: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
    Refusal {
        what: format!(
            "branch {branch} does not deploy to {environment}, which takes {}",
            takes.join(", ")
        ),
        help: format!(
            "merge {branch} into {}, or add it under `branches:` in shipit.yaml",
            takes.first().unwrap_or(&"its branch")
        ),
    }
}

/// The rule that speaks of a branch: the one with its name, else the first whose glob matches it.
#[must_use]
pub fn rule_of<'a>(rules: &'a [BranchRule], branch: &str) -> Option<&'a BranchRule> {
    let named = rules.iter().find(|rule| rule.pattern == branch);
    named.or_else(|| rules.iter().find(|rule| matches(&rule.pattern, branch)))
}

/// The most verdicts against one rule.
const MOST: usize = 100;

/// The first of many verdicts against a rule, and how many there are more.
fn bounded(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let more = verdicts.len().saturating_sub(MOST);
    let Some(first) = verdicts.first().filter(|_| more > 0) else {
        return verdicts;
    };
    let reason = format!("there are {more} more against it");
    let last = Verdict::refused(&first.rule, reason, "begin with the first ones");
    verdicts.truncate(MOST);
    verdicts.push(last);
    verdicts
}

/// Whether one of these names or globs is a branch's.
fn one_matches(patterns: &[String], branch: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, branch))
}

/// A commit for a reader.
fn shown(commit: &Commit) -> String {
    let short = short(&commit.id);
    if commit.subject.is_empty() && commit.author.is_empty() {
        return format!("commit {short}");
    }
    format!("commit {short} ({}, by {})", commit.subject, commit.author)
}

/// Whether a branch has a name, or a glob matches it.
#[must_use]
pub fn matches(pattern: &str, branch: &str) -> bool {
    pattern == branch
        || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(branch))
}
