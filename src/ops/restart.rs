//! `restart`: new instances of what stands there, one service after the other.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::model::command::{CommandRecord, RecordedPlace};
use crate::model::facts::Facts;
use crate::model::plan::DeployMode;
use crate::model::release::Actor;
use crate::model::{ReleaseNumber, ServiceName, Slot};
use crate::ops::actor::actor;
use crate::ops::apply::{permit, unless_interrupted};
use crate::ops::command::{secrets, service, standing};
use crate::ops::plan::known_state;
use crate::ops::{Error, Session, lock};
use crate::policy;
use crate::port::engine::{Permit, Restart};
use crate::port::store::Lease;

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// In which slot; in the one with live traffic without it.
    pub slot: Option<Slot>,
    /// Which service; all of the slot without it.
    pub service: Option<ServiceName>,
}

/// What is restarted.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Restarted {
    /// In which slot.
    pub slot: Slot,
    /// Whether the slot has live traffic.
    pub live: bool,
    /// Of which release.
    pub release: ReleaseNumber,
    /// The services, in the order in which they are restarted.
    pub services: Vec<ServiceName>,
}

/// How it is done.
pub struct Options<'a> {
    /// How long to wait for a lock that somebody else holds.
    pub lock_wait: Duration,
    /// Says whether it is to be done.
    pub approve: &'a (dyn Fn(&Restarted) -> Result<(), Error> + Send + Sync),
    /// Where it is said how far it is.
    pub progress: &'a (dyn Fn(&str) + Send + Sync),
    /// Called off when a person asks to stop: after the service that is under way.
    pub interrupted: CancellationToken,
    /// Called off when a person asks twice: the engine ends what it has begun.
    pub killed: CancellationToken,
}

/// Takes the lock, and restarts.
pub async fn restart(
    session: &Session,
    asked: Asked,
    options: Options<'_>,
) -> Result<Restarted, Error> {
    policy::is_no_change(session.source.change.as_ref())?;
    let actor = actor();
    let words = match &asked.service {
        Some(service) => format!("restart {service}"),
        None => "restart".to_owned(),
    };
    let taking = lock::take(session, &actor, &words, options.lock_wait);
    let lease = unless_interrupted(&options.interrupted, taking).await?;
    let result = locked(session, asked, &options, &actor, lease.as_ref()).await;
    // The result counts; a lock that cannot be given back is taken over from a dead holder.
    let _ = lease.release().await;
    result
}

async fn locked(
    session: &Session,
    asked: Asked,
    options: &Options<'_>,
    actor: &Actor,
    lease: &dyn Lease,
) -> Result<Restarted, Error> {
    let engine = &session.ports.engine;
    let looking = async {
        let state = known_state(session, actor).await?;
        let facts = engine.observe(&session.scope()).await?;
        Ok((state, facts))
    };
    let (state, facts) = unless_interrupted(&options.interrupted, looking).await?;
    let restarted = chosen(&facts, asked)?;
    (options.approve)(&restarted)?;
    if options.interrupted.is_cancelled() {
        return Err(Error::Interrupted);
    }

    let lineage = state.lineage.unwrap_or_default();
    let permit = permit(session, actor, lineage, lease);
    for service in &restarted.services {
        let workload = &facts.slots[&restarted.slot].workloads[service].spec;
        let request = Restart {
            slot: restarted.slot,
            service: service.clone(),
            mode: workload.mode(mode(session)?),
            secrets: secrets(session, workload).await,
        };
        one(session, &permit, request, options).await?;
        if options.interrupted.is_cancelled() {
            return Err(Error::Interrupted);
        }
    }
    Ok(restarted)
}

/// How services are restarted that say nothing of themselves: what has an unshared volume is never
/// there twice.
fn mode(session: &Session) -> Result<DeployMode, Error> {
    Ok(if session.configuration()?.strategy.has_a_gap() {
        DeployMode::Recreate
    } else {
        DeployMode::Rolling
    })
}

/// What is meant, of what is there.
fn chosen(facts: &Facts, asked: Asked) -> Result<Restarted, Error> {
    let (slot, there) = standing(facts, asked.slot)?;
    let services = match asked.service {
        Some(named) => vec![service(there, slot, Some(named))?],
        None => there.workloads.keys().cloned().collect(),
    };
    Ok(Restarted {
        slot,
        live: facts.traffic.reaches(slot),
        release: there.label.number,
        services,
    })
}

/// Restarts one service. That somebody did is kept first, and how it ended after it.
async fn one(
    session: &Session,
    permit: &Permit,
    request: Restart,
    options: &Options<'_>,
) -> Result<(), Error> {
    let record = CommandRecord {
        id: format!("{}-{}", permit.actor.run, request.service),
        at: Timestamp::now(),
        actor: permit.actor.clone(),
        place: RecordedPlace::Restart,
        slot: Some(request.slot),
        service: Some(request.service.clone()),
        command: Vec::new(),
        exit: None,
    };
    let (store, environment) = (&session.ports.store, &session.environment);
    store.keep_command(environment, &record).await?;

    let work = session
        .ports
        .engine
        .restart(permit, request, options.progress);
    let ended = tokio::select! {
        biased;
        () = options.killed.cancelled() => return Err(Error::Interrupted),
        ended = work => ended,
    };
    let record = CommandRecord {
        exit: Some(u8::from(ended.is_err())),
        ..record
    };
    store.keep_command(environment, &record).await?;
    Ok(ended?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_restarted() {
        let asked = |slot| Asked {
            slot,
            service: None,
        };
        let error = chosen(&Facts::default(), asked(None)).expect_err("nothing is there");
        assert_eq!(error.to_string(), "nothing is live");
        let error = chosen(&Facts::default(), asked(Some(Slot::Blue))).expect_err("it is empty");
        assert_eq!(error.to_string(), "blue is empty");
    }
}
