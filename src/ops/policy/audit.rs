//! All branches at once, since their rules began: what somebody did past the pipeline.

use crate::model::verdict::Verdict;
use crate::ops::policy::grounds::is_name;
use crate::ops::policy::lines::{self, Scope};
use crate::ops::policy::{Grounds, Since, arrivals, releases};
use crate::policy::{matches, rule_of};
use crate::port::scm::ScmError;

/// What the rules say of every branch that is here.
pub async fn audit(grounds: &Grounds) -> Result<Vec<Verdict>, ScmError> {
    let named = grounds.rules.iter().filter(|rule| is_name(&rule.pattern));
    let named: Vec<String> = named.map(|rule| rule.pattern.clone()).collect();
    grounds.bring(&named).await?;

    let tips = grounds.scm.tips().await?;
    let (ruled, missing) = grounds.ruled(&tips);
    let mut verdicts = absent(grounds, &missing);
    for (name, tip) in &ruled {
        let Some(rule) = rule_of(&grounds.rules, name) else {
            continue;
        };
        let since = Since {
            branch: name,
            released: None,
        };
        let looked = Box::pin(arrivals::of(grounds, rule, &since, Some(tip))).await?;
        verdicts.extend(looked.verdicts);
        verdicts.extend(releases::of(grounds, rule, &since, tip).await?);
    }

    let scope = Scope {
        tips: tips.values().cloned().collect(),
        without: Vec::new(),
        judged: tips,
    };
    verdicts.extend(lines::crossings(grounds, scope, ruled, missing).await?);
    Ok(grounds.placed(verdicts))
}

/// Branches with rules that are not here cannot be looked at.
fn absent(grounds: &Grounds, missing: &[String]) -> Vec<Verdict> {
    let rules = grounds.rules.iter();
    let absent = rules.filter(|rule| missing.iter().any(|name| matches(&rule.pattern, name)));
    absent
        .filter(|rule| arrivals::looks(rule) || rule.release.is_some())
        .map(|rule| {
            let name = &rule.pattern;
            let reason = format!("{name} cannot be looked at: it is not in this checkout");
            let help = format!(
                "fetch it: `git fetch origin {name}:refs/remotes/origin/{name}`, or `--fetch`"
            );
            Verdict::undecided(format!("branches.{name}"), reason, help).on(name)
        })
        .collect()
}
