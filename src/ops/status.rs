//! `status`: what runs where.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::facts::{Facts, Overview, WorkloadFacts};
use crate::model::outcome::Url;
use crate::model::{Role, ServiceName, Slot};
use crate::ops::{Error, Session, behind, certificates};
use crate::output::status::StatusView;

/// Looks at the environment.
pub async fn status(session: &Session) -> Result<StatusView, Error> {
    let (scope, engine) = (session.scope(), &session.ports.engine);
    let facts = engine.observe(&scope).await?;
    let state = session.state().await?;
    let holder = session.ports.store.holder(&session.environment).await?;
    let lock = holder.map(|holder| format!("locked by {} for `{}`", holder.actor, holder.command));
    let mut notes = Vec::new();
    let mut approvals = BTreeMap::new();
    for (slot, there) in &facts.slots {
        let release = state.release(there.label.number);
        if let Some(release) = release.filter(|release| !release.approvals.is_empty()) {
            approvals.insert(*slot, release.approvals.clone());
        }
        let number = there.label.number;
        if state.waits(number) {
            notes.push(format!(
                "release {number} waits in {slot}: `shipit promote {slot}` gives it live traffic"
            ));
        }
    }

    let journal = session
        .ports
        .store
        .last_journal(&session.environment)
        .await?;
    if lock.is_none() && journal.is_some_and(|journal| !journal.has_ended()) {
        notes.push(behind::CUT_OFF.to_owned());
    } else if lock.is_none() {
        notes.extend(behind::compared(session, &state, &Overview::from(&facts)).await?);
    }
    if lock.is_none() {
        notes.extend(stopped(&facts));
    }
    notes.extend(certificates::notes(&facts, Timestamp::now()));
    let schedules = engine.schedules(&scope, None).await?;
    let (live, preview, load_balancers) = tokio::join!(
        engine.urls(&scope, Role::Active),
        engine.urls(&scope, Role::Preview),
        engine.load_balancers(&scope)
    );
    Ok(StatusView {
        project: session.project.name.clone(),
        environment: session.environment.clone(),
        live: shown(live.unwrap_or_default()),
        preview: shown(preview.unwrap_or_default()),
        load_balancers: load_balancers.unwrap_or_default(),
        facts,
        approvals,
        schedules,
        lock,
        notes,
    })
}

/// What has live traffic and was left stopped by a run that came to no end.
fn stopped(facts: &Facts) -> Vec<String> {
    let live = facts.live().into_iter();
    let workloads = live.flat_map(|(slot, there)| there.workloads.iter().map(move |it| (slot, it)));
    let stopped = workloads.filter(|(_, (_, workload))| !workload.running);
    let note = |(slot, (name, _)): (Slot, (&ServiceName, &WorkloadFacts))| {
        format!(
            "{name} is stopped in {slot}, which has live traffic: `shipit apply` starts it, and so \
             does `shipit promote {slot}`"
        )
    };
    stopped.map(note).collect()
}

/// Without the certificates, which the facts have.
fn shown(urls: Vec<Url>) -> Vec<Url> {
    urls.into_iter().map(Url::without_trust).collect()
}
