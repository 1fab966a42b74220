//! The rules of the pipeline as values.

use crate::model::branch::{Arrival, BranchRule, DirectCommits, Origin};
use crate::model::source::{Change, Commit, Source};
use crate::model::verdict::{Ruling, Verdict, against};
use crate::policy::{ComesFrom, Refusal, came_by_merge, may_deploy, may_merge, may_promote_from};

fn rules() -> Vec<BranchRule> {
    let rule = |pattern: &str, environment: &str, accepts: &[&str], direct_commits| BranchRule {
        environment: Some(environment.parse().expect("a name")),
        accepts: accepts.iter().map(|name| (*name).to_owned()).collect(),
        direct_commits,
        ..BranchRule::open(pattern)
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
    let passed = came_by_merge(&rules[2], "staging", std::slice::from_ref(&merged));
    assert!(passed.iter().all(Verdict::is_passed), "{passed:?}");
    let all = [merged, direct.clone(), direct.clone()];
    let refused = against(&came_by_merge(&rules[2], "staging", &all));
    assert_eq!(refused.len(), 2, "each is named: {refused:?}");
    assert!(
        refused[0]
            .reason
            .contains("commit bbbbbbb (quick fix, by kim)"),
        "{refused:?}"
    );
    assert_eq!(refused[0].rule, "branches.staging.direct_commits");
    assert_eq!(came_by_merge(&rules[0], "develop", &[direct]), []);
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
        let verdicts = came_by_merge(&rules()[2], "staging", &[arrival]);
        verdicts[0].reason.clone()
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
    let merge = |from: Option<&str>, into: &str, comes| {
        let change = Change {
            number: "12".to_owned(),
            from: from.map(str::to_owned),
            into: Some(into.to_owned()),
            is_fork: None,
        };
        let verdicts = may_merge(&rules(), &change, comes);
        verdicts.iter().map(|verdict| verdict.ruling).max()
    };
    let passed = Some(Ruling::Passed);
    assert_eq!(merge(Some("develop"), "staging", ComesFrom::Branch), passed);
    assert_eq!(merge(Some("cart"), "develop", ComesFrom::Fork), passed);
    assert_eq!(
        merge(Some("develop"), "staging", ComesFrom::Unknown),
        Some(Ruling::Undecided)
    );
    for (from, into, comes) in [
        (Some("cart"), "staging", ComesFrom::Branch),
        (Some("develop"), "staging", ComesFrom::Fork),
        (None, "staging", ComesFrom::Branch),
        (Some("develop"), "master", ComesFrom::Branch),
        (Some("develop"), "of no rule", ComesFrom::Branch),
    ] {
        let refused = merge(from, into, comes);
        assert_eq!(refused, Some(Ruling::Refused), "{from:?} into {into}");
    }
}

#[test]
fn a_branch_goes_where_it_gives_and_one_of_a_fork_is_not_it() {
    let mut rules = rules();
    rules[0].gives = Some(vec!["staging".to_owned()]);
    rules.push(BranchRule {
        gives: Some(vec!["develop".to_owned()]),
        ..BranchRule::open("fix/*")
    });
    let merge = |from: &str, into: &str, comes| {
        let change = Change {
            number: "12".to_owned(),
            from: Some(from.to_owned()),
            into: Some(into.to_owned()),
            is_fork: None,
        };
        let against = against(&may_merge(&rules, &change, comes));
        let rules = against.into_iter().map(|verdict| verdict.rule);
        rules.collect::<Vec<_>>()
    };
    assert_eq!(merge("fix/cart", "develop", ComesFrom::Branch), [""; 0]);
    assert_eq!(
        merge("fix/cart", "staging", ComesFrom::Branch),
        ["branches.staging.accepts", "branches.fix/*.gives"],
        "all of it at once"
    );
    assert_eq!(
        merge("develop", "staging", ComesFrom::Fork),
        ["branches.staging.accepts"]
    );
    assert_eq!(merge("develop", "fix/cart", ComesFrom::Branch), [""; 0]);
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
