//! What can be known about a slot that did not become ready, gathered before anything is reverted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::logs::{self, Part};
use crate::driver::kubernetes::engine::ready::{Ready, is_ready, ready, trouble};
use crate::driver::kubernetes::engine::{KubernetesEngine, observe, slots, wait};
use crate::model::facts::SlotFacts;
use crate::model::object::mark;
use crate::model::{ObjectKey, ReleaseNumber, ServiceName, Slot};
use crate::port::engine::{Diagnosis, EngineError, Scope};

/// How many lines of each log are kept, and shown.
const KEPT: usize = 500;
const SHOWN: usize = 15;
/// Of how many pods.
const PODS: usize = 20;
/// How many warnings are looked at for one that is about what is there.
const WARNINGS: usize = 50;

/// The last lines of the pods that are not ready, for the terminal.
pub(super) async fn last_lines(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    slot: Slot,
    service: Option<&ServiceName>,
) -> Vec<String> {
    let Ok(pods) = slots::pods(engine, api, scope, slot).await else {
        return Vec::new();
    };

    let failing = pods.iter().filter(|pod| {
        let is_own = service
            .is_none_or(|service| pod["metadata"]["labels"][mark::SERVICE] == service.as_str());
        is_own && pod["metadata"].get("deletionTimestamp").is_none() && !is_ready(pod)
    });
    let Some(pod) = failing.max_by_key(|pod| trouble(pod, Timestamp::now()).is_some()) else {
        return Vec::new();
    };
    let logs = of_pod(api, pod, SHOWN).await;
    logs.into_values()
        .next_back()
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Current and previous logs of every container, by file name. What a container wrote before it
/// ended says more than what its successor has written so far, and sorts last.
async fn of_pod(api: &Api, pod: &Value, tail: usize) -> BTreeMap<String, String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let containers = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str());
    let wanted: Vec<(String, bool)> = containers
        .flat_map(|container| [(container.to_owned(), false), (container.to_owned(), true)])
        .collect();

    let read = wanted.iter().map(|(container, previous)| async move {
        let path = logs::path(
            pod,
            container,
            Part {
                tail: Some(tail),
                previous: *previous,
                ..Part::default()
            },
        );
        let lines: Vec<String> = match api.lines(&path).await {
            Ok(lines) => {
                lines
                    .take(tail)
                    .filter_map(|line| async { line.ok() })
                    .collect()
                    .await
            }
            // It has not been started before, or not yet.
            Err(fault) if matches!(fault.code(), 400 | 404) => return None,
            Err(fault) => vec![format!("(the log cannot be read: {fault})")],
        };

        let which = if *previous { "previous" } else { "current" };
        (!lines.is_empty()).then(|| {
            (
                format!("logs/{name}.{container}.{which}.log"),
                lines.join("\n") + "\n",
            )
        })
    });
    join_all(read).await.into_iter().flatten().collect()
}

pub(super) async fn diagnose(
    engine: &KubernetesEngine,
    scope: &Scope,
    slot: Slot,
    release: Option<ReleaseNumber>,
) -> Result<Diagnosis, EngineError> {
    let api = engine.api().await?;
    let (facts, _) = observe::observe(engine, scope, None).await?;
    let pods = slots::pods(engine, api, scope, slot).await;
    let pods =
        pods.map_err(|fault| fault.while_(format!("gathering what is known about {slot}")))?;
    let namespace = &engine.settings.namespaces.slots[&slot];
    let events = events(api, namespace, &pods, slot).await;
    let events = events.unwrap_or_default();

    let failing = failing(&pods);
    let facts = facts.slots.get(&slot);
    let mut files = of_failing(api, &failing, &events).await;
    files.extend(workloads(api, facts, slot).await);

    let cause = match of_pods(&failing) {
        Some(reason) => Some(reason),
        None => last_warning(api, &events).await,
    };
    let cause = cause
        .or_else(|| of_workloads(facts?))
        .unwrap_or_else(|| "unknown".to_owned());
    let number = release.map_or_else(
        || slot.to_string(),
        |number| format!("release {number} in {slot}"),
    );
    files.insert("summary.txt".to_owned(), format!("{number}: {cause}\n"));
    Ok(Diagnosis { cause, files })
}

/// The pods that are looked into.
fn failing(pods: &[Value]) -> Vec<&Value> {
    pods.iter()
        .filter(|pod| !is_ready(pod))
        .take(PODS)
        .collect()
}

/// The logs and the objects of pods that fail, and what happened around them.
async fn of_failing(api: &Api, failing: &[&Value], events: &[Value]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for logs in join_all(failing.iter().map(|pod| of_pod(api, pod, KEPT))).await {
        files.extend(logs);
    }
    files.insert("events.txt".to_owned(), timeline(events));
    for pod in failing {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        files.insert(format!("objects/Pod-{name}.yaml"), yaml(pod));
    }
    files
}

/// The objects of a slot that make its pods.
async fn workloads(api: &Api, facts: Option<&SlotFacts>, slot: Slot) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (service, workload) in facts.into_iter().flat_map(|facts| &facts.workloads) {
        let objects = workload.spec.objects(slot).iter();
        for manifest in objects.filter(|one| one.scales()) {
            if let Ok(Some(live)) = api.get(&manifest.key()).await {
                let file = format!("objects/{}-{service}.yaml", manifest.kind());
                files.insert(file, yaml(&live));
            }
        }
    }
    files
}

/// The first trouble of a pod, with its name.
fn of_pods(failing: &[&Value]) -> Option<String> {
    failing.iter().find_map(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        trouble(pod, Timestamp::now()).map(|reason| format!("{name}: {reason}"))
    })
}

/// Why the worst of a slot's workloads is not ready.
fn of_workloads(facts: &SlotFacts) -> Option<String> {
    let verdicts = facts.workloads.values();
    let verdicts = verdicts.filter_map(|one| one.verdict.as_ref());
    let worst = verdicts.max_by_key(|one| one.health);
    worst.map(|one| one.reason.clone())
}

/// The last warning about something that is there. What an object of the same name went through,
/// which was deleted, explains nothing.
async fn last_warning(api: &Api, events: &[Value]) -> Option<String> {
    let newest = events.iter().rev();
    let warnings = newest.filter(|event| event["type"] == "Warning");
    let warnings: Vec<&Value> = warnings.take(WARNINGS).collect();
    let uid = |event: &Value| {
        event["involvedObject"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let about: BTreeMap<String, &Value> = warnings
        .iter()
        .map(|event| (uid(event), &event["involvedObject"]))
        .collect();
    let asked = about.into_iter().map(async |(uid, about)| {
        let there = uid_there(api, about).await;
        (uid, there)
    });
    let there: BTreeMap<String, Option<String>> = join_all(asked).await.into_iter().collect();

    // What cannot be looked at may be there.
    let explains = |event: &&&Value| {
        let uid = uid(event);
        let found = there.get(&uid).and_then(Option::as_ref);
        found.is_none_or(|there| *there == uid)
    };
    warnings.iter().find(explains).map(|event| said(event))
}

/// The uid of what has the name now that an event is about, nothing for none; unknown when it
/// cannot be looked at.
async fn uid_there(api: &Api, about: &Value) -> Option<String> {
    let text = |name: &str| about[name].as_str().map(str::to_owned);
    let key = ObjectKey {
        api_version: text("apiVersion")?,
        kind: text("kind")?,
        namespace: text("namespace"),
        name: text("name")?,
    };
    let live = api.get(&key).await.ok()?;
    let uid = live.and_then(|live| live["metadata"]["uid"].as_str().map(str::to_owned));
    Some(uid.unwrap_or_default())
}

/// What is known about one of the environment's own objects; none for one that is not there.
pub(super) async fn object(
    engine: &KubernetesEngine,
    key: &ObjectKey,
) -> Result<Option<Diagnosis>, EngineError> {
    let api = engine.api().await?;
    let failed =
        |fault: ApiError| fault.while_(format!("gathering what is known about {}", key.short()));
    let Some(live) = api.get(key).await.map_err(failed)? else {
        return Ok(None);
    };
    let pods = pods_of(api, key, &live).await.unwrap_or_default();
    let names: Vec<&str> = std::iter::once(&live)
        .chain(&pods)
        .filter_map(|object| object["metadata"]["name"].as_str())
        .collect();
    let namespace = key.namespace.as_deref();
    let is_about = |name: &str| names.contains(&name);
    let events = events_of(api, namespace, is_about)
        .await
        .unwrap_or_default();

    let failing = failing(&pods);
    let mut files = of_failing(api, &failing, &events).await;
    // The values of a Secret are nobody's to keep.
    if key.kind != "Secret" {
        let file = format!("objects/{}-{}.yaml", key.kind, key.name);
        files.insert(file, yaml(&live));
    }

    let by_pods = failing
        .iter()
        .find_map(|pod| trouble(pod, Timestamp::now()));
    let cause = match by_pods {
        Some(reason) => Some(reason),
        None => last_warning(api, &events).await,
    };
    let cause = cause.or_else(|| match ready(&live, &engine.settings.rules) {
        Ready::Not(reason) | Ready::Failed(reason) => Some(reason),
        // What failed was not its becoming ready.
        Ready::Yes => None,
    });
    let Some(cause) = cause else {
        return Ok(None);
    };
    let summary = format!("{}: {cause}\n", key.short());
    files.insert("summary.txt".to_owned(), summary);
    Ok(Some(Diagnosis { cause, files }))
}

/// The pods of one object.
async fn pods_of(api: &Api, key: &ObjectKey, live: &Value) -> Result<Vec<Value>, ApiError> {
    let Some(selector) = wait::makes(live) else {
        return Ok(Vec::new());
    };
    let kind = api.must(("v1", "Pod")).await?;
    let mut pods = Vec::new();
    api.list(&kind, key.namespace.as_deref(), &selector, |pod| {
        pods.push(pod);
    })
    .await?;
    pods.retain(|pod| wait::is_of(pod, live));
    Ok(pods)
}

/// The events of a slot's objects, oldest first.
async fn events(
    api: &Api,
    namespace: &str,
    pods: &[Value],
    slot: Slot,
) -> Result<Vec<Value>, ApiError> {
    let names: Vec<String> = pods
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    let ending = format!("-{slot}");
    let is_about = |name: &str| names.iter().any(|own| own == name) || name.contains(&ending);
    events_of(api, Some(namespace), is_about).await
}

/// The events about objects of some names, oldest first.
async fn events_of(
    api: &Api,
    namespace: Option<&str>,
    is_about: impl Fn(&str) -> bool + Send + Sync,
) -> Result<Vec<Value>, ApiError> {
    let kind = api.must(("v1", "Event")).await?;
    let mut events = Vec::new();
    api.list(&kind, namespace, &Selector::All, |event| {
        if is_about(event["involvedObject"]["name"].as_str().unwrap_or_default()) {
            events.push(event);
        }
    })
    .await?;
    events.sort_by_key(|event| time(event).to_owned());
    Ok(events)
}

fn time(event: &Value) -> &str {
    ["lastTimestamp", "eventTime", "firstTimestamp"]
        .iter()
        .find_map(|name| event[*name].as_str())
        .or_else(|| event["metadata"]["creationTimestamp"].as_str())
        .unwrap_or_default()
}

fn said(event: &Value) -> String {
    let text = |path: &str| {
        event
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    format!(
        "{}/{}: {}: {}",
        text("/involvedObject/kind"),
        text("/involvedObject/name"),
        text("/reason"),
        text("/message")
    )
}

fn timeline(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events {
        let kind = event["type"].as_str().unwrap_or_default();
        let _ = writeln!(text, "{} {kind:8} {}", time(event), said(event));
    }
    text
}

/// An object for a reader: without the server's bookkeeping.
fn yaml(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    serde_saphyr::to_string(&object).unwrap_or_default()
}
