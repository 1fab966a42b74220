//! How the environment's own objects stand.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use http::StatusCode;
use serde_json::Value;

use super::snapshot::{Missing, Snapshot};
use super::{fingerprint, identity};
use crate::driver::kubernetes::client::api::{Api, ApiError, How, terminating_fault};
use crate::driver::kubernetes::engine::apply::{Decision, decide, refusals, said};
use crate::driver::kubernetes::engine::autoscale::{Pods, Scalers};
use crate::driver::kubernetes::engine::cache::Seen;
use crate::driver::kubernetes::engine::compare::{applied, changes, owned};
use crate::driver::kubernetes::engine::complete::shared;
use crate::driver::kubernetes::engine::holds::{self, Asked, ClaimHolder, Fate, NOTHING, bound};
use crate::driver::kubernetes::engine::owner::manager;
use crate::driver::kubernetes::engine::unknown_kind::unknown;
use crate::driver::kubernetes::engine::{KubernetesEngine, missing_owner};
use crate::model::object::{ObjectFacts, ObjectState, is_kept, mark};
use crate::model::plan::Change;
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::{EngineError, Scope};

/// How the environment's own objects stand.
pub(super) async fn objects(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    snapshot: &Snapshot,
    wanted: &[Manifest],
    missing: &Missing,
) -> Result<Vec<ObjectFacts>, EngineError> {
    let definitions = &definitions(wanted);
    let all = wanted.iter().map(|manifest| async move {
        let key = manifest.key();
        if missing.contains(&(key.api_version.clone(), key.kind.clone())) {
            let by = definitions.get(&(key.group().to_owned(), key.kind.clone()));
            let Some(definition) = by.cloned() else {
                let faults = vec![unknown(api, &key).await];
                return Ok(ObjectFacts::plain(key, ObjectState::Refused { faults }));
            };
            let known = snapshot.found.known.get(&key);
            return Ok(match known.and_then(|item| item.live.as_ref()) {
                Some(live) => in_another_version(key, manifest, live),
                None => ObjectFacts::plain(key, ObjectState::After { definition }),
            });
        }
        if let Some(reason) = missing_owner::missing(api, manifest).await? {
            return Ok(ObjectFacts::plain(key, ObjectState::refused(reason)));
        }
        match one(engine, api, scope, snapshot, manifest).await {
            Err(fault) if fault.is_about_the_object() => {
                let policy = engine.settings.conflict;
                let faults = refusals(api, policy, manifest, fault).await;
                Ok(ObjectFacts::plain(key, ObjectState::Refused { faults }))
            }
            other => other.map_err(|fault| fault.while_(format!("comparing {}", said(&key)))),
        }
    });
    let mut objects: Vec<ObjectFacts> = try_join_all(all).await?;

    let mine: BTreeSet<ObjectKey> = objects.iter().map(|object| object.key.clone()).collect();
    let unmanaged = snapshot.found.unmanaged.iter();
    let gone: BTreeMap<&ObjectKey, &Value> =
        unmanaged.filter(|(key, _)| !mine.contains(key)).collect();
    let going: BTreeSet<ObjectKey> = gone.keys().map(|key| (*key).clone()).collect();

    let holder = ClaimHolder {
        api,
        scope,
        set: &snapshot.set,
        going: &going,
        asked: Asked::ForPlan,
    };
    let gone = gone
        .into_iter()
        .map(|(key, live)| leaving(&holder, key, live));
    objects.extend(try_join_all(gone).await?);
    Ok(objects)
}

/// One that is there in a version of its kind, and wanted in one that its definition brings: how
/// the server will show it then is not known, and the step is bound to the object itself.
fn in_another_version(key: ObjectKey, wanted: &Manifest, live: &Value) -> ObjectFacts {
    let was = applied(live).unwrap_or_default();
    ObjectFacts {
        fingerprint: Some(identity(live)),
        before: before(live),
        changes: changes(wanted.body(), &was, wanted.body()),
        is_protected: holds::is_protected(live),
        ..ObjectFacts::plain(key, ObjectState::Differs)
    }
}

/// The wanted definitions, by the group and the name of their kind.
fn definitions(wanted: &[Manifest]) -> BTreeMap<(String, String), ObjectKey> {
    wanted
        .iter()
        .filter(|manifest| manifest.kind() == "CustomResourceDefinition")
        .map(|manifest| {
            let spec = &manifest.body()["spec"];
            let text = |path: &str| {
                spec.pointer(path)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            ((text("/group"), text("/names/kind")), manifest.key())
        })
        .collect()
}

/// One of ours that is not desired any more.
async fn leaving(
    holder: &ClaimHolder<'_>,
    key: &ObjectKey,
    live: &Value,
) -> Result<ObjectFacts, EngineError> {
    if let Some(waits) = waits(live) {
        return Ok(ObjectFacts::plain(
            key.clone(),
            ObjectState::Going { waits },
        ));
    }
    // What cannot be asked is for the deletion to say. A namespace is mostly let go of.
    if key.kind != "Namespace"
        && let Err(fault) = holder.api.would_delete(key).await
        && fault.is_about_the_object()
    {
        let reason = format!("deleting {}: {fault}", said(key));
        return Ok(ObjectFacts::plain(
            key.clone(),
            ObjectState::refused(reason),
        ));
    }
    let holds = holder
        .of_own(key, live, Fate::Deleted)
        .await
        .map_err(|fault| fault.while_(format!("looking into {}", said(key))))?;
    Ok(ObjectFacts {
        // What it holds may become less by the steps before: the plan's word for it binds the step.
        fingerprint: Some(fingerprint(live, None)),
        before: before(live),
        holds,
        is_protected: holds::is_protected(live),
        is_kept: is_kept(live),
        ..ObjectFacts::plain(key.clone(), ObjectState::Gone)
    })
}

/// What an object waits for that is being deleted; none for one that is not.
fn waits(live: &Value) -> Option<String> {
    let since = live["metadata"]["deletionTimestamp"].as_str()?;
    let finalizers = live["metadata"]["finalizers"].as_array();
    let finalizers: Vec<&str> = finalizers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    Some(if finalizers.is_empty() {
        format!("is on its way out since {since}")
    } else {
        format!(
            "waits since {since} for the finalizer {}: the controller that put it there has to act",
            finalizers.join(", ")
        )
    })
}

/// What was applied before, unless it holds a secret's value.
fn before(live: &Value) -> Option<Manifest> {
    if live["kind"] == "Secret" {
        return None;
    }
    let mut body = applied(live)?;

    // The label is put on again when it is applied.
    if let Some(labels) = body
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(mark::PART_OF);
    }

    if let Some(meta) = body["metadata"].as_object_mut()
        && let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(mark::APPLIED);
        if annotations.is_empty() {
            meta.remove("annotations");
        }
    }

    Manifest::try_from(body).ok()
}

async fn one(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    snapshot: &Snapshot,
    manifest: &Manifest,
) -> Result<ObjectFacts, ApiError> {
    let key = manifest.key();
    let sent = shared(manifest, &snapshot.set);
    let known = snapshot.found.known.get(&key);
    let holder = ClaimHolder {
        api,
        scope,
        set: &snapshot.set,
        going: &NOTHING,
        asked: Asked::ForPlan,
    };

    let scalers = &snapshot.found.scalers;
    let Some(item) = known else {
        return unlisted(engine, &holder, scalers, &sent).await;
    };
    if let Some(live) = item.live.as_ref().filter(|live| is_namespace_going(live)) {
        return Err(terminating_fault(key.name, Some(live)));
    }
    if let Some(waits) = item.live.as_ref().and_then(waits) {
        let reason = format!(
            "{} is being deleted, and {waits}; it can be made anew when it is gone",
            said(&key)
        );
        return Ok(ObjectFacts::plain(key, ObjectState::refused(reason)));
    }
    let Some(live) = &item.live else {
        let state = item
            .done
            .map_or(ObjectState::Same, |at| ObjectState::Done { at });
        return Ok(ObjectFacts::plain(key, state));
    };
    against(engine, &holder, scalers, &sent, live).await
}

async fn against(
    engine: &KubernetesEngine,
    holder: &ClaimHolder<'_>,
    scalers: &Scalers,
    sent: &Manifest,
    live: &Value,
) -> Result<ObjectFacts, ApiError> {
    let key = sent.key();
    let notes: Vec<String> = scalers.note(sent, live).into_iter().collect();
    let (whole, left) = (sent, scalers.leave(sent, live, Pods::Wanted));
    let sent = &left;
    let (state, changes, conflicts) =
        match decide(holder.api, engine.settings.conflict, sent.body(), live).await? {
            Decision::Same => match unrecorded(sent, live) {
                None => {
                    return Ok(ObjectFacts {
                        notes,
                        ..ObjectFacts::plain(key, ObjectState::Same)
                    });
                }
                Some(change) => (ObjectState::Differs, vec![change], Vec::new()),
            },
            Decision::Differs { changes, conflicts } => (ObjectState::Differs, changes, conflicts),
            Decision::Replace(reason) => {
                let before = applied(live).unwrap_or_default();
                let changes = changes(sent.body(), &before, sent.body());
                (ObjectState::Replace { reason }, changes, Vec::new())
            }
        };

    let replace = matches!(state, ObjectState::Replace { .. });
    // The values of a Secret are not kept, and a new one in its place is made from what is there
    // then.
    if !replace && key.kind != "Secret" {
        let (live, scalers) = (live.clone(), scalers.only(whole));
        engine.seen().insert(key.clone(), Seen { live, scalers });
    }

    let holds = holder.changed(sent, live, replace).await?;
    let settled = scalers.settled(whole, live);
    Ok(ObjectFacts {
        fingerprint: Some(bound(fingerprint(&settled, Some(whole.body())), &holds)),
        notes,
        changes,
        before: before(live),
        conflicts,
        holds,
        is_protected: holds::is_protected(live),
        ..ObjectFacts::plain(key, state)
    })
}

/// What applying would change although every field is as it should be: in which version, and
/// whether at all, the server has it recorded that the fields are ours. By that record an object is
/// known as ours.
fn unrecorded(sent: &Manifest, live: &Value) -> Option<Change> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let before = owned(live).and_then(|entry| text(&entry["apiVersion"]));
    let after = text(&sent.body()["apiVersion"]);
    (before != after).then(|| Change {
        field: "apiVersion".to_owned(),
        before,
        after,
        origin: None,
        by: None,
    })
}

/// An object without our label: it is not there, or it is somebody else's.
async fn unlisted(
    engine: &KubernetesEngine,
    holder: &ClaimHolder<'_>,
    scalers: &Scalers,
    sent: &Manifest,
) -> Result<ObjectFacts, ApiError> {
    let (key, api) = (sent.key(), holder.api);
    let how = How {
        dry_run: true,
        force: false,
    };

    // What a dry run would replace has no version: mostly nothing is there, and that says so by
    // itself.
    let asked = api.apply(sent.body(), how).await;
    if asked.as_ref().is_ok_and(|made| !has_version(made)) {
        return Ok(ObjectFacts::plain(key, ObjectState::Absent));
    }
    // Where there is no place for it yet, it is not there either.
    if asked.as_ref().is_err_and(is_without_namespace) {
        return Ok(ObjectFacts::plain(key, ObjectState::Absent));
    }

    let Some(live) = api.get(&key).await? else {
        return match asked {
            Err(fault) if !fault.is(StatusCode::NOT_FOUND) => Err(fault),
            _ => Ok(ObjectFacts::plain(key, ObjectState::Absent)),
        };
    };
    if is_namespace_going(&live) {
        return Err(terminating_fault(key.name, Some(&live)));
    }
    if key.kind == "Namespace" {
        return Ok(ObjectFacts::plain(key, ObjectState::Same));
    }
    let labels = &live["metadata"]["labels"];
    if labels[mark::PART_OF] == sent.body()["metadata"]["labels"][mark::PART_OF] {
        return against(engine, holder, scalers, sent, &live).await;
    }
    Ok(ObjectFacts::plain(
        key,
        ObjectState::Foreign {
            manager: manager(&live),
        },
    ))
}

/// Whether an object is a namespace that is being deleted: nothing can be made in it, and it is
/// refused as what would be made there is.
fn is_namespace_going(live: &Value) -> bool {
    live["kind"] == "Namespace" && live["metadata"].get("deletionTimestamp").is_some()
}

/// Whether a refusal says that the namespace of an object is not there.
fn is_without_namespace(fault: &ApiError) -> bool {
    let details = fault.status().and_then(|status| status.details.as_ref());
    fault.is(StatusCode::NOT_FOUND) && details.is_some_and(|details| details.kind == "namespaces")
}

/// Whether an object is one that the server keeps.
fn has_version(object: &Value) -> bool {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.is_some_and(|version| !version.is_empty())
}
