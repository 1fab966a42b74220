//! A change request against the rules of the branch that it goes to: the change itself must not
//! weaken them.

use std::collections::BTreeMap;

use crate::config::rules_of;
use crate::model::source::{Change, Source};
use crate::model::verdict::Verdict;
use crate::ops::policy::grounds::Grounds;
use crate::ops::policy::lines::{self, Scope};
use crate::policy::{self, ComesFrom};
use crate::port::scm::{BranchFile, ScmError};

/// The file that has a project's rules.
pub(super) const RULES: &str = "shipit.yaml";

/// Whether a change request may be merged, as far as the build server's words and the branches here
/// tell.
pub async fn may_merge(grounds: &mut Grounds, change: &Change) -> Result<Vec<Verdict>, ScmError> {
    let named: Vec<String> = change.into.iter().cloned().collect();
    grounds.bring(&named).await?;
    let mut verdicts = of_target(grounds, change).await?;

    let head = head(grounds, change).await?;
    let comes = comes_from(grounds, change, head.as_deref()).await?;
    verdicts.extend(policy::may_merge(&grounds.rules, change, comes));
    if let Some(ticket) = &grounds.ticket {
        let tips = grounds.scm.tips().await?;
        let target = change.into.as_ref().and_then(|into| tips.get(into));
        let without: Vec<String> = target.cloned().into_iter().collect();
        let from = change.from.as_deref();
        verdicts.extend(
            grounds
                .tickets(ticket, from, head.as_deref(), &without)
                .await?,
        );
    }
    if let Some(head) = head {
        verdicts.extend(crossings(grounds, change, comes, head).await?);
    }
    Ok(grounds.placed(verdicts))
}

/// Takes the rules of the target, and says where they cannot be read.
async fn of_target(grounds: &mut Grounds, change: &Change) -> Result<Vec<Verdict>, ScmError> {
    let Some(into) = &change.into else {
        return Ok(Vec::new());
    };
    let unread = |reason: String, help: String| {
        let reason = format!(
            "the rules of {into} cannot be read, and are asked in this change's words alone: \
             {reason}"
        );
        vec![Verdict::undecided("branches", reason, help).on(into)]
    };
    Ok(match grounds.scm.file_on(into, RULES).await? {
        BranchFile::Unknown { reason, help } => unread(reason, help),
        BranchFile::NoFile => {
            grounds.rules.clear();
            let reason = format!("{into} has no {RULES}: its rules begin with this change");
            vec![Verdict::passed("branches", reason).on(into)]
        }
        BranchFile::Text(text) => match rules_of((RULES, &text), None) {
            Ok(rules) => {
                grounds.rules = rules.branches.branch_rules();
                grounds.places = rules.places;
                grounds.ticket = rules.ticket;
                Vec::new()
            }
            Err(error) => {
                let first = error.faults.first().map(ToString::to_string);
                let help = format!("put it right on {into}");
                unread(first.unwrap_or_default(), help)
            }
        },
    })
}

/// The newest commit of the change: what is checked out, or what a merge of it into its target that
/// the server has made brings.
async fn head(grounds: &Grounds, change: &Change) -> Result<Option<String>, ScmError> {
    let Source {
        commit: Some(tip), ..
    } = &grounds.source
    else {
        return Ok(None);
    };
    let parents = grounds.scm.parents(tip).await?;
    let [into, brought] = &parents[..] else {
        return Ok(Some(tip.clone()));
    };
    let tips = grounds.scm.tips().await?;
    let target = change.into.as_ref().and_then(|into| tips.get(into));
    let Some(target) = target else {
        return Ok(Some(tip.clone()));
    };
    let is_trial = grounds.scm.line(target, &[]).await?.contains(into);
    let is_merged = target == tip;
    Ok(Some(
        if is_trial && !is_merged { brought } else { tip }.clone(),
    ))
}

async fn comes_from(
    grounds: &Grounds,
    change: &Change,
    head: Option<&str>,
) -> Result<ComesFrom, ScmError> {
    match change.is_fork {
        Some(true) => return Ok(ComesFrom::Fork),
        Some(false) => return Ok(ComesFrom::Branch),
        None => {}
    }
    let tips = grounds.scm.tips().await?;
    let tip = change.from.as_ref().and_then(|from| tips.get(from));
    let (Some(tip), Some(head)) = (tip, head) else {
        return Ok(ComesFrom::Unknown);
    };
    let line = grounds.scm.line(tip, &[]).await?;
    let has = line.iter().any(|commit| commit == head);
    Ok(if has {
        ComesFrom::Branch
    } else {
        ComesFrom::Unknown
    })
}

/// Whether the change has commits of branches that it must not have.
async fn crossings(
    grounds: &Grounds,
    change: &Change,
    comes: ComesFrom,
    head: String,
) -> Result<Vec<Verdict>, ScmError> {
    if !grounds.ask_of_others() {
        return Ok(Vec::new());
    }
    let tips = grounds.scm.tips().await?;
    let (mut lines, missing) = grounds.ruled(&tips);
    let target = change.into.as_ref().and_then(|into| tips.get(into));
    let name = match (&change.from, comes) {
        (Some(from), ComesFrom::Branch) => {
            lines.insert(from.clone(), head.clone());
            from.clone()
        }
        _ => format!("what {change} brings"),
    };
    let scope = Scope {
        tips: vec![head.clone()],
        without: target.cloned().into_iter().collect(),
        judged: BTreeMap::from([(name, head)]),
    };
    lines::crossings(grounds, scope, lines, missing).await
}
