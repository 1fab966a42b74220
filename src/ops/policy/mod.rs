//! Holding the rules against the checkout. All that is wrong is said at once.
//!
//! [`may_deploy`] looks at what is deployed, [`may_merge`] at a change request, and [`audit`] at
//! all branches, afterwards.

pub mod approvals;
mod arrivals;
mod audit;
mod branch;
mod changes;
mod grounds;
mod lines;
mod own;
mod releases;
#[cfg(test)]
mod tests;
pub mod wanted;

use std::collections::BTreeMap;

use crate::model::branch::BranchRule;
use crate::model::verdict::{Verdict, against};
use crate::ops::{Error, Session};
use crate::policy::{self, Refusal};

pub use audit::audit;
pub use changes::may_merge;
pub use grounds::Grounds;
pub use own::{at, of_plan};

/// What was compared with the rules, for a reader.
#[derive(Debug, Clone)]
pub struct DeployCheck {
    /// The rule that speaks of the branch; none when the environment has no rule.
    pub rule: Option<BranchRule>,
    /// How many commits were looked at.
    pub commits: usize,
    /// What the rules say.
    pub verdicts: Vec<Verdict>,
}

/// What the rules say of deploying the current branch, with its commits, to the environment.
pub async fn may_deploy(session: &Session) -> Result<DeployCheck, Error> {
    let grounds = Grounds::of(session);
    let state = session.state().await?;
    let released = state.live().and_then(|live| live.source.commit.clone());
    let mut check = of_branch(session, &grounds, released.as_deref()).await?;
    let tickets = own::tickets(session, &grounds, released.as_deref()).await?;
    check.verdicts.extend(tickets);
    check.verdicts = grounds.placed(check.verdicts);
    Ok(check)
}

/// That the current branch may be deployed.
///
/// # Errors
/// All that keeps it from it.
pub async fn deployable(session: &Session) -> Result<(), Error> {
    passed(&may_deploy(session).await?.verdicts)
}

/// That no verdict is against it.
///
/// # Errors
/// Those that are.
pub fn passed(verdicts: &[Verdict]) -> Result<(), Error> {
    let against = against(verdicts);
    if against.is_empty() {
        return Ok(());
    }
    Err(Error::Rules(against))
}

async fn of_branch(
    session: &Session,
    grounds: &Grounds,
    released: Option<&str>,
) -> Result<DeployCheck, Error> {
    let source = &session.source;
    let found = policy::may_deploy(&grounds.rules, &session.environment, source);
    let rule = match found {
        Ok(Some(rule)) => rule,
        Ok(None) => {
            return Ok(DeployCheck {
                rule: None,
                commits: 0,
                verdicts: Vec::new(),
            });
        }
        Err(refusal) => {
            return Ok(DeployCheck {
                rule: None,
                commits: 0,
                verdicts: vec![verdict("branches", refusal)],
            });
        }
    };

    let branch = source.branch.as_deref().unwrap_or(&rule.pattern);
    let deployed: Vec<String> = source.branch.iter().cloned().collect();
    if arrivals::looks(rule) || rule.release.is_some() || grounds.ask_of_others() {
        grounds
            .bring(&[rule.accepts.clone(), deployed].concat())
            .await?;
    }
    let mut verdicts = Vec::new();
    if let Err(refusal) = policy::is_committed(rule, source) {
        verdicts.push(verdict(&rule.key("direct_commits"), refusal));
    }
    let since = Since { branch, released };
    // Large: it is asked of each commit what Git says of it.
    let looked = Box::pin(arrivals::of(
        grounds,
        rule,
        &since,
        source.commit.as_deref(),
    ))
    .await?;
    verdicts.extend(looked.verdicts);
    if let Some(tip) = &source.commit {
        verdicts.extend(releases::of(grounds, rule, &since, tip).await?);
        verdicts.extend(crossings(grounds, rule, &since, tip).await?);
    }
    Ok(DeployCheck {
        rule: Some(rule.clone()),
        commits: looked.commits,
        verdicts,
    })
}

/// From where on the commits of a branch are looked at, besides what its rule says.
struct Since<'a> {
    /// The branch's name.
    branch: &'a str,
    /// The commit of the live release; none before the first one, and in an audit.
    released: Option<&'a str>,
}

async fn crossings(
    grounds: &Grounds,
    rule: &BranchRule,
    since: &Since<'_>,
    tip: &str,
) -> Result<Vec<Verdict>, Error> {
    if !grounds.ask_of_others() {
        return Ok(Vec::new());
    }
    let begin = match grounds.begin(rule).await? {
        Ok(begin) => begin,
        Err(verdict) => return Ok(vec![verdict]),
    };
    let mut without: Vec<String> = begin.into_iter().collect();
    if let Some(released) = since.released {
        if grounds.scm.parents(released).await.is_err() {
            let reason = format!(
                "not every commit since the live release can be looked at: commit {} is not in \
                 this checkout",
                crate::model::source::short(released)
            );
            let help = "fetch the whole history: `git fetch --unshallow`, or `--fetch`";
            let verdict = Verdict::undecided(rule.key("offshoots"), reason, help);
            return Ok(vec![verdict.on(since.branch)]);
        }
        without.push(released.to_owned());
    }

    let (mut lines, missing) = grounds.ruled(&grounds.scm.tips().await?);
    lines.insert(since.branch.to_owned(), tip.to_owned());
    let missing = missing.into_iter().filter(|name| name != since.branch);
    let scope = lines::Scope {
        tips: vec![tip.to_owned()],
        without,
        judged: BTreeMap::from([(since.branch.to_owned(), tip.to_owned())]),
    };
    Ok(lines::crossings(grounds, scope, lines, missing.collect()).await?)
}

fn verdict(rule: &str, refusal: Refusal) -> Verdict {
    Verdict::refused(rule, refusal.what, refusal.help)
}
