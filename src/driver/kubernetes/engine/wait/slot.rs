//! Waiting for a slot, or for one service of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::done::{self, is_job};
use crate::driver::kubernetes::engine::observe::{pods_of, sent};
use crate::driver::kubernetes::engine::ready::{Ready, may_wait, ready};
use crate::driver::kubernetes::engine::record::Read;
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

/// Waits until all of a slot is ready that is meant to run.
pub(in super::super) async fn whole_slot(
    engine: &KubernetesEngine,
    scope: &Scope,
    slot: Slot,
    within: Period,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let wait = SlotWait {
        engine,
        scope,
        slot,
        service: None,
        within,
        progress,
    };
    wait.run().await
}

/// Waits until a slot, or one service of it, is ready.
pub(in super::super) struct SlotWait<'a> {
    pub engine: &'a KubernetesEngine,
    pub scope: &'a Scope,
    pub slot: Slot,
    pub service: Option<&'a ServiceName>,
    pub within: Period,
    pub progress: Progress<'a>,
}

impl SlotWait<'_> {
    pub async fn run(&self) -> Result<(), EngineError> {
        let (engine, scope, slot) = (self.engine, self.scope, self.slot);
        let api = engine.api().await?;
        let failed = |fault: ApiError| fault.while_(format!("waiting for {slot}"));
        let read = engine.record(api, scope).await.map_err(failed)?;
        let Some(recorded) = read.record.slots.get(&slot) else {
            return Err(self.not_ready("it is empty".to_owned(), Vec::new()));
        };
        let workloads = engine.workloads(api, scope, &read, slot).await;
        let mut workloads = workloads.map_err(failed)?;
        workloads.retain(|name, _| self.service.is_none_or(|service| service == name));
        // What stands stopped in its slot is started before the slot gets traffic.
        workloads.retain(|_, placed| placed.running);

        let (set, traffic) = (engine.records(api, scope).set(), read.record.traffic);
        let services: Vec<&ServiceName> = workloads.keys().collect();
        let manifests: Vec<Manifest> = workloads
            .values()
            .flat_map(|placed| sent(placed, slot, (recorded.label.number, traffic), &set))
            .collect();
        let keys = self.awaited(&read, &manifests);
        let watched = self.watched(api, &keys).await.map_err(failed)?;

        let mut report = Report::default();
        let check = |objects: &BTreeMap<ObjectKey, Value>| {
            let (verdict, open) = judge(engine, objects, &keys, &services, slot);
            // A wait that has failed says nothing of what it has not looked at.
            if !matches!(verdict, Some(WaitOutcome::Failed { .. })) {
                report.tell(open, self.progress);
            }
            verdict
        };
        let deadline = Instant::now() + self.within.get();
        let outcome = until(api, &watched, deadline, check).await;
        let reason = match outcome.map_err(failed)? {
            Some(WaitOutcome::Ready) => {
                return done::remember(engine, api, scope, &manifests).await;
            }
            Some(WaitOutcome::Failed { reason }) => reason,
            None => report.late(self.within),
        };
        let log = diagnose::last_lines(engine, api, scope, slot, self.service).await;
        Err(self.not_ready(reason, log))
    }

    fn not_ready(&self, reason: String, log: Vec<String>) -> EngineError {
        EngineError::NotReady {
            slot: self.slot,
            not_ready: NotReady { reason, log },
        }
    }

    /// The objects that can be waited for, and were not done before.
    fn awaited(&self, read: &Read, manifests: &[Manifest]) -> Vec<ObjectKey> {
        manifests
            .iter()
            .filter(|manifest| {
                let done = read.record.done_at(&manifest.key(), manifest.body());
                done.is_none()
            })
            .map(Manifest::key)
            .filter(|key| may_wait(key.group(), &key.kind, &self.engine.settings.rules))
            .collect()
    }

    /// The kinds of these objects and the slot's pods, each in its place.
    async fn watched(&self, api: &Api, keys: &[ObjectKey]) -> Result<Vec<Watched>, ApiError> {
        let namespace = &self.engine.settings.namespaces.slots[&self.slot];
        let mut places: BTreeSet<(Kind, Option<String>)> = BTreeSet::new();
        for key in keys {
            let kind = api.must((&key.api_version, &key.kind)).await?;
            places.insert((kind, key.namespace.clone()));
        }
        places.insert((api.must(("v1", "Pod")).await?, Some(namespace.clone())));

        let selector = Selector::Labels(slots::selector(self.scope, self.slot, self.service));
        let mut watched: Vec<Watched> = places
            .into_iter()
            .map(|(kind, namespace)| Watched {
                kind,
                namespace,
                selector: selector.clone(),
                need: Need::Must,
            })
            .collect();
        if keys.iter().any(makes_pods) {
            watched.push(trouble::events(api, namespace.clone()).await?);
        }
        Ok(watched)
    }
}

/// What was reported last of the objects that are waited for.
#[derive(Default)]
struct Report {
    open: BTreeMap<ObjectKey, String>,
}

impl Report {
    /// Reports what has changed since.
    fn tell(&mut self, open: BTreeMap<ObjectKey, String>, progress: Progress<'_>) {
        for key in self.open.keys().filter(|key| !open.contains_key(*key)) {
            progress(&format!("{}: ready", key.short()));
        }
        for (key, line) in &open {
            if self.open.get(key) != Some(line) {
                progress(&format!("{}: {line}", key.short()));
            }
        }
        self.open = open;
    }

    /// What was still waited for when the time was over.
    fn late(&self, within: Period) -> String {
        let waits: Vec<String> = self
            .open
            .iter()
            .take(NAMED)
            .map(|(key, line)| format!("{}: {line}", key.short()))
            .collect();
        if waits.is_empty() {
            return format!("not within {within}");
        }
        format!("not within {within}: {}", waits.join("; "))
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
