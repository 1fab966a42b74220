//! Objects that go: deleted until they are gone, and never what is protected.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::said;
use crate::driver::kubernetes::client::api::{
    Api, ApiError, Propagation, Selector, namespace_waits,
};
use crate::driver::kubernetes::engine::environment_objects::let_go;
use crate::driver::kubernetes::engine::holds::is_protected;
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::owner::belongs_to;
use crate::driver::kubernetes::engine::owner::is_owned_by;
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
    let uid = Value::from(uid);
    pods.retain(|pod| is_owned_by(pod, &uid));
    Ok(pods)
}

/// Whether the new set would take a pod of the old one for its own, and leave it as it is or
/// replace it in its turn. What a pod cannot have changed, its volumes and its subdomain, it must
/// have already: the controller would fail at it for ever, or never look.
fn adopts(wanted: &Value, live: &Value, pod: &Value) -> bool {
    let selector = &wanted["spec"]["selector"];
    let labels = selector["matchLabels"].as_object();
    let has = |(name, value): (&String, &Value)| pod["metadata"]["labels"].get(name) == Some(value);
    let is_found = labels.into_iter().flatten().all(has)
        && selector.get("matchExpressions") == live["spec"]["selector"].get("matchExpressions");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_named = text(&pod["spec"]["subdomain"]) == text(&wanted["spec"]["serviceName"]);
    is_found && is_named && has_claims(wanted, pod)
}

/// Whether the pods of a set are adopted by another of its name.
pub(super) fn keeps_pods(wanted: &Value, live: &Value) -> bool {
    let same = |field: &str| wanted["spec"].get(field) == live["spec"].get(field);
    let known: Vec<&str> = template_names(live).collect();
    same("selector") && same("serviceName") && template_names(wanted).all(|it| known.contains(&it))
}

/// The names of a set's claim templates.
fn template_names(set: &Value) -> impl Iterator<Item = &str> {
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    templates
        .into_iter()
        .flatten()
        .filter_map(|template| template["metadata"]["name"].as_str())
}

/// Whether a pod has the claims that a set's templates give to the pod of its number.
fn has_claims(set: &Value, pod: &Value) -> bool {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let volumes = pod["spec"]["volumes"].as_array();
    template_names(set).all(|name| {
        let claim = format!("{name}-{pod_name}");
        volumes.into_iter().flatten().any(|volume| {
            volume["name"] == name && volume["persistentVolumeClaim"]["claimName"] == claim.as_str()
        })
    })
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
        let waits = namespace_waits(there).join("; ");
        return format!("it is still being emptied: {waits}");
    }

    match finalizers {
        [] => "it is still there".to_owned(),
        _ => format!(
            "it waits for the finalizer {}: the controller that put it there has to act, or \
             somebody who knows what it guards",
            finalizers.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(templates: &[&str], service: &str) -> Value {
        let templates: Vec<Value> = templates
            .iter()
            .map(|name| json!({"metadata": {"name": name}}))
            .collect();
        json!({"metadata": {"name": "db"}, "spec": {"serviceName": service,
            "selector": {"matchLabels": {"app": "db"}}, "volumeClaimTemplates": templates}})
    }

    #[test]
    fn a_pod_is_adopted_only_with_the_volumes_and_the_subdomain_that_it_cannot_get_later() {
        let pod = json!({"metadata": {"name": "db-0", "labels": {"app": "db"}},
        "spec": {"subdomain": "db", "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
            {"name": "scratch", "emptyDir": {}},
        ]}});
        let live = set(&["data"], "db");
        assert!(adopts(&live, &live, &pod));
        assert!(
            adopts(&set(&[], "db"), &live, &pod),
            "its next revision ends it"
        );
        assert!(!adopts(&set(&["files"], "db"), &live, &pod), "another name");
        assert!(
            !adopts(&set(&["data", "files"], "db"), &live, &pod),
            "one more"
        );
        assert!(!adopts(&set(&["scratch"], "db"), &live, &pod), "no claim");
        assert!(
            !adopts(&set(&["data"], "other"), &live, &pod),
            "another subdomain"
        );
        let mut other = set(&["data"], "db");
        other["spec"]["selector"]["matchLabels"]["app"] = "other".into();
        assert!(!adopts(&other, &live, &pod), "another selector");

        assert!(keeps_pods(&set(&[], "db"), &live));
        assert!(!keeps_pods(&set(&["files"], "db"), &live));
        assert!(!keeps_pods(&set(&["data"], "other"), &live));
        assert!(!keeps_pods(&other, &live));
    }
}
