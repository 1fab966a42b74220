//! Telling people and programs of runs: what is told (`notice`), what waits in the outbox and for
//! how long (`outbox`), in which words (`text`), and who carries it (`courier`).
//!
//! What is told is in the outbox before anybody is asked to take it, and the state's lock is held
//! while that is tried: so nothing is lost when a run is killed, and nothing is sent by two. Start
//! with [`Courier`].

mod courier;
mod notice;
mod office;
mod outbox;
mod text;
mod wiring;

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(super) use courier::{AFTER, Courier};

use crate::execute::Sink;
use crate::model::NotifyName;
use crate::model::notice::{DeliveryStatus, OutboxEntry};
use crate::ops::actor::actor;
use crate::ops::apply::unless_interrupted;
use crate::ops::notify::office::Office;
pub(super) use crate::ops::notify::outbox::Pace;
use crate::ops::{Error, Session, lock};
use crate::port::notifier::DeliveryError;

/// How long a command has that does nothing else.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a test.
#[derive(Debug, serde::Serialize)]
pub struct Tested {
    /// Who was told.
    pub name: NotifyName,
    /// Why it did not arrive; none when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Sends a test to one, or to all who are told of the environment. Nothing of it is kept.
pub async fn test(session: &Session, name: Option<&NotifyName>) -> Result<Vec<Tested>, Error> {
    let office = Office::of(session)?;
    let chosen: Vec<NotifyName> = match name {
        Some(name) if office.told.contains_key(name) => vec![name.clone()],
        Some(name) => return Err(nobody(session, Some(name))),
        None => office.told.keys().cloned().collect(),
    };
    if chosen.is_empty() {
        return Err(nobody(session, None));
    }

    let notice = notice::test(session, &actor());
    let tests = chosen.into_iter().map(async |name| {
        let sent = office.send(&name, &notice, None).await;
        tested(session, name, sent.err())
    });
    Ok(futures_util::future::join_all(tests).await)
}

fn tested(session: &Session, name: NotifyName, error: Option<DeliveryError>) -> Tested {
    let redactor = &session.ports.redactor;
    let (reason, help) = error.map(|error| (error.reason, error.help)).unzip();
    Tested {
        name,
        reason: reason.map(|reason| redactor.text(&reason)),
        help,
    }
}

fn nobody(session: &Session, name: Option<&NotifyName>) -> Error {
    let environment = &session.environment;
    let what = match name {
        Some(name) => format!("{environment} has no notification {name}"),
        None => format!("nobody is told of {environment}"),
    };
    Error::Usage {
        what,
        help: "write it under `notify` in shipit.yaml; `in` says for which environments".to_owned(),
    }
}

/// How far a notice has come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub title: String,
    /// Who is told.
    pub name: NotifyName,
    /// What came of it.
    pub status: DeliveryStatus,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Delivers what waits. Gives what is kept after it, oldest first.
pub async fn deliver(
    session: &Session,
    lock_wait: Duration,
    sink: Sink,
    interrupted: &CancellationToken,
) -> Result<Vec<Kept>, Error> {
    let actor = actor();
    let taking = lock::take_for_state(session, &actor, "notify", lock_wait);
    let lease = unless_interrupted(interrupted, taking).await?;
    let courier = Courier::begin(session, lease.as_ref(), &sink, interrupted, Pace::AtOnce);
    courier.finish(PATIENCE).await;
    let _ = lease.release().await;
    let entries = session.ports.store.notices(&session.environment).await?;
    Ok(entries.iter().flat_map(kept).collect())
}

fn kept(entry: &OutboxEntry) -> Vec<Kept> {
    let deliveries = entry.deliveries.iter();
    let kept = deliveries.map(|(name, delivery)| Kept {
        at: entry.notice.at,
        title: entry.notice.title(),
        name: name.clone(),
        status: delivery.status,
        reason: delivery.reason.clone(),
    });
    kept.collect()
}
