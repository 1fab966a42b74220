//! The environment's own objects: those that belong to no slot.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::{Api, ApiError, MANAGER};
use crate::driver::kubernetes::engine::apply::{self, refused, said};
use crate::driver::kubernetes::engine::autoscale::{Pods, Scalers};
use crate::driver::kubernetes::engine::cache::Seen;
use crate::driver::kubernetes::engine::compare::{Comparison, applied, compare};
use crate::driver::kubernetes::engine::complete::shared;
use crate::driver::kubernetes::engine::holds::{Asked, ClaimHolder, Fate, NOTHING, bound, guard};
use crate::driver::kubernetes::engine::observe::{self, fingerprint};
use crate::driver::kubernetes::engine::owner::{self, belongs_to};
use crate::driver::kubernetes::engine::ready::may_wait;
use crate::driver::kubernetes::engine::record::{Read, Record};
use crate::driver::kubernetes::engine::traffic::last_manager;
use crate::driver::kubernetes::engine::wait;
use crate::driver::kubernetes::engine::{KubernetesEngine, definition, done};
use crate::model::object::mark;
use crate::model::{Address, Fingerprint, Manifest, ObjectKey};
use crate::port::Progress;
use crate::port::engine::{EngineError, Permit, Scope};

fn moved(key: &ObjectKey, live: Option<&Value>) -> EngineError {
    let by = live.and_then(last_manager);
    EngineError::Moved {
        address: Address::Object(key.clone()),
        by,
        at: None,
    }
}

/// Shows the permit. The home namespace is made before there is a place for the record; then there is nobody to
/// be kept away yet.
async fn enter(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    manifest: &Manifest,
) -> Result<Option<Read>, EngineError> {
    let home = &engine.settings.namespaces.home;
    if manifest.kind() == "Namespace" && manifest.name() == home {
        let there = api.get(&manifest.key()).await;
        let there =
            there.map_err(|fault| fault.while_(format!("looking at {}", said(&manifest.key()))))?;
        if there.is_none() {
            return Ok(None);
        }
    }
    engine.enter(api, permit).await.map(Some)
}

pub(super) async fn apply(
    engine: &KubernetesEngine,
    permit: &Permit,
    manifest: &Manifest,
    replace: bool,
    expects: Option<Fingerprint>,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let set = engine.records(api, &permit.scope).set();
    let whole = shared(manifest, &set);
    let key = whole.key();
    let failed = |fault: ApiError| fault.while_(format!("looking at {}", said(&key)));
    let kind = api
        .kind(&key.api_version, &key.kind)
        .await
        .map_err(failed)?;
    let kind = kind.ok_or_else(|| EngineError::Refused {
        reason: format!("the server has no kind {} in {}", key.kind, key.api_version),
        help: "its CustomResourceDefinition must be there first".to_owned(),
    })?;
    // Its kind and place first: what is made must be found again.
    let announced = (BTreeSet::from([kind]), vec![whole.clone()]);
    engine.will_announce(&announced);
    // What was seen when the plan was made counts as long as the server has no other version of it.
    let seen = engine.seen().remove(&key).filter(|_| !replace);
    let live = async {
        match &seen {
            Some(seen) => Ok(Some(seen.live.clone())),
            None => api.get(&key).await.map_err(failed),
        }
    };
    let (read, live) = tokio::try_join!(enter(engine, api, permit, manifest), live)?;

    let namespaces = key.namespace.as_deref().into_iter();
    let scaled = live.is_some().then(|| whole.body());
    let (version, scalers) = if let Some(Seen { live, scalers }) = seen {
        (version_of(&live), scalers)
    } else {
        let scalers = Scalers::of(api, namespaces, scaled.into_iter()).await;
        (None, scalers.map_err(failed)?)
    };
    let object = match &live {
        Some(live) if !replace => scalers.leave(&whole, live, Pods::Wanted),
        _ => whole.clone(),
    };

    if let Some(live) = &live {
        if live["metadata"]["labels"][mark::PART_OF] != set.as_str() && key.kind != "Namespace" {
            return Err(EngineError::Refused {
                reason: format!(
                    "{} is there and belongs to {}",
                    said(&key),
                    owner::manager(live)
                ),
                help: "`shipit import` takes it over".to_owned(),
            });
        }
        if compare(object.body(), live) == Comparison::Same {
            return Ok(());
        }
    }
    let holder = ClaimHolder {
        api,
        scope: &permit.scope,
        set: &set,
        going: &NOTHING,
        asked: Asked::ForStep,
    };
    let holds = match &live {
        None => Vec::new(),
        Some(live) => holder
            .changed(&object, live, replace)
            .await
            .map_err(failed)?,
    };
    let current = live
        .as_ref()
        .map(|live| scalers.settled(&whole, live))
        .map(|live| bound(fingerprint(&live, Some(whole.body())), &holds));
    if current != expects {
        // What was seen may be of before: a look tells who has moved it.
        if version.is_some() {
            return Box::pin(apply(engine, permit, manifest, replace, expects, progress)).await;
        }
        return Err(moved(&key, live.as_ref()));
    }
    if let Some(mut read) = read {
        engine.announce(api, permit, &mut read, &announced).await?;
    }
    if replace && let Some(live) = &live {
        guard(&key, &holds)?;
        apply::refuse_protected(&key, live)?;
        progress(&format!("{} is deleted, to be replaced", said(&key)));
        apply::make_room(api, live, &object).await?;
    }
    let policy = super::slots::policy(engine);
    let there = live.as_ref().filter(|_| !replace && key.kind != "Secret");
    let left = apply::left_to_others(api, policy, &object, there)
        .await
        .map_err(|fault| refused(&key, fault))?;
    let applied = apply::apply(api, policy, &left, version.as_deref()).await;
    if applied.is_err() && version.is_some() {
        return Box::pin(apply(engine, permit, manifest, replace, expects, progress)).await;
    }
    applied.map_err(|fault| refused(&key, fault))?;
    for text in api.warnings() {
        progress(&text);
    }
    if matches!(key.kind.as_str(), "CustomResourceDefinition" | "APIService") {
        api.forget_kinds();
    }
    if key.kind == "Namespace" && key.name == engine.settings.namespaces.home {
        let mut read = engine.enter(api, permit).await?;
        engine.announce(api, permit, &mut read, &announced).await?;
    }
    Ok(())
}

fn version_of(live: &Value) -> Option<String> {
    let version = live["metadata"]["resourceVersion"].as_str();
    version.map(str::to_owned)
}

/// Waits until an object that was applied can be used.
pub(super) async fn settled(
    engine: &KubernetesEngine,
    scope: &Scope,
    manifest: &Manifest,
    progress: Progress<'_>,
) -> Result<(), EngineError> {
    let key = manifest.key();
    let may_wait = may_wait(key.group(), &key.kind, &engine.settings.rules);
    // A claim may be bound by the first pod that uses it, and not before.
    if !may_wait || key.kind == "PersistentVolumeClaim" {
        return Ok(());
    }
    let api = engine.api().await?;
    let object = shared(manifest, &engine.records(api, scope).set());
    if key.kind == "CustomResourceDefinition" {
        return definition::until_served(engine, &object, progress).await;
    }
    wait::object(engine, &key, engine.settings.within.get(), progress).await?;
    done::remember(engine, api, scope, &[object]).await
}

pub(super) async fn delete(
    engine: &KubernetesEngine,
    permit: &Permit,
    key: &ObjectKey,
    expects: Option<Fingerprint>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let read = engine.enter(api, permit).await?;
    let set = engine.records(api, &permit.scope).set();
    let live = api
        .get(key)
        .await
        .map_err(|fault| fault.while_(format!("looking at {}", said(key))))?;
    let Some(live) = live else { return Ok(()) };
    if !belongs_to(&live, &set) {
        return Err(EngineError::Refused {
            reason: format!("{} belongs to {}", said(key), owner::manager(&live)),
            help: "what is not shipit's is deleted by whoever made it".to_owned(),
        });
    }
    let holder = ClaimHolder {
        api,
        scope: &permit.scope,
        set: &set,
        going: &NOTHING,
        asked: Asked::ForStep,
    };
    let holds = holder.of(key, &live, Fate::Deleted).await;
    let holds = holds.map_err(|fault| fault.while_(format!("looking into {}", said(key))))?;
    // During the rollback the plan's step was to make it: there is nothing that it could expect.
    let is_as_expected = match &expects {
        Some(expects) => bound(fingerprint(&live, None), &holds) == *expects,
        None => holds.is_empty(),
    };
    if !is_as_expected {
        return Err(moved(key, Some(&live)));
    }
    guard(key, &holds)?;
    let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
    apply::delete(api, key, uid).await?;
    if key.kind == "Namespace" && key.name == engine.settings.namespaces.home {
        return Ok(());
    }
    clear_if_empty(engine, api, &permit.scope, &read).await
}

/// Takes away what a run has left that was killed when nothing else was.
pub(super) async fn clear(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
) -> Result<(), EngineError> {
    let records = engine.records(api, &permit.scope);
    let read = records.read().await;
    let read =
        read.map_err(|fault| fault.while_(format!("reading the record of {}", permit.scope)))?;
    if read.version.is_none() {
        return Ok(());
    }
    let read = engine.enter(api, permit).await?;
    clear_if_empty(engine, api, &permit.scope, &read).await
}

/// Lets go of an object: it stays as it is, and nothing on it says any more that it is this environment's.
pub(super) async fn forget(
    engine: &KubernetesEngine,
    permit: &Permit,
    key: &ObjectKey,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let read = engine.enter(api, permit).await?;
    let set = engine.records(api, &permit.scope).set();
    let_go(api, key, &set).await?;
    clear_if_empty(engine, api, &permit.scope, &read).await
}

/// Takes our marks off an object of a set.
pub(super) async fn let_go(api: &Api, key: &ObjectKey, set: &str) -> Result<(), EngineError> {
    let failed = |fault: ApiError| fault.while_(format!("letting go of {}", said(key)));
    for _ in 0..super::TRIES {
        let live = api.get(key).await.map_err(failed)?;
        let Some(live) = live.filter(|live| live["metadata"]["labels"][mark::PART_OF] == set)
        else {
            break;
        };
        match api.merge(key, "", &without_marks(&live), MANAGER).await {
            Err(fault) if fault.is(StatusCode::CONFLICT) => {}
            other => {
                other.map_err(failed)?;
                break;
            }
        }
    }
    Ok(())
}

/// What takes our marks and our entry in the server's record off an object, and leaves the rest as it is.
fn without_marks(live: &Value) -> Value {
    let entries = live["metadata"]["managedFields"].as_array();
    let is_ours = |entry: &&Value| entry["manager"] == MANAGER;
    let mut left: Vec<Value> = entries
        .into_iter()
        .flatten()
        .filter(|entry| !is_ours(entry))
        .cloned()
        .collect();
    // The server takes an empty list for no change, and an empty entry for no entries.
    if left.is_empty() {
        left.push(json!({}));
    }
    let mut labels = json!({
        mark::PART_OF: null, mark::PROJECT: null, mark::ENVIRONMENT: null,
        mark::SERVICE: null, mark::SLOT: null, mark::RELEASE: null,
        "app.kubernetes.io/instance": null, "app.kubernetes.io/part-of": null,
    });
    if live["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "shipit" {
        labels["app.kubernetes.io/managed-by"] = Value::Null;
    }
    json!({"metadata": {
        "labels": labels, "annotations": {mark::APPLIED: null}, "managedFields": left,
        "resourceVersion": live["metadata"]["resourceVersion"],
    }})
}

/// Where nothing is left, nothing needs to be remembered.
pub(super) async fn clear_if_empty(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    read: &Read,
) -> Result<(), EngineError> {
    let record = &read.record;
    if !record.slots.is_empty() || !record.routes.is_empty() {
        return Ok(());
    }
    let records = engine.records(api, scope);
    let failed = |fault: ApiError| fault.while_(format!("looking at {scope}"));
    if observe::is_bare(engine, api, &records)
        .await
        .map_err(failed)?
    {
        *engine.newest.lock().await = None;
        records.clear().await.map_err(failed)?;
    }
    Ok(())
}

/// Takes an object over without changing what it says. What `kubectl apply` claimed for itself becomes shipit's, so
/// that a field that is not in the configuration leaves the object with the next apply, as the plan will show.
pub(super) async fn adopt(
    engine: &KubernetesEngine,
    permit: &Permit,
    manifest: &Manifest,
) -> Result<Vec<String>, EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    let set = engine.records(api, &permit.scope).set();
    let key = manifest.key();
    let failed = |fault: ApiError| fault.while_(format!("importing {}", said(&key)));
    let live = api
        .get(&key)
        .await
        .map_err(failed)?
        .ok_or_else(|| EngineError::Refused {
            reason: format!("{} is not there", said(&key)),
            help: "`shipit apply` makes it".to_owned(),
        })?;
    let labels = &live["metadata"]["labels"];
    if labels[mark::PART_OF] == set.as_str() {
        return Ok(Vec::new());
    }
    if labels.get(mark::PART_OF).is_some() {
        return Err(EngineError::Refused {
            reason: format!(
                "{} is part of another ApplySet, of {}",
                said(&key),
                owner::manager(&live)
            ),
            help: "take it out there first".to_owned(),
        });
    }
    let taken = migrate(api, &key, &live).await.map_err(failed)?;
    let kind = api
        .must((&key.api_version, &key.kind))
        .await
        .map_err(failed)?;
    let (kinds, manifests) = (BTreeSet::from([kind]), [manifest.clone()]);
    let change = |record: &mut Record| record.will_have(&kinds, &manifests);
    engine.remember(api, permit, &mut read, change).await?;
    let now = api.get(&key).await.map_err(failed)?.unwrap_or(live);
    let plain = json!({"apiVersion": key.api_version, "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace}});
    let mut body = applied(&now).unwrap_or(plain);
    body["metadata"]["labels"][mark::PART_OF] = set.into();
    let object =
        Manifest::try_from(body).map_err(|error| failed(ApiError::Malformed(error.to_string())))?;
    apply::apply(api, super::Conflict::TakeOver, &object, None)
        .await
        .map_err(|fault| refused(&key, fault))?;
    Ok(taken)
}

/// Gives what other tools' client-side applying claimed to shipit: their entries in the server's record take our
/// name. The next apply then removes what they set and we do not want.
async fn migrate(api: &Api, key: &ObjectKey, live: &Value) -> Result<Vec<String>, ApiError> {
    let Some(entries) = live
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
    else {
        return Ok(Vec::new());
    };
    let is_client_side = |entry: &Value| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        let is_tool = matches!(
            manager,
            "kubectl-client-side-apply" | "before-first-apply" | "kubectl-create" | "helm" | "kapp"
        ) || manager.starts_with("kubectl");
        is_tool && entry.get("subresource").is_none()
    };
    let mut taken: Vec<String> = entries
        .iter()
        .filter(|entry| is_client_side(entry))
        .filter_map(|entry| entry["manager"].as_str().map(str::to_owned))
        .collect();
    taken.dedup();
    let Some(first) = entries.iter().find(|entry| is_client_side(entry)) else {
        return Ok(taken);
    };
    let mut union = Value::Null;
    for entry in entries.iter().filter(|entry| is_client_side(entry)) {
        merge(&mut union, &entry["fieldsV1"]);
    }
    let mut new: Vec<Value> = entries
        .iter()
        .filter(|entry| !is_client_side(entry))
        .cloned()
        .collect();
    new.push(json!({
        "manager": MANAGER, "operation": "Apply", "apiVersion": first["apiVersion"], "time": first["time"],
        "fieldsType": "FieldsV1", "fieldsV1": union,
    }));
    let mut body = json!({"metadata": {
        "managedFields": new, "resourceVersion": live["metadata"]["resourceVersion"],
    }});
    // Without it kubectl would still believe that it applied the object.
    body["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": null});
    match api.merge(key, "", &body, MANAGER).await {
        Ok(_) => Ok(taken),
        Err(fault) if fault.is(StatusCode::CONFLICT) => Err(ApiError::Unreachable {
            reason: "somebody changed it at this very moment: run it again".to_owned(),
        }),
        Err(fault) => Err(fault),
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (&mut *into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
