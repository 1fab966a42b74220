//! Objects that go: deleted until they are gone, and never what is protected.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::said;
use crate::driver::kubernetes::client::api::{Api, ApiError, Propagation, Selector};
use crate::driver::kubernetes::engine::environment_objects::let_go;
use crate::driver::kubernetes::engine::holds::is_protected;
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::owner::belongs_to;
use crate::model::object::mark;
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::EngineError;

/// How long an object may take to be gone.
const GONE: Duration = Duration::from_mins(2);

/// Refuses to delete or to replace what says of itself that it must not be.
pub(in super::super) fn refuse_protected(key: &ObjectKey, live: &Value) -> Result<(), EngineError> {
    if !is_protected(live) {
        return Ok(());
    }
    Err(EngineError::Refused {
        reason: format!(
            "{} is protected (`{}`), and is neither deleted nor replaced",
            said(key),
            mark::PROTECTED
        ),
        help: "take the annotation off with an apply of its own, or by hand, if it may go"
            .to_owned(),
    })
}

/// Deletes an object and waits until it is gone. What keeps it is said, and never taken off.
/// Every way to delete something comes through here, so that what is protected stays.
pub(in super::super) async fn delete(
    api: &Api,
    key: &ObjectKey,
    uid: &str,
) -> Result<(), EngineError> {
    let live = api.get(key).await;
    let live = live.map_err(|fault| fault.while_(format!("deleting {}", said(key))))?;
    // Another one of its name is not the one that is meant, which is gone.
    let Some(live) = live.filter(|live| live["metadata"]["uid"] == uid) else {
        return Ok(());
    };

    refuse_protected(key, &live)?;
    delete_as(api, key, uid, Propagation::Background).await
}

/// Deletes an object that carries a set's label, if it is one that shipit made. What is somebody
/// else's by now stays as it is, without our marks.
pub(in super::super) async fn delete_own(
    api: &Api,
    key: &ObjectKey,
    set: &str,
) -> Result<(), EngineError> {
    let live = api.get(key).await;
    let live = live.map_err(|fault| fault.while_(format!("looking at {}", said(key))))?;
    match live {
        None => Ok(()),
        Some(live) if belongs_to(&live, set) => delete(api, key, uid_of(&live)).await,
        Some(_) => let_go(api, key, set).await,
    }
}

fn uid_of(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Takes an object out of the way of a new one of its name. A `StatefulSet` goes without its pods
/// and its claims; pods that the new one would not know as its own end.
pub(in super::super) async fn make_room(
    api: &Api,
    live: &Value,
    wanted: &Manifest,
) -> Result<(), EngineError> {
    let (key, uid) = (wanted.key(), uid_of(live));
    refuse_protected(&key, live)?;
    if key.kind != "StatefulSet" || key.group() != "apps" {
        return delete(api, &key, uid).await;
    }

    let mut pods = pods_of(api, &key, uid)
        .await
        .map_err(|fault| fault.while_(format!("replacing {}", said(&key))))?;
    pods.retain(|pod| !adopts(wanted.body(), live, pod));
    let pods: Vec<(ObjectKey, &Value)> = pods
        .iter()
        .filter_map(|pod| Some((key_of(pod)?, pod)))
        .collect();
    // Once the set is gone it is too late to find that a pod of it has to stay.
    for (key, pod) in &pods {
        refuse_protected(key, pod)?;
    }

    delete_as(api, &key, uid, Propagation::Orphan).await?;
    for (key, pod) in &pods {
        delete(api, key, uid_of(pod)).await?;
    }
    Ok(())
}

/// The pods that an object owns.
async fn pods_of(api: &Api, key: &ObjectKey, uid: &str) -> Result<Vec<Value>, ApiError> {
    let kind = api.must(("v1", "Pod")).await?;
    let mut pods = Vec::new();
    api.list(&kind, key.namespace.as_deref(), &Selector::All, |pod| {
        pods.push(pod);
    })
    .await?;
    pods.retain(|pod| {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let mut owners = owners.into_iter().flatten();
        owners.any(|owner| owner["uid"] == uid)
    });
    Ok(pods)
}

/// Whether the new set would take a pod of the old one for its own.
fn adopts(wanted: &Value, live: &Value, pod: &Value) -> bool {
    let selector = &wanted["spec"]["selector"];
    let labels = selector["matchLabels"].as_object();
    let has = |(name, value): (&String, &Value)| pod["metadata"]["labels"].get(name) == Some(value);
    labels.into_iter().flatten().all(has)
        && selector.get("matchExpressions") == live["spec"]["selector"].get("matchExpressions")
}

async fn delete_as(
    api: &Api,
    key: &ObjectKey,
    uid: &str,
    propagation: Propagation,
) -> Result<(), EngineError> {
    let what = || format!("deleting {}", said(key));
    api.delete_as(key, Some(uid), propagation)
        .await
        .map_err(|fault| fault.while_(what()))?;

    let begun = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let there = api.get(key).await.map_err(|fault| fault.while_(what()))?;
        let Some(there) = there else { return Ok(()) };
        if there["metadata"]["uid"] != uid {
            return Ok(());
        }

        if begun.elapsed() > GONE {
            let finalizers: Vec<&str> = there["metadata"]["finalizers"]
                .as_array()
                .into_iter()
                .flatten()
                .chain(there["spec"]["finalizers"].as_array().into_iter().flatten())
                .filter_map(Value::as_str)
                .collect();
            return Err(EngineError::Failed {
                what: what(),
                reason: kept(&there, &finalizers),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Who must act before an object can go.
fn kept(there: &Value, finalizers: &[&str]) -> String {
    if there["kind"] == "Namespace" {
        let conditions = there["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let said: Vec<&str> = conditions
            .filter(|condition| condition["status"] == "True")
            .filter_map(|condition| condition["message"].as_str())
            .collect();
        return format!("it is still being emptied: {}", said.join("; "));
    }

    match finalizers {
        [] => "it is still there".to_owned(),
        _ => format!(
            "it waits for the finalizer {}: the controller that put it there has to act, or somebody who knows what \
             it guards",
            finalizers.join(", ")
        ),
    }
}
