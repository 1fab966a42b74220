//! The tags of the commits on a branch's own line.

use crate::model::branch::BranchRule;
use crate::model::source::Commit;
use crate::model::verdict::Verdict;
use crate::ops::policy::arrivals::MOST;
use crate::ops::policy::{Grounds, Since};
use crate::policy;
use crate::port::scm::{Commits, ScmError};

/// Whether each commit of a branch since its live release has its tag. The live one is asked again:
/// it may have been one that was to have its tag later.
pub(super) async fn of(
    grounds: &Grounds,
    rule: &BranchRule,
    since: &Since<'_>,
    tip: &str,
) -> Result<Vec<Verdict>, ScmError> {
    if rule.release.is_none() {
        return Ok(Vec::new());
    }
    let begin = match grounds.begin(rule).await? {
        Ok(begin) => begin,
        Err(verdict) => return Ok(vec![verdict]),
    };
    let released = since.released.map(str::to_owned);
    let until: Vec<String> = released.iter().chain(&begin).cloned().collect();
    let mut commits = match grounds.scm.first_parents(tip, &until, MOST).await? {
        Commits::Whole(commits) => commits,
        Commits::Incomplete { reason, help } => {
            let branch = since.branch;
            let reason = format!("not every release of {branch} can be looked at: {reason}");
            let verdict = Verdict::undecided(rule.key("release"), reason, help);
            return Ok(vec![verdict.on(branch)]);
        }
    };
    if let Some(released) = released.filter(|released| Some(released) != begin.as_ref()) {
        let before = commits.last().map(|last| last.parents.first());
        let is_next = before.map_or(released == tip, |first| first == Some(&released));
        if is_next {
            commits.push(live(released));
        }
    }
    let tags = grounds.scm.tags().await?;
    Ok(policy::released(rule, since.branch, &commits, &tags))
}

/// The commit of the live release, of which no more is known.
fn live(id: String) -> Commit {
    Commit {
        id,
        parents: Vec::new(),
        subject: String::new(),
        author: String::new(),
    }
}
