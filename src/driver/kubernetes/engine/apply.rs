//! One object on its way to the server: applied under the rule for other managers' fields, asked about by a dry
//! run, or deleted until it is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use kube::core::Status;
use serde_json::Value;
use tokio::time::Instant;

use crate::driver::kubernetes::client::api::{Api, ApiError, How, Propagation, Selector};
use crate::driver::kubernetes::engine::Conflict;
use crate::driver::kubernetes::engine::compare::{changes, is_unchanged};
use crate::driver::kubernetes::engine::environment_objects::let_go;
use crate::driver::kubernetes::engine::holds::is_protected;
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::owner::belongs_to;
use crate::driver::kubernetes::engine::taken::{taken, taker, without};
use crate::model::object::{SECRET, mark};
use crate::model::plan::Change;
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::EngineError;

/// How often fields are left to others before that is given up: each answer names all that conflict.
const LEAVINGS: usize = 4;
/// How long an object may take to be gone.
const GONE: Duration = Duration::from_mins(2);

/// What the server says about an object that it would be given.
pub(super) enum Decision {
    Same,
    Differs {
        changes: Vec<Change>,
        conflicts: Vec<String>,
    },
    Replace(String),
}

/// Asks the server what applying would change.
pub(super) async fn decide(
    api: &Api,
    policy: Conflict,
    wanted: &Value,
    live: &Value,
) -> Result<Decision, ApiError> {
    if wanted["kind"] == "Secret" {
        return Ok(secret(wanted, live));
    }
    let mut body = wanted.clone();
    let mut conflicts = Vec::new();
    let mut how = How {
        dry_run: true,
        force: policy == Conflict::TakeOver,
    };
    let mut newer = None;
    for _ in 0..LEAVINGS {
        let live = newer.as_ref().unwrap_or(live);
        match api.apply(&body, how).await {
            Ok(result) if is_unchanged(live, &result) => return Ok(Decision::Same),
            // It moved since it was looked at: what others have changed meanwhile is no change of ours.
            Ok(result) if newer.is_none() && has_moved(live, &result) => {
                let key = key_of(live);
                let now = match &key {
                    Some(key) => api.get(key).await?,
                    None => None,
                };
                newer = Some(now.unwrap_or_else(|| live.clone()));
            }
            Ok(result) => {
                let mut changes = changes(&body, live, &result);
                if changes.is_empty() && conflicts.is_empty() {
                    return Ok(Decision::Same);
                }
                let taken = taken(&body, live, &changes);
                match policy {
                    Conflict::Leave if !taken.is_empty() => {
                        body = without(&body, &taken);
                        continue;
                    }
                    Conflict::Stop => {
                        let by = taker(live);
                        conflicts
                            .extend(taken.iter().map(|path| format!("{path}: removed by {by}")));
                    }
                    Conflict::Leave | Conflict::TakeOver => name_taker(&mut changes, &taken, live),
                }
                return Ok(Decision::Differs { changes, conflicts });
            }
            Err(fault) if is_conflict(&fault) => {
                let found = fields(&fault);
                // What cannot be left out is a conflict under every rule: leaving never takes.
                if policy == Conflict::Leave && leave_out(&mut body, &found) {
                    continue;
                }
                conflicts = found
                    .into_iter()
                    .map(|(path, manager)| format!("{path}: {manager}"))
                    .collect();
                how.force = true;
            }
            Err(fault) => return replacement(api, &body, fault).await.map(Decision::Replace),
        }
    }
    Err(ApiError::Malformed(
        "fields of other managers conflict again and again".to_owned(),
    ))
}

/// Whether an object was written between the look at it and the answer of a dry run.
fn has_moved(live: &Value, result: &Value) -> bool {
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    version(live) != version(result)
}

/// Says of what comes back who had taken it out.
fn name_taker(changes: &mut [Change], taken: &BTreeSet<String>, live: &Value) {
    for change in changes
        .iter_mut()
        .filter(|change| taken.contains(&change.field))
    {
        change.origin = Some(format!("removed by {}", taker(live)));
    }
}

/// What is applied of an object where fields that others have taken out are left to them.
pub(super) async fn left_to_others(
    api: &Api,
    policy: Conflict,
    wanted: &Manifest,
    live: Option<&Value>,
) -> Result<Manifest, ApiError> {
    let (Conflict::Leave, Some(live)) = (policy, live) else {
        return Ok(wanted.clone());
    };
    // What only others have is conflicting, and left to them in any case.
    let how = How {
        dry_run: true,
        force: true,
    };
    let result = api.apply(wanted.body(), how).await?;
    let taken = taken(wanted.body(), live, &changes(wanted.body(), live, &result));
    let mut left = wanted.clone();
    left.edit(|body| *body = without(body, &taken));
    Ok(left)
}

/// A secret is never sent for a question: its values are compared with each other by their keyed hashes.
fn secret(wanted: &Value, live: &Value) -> Decision {
    let mut result = live.clone();
    for part in ["labels", "annotations"] {
        for (name, value) in wanted["metadata"][part].as_object().into_iter().flatten() {
            result["metadata"][part][name] = value.clone();
        }
    }
    for name in ["type", "data"] {
        match wanted.get(name) {
            Some(value) => result[name] = value.clone(),
            None if name == "data" => {
                result.as_object_mut().map(|map| map.remove(name));
            }
            None => {}
        }
    }
    let changes = changes(wanted, live, &result);
    if changes.is_empty() {
        Decision::Same
    } else {
        Decision::Differs {
            changes,
            conflicts: Vec::new(),
        }
    }
}

/// Why an object has to be replaced, when that is what a refusal means, and what that means for it.
pub(super) async fn replacement(
    api: &Api,
    wanted: &Value,
    fault: ApiError,
) -> Result<String, ApiError> {
    if !is_immutable(api, wanted, &fault).await {
        return Err(fault);
    }
    let fields: Vec<String> = fault.status().map(cause_fields).unwrap_or_default();
    let fields = if fields.is_empty() {
        "a field".to_owned()
    } else {
        fields.join(", ")
    };
    let means = match wanted["kind"].as_str().unwrap_or_default() {
        "StatefulSet" => "; its pods and its claims stay, and the new one adopts them",
        "Deployment" | "DaemonSet" | "ReplicaSet" => "; its pods end, and new ones start",
        "Pod" => "; its process ends, and a new one starts",
        "Job" => "; it runs again",
        "PriorityClass" => "; pods that run keep the priority that they have",
        "StorageClass" => "; volumes that are there stay as they are",
        _ => "",
    };
    Ok(format!("{fields} cannot be changed{means}"))
}

/// Whether a refusal is about the change, and not about the object: some of the API's words say so; else the server is
/// asked whether it would take the same object if it were new.
async fn is_immutable(api: &Api, wanted: &Value, fault: &ApiError) -> bool {
    if !fault.is(StatusCode::UNPROCESSABLE_ENTITY) {
        return false;
    }
    let text = fault.to_string();
    let signs = [
        "field is immutable",
        "may not change once set",
        "may not be changed in an update",
        "may not change fields other than",
        "updates to statefulset spec for fields other than",
        "cannot change roleRef",
        "is immutable after creation",
    ];
    if signs.iter().any(|sign| text.contains(sign)) {
        return true;
    }
    // What a policy of the cluster denies is not had by going around it.
    let is_denied = text.contains("denied request") || text.contains("denied the request");
    !is_denied && api.would_create(wanted).await.is_ok()
}

fn cause_fields(status: &Status) -> Vec<String> {
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    let mut fields: Vec<String> = causes
        .iter()
        .map(|cause| cause.field.clone())
        .filter(|field| !field.is_empty())
        .collect();
    fields.dedup();
    fields
}

fn is_conflict(fault: &ApiError) -> bool {
    let reason = |status: &Status| {
        let causes = status
            .details
            .as_ref()
            .map(|details| details.causes.as_slice())
            .unwrap_or_default();
        causes
            .iter()
            .any(|cause| cause.reason == "FieldManagerConflict")
    };
    fault.is(StatusCode::CONFLICT) && fault.status().is_some_and(reason)
}

/// The fields that conflict, and with whom.
fn fields(fault: &ApiError) -> Vec<(String, String)> {
    let Some(status) = fault.status() else {
        return Vec::new();
    };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    let of = |message: &str| {
        message
            .trim_start_matches("conflict with ")
            .replace('"', "")
    };
    causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| (cause.field.clone(), of(&cause.message)))
        .collect()
}

/// Leaves fields to those who have them; false when none of them is in the manifest as it is named.
fn leave_out(body: &mut Value, found: &[(String, String)]) -> bool {
    let taken = found.iter().filter(|(path, _)| take_out(body, path));
    taken.count() > 0
}

/// Takes a field out of a manifest; false when it is not there. The path is written as the server writes it:
/// `.spec.template.spec.containers[name="web"].image`.
pub(super) fn take_out(body: &mut Value, path: &str) -> bool {
    if let Some(rest) = path.strip_prefix('.') {
        let Some(map) = body.as_object_mut() else {
            return false;
        };
        // A label's name has dots of its own: the longest key that fits is meant.
        let fits = |key: &&String| {
            rest.strip_prefix(key.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let Some(key) = map.keys().filter(fits).max_by_key(|key| key.len()).cloned() else {
            return false;
        };
        let below = rest[key.len()..].to_owned();
        if below.is_empty() {
            return map.remove(&key).is_some();
        }
        return take_out(&mut map[&key], &below);
    }
    let Some((inside, below)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return false;
    };
    let Some(items) = body.as_array_mut() else {
        return false;
    };
    let fits = |item: &Value| {
        inside.split(',').all(|part| {
            let Some((key, value)) = part.split_once('=') else {
                return false;
            };
            let value: Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            if key.is_empty() {
                *item == value
            } else {
                item.get(key).is_none_or(|own| *own == value)
            }
        })
    };
    let Some(index) = items.iter().position(fits) else {
        return false;
    };
    if below.is_empty() {
        items.remove(index);
        return true;
    }
    take_out(&mut items[index], below)
}

/// Why the server did not take an object, in words. What it says about a Secret may quote it.
pub(super) fn refused(key: &ObjectKey, fault: ApiError) -> EngineError {
    let what = format!("applying {}", said(key));
    if is_conflict(&fault) {
        let found: Vec<String> = fields(&fault)
            .into_iter()
            .map(|(path, manager)| format!("{path} belongs to {manager}"))
            .collect();
        return conflict(&what, &found);
    }
    if key.kind == "Secret"
        && let ApiError::Refused(status) = &fault
    {
        let mut status = status.clone();
        status.message = format!("the server refused it: {} ({})", status.reason, status.code);
        return ApiError::Refused(status).while_(what);
    }
    fault.while_(what)
}

/// A conflict, with what can be done about it.
pub(super) fn conflict(what: &str, fields: &[String]) -> EngineError {
    EngineError::Refused {
        reason: format!("{what}: {}", fields.join(", ")),
        help: "`cluster: {conflicts: take_over}` makes these fields shipit's, `conflicts: leave` leaves them to the \
               other; or stop the other from changing them"
            .to_owned(),
    }
}

/// A key for people: kind, name and where.
pub(super) fn said(key: &ObjectKey) -> String {
    match &key.namespace {
        Some(namespace) => format!("{} in {namespace}", key.short()),
        None => key.short(),
    }
}

/// Applies an object. `version`: the resource version that it must still have.
pub(super) async fn apply(
    api: &Api,
    policy: Conflict,
    manifest: &Manifest,
    version: Option<&str>,
) -> Result<Value, ApiError> {
    let mut body = manifest.body().clone();
    if let Some(version) = version {
        body["metadata"]["resourceVersion"] = version.into();
    }
    let how = How {
        dry_run: false,
        force: policy == Conflict::TakeOver,
    };
    settle(api, policy, body, how).await
}

/// Asks what applying an object would make of it.
pub(super) async fn would_apply(
    api: &Api,
    policy: Conflict,
    manifest: &Manifest,
) -> Result<Value, ApiError> {
    let how = How {
        dry_run: true,
        force: policy == Conflict::TakeOver,
    };
    settle(api, policy, manifest.body().clone(), how).await
}

/// Sends an object until its fields are ours, or left to others where that is the rule.
async fn settle(api: &Api, policy: Conflict, mut body: Value, how: How) -> Result<Value, ApiError> {
    for _ in 0..LEAVINGS {
        match api.apply(&body, how).await {
            Err(fault) if policy == Conflict::Leave && is_conflict(&fault) => {
                if !leave_out(&mut body, &fields(&fault)) {
                    return Err(fault);
                }
            }
            other => return other,
        }
    }
    Err(ApiError::Malformed(
        "fields of other managers conflict again and again".to_owned(),
    ))
}

/// Refuses to delete or to replace what says of itself that it must not be.
pub(super) fn refuse_protected(key: &ObjectKey, live: &Value) -> Result<(), EngineError> {
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
pub(super) async fn delete(api: &Api, key: &ObjectKey, uid: &str) -> Result<(), EngineError> {
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
pub(super) async fn delete_own(api: &Api, key: &ObjectKey, set: &str) -> Result<(), EngineError> {
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

/// Takes an object out of the way of a new one of its name. A `StatefulSet` goes without its pods and its claims; pods
/// that the new one would not know as its own end.
pub(super) async fn make_room(
    api: &Api,
    live: &Value,
    wanted: &Manifest,
) -> Result<(), EngineError> {
    let (key, uid) = (wanted.key(), uid_of(live));
    refuse_protected(&key, live)?;
    if key.kind != "StatefulSet" || key.group() != "apps" {
        return delete(api, &key, uid).await;
    }

    let failed = |fault: ApiError| fault.while_(format!("replacing {}", said(&key)));
    let mut pods = pods_of(api, &key, uid).await.map_err(failed)?;
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

/// Whether a value of a Secret is still a reference, and must not be sent.
pub(super) fn is_unfilled(manifest: &Manifest) -> bool {
    manifest.kind() == "Secret"
        && manifest.body()["data"].as_object().is_some_and(|data| {
            data.values()
                .any(|value| value.as_str().is_some_and(|text| text.starts_with(SECRET)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_taken_out_by_the_path_that_the_server_names() {
        let body = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "a", "app": "b"}},
            "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}], "finalizers": ["a", "b"]},
        });
        let cases = [
            (
                ".metadata.labels.app.kubernetes.io/name",
                "/metadata/labels/app.kubernetes.io~1name",
            ),
            (
                ".spec.containers[name=\"b\"].image",
                "/spec/containers/1/image",
            ),
            (".spec.containers[name=\"b\"]", "/spec/containers/1"),
            (".spec.finalizers[=\"b\"]", "/spec/finalizers/1"),
        ];
        for (path, pointer) in cases {
            let mut copy = body.clone();
            assert!(copy.pointer(pointer).is_some());
            assert!(take_out(&mut copy, path), "{path}");
            assert!(copy.pointer(pointer).is_none(), "{path}: {copy}");
            assert!(!take_out(&mut copy, path), "{path} is gone");
        }
        assert!(!take_out(&mut body.clone(), ".spec.other"));
    }

    #[test]
    fn nothing_is_left_to_others_where_no_field_is_found_by_its_name() {
        let conflict = |path: &str| (path.to_owned(), "kim".to_owned());
        let mut body = json!({"spec": {"a": 1, "b": 2}});
        let unknown = [conflict(".spec.c"), conflict(".status.d")];
        assert!(!leave_out(&mut body, &unknown), "that is a conflict");
        assert_eq!(body, json!({"spec": {"a": 1, "b": 2}}));

        let one = [conflict(".spec.c"), conflict(".spec.b")];
        assert!(leave_out(&mut body, &one));
        assert_eq!(body, json!({"spec": {"a": 1}}));
    }
}
