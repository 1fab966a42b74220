//! Waiting for a slot, or for one service of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::driver::kubernetes::client::api::{ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::done::{self, is_job};
use crate::driver::kubernetes::engine::observe::{pods_of, sent};
use crate::driver::kubernetes::engine::ready::{Ready, may_wait, ready};
use crate::driver::kubernetes::engine::wait::trouble::{self, applied_at, makes_pods};
use crate::driver::kubernetes::engine::wait::{Need, UNSEEN, Watched, until};
use crate::driver::kubernetes::engine::{KubernetesEngine, diagnose, slots};
use crate::model::{Manifest, ObjectKey, Period, ServiceName, Slot};
use crate::port::Progress;
use crate::port::engine::{EngineError, NotReady, Scope};

/// How many objects of one wait are named in a message.
const NAMED: usize = 4;

/// How a wait for a slot ended.
enum WaitOutcome {
    Ready,
    Failed { reason: String },
}

/// Waits until a slot, or one service of it, is ready.
pub(in super::super) async fn slot(
    engine: &KubernetesEngine,
    scope: &Scope,
    slot: Slot,
    service: Option<&ServiceName>,
    within: Period,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let records = engine.records(api, scope);
    let failed = |fault: ApiError| fault.while_(format!("waiting for {slot}"));
    let not = |reason: String, log: Vec<String>| {
        Err(EngineError::NotReady {
            slot,
            not_ready: NotReady { reason, log },
        })
    };
    let read = engine.record(api, scope).await.map_err(failed)?;
    let Some(there) = read.record.slots.get(&slot) else {
        return not("it is empty".to_owned(), Vec::new());
    };
    let workloads = engine.workloads(api, scope, &read, slot).await;
    let mut workloads = workloads.map_err(failed)?;
    workloads.retain(|name, _| service.is_none_or(|service| service == name));
    if let Some((name, _)) = workloads.iter().find(|(_, placed)| !placed.running) {
        return not(format!("{name} is stopped"), Vec::new());
    }
    let set = records.set();
    let services: Vec<&ServiceName> = workloads.keys().collect();
    let manifests: Vec<Manifest> = workloads
        .values()
        .flat_map(|placed| sent(placed, slot, there.label.number, &set))
        .collect();
    let keys: Vec<ObjectKey> = manifests
        .iter()
        .filter(|manifest| {
            let done = read.record.done_at(&manifest.key(), manifest.body());
            done.is_none()
        })
        .map(Manifest::key)
        .filter(|key| may_wait(key.group(), &key.kind, &engine.settings.rules))
        .collect();
    let mut places = BTreeSet::new();
    for key in &keys {
        let kind = api
            .must((&key.api_version, &key.kind))
            .await
            .map_err(failed)?;
        places.insert((kind, key.namespace.clone()));
    }
    let namespace = Some(engine.settings.namespaces.slots[&slot].clone());
    places.insert((api.must(("v1", "Pod")).await.map_err(failed)?, namespace));
    let selector = Selector::Labels(slots::selector(scope, slot, service));
    let places = places.into_iter();
    let mut watched: Vec<Watched> = places
        .map(|(kind, namespace): (Kind, Option<String>)| Watched {
            kind,
            namespace,
            selector: selector.clone(),
            need: Need::Must,
        })
        .collect();
    if keys.iter().any(makes_pods) {
        let namespace = engine.settings.namespaces.slots[&slot].clone();
        watched.push(trouble::events(api, namespace).await.map_err(failed)?);
    }
    let mut told: BTreeMap<ObjectKey, String> = BTreeMap::new();
    let mut waits: Vec<String> = Vec::new();
    let check = |objects: &BTreeMap<ObjectKey, Value>| {
        let (verdict, open) = judge(engine, objects, &keys, &services, slot);
        for key in told.keys().filter(|key| !open.contains_key(*key)) {
            progress(&format!("{}: ready", key.short()));
        }
        for (key, line) in &open {
            if told.get(key) != Some(line) {
                progress(&format!("{}: {line}", key.short()));
            }
        }
        waits = open
            .iter()
            .map(|(key, line)| format!("{}: {line}", key.short()))
            .collect();
        told = open;
        verdict
    };
    let deadline = Instant::now() + within.get();
    match until(api, &watched, deadline, check)
        .await
        .map_err(failed)?
    {
        Some(WaitOutcome::Ready) => done::remember(engine, api, scope, &manifests).await,
        Some(WaitOutcome::Failed { reason }) => {
            let log = diagnose::last_lines(engine, api, scope, slot, service).await;
            not(reason, log)
        }
        None => {
            let mut reason = format!("not within {within}");
            if !waits.is_empty() {
                waits.truncate(NAMED);
                reason = format!("{reason}: {}", waits.join("; "));
            }
            let log = diagnose::last_lines(engine, api, scope, slot, service).await;
            not(reason, log)
        }
    }
}

/// What is still waited for, by object; and the verdict when there is one.
fn judge(
    engine: &KubernetesEngine,
    objects: &BTreeMap<ObjectKey, Value>,
    keys: &[ObjectKey],
    services: &[&ServiceName],
    slot: Slot,
) -> (Option<WaitOutcome>, BTreeMap<ObjectKey, String>) {
    let mut open = BTreeMap::new();
    for key in keys {
        let state = objects
            .get(key)
            .map(|object| ready(object, &engine.settings.rules));
        match state {
            Some(Ready::Yes) => {}
            Some(Ready::Failed(reason)) => {
                let reason = format!("{}: {reason}", key.short());
                return (Some(WaitOutcome::Failed { reason }), open);
            }
            Some(Ready::Not(reason)) => {
                open.insert(key.clone(), reason);
            }
            None if is_job(key) => {
                let reason = format!("{}: {UNSEEN}", key.short());
                return (Some(WaitOutcome::Failed { reason }), open);
            }
            None => {
                open.insert(key.clone(), "is not there yet".to_owned());
            }
        }
    }
    if open.is_empty() {
        return (Some(WaitOutcome::Ready), open);
    }
    if let Some(reason) = keys
        .iter()
        .find_map(|key| trouble::not_made(key, objects.get(key)?, objects))
    {
        return (Some(WaitOutcome::Failed { reason }), open);
    }

    // Pods of the release before may have their own trouble: it is why there is a new one.
    let since = objects.values().filter_map(applied_at).max();
    let pods: Vec<Value> = objects
        .values()
        .filter(|object| object["kind"] == "Pod")
        .cloned()
        .collect();
    let own = services
        .iter()
        .flat_map(|service| pods_of(&pods, slot, service));
    let own: Vec<&Value> = own.filter(|pod| trouble::is_since(pod, since)).collect();
    if let Some(reason) = trouble::of_pods(&own, Timestamp::now()) {
        return (Some(WaitOutcome::Failed { reason }), open);
    }
    trouble::explain(&mut open, &own);
    (None, open)
}
