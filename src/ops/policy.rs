//! Holding the branch rules against the checkout.

use crate::model::branch::{Arrival, BranchRule, DirectCommits};
use crate::model::source::Commit;
use crate::ops::{Error, Session};
use crate::policy;
use crate::port::scm::{FirstParents, Scm as _};

/// The most commits that are looked at. A line that is longer is refused, and never looked at in part.
const MOST: usize = 10_000;

/// What was held against the rules, for a reader.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The rule that allows it; none when the environment has no rule.
    pub rule: Option<BranchRule>,
    /// How many commits were looked at.
    pub commits: usize,
}

/// Whether the current branch, with its commits, may deploy to the environment.
pub async fn may_deploy(session: &Session) -> Result<Verdict, Error> {
    let rules = session.project.branch_rules();
    let branch = session.source.branch.as_deref();
    let Some(rule) = policy::may_deploy(&rules, &session.environment, branch)?.cloned() else {
        return Ok(Verdict {
            rule: None,
            commits: 0,
        });
    };
    let arrivals = arrivals(session, &rule).await?;
    policy::came_by_merge(&rule, &arrivals)?;
    Ok(Verdict {
        rule: Some(rule),
        commits: arrivals.len(),
    })
}

/// Where each commit since the last live release came from.
async fn arrivals(session: &Session, rule: &BranchRule) -> Result<Vec<Arrival>, Error> {
    let (DirectCommits::Refused, Some(tip)) = (rule.direct_commits, &session.source.commit) else {
        return Ok(Vec::new());
    };
    let state = session.state().await?;
    let since = state
        .live()
        .and_then(|release| release.source.commit.clone());
    if since.as_ref() == Some(tip) {
        return Ok(Vec::new());
    }
    let line = session
        .scm
        .first_parents(tip, since.as_deref(), MOST)
        .await?;
    let commits = match line {
        FirstParents::Whole(commits) => commits,
        FirstParents::Incomplete { reason, help } => {
            let what = format!(
                "{} takes only merges, and not every commit since its live release can be looked at: {reason}",
                rule.pattern
            );
            return Err(policy::Refusal { what, help }.into());
        }
    };

    let brought = |commit: &Commit| commit.parents.get(1).unwrap_or(&commit.id).clone();
    let came_from = session
        .scm
        .containing(&commits.iter().map(brought).collect(), &rule.accepts)
        .await?;
    let arrival = |commit: Commit| Arrival {
        came_from: came_from
            .get(&brought(&commit))
            .cloned()
            .unwrap_or_default(),
        commit,
    };
    Ok(commits.into_iter().map(arrival).collect())
}
