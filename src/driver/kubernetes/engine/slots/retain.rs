//! A slot without traffic: retained for a rollback until its time has come, then scaled down.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Slots;
use crate::driver::kubernetes::engine::record::{Record, SlotRecord};
use crate::driver::kubernetes::engine::{KubernetesEngine, traffic};
use crate::model::Slot;
use crate::port::engine::{EngineError, Permit};

pub(in super::super) async fn retain(
    engine: &KubernetesEngine,
    permit: &Permit,
    slot: Slot,
    until: Timestamp,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    if traffic::current(engine, api, &read).await?.reaches(slot) {
        return Err(EngineError::Refused {
            reason: format!("{slot} has live traffic and cannot be stopped"),
            help: "switch traffic away first".to_owned(),
        });
    }

    let change = |record: &mut Record| {
        if let Some(there) = record.slots.get_mut(&slot) {
            there.stops_at = Some(until);
        }
    };
    engine.remember(api, permit, &mut read, change).await?;
    if until <= Timestamp::now() {
        stop(engine, permit, slot).await.map(drop)
    } else {
        Ok(())
    }
}

/// Stops every slot whose time has come.
pub(in super::super) async fn finish_due(
    engine: &KubernetesEngine,
    permit: &Permit,
) -> Result<Vec<String>, EngineError> {
    let api = engine.api().await?;
    let records = engine.records(api, &permit.scope);
    let read = records
        .read()
        .await
        .map_err(|fault| fault.while_(format!("reading the record of {}", permit.scope)))?;

    let slots: Vec<Slot> = read
        .record
        .slots
        .iter()
        .filter(|(_, slot)| is_due(slot))
        .map(|(slot, _)| *slot)
        .collect();

    let mut done = Vec::new();
    for slot in slots {
        done.extend(stop(engine, permit, slot).await?);
    }
    Ok(done)
}

fn is_due(slot: &SlotRecord) -> bool {
    slot.stops_at.is_some_and(|at| at <= Timestamp::now())
}

/// Scales a slot's workloads to none; their objects stay, for a rollback.
async fn stop(
    engine: &KubernetesEngine,
    permit: &Permit,
    slot: Slot,
) -> Result<Option<String>, EngineError> {
    let slots = Slots::open(engine, permit, slot).await?;
    let mut read = engine.enter(slots.api, permit).await?;
    if traffic::current(engine, slots.api, &read)
        .await?
        .reaches(slot)
    {
        return Ok(None);
    }
    let found = read.record.slots.get(&slot);
    let found = found.map(|found| (found.label.clone(), found.stops_at));
    let Some((label, until)) = found else {
        return Ok(None);
    };

    // It is due until all of it is done: a run that was killed in between has left some of it.
    let mut workloads = slots.workloads(&read).await?;
    if workloads.values().any(|placed| placed.running) {
        for placed in workloads.values_mut() {
            placed.running = false;
        }
        let nothing = (&BTreeSet::new(), &[][..]);
        slots
            .write_until(&mut read, &workloads, &label, nothing, until)
            .await?;
    }
    for placed in workloads.values() {
        slots.scale_down(placed, label.number).await?;
    }

    let done = |record: &mut Record| {
        if let Some(there) = record.slots.get_mut(&slot) {
            there.stops_at = None;
        }
    };
    engine.remember(slots.api, permit, &mut read, done).await?;
    Ok(Some(format!(
        "release {} in {slot} was kept long enough, and is scaled down",
        label.number
    )))
}
