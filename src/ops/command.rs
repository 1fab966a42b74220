//! `exec` and `run`: a command in an instance of a release, or by itself in the release's image,
//! and what is kept of it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::model::command::{CommandPlace, CommandRecord};
use crate::model::facts::{Facts, SlotFacts};
use crate::model::secret::SecretValue;
use crate::model::workload::Workload;
use crate::model::{Period, ServiceName, Slot};
use crate::ops::actor::actor;
use crate::ops::{Error, Session};
use crate::policy;
use crate::port::engine::{CommandRequest, RunningCommand, WindowSize, Withheld, without_secrets};

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// In which slot; in the one with live traffic without it.
    pub slot: Option<Slot>,
    /// Of which service; of the only one without it.
    pub service: Option<ServiceName>,
    /// Where it runs.
    pub place: CommandPlace,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The terminal that it has.
    pub terminal: Option<WindowSize>,
    /// Whether it reads anything.
    pub reads: bool,
    /// How long it may take.
    pub within: Period,
}

/// Starts a command; gives its streams, and what is kept of it. That somebody did is kept first.
pub async fn start(
    session: &Session,
    asked: Asked,
) -> Result<(RunningCommand, CommandRecord), Error> {
    policy::is_no_change(session.source.change.as_ref())?;
    let engine = &session.ports.engine;
    let facts = engine.observe(&session.scope()).await?;
    let (slot, there) = standing(&facts, asked.slot)?;
    let service = service(there, slot, asked.service)?;

    let secrets = match asked.place {
        CommandPlace::Instance => BTreeMap::new(),
        CommandPlace::OneOff => secrets(session, &there.workloads[&service].spec).await,
    };

    let actor = actor();
    let record = CommandRecord {
        id: actor.run.clone(),
        at: Timestamp::now(),
        actor,
        place: asked.place.into(),
        slot: Some(slot),
        service: Some(service.clone()),
        command: asked.command.clone(),
        exit: None,
    };
    let store = &session.ports.store;
    store.keep_command(&session.environment, &record).await?;

    let request = CommandRequest {
        slot,
        service,
        place: asked.place,
        command: asked.command,
        terminal: asked.terminal,
        reads: asked.reads,
        within: asked.within,
        secrets,
    };
    let holding = Withheld::of(request.terminal.as_ref());
    let running = engine.command(&session.scope(), request).await?;
    let output = without_secrets(running.output, &session.ports.redactor, holding);
    Ok((RunningCommand { output, ..running }, record))
}

/// The values of a workload's secrets. What cannot be read here may be held by the engine, which
/// says so if it is not.
pub(super) async fn secrets(
    session: &Session,
    workload: &Workload,
) -> BTreeMap<String, SecretValue> {
    let asked = workload
        .secrets()
        .into_iter()
        .map(|(name, from)| async move {
            let read = session.ports.secrets.read(name, from).await.ok()?;
            Some((name.to_owned(), read.value))
        });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Keeps how it ended.
pub async fn ended(session: &Session, record: CommandRecord, exit: u8) -> Result<(), Error> {
    let record = CommandRecord {
        exit: Some(exit),
        ..record
    };
    let store = &session.ports.store;
    Ok(store.keep_command(&session.environment, &record).await?)
}

/// The slot that is meant, the live one without a name, and what stands in it.
pub(super) fn standing(facts: &Facts, named: Option<Slot>) -> Result<(Slot, &SlotFacts), Error> {
    let slot = named.or(facts.traffic.slot()).ok_or_else(|| Error::Usage {
        what: "nothing is live".to_owned(),
        help: "name a slot with --slot; `shipit status` shows what is in each".to_owned(),
    })?;
    let there = facts.slots.get(&slot).ok_or_else(|| Error::Usage {
        what: format!("{slot} is empty"),
        help: "`shipit status` shows what is in each slot".to_owned(),
    })?;
    Ok((slot, there))
}

/// The service that is meant.
pub(super) fn service(
    there: &SlotFacts,
    slot: Slot,
    named: Option<ServiceName>,
) -> Result<ServiceName, Error> {
    let services: Vec<&ServiceName> = there.workloads.keys().collect();
    let list = || {
        let services: Vec<&str> = services.iter().map(|service| service.as_str()).collect();
        format!("the services in {slot} are: {}", services.join(", "))
    };
    match (named, services.as_slice()) {
        (Some(named), _) if there.workloads.contains_key(&named) => Ok(named),
        (Some(named), _) => Err(Error::Usage {
            what: format!("{named} is not in {slot}"),
            help: list(),
        }),
        (None, [only]) => Ok((*only).clone()),
        (None, _) => Err(Error::Usage {
            what: "there is more than one service".to_owned(),
            help: format!("name one; {}", list()),
        }),
    }
}
