//! What the rules between branches need of a history, gathered.

use std::collections::BTreeMap;

use crate::model::branch::{BranchLine, BranchLines};
use crate::model::verdict::Verdict;
use crate::ops::policy::grounds::Grounds;
use crate::policy;
use crate::policy::rule_of;
use crate::port::scm::{Commits, ScmError};

/// The most commits of a history that are looked at.
const MOST: usize = 250_000;

/// What is looked at.
pub(super) struct Scope {
    /// The commits whose histories are looked at.
    pub tips: Vec<String>,
    /// The commits that are known already, with what they have behind them.
    pub without: Vec<String>,
    /// The branches that are judged, with the commit that each is at.
    pub judged: BTreeMap<String, String>,
}

/// What the rules between branches say of a scope. `lines` are the branches that rules speak of,
/// with the commit that each is at, and `missing` those that are not here.
pub(super) async fn crossings(
    grounds: &Grounds,
    scope: Scope,
    lines: BTreeMap<String, String>,
    missing: Vec<String>,
) -> Result<Vec<Verdict>, ScmError> {
    if !grounds.ask_of_others() {
        return Ok(Vec::new());
    }
    let scm = &grounds.scm;
    let commits = match scm.reached(&scope.tips, &scope.without, MOST).await? {
        Commits::Whole(commits) => commits,
        Commits::Incomplete { reason, help } => {
            return Ok(incomplete(grounds, &reason, &help));
        }
    };

    let mut facts = BranchLines {
        missing,
        scope: commits,
        tips: scope.judged,
        ..BranchLines::default()
    };
    let mut verdicts = Vec::new();
    for (name, tip) in lines {
        let Some(rule) = rule_of(&grounds.rules, &name) else {
            continue;
        };
        let begin = match grounds.begin(rule).await? {
            Ok(begin) => begin,
            Err(verdict) => {
                verdicts.push(verdict);
                continue;
            }
        };
        let all = scm.line(&tip, &[]).await?.into_iter().collect();
        let since = match begin {
            None => std::collections::HashSet::clone(&all),
            Some(begin) => scm.line(&tip, &[begin]).await?.into_iter().collect(),
        };
        facts.lines.insert(name, BranchLine { all, since });
    }
    verdicts.extend(policy::crossings(&grounds.rules, &facts));
    Ok(verdicts)
}

/// No rule passes by a history that is not there.
fn incomplete(grounds: &Grounds, reason: &str, help: &str) -> Vec<Verdict> {
    let asked = grounds
        .rules
        .iter()
        .filter(|rule| policy::asks_of_others(rule));
    asked
        .map(|rule| {
            let key = if rule.offshoots == crate::model::branch::Offshoots::Refused {
                "offshoots"
            } else {
                "gives"
            };
            let reason = format!(
                "it cannot be told what others have of {}: {reason}",
                rule.pattern
            );
            Verdict::undecided(rule.key(key), reason, help).on(&rule.pattern)
        })
        .collect()
}
