//! Waiting for one of the environment's own objects, as for a service: its pods say what keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::done::is_job;
use crate::driver::kubernetes::engine::ready::{Ready, ready};
use crate::driver::kubernetes::engine::wait::trouble::{self, applied_at, makes_pods};
use crate::driver::kubernetes::engine::wait::{Need, UNSEEN, Watched, until};
use crate::model::ObjectKey;
use crate::port::Progress;
use crate::port::engine::EngineError;

/// What the pods are found by that an object makes; none for one that makes none.
pub(in super::super) fn makes(live: &Value) -> Option<Selector> {
    let kinds = [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Job",
    ];
    if !kinds.iter().any(|kind| live["kind"] == *kind) {
        return None;
    }
    let labels = live.pointer("/spec/selector/matchLabels")?.as_object()?;
    let labels: Vec<String> = labels
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .collect();
    (!labels.is_empty()).then(|| Selector::Labels(labels.join(",")))
}

/// Whether a pod is one of this object's: others may have the same labels.
pub(in super::super) fn is_of(pod: &Value, live: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let own = format!("{}-", live["metadata"]["name"].as_str().unwrap_or_default());
    owners.into_iter().flatten().any(|owner| {
        let by_set = owner["kind"] == "ReplicaSet" && live["kind"] == "Deployment";
        let name = owner["name"].as_str().unwrap_or_default();
        owner["uid"] == live["metadata"]["uid"] || by_set && name.starts_with(&own)
    })
}

/// Waits until one object is ready.
pub(in super::super) async fn object(
    engine: &KubernetesEngine,
    key: &ObjectKey,
    within: Duration,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let failed = |fault: ApiError| fault.while_(format!("waiting for {}", key.short()));
    let live = api.get(key).await.map_err(failed)?;
    if let Some(live) = &live
        && ready(live, &engine.settings.rules) == Ready::Yes
    {
        return Ok(());
    }
    let watched = watched(api, key, live.as_ref()).await.map_err(failed)?;

    let mut last = String::new();
    let check = |objects: &BTreeMap<ObjectKey, Value>| {
        let state = state(engine, key, objects);
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
    let ended = until(api, &watched, Instant::now() + within, check)
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

/// The object, its pods, and what says why there are none.
async fn watched(
    api: &Api,
    key: &ObjectKey,
    live: Option<&Value>,
) -> Result<Vec<Watched>, ApiError> {
    let mut watched = vec![Watched {
        kind: api.must((&key.api_version, &key.kind)).await?,
        namespace: key.namespace.clone(),
        selector: Selector::Name(key.name.clone()),
        need: Need::Must,
    }];
    if let Some(selector) = live.and_then(makes) {
        watched.push(Watched {
            kind: api.must(("v1", "Pod")).await?,
            namespace: key.namespace.clone(),
            selector,
            need: Need::Helps,
        });
    }

    if let Some(namespace) = key.namespace.clone().filter(|_| makes_pods(key)) {
        watched.push(trouble::events(api, namespace).await?);
    }
    Ok(watched)
}

/// How the object is, by itself and by its pods.
fn state(
    engine: &KubernetesEngine,
    key: &ObjectKey,
    objects: &BTreeMap<ObjectKey, Value>,
) -> Ready {
    let Some(live) = objects.get(key) else {
        return if is_job(key) {
            Ready::Failed(UNSEEN.to_owned())
        } else {
            Ready::Not("is not there yet".to_owned())
        };
    };
    let reason = match ready(live, &engine.settings.rules) {
        Ready::Not(reason) => reason,
        certain => return certain,
    };

    let since = applied_at(live);
    let pods = objects.values().filter(|one| one["kind"] == "Pod");
    let pods: Vec<&Value> = pods
        .filter(|pod| is_of(pod, live) && trouble::is_since(pod, since))
        .collect();
    let found =
        trouble::of_pods(&pods, Timestamp::now()).or_else(|| trouble::not_made(key, live, objects));
    if let Some(reason) = found {
        return Ready::Failed(reason);
    }
    let mut open = BTreeMap::from([(key.clone(), reason)]);
    trouble::explain(&mut open, &pods);
    Ready::Not(open.remove(key).unwrap_or_default())
}
