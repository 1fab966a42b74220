//! The approvals of a plan: whether as many people have signed it as its environment wants.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::approval::{Authors, SignedBy};
use crate::model::plan::{Intent, Plan};
use crate::model::source::short;
use crate::model::state::State;
use crate::model::verdict::Verdict;
use crate::ops::plan_file::{PlanFile, command};
use crate::ops::policy::Grounds;
use crate::ops::policy::grounds::placed;
use crate::ops::policy::wanted::{Demand, Place, Unread, Wanted, wanted};
use crate::ops::{Error, Session};
use crate::plan::reads_same;
use crate::policy::approvals::{Given, KEY};
use crate::policy::{approved, rule_of, wants_approvals};
use crate::port::Scm as _;

/// The most commits whose authors are looked at.
const MOST: usize = 10_000;

/// What the approvals of a plan come to.
pub struct Signed {
    /// What is said of them.
    pub verdicts: Vec<Verdict>,
    /// Whose count.
    pub by: Vec<SignedBy>,
    /// The plan that is carried out: where it was signed, the very one that was.
    pub plan: Plan,
    /// What a reader of that one does not know yet.
    pub notes: Vec<String>,
}

/// Looks at the approvals of a plan that was made just now, and of the file that it had to be equal
/// to, if there is one.
///
/// # Errors
/// The file tells its reader something else than the plan does: whoever signed it has not read what
/// would be done.
pub async fn of_plan(
    session: &Session,
    plan: Plan,
    file: Option<&PlanFile>,
    state: &State,
) -> Result<Signed, Error> {
    let unasked = |plan| Signed {
        verdicts: Vec::new(),
        by: Vec::new(),
        plan,
        notes: Vec::new(),
    };
    if plan.is_empty() {
        return Ok(unasked(plan));
    }
    let wanted = of_environment(session, &plan.intent, state).await?;
    if wanted.is_nothing() {
        return Ok(unasked(plan));
    }
    let Some(file) = file else {
        let verdicts = vec![unsaved(&plan, &wanted)];
        return Ok(Signed {
            verdicts,
            ..unasked(plan)
        });
    };

    reads_same(&file.plan, &plan).map_err(|what| Error::Stale {
        reason: format!("{what} is not what a new one would"),
    })?;
    let (verdicts, by) = judge(session, &wanted, file, state).await?;
    let known = |note: &String| !file.plan.notes.contains(note);
    Ok(Signed {
        verdicts,
        by,
        plan: file.plan.clone(),
        notes: plan.notes.into_iter().filter(known).collect(),
    })
}

/// What is said of the approvals of a plan file as it is.
pub async fn of_file(
    session: &Session,
    file: &PlanFile,
    state: &State,
) -> Result<Vec<Verdict>, Error> {
    let wanted = of_environment(session, &file.plan.intent, state).await?;
    if wanted.is_nothing() || file.plan.is_empty() {
        return Ok(Vec::new());
    }
    Ok(judge(session, &wanted, file, state).await?.0)
}

/// What the environment wants of a plan that was made, in words; nothing where it wants none.
pub async fn wants(session: &Session, plan: &Plan) -> Result<Vec<String>, Error> {
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let state = session.state().await?;
    let wanted = of_environment(session, &plan.intent, &state).await?;
    let environment = &session.environment;
    let each = wanted.words().into_iter();
    Ok(each
        .map(|wants| format!("{environment} wants {wants}"))
        .collect())
}

async fn of_environment(
    session: &Session,
    intent: &Intent,
    state: &State,
) -> Result<Wanted, Error> {
    if !wants_approvals(intent) {
        return Ok(Wanted::default());
    }
    wanted(Place::of(session), state.live()).await
}

/// That nothing was signed that could be looked at.
fn unsaved(plan: &Plan, wanted: &Wanted) -> Verdict {
    let environment = &plan.environment;
    let words = match wanted.words() {
        words if words.is_empty() => "approvals".to_owned(),
        words => words.join(", and "),
    };
    let make = match &plan.intent {
        Intent::Apply => format!("plan --env {environment}"),
        Intent::PromoteFrom(_) => command(plan, None),
        _ => format!("{} --env {environment}", command(plan, None)),
    };
    let help = format!(
        "`shipit {make} --out p.json`, `shipit approve p.json`, `shipit {}`",
        command(plan, Some("p.json"))
    );
    let reason = format!("{environment} wants {words}, and this is no saved plan");
    let verdict = Verdict::refused(KEY, reason, help);
    match wanted.demands.first() {
        Some(demand) => at_home(verdict, demand),
        None => verdict,
    }
}

async fn judge(
    session: &Session,
    wanted: &Wanted,
    file: &PlanFile,
    state: &State,
) -> Result<(Vec<Verdict>, Vec<SignedBy>), Error> {
    let now = Timestamp::now();
    let of = file.statement(now);
    let (mut verdicts, mut all) = (Vec::new(), Vec::<SignedBy>::new());
    for demand in &wanted.demands {
        let authors = if demand.rule.not_author {
            authors(session, &file.plan, state).await?
        } else {
            Authors::NotAsked
        };
        let given = Given {
            approvals: &file.approvals,
            of: &of,
            authors: &authors,
            now,
        };
        let (verdict, by) = approved(&demand.rule, &demand.approvers, given);
        verdicts.push(at_home(verdict, demand));
        for by in by {
            if all.iter().all(|other| other.name != by.name) {
                all.push(by);
            }
        }
    }
    verdicts.extend(wanted.unread.iter().map(unread));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((verdicts, all))
}

/// A verdict with the place of its rule.
fn at_home(verdict: Verdict, demand: &Demand) -> Verdict {
    let verdict = match &demand.branch {
        Some(branch) => verdict.on(branch),
        None => verdict,
    };
    placed(verdict, &demand.places)
}

fn unread(unread: &Unread) -> Verdict {
    let Unread {
        branch,
        reason,
        help,
        ..
    } = unread;
    let reason = format!("nobody can tell which approvals {branch} wants: {reason}");
    Verdict::undecided(KEY, reason, help).on(branch)
}

/// Who wrote what a plan deploys, since the live release.
async fn authors(session: &Session, plan: &Plan, state: &State) -> Result<Authors, Error> {
    let unknown = |reason: String, help: &str| Authors::Unknown {
        reason,
        help: help.to_owned(),
    };
    let source = match (&plan.target, &plan.intent) {
        (Some(target), _) => &target.source,
        // What is only listened to, or applied beside a release, comes from this checkout, too.
        (None, Intent::Apply | Intent::PromoteFrom(_)) => &plan.source,
        (None, _) => return Ok(Authors::Known(BTreeSet::new())),
    };
    if source.dirty {
        let reason = "it has files that are in no commit".to_owned();
        return Ok(unknown(reason, "commit them, and make the plan anew"));
    }
    let Some(tip) = &source.commit else {
        let reason = "it was made outside of a checkout".to_owned();
        return Ok(unknown(reason, "make the plan in a checkout"));
    };

    let grounds = Grounds::of(session);
    let branch = source.branch.as_deref();
    let begin = match branch.and_then(|branch| rule_of(&grounds.rules, branch)) {
        Some(rule) => match grounds.begin(rule).await? {
            Ok(begin) => begin,
            Err(verdict) => {
                return Ok(unknown(verdict.reason, &verdict.help.unwrap_or_default()));
            }
        },
        None => None,
    };
    let live = state.live().and_then(|live| live.source.commit.clone());
    let without: Vec<String> = live.into_iter().chain(begin).collect();
    let whole = "fetch the whole history: `git fetch --unshallow`, or `--fetch`";
    for commit in without.iter().chain([tip]) {
        if session.scm.parents(commit).await.is_err() {
            let reason = format!("commit {} is not in this checkout", short(commit));
            return Ok(unknown(reason, whole));
        }
    }
    let authors = session.scm.authors(tip, &without, MOST).await?;
    Ok(authors.map_or_else(
        || unknown("the history here is cut off, or too long".to_owned(), whole),
        Authors::Known,
    ))
}
