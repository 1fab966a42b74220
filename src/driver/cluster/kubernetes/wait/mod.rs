//! Waiting: a LIST and then a watch for each kind, and a look at everything whenever something moved. Nothing is
//! polled, and what will not get better by itself ends the wait at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::driver::cluster::kubernetes::api::{Api, Fault, Kind, Selector};
use crate::driver::cluster::kubernetes::done::{self, is_job};
use crate::driver::cluster::kubernetes::list::key_of;
use crate::driver::cluster::kubernetes::look::{pods_of, sent};
use crate::driver::cluster::kubernetes::ready::{Ready, may_wait, ready, trouble};
use crate::driver::cluster::kubernetes::{KubernetesEngine, diagnose, slots};
use crate::model::{Manifest, ObjectKey, Period, ServiceName, Slot};
use crate::port::Progress;
use crate::port::engine::{EngineError, NotReady, Scope};

/// Why a Job is not waited for any longer that was made and is not there.
const UNSEEN: &str = "it is not there any more, and nobody saw it done: it was deleted, or its \
                      `ttlSecondsAfterFinished` is too short (60 is enough)";
/// How many objects of one wait are named in a message.
const NAMED: usize = 4;

/// What a watch says.
enum Said {
    /// All objects of one kind in one place, as they are now.
    All { place: usize, objects: Vec<Value> },
    /// One object as it is now.
    Is(Value),
    /// One object went away.
    Gone(Value),
    /// It cannot be watched.
    Failed(Fault),
}

/// Waits until `check` has something to say about the objects of some kinds, or until the deadline.
pub(super) async fn until<T>(
    api: &Arc<Api>,
    places: &[(Kind, Option<String>)],
    selector: &Selector,
    deadline: Instant,
    mut check: impl FnMut(&BTreeMap<ObjectKey, Value>) -> Option<T>,
) -> Result<Option<T>, Fault> {
    let (say, mut heard) = mpsc::channel(256);
    // Dropped with this function: no watch outlives its wait.
    let mut watches = JoinSet::new();
    for (place, (kind, namespace)) in places.iter().enumerate() {
        let watch = follow(
            Arc::clone(api),
            place,
            kind.clone(),
            namespace.clone(),
            selector.clone(),
            say.clone(),
        );
        watches.spawn(watch);
    }
    drop(say);
    let mut objects: BTreeMap<ObjectKey, Value> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    let timer = tokio::time::sleep_until(deadline);
    tokio::pin!(timer);
    loop {
        let said = tokio::select! {
            said = heard.recv() => said,
            () = &mut timer => return Ok(None),
        };
        match said {
            None => return Ok(None),
            Some(Said::Failed(fault)) => return Err(fault),
            Some(Said::All {
                place,
                objects: all,
            }) => {
                let (kind, namespace) = &places[place];
                objects.retain(|key, _| !kind.is_of(key) || key.namespace != *namespace);
                objects.extend(
                    all.into_iter()
                        .filter_map(|object| Some((key_of(&object)?, object))),
                );
                listed.insert(place);
            }
            Some(Said::Is(object)) => {
                if let Some(key) = key_of(&object) {
                    objects.insert(key, object);
                }
            }
            Some(Said::Gone(object)) => {
                if let Some(key) = key_of(&object) {
                    // That a Job was done stays true when it goes.
                    if is_job(&key) && ready(&object, &BTreeMap::new()) == Ready::Yes {
                        objects.insert(key, object);
                    } else {
                        objects.remove(&key);
                    }
                }
            }
        }
        if listed.len() == places.len()
            && heard.is_empty()
            && let Some(found) = check(&objects)
        {
            return Ok(Some(found));
        }
    }
}

/// One kind in one place: listed, then watched; listed again when the watch breaks off.
async fn follow(
    api: Arc<Api>,
    place: usize,
    kind: Kind,
    namespace: Option<String>,
    selector: Selector,
    say: mpsc::Sender<Said>,
) {
    loop {
        let mut all = Vec::new();
        let listed = api
            .list(&kind, namespace.as_deref(), &selector, |object| {
                all.push(object);
            })
            .await;
        let mut since = match listed {
            Ok(version) => version,
            Err(fault) => {
                let _ = say.send(Said::Failed(fault)).await;
                return;
            }
        };
        if say
            .send(Said::All {
                place,
                objects: all,
            })
            .await
            .is_err()
        {
            return;
        }
        // A watch that ends in peace goes on where it was.
        while watch(
            &api,
            &kind,
            namespace.as_deref(),
            &selector,
            &mut since,
            &say,
        )
        .await
        {}
        if say.is_closed() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Hands on what happens; true when it can go on from `since`.
async fn watch(
    api: &Api,
    kind: &Kind,
    namespace: Option<&str>,
    selector: &Selector,
    since: &mut String,
    say: &mpsc::Sender<Said>,
) -> bool {
    let Ok(events) = api.watch(kind, namespace, selector, since).await else {
        return false;
    };
    tokio::pin!(events);
    while let Some(event) = events.next().await {
        let said = match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                Said::Is(named(kind, object))
            }
            Ok(WatchEvent::Deleted(object)) => Said::Gone(named(kind, object)),
            Ok(WatchEvent::Bookmark(_)) => continue,
            Ok(WatchEvent::Error(_)) | Err(_) => return false,
        };
        if let Said::Is(object) | Said::Gone(object) = &said
            && let Some(version) = object["metadata"]["resourceVersion"].as_str()
        {
            version.clone_into(since);
        }
        if say.send(said).await.is_err() {
            return false;
        }
    }
    true
}

fn named(kind: &Kind, mut object: Value) -> Value {
    object["apiVersion"] = kind.api_version.clone().into();
    object["kind"] = kind.kind.clone().into();
    object
}

/// How a wait for a slot ended.
enum Verdict {
    Ready,
    Failed { reason: String },
}

/// Waits until a slot, or one service of it, is ready.
pub(super) async fn slot(
    engine: &KubernetesEngine,
    scope: &Scope,
    slot: Slot,
    service: Option<&ServiceName>,
    within: Period,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let records = engine.records(api, scope);
    let failed = |fault: Fault| fault.while_(format!("waiting for {slot}"));
    let not = |reason: String, log: Vec<String>| {
        Err(EngineError::NotReady {
            slot,
            not_ready: NotReady { reason, log },
        })
    };
    let read = records.read().await.map_err(failed)?;
    let Some(there) = read.record.slots.get(&slot) else {
        return not("it is empty".to_owned(), Vec::new());
    };
    let mut workloads = records.workloads(slot, there).await.map_err(failed)?;
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
    let places: Vec<(Kind, Option<String>)> = places.into_iter().collect();
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
    let selector = Selector::Labels(slots::selector(scope, slot, service));
    match until(api, &places, &selector, deadline, check)
        .await
        .map_err(failed)?
    {
        Some(Verdict::Ready) => done::remember(engine, api, scope, &manifests).await,
        Some(Verdict::Failed { reason }) => {
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
) -> (Option<Verdict>, BTreeMap<ObjectKey, String>) {
    let mut open = BTreeMap::new();
    for key in keys {
        let state = objects
            .get(key)
            .map(|object| ready(object, &engine.settings.rules));
        match state {
            Some(Ready::Yes) => {}
            Some(Ready::Failed(reason)) => {
                let reason = format!("{}: {reason}", key.short());
                return (Some(Verdict::Failed { reason }), open);
            }
            Some(Ready::Not(reason)) => {
                open.insert(key.clone(), reason);
            }
            None if is_job(key) => {
                let reason = format!("{}: {UNSEEN}", key.short());
                return (Some(Verdict::Failed { reason }), open);
            }
            None => {
                open.insert(key.clone(), "is not there yet".to_owned());
            }
        }
    }
    if open.is_empty() {
        return (Some(Verdict::Ready), open);
    }
    // Pods of the release before may have their own trouble: it is why there is a new one.
    let since = objects.values().filter_map(applied_at).max();
    let pods: Vec<Value> = objects
        .values()
        .filter(|object| object["kind"] == "Pod")
        .cloned()
        .collect();
    for service in services {
        for pod in pods_of(&pods, slot, service) {
            let made: Option<Timestamp> = pod["metadata"]["creationTimestamp"]
                .as_str()
                .and_then(|time| time.parse().ok());
            if made.is_some_and(|made| since.is_none_or(|since| made >= since))
                && let Some(reason) = trouble(pod, Timestamp::now())
            {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let reason = format!("{name}: {reason}");
                return (Some(Verdict::Failed { reason }), open);
            }
        }
    }
    (None, open)
}

/// When what makes pods was applied, by the server's clock.
fn applied_at(object: &Value) -> Option<Timestamp> {
    if object["kind"] == "Pod" {
        return None;
    }
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let own = entries
        .iter()
        .filter(|entry| entry["manager"] == super::api::MANAGER && entry["operation"] == "Apply");
    own.filter_map(|entry| entry["time"].as_str()?.parse().ok())
        .max()
}

/// Waits until one object is ready.
pub(super) async fn object(
    engine: &KubernetesEngine,
    key: &ObjectKey,
    within: Duration,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let failed = |fault: Fault| fault.while_(format!("waiting for {}", key.short()));
    let kind = api
        .must((&key.api_version, &key.kind))
        .await
        .map_err(failed)?;
    let mut last = String::new();
    let check = |objects: &BTreeMap<ObjectKey, Value>| {
        let state = match objects.get(key) {
            Some(object) => ready(object, &engine.settings.rules),
            None if is_job(key) => Ready::Failed(UNSEEN.to_owned()),
            None => Ready::Not("is not there yet".to_owned()),
        };
        match state {
            Ready::Yes => Some(Ok(())),
            Ready::Failed(reason) => Some(Err(reason)),
            Ready::Not(reason) => {
                if last != reason {
                    progress(&format!("{}: {reason}", key.short()));
                    last = reason;
                }
                None
            }
        }
    };
    let places = [(kind, key.namespace.clone())];
    let selector = Selector::Name(key.name.clone());
    let ended = until(api, &places, &selector, Instant::now() + within, check)
        .await
        .map_err(failed)?;
    let what = format!("waiting for {}", key.short());
    match ended {
        Some(Ok(())) => Ok(()),
        Some(Err(reason)) => Err(EngineError::Failed { what, reason }),
        None => Err(EngineError::Failed {
            what,
            reason: format!("not ready within {within:?}: {last}"),
        }),
    }
}
