//! Branch and promotion rules: pure functions from rules and facts to a verdict.

mod access;
pub mod lifecycle;
mod losses;
mod owners;
mod remake;

use globset::Glob;

pub use access::may_enter;
pub use losses::{Protection, consented, may_lose};
pub use owners::may_take;
pub use remake::may_remake;

use crate::model::EnvironmentName;
use crate::model::branch::{Arrival, BranchRule, DirectCommits};

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What is refused, and by which rule.
    pub what: String,
    /// What to do instead.
    pub help: String,
}

/// Whether a branch may deploy to an environment, and by which rule. Without a rule for the environment every
/// branch may; without a known branch only an environment whose rules ask nothing of commits.
///
/// # Errors
/// The rule that forbids it.
pub fn may_deploy<'a>(
    rules: &'a [BranchRule],
    environment: &EnvironmentName,
    branch: Option<&str>,
) -> Result<Option<&'a BranchRule>, Refusal> {
    let of_environment: Vec<&BranchRule> = rules
        .iter()
        .filter(|rule| rule.environment == *environment)
        .collect();
    if of_environment.is_empty() {
        return Ok(None);
    }
    let Some(branch) = branch else {
        let strict = of_environment
            .iter()
            .any(|rule| rule.direct_commits == DirectCommits::Refused);
        return if strict {
            Err(unknown_branch(environment))
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

fn unknown_branch(environment: &EnvironmentName) -> Refusal {
    Refusal {
        what: format!(
            "{environment} takes only commits that were merged by its branch rules, and this checkout has no branch"
        ),
        help: "check a branch out, or set BRANCH_NAME as Jenkins does".to_owned(),
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

fn matches(pattern: &str, branch: &str) -> bool {
    pattern == branch
        || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(branch))
}

/// Whether every commit came to the branch as its rule says.
///
/// # Errors
/// The first commit that was made on the branch directly.
pub fn came_by_merge(rule: &BranchRule, arrivals: &[Arrival]) -> Result<(), Refusal> {
    if rule.direct_commits == DirectCommits::Allowed {
        return Ok(());
    }
    let Some(direct) = arrivals.iter().find(|arrival| arrival.came_from.is_empty()) else {
        return Ok(());
    };
    let short: String = direct.commit.id.chars().take(7).collect();
    let accepts = if rule.accepts.is_empty() {
        "no branch".to_owned()
    } else {
        rule.accepts.join(", ")
    };
    Err(Refusal {
        what: format!(
            "commit {short} ({}, by {}) was made on {} directly, which only takes merges from {accepts}",
            direct.commit.subject, direct.commit.author, rule.pattern
        ),
        help: format!(
            "bring the commit to {accepts} first and merge that into {}",
            rule.pattern
        ),
    })
}

/// Whether releases may be carried on from one environment to another: the branch of the one must be accepted
/// by the branch of the other.
///
/// # Errors
/// The rule that forbids it.
pub fn may_carry(
    rules: &[BranchRule],
    from: &EnvironmentName,
    to: &EnvironmentName,
) -> Result<(), Refusal> {
    let of = |environment: &EnvironmentName| {
        rules
            .iter()
            .filter(|rule| rule.environment == *environment)
            .collect::<Vec<_>>()
    };
    let (sources, targets) = (of(from), of(to));
    let accepts_something = targets.iter().any(|rule| !rule.accepts.is_empty());
    if targets.is_empty() || !accepts_something {
        return Ok(());
    }
    let accepted = targets.iter().flat_map(|rule| &rule.accepts).any(|name| {
        name == from.as_str() || sources.iter().any(|source| matches(&source.pattern, name))
    });
    if accepted {
        return Ok(());
    }
    let accepts: Vec<&str> = targets
        .iter()
        .flat_map(|rule| rule.accepts.iter().map(String::as_str))
        .collect();
    Err(Refusal {
        what: format!(
            "{to} takes releases only from {}, and not from {from}",
            accepts.join(", ")
        ),
        help: format!(
            "promote to {} first, or change `accepts` in shipit.yaml",
            accepts.join(" or ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::Commit;

    fn rules() -> Vec<BranchRule> {
        let rule =
            |pattern: &str, environment: &str, accepts: &[&str], direct_commits| BranchRule {
                pattern: pattern.to_owned(),
                environment: environment.parse().expect("a name"),
                accepts: accepts.iter().map(|name| (*name).to_owned()).collect(),
                direct_commits,
            };
        vec![
            rule("develop", "develop", &[], DirectCommits::Allowed),
            rule("feature/*", "develop", &[], DirectCommits::Allowed),
            rule("staging", "staging", &["develop"], DirectCommits::Refused),
            rule("master", "production", &["staging"], DirectCommits::Refused),
        ]
    }

    fn deploy(environment: &str, branch: Option<&str>) -> Result<Option<String>, Refusal> {
        let rules = rules();
        let environment = environment.parse().expect("a name");
        may_deploy(&rules, &environment, branch).map(|rule| rule.map(|rule| rule.pattern.clone()))
    }

    #[test]
    fn a_branch_deploys_where_its_rule_says_and_nowhere_else() {
        assert_eq!(
            deploy("staging", Some("staging")),
            Ok(Some("staging".to_owned()))
        );
        assert_eq!(
            deploy("develop", Some("feature/cart")),
            Ok(Some("feature/*".to_owned()))
        );
        assert_eq!(deploy("elsewhere", Some("anything")), Ok(None));
        assert_eq!(deploy("develop", None), Ok(None));
        let refused = deploy("production", Some("develop")).expect_err("no rule");
        assert!(
            refused
                .what
                .contains("does not deploy to production, which takes master"),
            "{refused}"
        );
        assert!(
            deploy("production", None).is_err(),
            "a branch is needed where commits are looked at"
        );
    }

    #[test]
    fn a_direct_commit_is_named() {
        let commit = |id: &str| Commit {
            id: id.to_owned(),
            parents: vec![],
            subject: "quick fix".to_owned(),
            author: "kim".to_owned(),
        };
        let merged = Arrival {
            commit: commit("aaaaaaaaaa"),
            came_from: vec!["develop".to_owned()],
        };
        let direct = Arrival {
            commit: commit("bbbbbbbbbb"),
            came_from: vec![],
        };
        let rules = rules();
        assert_eq!(
            came_by_merge(&rules[2], std::slice::from_ref(&merged)),
            Ok(())
        );
        let refused = came_by_merge(&rules[2], &[merged, direct.clone()]).expect_err("direct");
        assert!(
            refused.what.contains("commit bbbbbbb (quick fix, by kim)"),
            "{refused}"
        );
        assert_eq!(came_by_merge(&rules[0], &[direct]), Ok(()));
    }

    #[test]
    fn a_promotion_follows_the_branches() {
        let carry = |from: &str, to: &str| {
            may_carry(
                &rules(),
                &from.parse().expect("a name"),
                &to.parse().expect("a name"),
            )
        };
        assert_eq!(carry("staging", "production"), Ok(()));
        assert!(carry("develop", "production").is_err());
        assert_eq!(carry("production", "develop"), Ok(()));
    }
}
