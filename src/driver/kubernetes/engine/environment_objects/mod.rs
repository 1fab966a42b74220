//! The environment's own objects: those that belong to no slot.

mod adopt;
mod apply;

pub(super) use adopt::adopt;
pub(super) use apply::Application;

use http::StatusCode;
use serde_json::{Value, json};

use crate::driver::kubernetes::client::api::{Api, ApiError, MANAGER};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::command::is_commands_of;
use crate::driver::kubernetes::engine::complete::shared;
use crate::driver::kubernetes::engine::holds::{Asked, ClaimHolder, Fate, NOTHING, guard};
use crate::driver::kubernetes::engine::observe::{self, fingerprint};
use crate::driver::kubernetes::engine::owner::{self, belongs_to};
use crate::driver::kubernetes::engine::ready::may_wait;
use crate::driver::kubernetes::engine::record::{Read, Record};
use crate::driver::kubernetes::engine::traffic::last_manager;
use crate::driver::kubernetes::engine::wait;
use crate::driver::kubernetes::engine::{KubernetesEngine, TRIES, definition, done};
use crate::model::object::mark;
use crate::model::{Address, Fingerprint, Manifest, ObjectKey};
use crate::port::Progress;
use crate::port::engine::{EngineError, Foreseen, Permit, Scope};

fn moved(key: &ObjectKey, live: Option<&Value>) -> EngineError {
    let by = live.and_then(last_manager);
    EngineError::Moved {
        address: Address::Object(key.clone()),
        by,
        at: None,
    }
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
    foreseen: Foreseen<'_>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let read = engine.enter(api, permit).await?;
    let set = engine.records(api, &permit.scope).set();
    let live = api
        .get(key)
        .await
        .map_err(|fault| fault.while_(format!("looking at {}", said(key))))?;
    let Some(live) = live else {
        return gone(engine, api, permit, &read, key).await;
    };
    let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
    if is_commands_of(&live, &permit.scope) {
        super::apply::delete(api, key, uid).await?;
        return gone(engine, api, permit, &read, key).await;
    }
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
    // What a run itself has made a moment ago is taken back although it has got an address since.
    let holds = match &expects {
        Some(_) => holder.of_own(key, &live, Fate::Deleted).await,
        None => holder.of(key, &live, Fate::Deleted).await,
    };
    let holds = holds.map_err(|fault| fault.while_(format!("looking into {}", said(key))))?;

    // During the rollback the plan's step was to make it: there is nothing that it could expect.
    let is_as_expected = match &expects {
        Some(expects) => fingerprint(&live, None) == *expects && foreseen.covers(&holds),
        None => holds.is_empty(),
    };
    if !is_as_expected {
        return Err(moved(key, Some(&live)));
    }

    guard(key, &holds)?;
    super::apply::delete(api, key, uid).await?;
    gone(engine, api, permit, &read, key).await
}

/// What becomes of the record when an object has gone, or is not ours any more.
async fn gone(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    read: &Read,
    key: &ObjectKey,
) -> Result<(), EngineError> {
    // The record went with its home.
    if key.kind == "Namespace" && key.name == engine.settings.namespaces.home {
        return Ok(());
    }
    let leaves_an_empty_place = engine.leavings().gone(key);
    // An environment of which more is known to be left needs no look.
    if !engine.leavings().are_some() {
        clear_if_empty(engine, api, &permit.scope, read).await?;
    }
    if !leaves_an_empty_place {
        return Ok(());
    }
    // Somebody else may have cleared the record by now, or be the one whose run it is.
    let vacate = |record: &mut Record| {
        if record.fence == permit.fence {
            engine.leavings().vacate(record);
        }
    };
    engine.note(api, &permit.scope, vacate).await
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

/// Lets go of an object: it stays as it is, and nothing on it says any more that it is this
/// environment's.
pub(super) async fn forget(
    engine: &KubernetesEngine,
    permit: &Permit,
    key: &ObjectKey,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let read = engine.enter(api, permit).await?;
    let set = engine.records(api, &permit.scope).set();
    let_go(api, key, &set).await?;
    gone(engine, api, permit, &read, key).await
}

/// Takes our marks off an object of a set.
pub(super) async fn let_go(api: &Api, key: &ObjectKey, set: &str) -> Result<(), EngineError> {
    let failed = |fault: ApiError| fault.while_(format!("letting go of {}", said(key)));
    for _ in 0..TRIES {
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

/// What takes our marks and our entry in the server's record off an object, and leaves the rest as
/// it is.
fn without_marks(live: &Value) -> Value {
    let entries = live["metadata"]["managedFields"].as_array();
    let mut left: Vec<Value> = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] != MANAGER)
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
