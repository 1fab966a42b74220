//! Branch and promotion rules: pure functions from rules and facts to a verdict.

mod access;
pub mod lifecycle;
mod losses;
mod owners;
mod replace;

use globset::Glob;

pub use access::may_enter;
pub use losses::{Protection, consented, may_lose};
pub use owners::may_take;
pub use replace::may_replace;

use crate::model::EnvironmentName;
use crate::model::branch::{Arrival, BranchRule, DirectCommits, MergeKind, MergeKinds, Origin};
use crate::model::first_of::first_of;
use crate::model::source::{Change, Commit, Source, short};

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
        .filter(|rule| rule.environment == *environment)
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
        help: "check a branch out; a detached checkout is on the one that its build server says, for the commit that the server built"
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

fn matches(pattern: &str, branch: &str) -> bool {
    pattern == branch
        || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(branch))
}

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
        help: "`git status` lists them: take them back, or have Git ignore what a build leaves"
            .to_owned(),
    })
}

/// Whether every commit came to the branch as its rule says.
///
/// # Errors
/// The first commit that did not.
pub fn came_by_merge(rule: &BranchRule, arrivals: &[Arrival]) -> Result<(), Refusal> {
    if rule.direct_commits == DirectCommits::Allowed {
        return Ok(());
    }
    match arrivals.iter().find_map(|arrival| refused(rule, arrival)) {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}

/// How many files a refusal names.
const SHOWN: usize = 3;

/// Why a commit may not be on a branch.
fn refused(rule: &BranchRule, arrival: &Arrival) -> Option<Refusal> {
    let Commit {
        id,
        subject,
        author,
        ..
    } = &arrival.commit;
    let commit = format!("commit {} ({subject}, by {author})", short(id));
    let branch = &rule.pattern;
    let accepts = if rule.accepts.is_empty() {
        "no branch".to_owned()
    } else {
        rule.accepts.join(", ")
    };

    let past = format!(
        "what is on {branch} already is taken off by resetting it, or let through by `since: COMMIT`, with which the \
         rule begins"
    );
    let (what, help) = match &arrival.origin {
        Origin::Accepted => return None,
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
        Origin::Foreign => (
            format!(
                "{commit} merges what was not merged into {accepts} before, and {branch} only takes merges from {accepts}"
            ),
            format!("merge into {accepts} first, and {accepts} into {branch}; {past}"),
        ),
        Origin::Added(files) => (
            format!(
                "{commit} is a merge, and changes {} that neither side of it changed, on {branch}, which only takes merges from {accepts}",
                first_of(files, SHOWN)
            ),
            format!("bring these changes to {accepts} first and merge that into {branch}; {past}"),
        ),
    };
    Some(Refusal { what, help })
}

/// What is said of a commit that is no merge, by the kinds of merges that its branch takes.
fn direct(rule: &BranchRule, commit: &str, accepts: &str, past: &str) -> (String, String) {
    let branch = &rule.pattern;
    let bring = format!("bring the commit to {accepts} first and merge that into {branch}");
    if rule.merges.iter().any(|kind| *kind != MergeKind::Merge) {
        let what = format!(
            "{commit} was made on {branch} directly, which only takes {accepts} by {}: it is not what such a merge of {accepts} gives",
            kinds(&rule.merges)
        );
        return (what, format!("{bring}; {past}"));
    }
    let what =
        format!("{commit} was made on {branch} directly, which only takes merges from {accepts}");
    let help = format!(
        "{bring}; if it is a squash or a rebase of {accepts}, `merges: [merge, squash, rebase]` takes these; {past}"
    );
    (what, help)
}

fn kinds(merges: &MergeKinds) -> String {
    let words: Vec<&str> = merges.iter().map(|kind| kind.as_str()).collect();
    words.join(", ")
}

/// Whether a change request may be merged, as far as its own words tell: its target has a rule, and
/// takes merges from the branch that it comes from. Its words are the build server's, and whoever
/// controls the pipeline controls them: what is deployed later is looked at by its commits again.
///
/// # Errors
/// The rule that forbids it.
pub fn may_merge<'a>(
    rules: &'a [BranchRule],
    environment: &EnvironmentName,
    change: &Change,
) -> Result<Option<&'a BranchRule>, Refusal> {
    let of_environment: Vec<&BranchRule> = rules
        .iter()
        .filter(|rule| rule.environment == *environment)
        .collect();
    let (false, Some(into)) = (of_environment.is_empty(), &change.into) else {
        return Ok(None);
    };
    let Some(rule) = of_environment
        .iter()
        .find(|rule| matches(&rule.pattern, into))
    else {
        return Err(wrong_branch(&of_environment, environment, into));
    };

    if rule.direct_commits == DirectCommits::Allowed {
        return Ok(Some(rule));
    }
    let accepts = rule.accepts.join(", ");
    let is_accepted = |from: &String| rule.accepts.iter().any(|accepted| matches(accepted, from));
    let what = match (&change.from, change.is_fork) {
        (_, Some(true)) => format!("{change} comes from another repository"),
        (Some(from), _) if is_accepted(from) => return Ok(Some(rule)),
        (Some(_), _) => format!("{change} comes from a branch that {into} takes no merges from"),
        (None, _) => format!("it is not said which branch {change} comes from"),
    };
    Err(Refusal {
        what: format!("{what}, and {into} only takes merges from {accepts}"),
        help: format!("merge it into {accepts} first, and that into {into}"),
    })
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

/// Whether releases may be promoted from one environment to another: the branch of the one must be
/// accepted by the branch of the other.
///
/// # Errors
/// The rule that forbids it.
pub fn may_promote_from(
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

    fn rules() -> Vec<BranchRule> {
        let rule =
            |pattern: &str, environment: &str, accepts: &[&str], direct_commits| BranchRule {
                pattern: pattern.to_owned(),
                environment: environment.parse().expect("a name"),
                accepts: accepts.iter().map(|name| (*name).to_owned()).collect(),
                direct_commits,
                merges: MergeKinds::from([MergeKind::Merge]),
                since: None,
            };
        vec![
            rule("develop", "develop", &[], DirectCommits::Allowed),
            rule("feature/*", "develop", &[], DirectCommits::Allowed),
            rule("staging", "staging", &["develop"], DirectCommits::Refused),
            rule("master", "production", &["staging"], DirectCommits::Refused),
        ]
    }

    fn deploy(environment: &str, branch: Option<&str>) -> Result<Option<String>, Refusal> {
        let source = Source {
            branch: branch.map(str::to_owned),
            ..Source::default()
        };
        deploy_from(environment, &source)
    }

    fn deploy_from(environment: &str, source: &Source) -> Result<Option<String>, Refusal> {
        let rules = rules();
        let environment = environment.parse().expect("a name");
        may_deploy(&rules, &environment, source).map(|rule| rule.map(|rule| rule.pattern.clone()))
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
        let detached = Source {
            commit: Some("a".repeat(40)),
            ..Source::default()
        };
        let refused = deploy_from("develop", &detached).expect_err("it may be anybody's");
        assert!(refused.what.contains("no branch is known"), "{refused}");
        assert_eq!(deploy_from("elsewhere", &detached), Ok(None));
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
            origin: Origin::Accepted,
        };
        let direct = Arrival {
            commit: commit("bbbbbbbbbb"),
            origin: Origin::Direct,
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
    fn a_merge_past_an_accepted_branch_and_what_is_hidden_in_one_are_named() {
        let refused = |origin: Origin| {
            let arrival = Arrival {
                commit: Commit {
                    id: "c".repeat(40),
                    parents: vec![],
                    subject: "merged".to_owned(),
                    author: "kim".to_owned(),
                },
                origin,
            };
            let refusal = came_by_merge(&rules()[2], &[arrival]).expect_err("refused");
            refusal.what
        };
        let foreign = refused(Origin::Foreign);
        assert!(
            foreign.contains("merges what was not merged into develop before"),
            "{foreign}"
        );
        let files = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let added = refused(Origin::Added(files));
        assert!(added.contains("changes a, b, c and 2 more"), "{added}");
    }

    #[test]
    fn a_change_request_comes_from_where_its_target_takes_merges_from() {
        let merge = |from: Option<&str>, into: &str, environment: &str, is_fork| {
            let change = Change {
                number: "12".to_owned(),
                from: from.map(str::to_owned),
                into: Some(into.to_owned()),
                is_fork,
            };
            let rules = rules();
            may_merge(&rules, &environment.parse().expect("a name"), &change)
                .map(|rule| rule.map(|rule| rule.pattern.clone()))
                .map_err(|refusal| refusal.what)
        };
        let staging = Ok(Some("staging".to_owned()));
        assert_eq!(merge(Some("develop"), "staging", "staging", None), staging);
        assert_eq!(
            merge(Some("develop"), "staging", "staging", Some(false)),
            staging
        );
        let develop = Ok(Some("develop".to_owned()));
        assert_eq!(
            merge(Some("cart"), "develop", "develop", Some(true)),
            develop
        );
        for (from, into, environment, is_fork) in [
            (Some("cart"), "staging", "staging", None),
            (Some("develop"), "staging", "staging", Some(true)),
            (None, "staging", "staging", None),
            (Some("develop"), "master", "staging", None),
        ] {
            let refused = merge(from, into, environment, is_fork);
            assert!(refused.is_err(), "{from:?} into {into}: {refused:?}");
        }
    }

    #[test]
    fn a_promotion_follows_the_branches() {
        let carry = |from: &str, to: &str| {
            may_promote_from(
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
