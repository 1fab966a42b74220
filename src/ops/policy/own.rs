//! The rules of a project's own, held against a plan; and when live traffic may be touched.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::Places;
use crate::config::schema::PolicyConfig;
use crate::model::own_rule::{Ask, OwnRule, ProgramRule};
use crate::model::plan::{Intent, Plan};
use crate::model::state::State;
use crate::model::verdict::Verdict;
use crate::ops::actor::actor;
use crate::ops::policy::Grounds;
use crate::ops::policy::branch::{BranchRules, rules_on};
use crate::ops::{Error, Session};
use crate::policy;
use crate::port::checker::CheckTarget;

/// What the project's own rules say of a plan. A rollback and an abort are never held up.
pub async fn of_plan(session: &Session, plan: &Plan, state: &State) -> Result<Vec<Verdict>, Error> {
    if matches!(plan.intent, Intent::Rollback(_) | Intent::Abort) {
        return Ok(Vec::new());
    }
    let (rules, places, mut verdicts) = rules(session).await?;
    if rules.is_empty() {
        return Ok(verdicts);
    }
    let facts = facts(session, plan, state);
    for rule in rules {
        verdicts.push(match &rule.ask {
            Ask::Expression { .. } => by_expression(rule, facts.clone()).await,
            Ask::Program(program) => by_program(session, &rule, program, plan).await,
        });
    }
    Ok(placed(verdicts, &places))
}

/// The environment's own rules; in a change request those of the branch that it goes to, as far as
/// they can be read.
async fn rules(session: &Session) -> Result<(Vec<OwnRule>, Places, Vec<Verdict>), Error> {
    let of = |policy: &[PolicyConfig]| -> Vec<OwnRule> {
        let rules = policy.iter().enumerate();
        rules.map(|(index, rule)| rule.rule(index)).collect()
    };
    let environment = &session.environment;
    let own = || -> Result<_, Error> {
        let places = session.project.places_in.get(environment);
        let rules = of(&session.configuration()?.policy);
        Ok((rules, places.cloned().unwrap_or_default()))
    };
    let into = session
        .source
        .change
        .as_ref()
        .and_then(|change| change.into.as_ref());
    let Some(into) = into else {
        let (rules, places) = own()?;
        return Ok((rules, places, Vec::new()));
    };

    match rules_on(&session.scm, environment, into).await? {
        BranchRules::None => Ok((Vec::new(), Places::new(), Vec::new())),
        BranchRules::Found(rules) => Ok((of(&rules.policy), rules.places, Vec::new())),
        BranchRules::Unknown { reason, help, .. } => {
            let (rules, places) = own()?;
            let reason = format!(
                "the rules of {into} cannot be read, and are asked in this change's words alone: \
                 {reason}"
            );
            let unread = Verdict::undecided("policy", reason, help).on(into);
            Ok((rules, places, vec![unread]))
        }
    }
}

/// What expressions see.
fn facts(session: &Session, plan: &Plan, state: &State) -> Value {
    let live = state.live().map(|live| {
        json!({
            "release": live.number,
            "commit": live.source.commit,
            "branch": live.source.branch,
            "slot": live.slot,
            "since": live.live_since,
            "by": live.created_by,
        })
    });
    json!({
        "plan": plan,
        "source": session.source,
        "change": session.source.change,
        "environment": session.environment,
        "actor": actor(),
        "now": Timestamp::now().to_string(),
        "live": live,
    })
}

/// On a thread where it may take its time.
async fn by_expression(rule: OwnRule, facts: Value) -> Verdict {
    let (key, name) = (rule.key.clone(), rule.name.clone());
    let asked = tokio::task::spawn_blocking(move || policy::own::ask(&rule, &facts)).await;
    asked.ok().flatten().unwrap_or_else(|| {
        let reason = format!("{name}: cannot be asked");
        Verdict::refused(key, reason, "look at the rule")
    })
}

async fn by_program(
    session: &Session,
    rule: &OwnRule,
    program: &ProgramRule,
    plan: &Plan,
) -> Verdict {
    let input = serde_json::to_vec(plan).unwrap_or_default();
    let environment = (
        "SHIPIT_ENVIRONMENT".to_owned(),
        session.environment.to_string(),
    );
    let target = CheckTarget {
        urls: Vec::new(),
        root: session.root.clone(),
        env: BTreeMap::from([environment]),
    };
    let name = &rule.name;
    match session.ports.checker.ask(program, input, &target).await {
        Ok(()) => Verdict::passed(&rule.key, name),
        Err(failed) => {
            let help = if failed.detail.is_empty() {
                "it must be a program that can be started here, and end with 0".to_owned()
            } else {
                failed.detail.join("\n")
            };
            Verdict::refused(&rule.key, format!("{name}: {}", failed.reason), help)
        }
    }
}

/// What the windows and freezes of the environment say of a time.
pub fn at(session: &Session, now: Timestamp) -> Result<Vec<Verdict>, Error> {
    let configuration = session.configuration()?;
    let verdicts = policy::may_touch(&configuration.windows, &configuration.freezes, now);
    let places = session.project.places_in.get(&session.environment);
    Ok(placed(verdicts, &places.cloned().unwrap_or_default()))
}

/// What the tickets of the current branch say, since the live release.
pub(super) async fn tickets(
    session: &Session,
    grounds: &Grounds,
    released: Option<&str>,
) -> Result<Vec<Verdict>, Error> {
    let Some(ticket) = &session.configuration()?.ticket else {
        return Ok(Vec::new());
    };
    let source = &session.source;
    let begin = source.branch.as_deref();
    let begin = begin.and_then(|branch| policy::rule_of(&grounds.rules, branch));
    let begin = match begin {
        Some(rule) => grounds.begin(rule).await?.unwrap_or_default(),
        None => None,
    };
    let without = released
        .map(str::to_owned)
        .into_iter()
        .chain(begin)
        .collect::<Vec<_>>();
    let verdicts = grounds
        .tickets(
            ticket,
            source.branch.as_deref(),
            source.commit.as_deref(),
            &without,
        )
        .await?;
    let places = session.project.places_in.get(&session.environment);
    Ok(placed(verdicts, &places.cloned().unwrap_or_default()))
}

/// Verdicts with the places of their rules.
fn placed(verdicts: Vec<Verdict>, places: &Places) -> Vec<Verdict> {
    let each = verdicts.into_iter();
    each.map(|verdict| super::grounds::placed(verdict, places))
        .collect()
}
