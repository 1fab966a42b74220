//! Looking at an environment: its record, its pods and its objects ([`list`](super::list)), and
//! what each of them means. Only what cannot be told from an object itself is asked by a dry run.

mod drift;
mod facts;
mod objects;
mod snapshot;

pub(super) use drift::drift;
pub(super) use facts::workload;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde_json::Value;

use self::facts::facts;
use self::objects::objects;
use self::snapshot::snapshot;
use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::compare::applied;
use crate::driver::kubernetes::engine::complete::{Finish, finish, shared};
use crate::driver::kubernetes::engine::record::{Placed, Record, Records, Workloads};
use crate::model::facts::Facts;
use crate::model::object::{ObjectFacts, ObjectState, mark};
use crate::model::route::Route;
use crate::model::{Fingerprint, LiveTraffic, Manifest, ReleaseNumber, ServiceName, Slot};
use crate::port::engine::{EngineError, Scope};
use crate::port::hold::clock;

/// The slots of an environment as they were recorded.
pub(super) async fn slots(
    records: &Records<'_>,
    record: &Record,
) -> Result<BTreeMap<Slot, Workloads>, ApiError> {
    let slots = record.slots.iter().map(|(slot, there)| async move {
        Ok::<_, ApiError>((*slot, records.workloads(*slot, there).await?))
    });
    Ok(try_join_all(slots).await?.into_iter().collect())
}

/// The manifests of a workload as they were sent, with hashes for the secrets' values, where
/// traffic goes as the record has it.
pub(super) fn sent(
    placed: &Placed,
    slot: Slot,
    (release, traffic): (ReleaseNumber, LiveTraffic),
    set: &str,
) -> Vec<Manifest> {
    let how = Finish {
        slot,
        release,
        running: placed.running,
        traffic,
        bindings: &placed.bindings,
        values: None,
        set,
    };
    finish(&placed.spec, &how)
}

/// Facts, and how the environment's own objects stand when somebody wants to know.
pub(super) async fn observe(
    engine: &KubernetesEngine,
    scope: &Scope,
    wanted: Option<&[Manifest]>,
) -> Result<(Facts, Vec<ObjectFacts>), EngineError> {
    let Some(api) = engine.try_api().await? else {
        let mut objects = wanted.unwrap_or_default().iter().map(nothing_yet).collect();
        mark_home(engine, &mut objects);
        return Ok((Facts::default(), objects));
    };

    let records = engine.records(api, scope);
    let failed = |fault: ApiError| fault.while_(format!("looking at {scope}"));
    let at = clock();
    let (snapshot, missing) = snapshot(engine, api, &records, wanted)
        .await
        .map_err(failed)?;

    let facts = async { facts(engine, api, scope, &snapshot).await.map_err(failed) };
    let (facts, mut objects) = match wanted {
        None => (facts.await?, Vec::new()),
        Some(wanted) => {
            let objects = objects(engine, api, scope, &snapshot, wanted, &missing);
            tokio::try_join!(facts, objects)?
        }
    };
    engine.keep_facts(at, scope, &facts);
    if wanted.is_some() {
        engine.leavings().renew(snapshot.leavings());
    }
    mark_home(engine, &mut objects);
    Ok((facts, objects))
}

/// Says which object is the namespace that the environment's record is in.
fn mark_home(engine: &KubernetesEngine, objects: &mut Vec<ObjectFacts>) {
    let home = &engine.settings.namespaces.home;
    for object in objects {
        let key = &object.key;
        object.is_home = key.group().is_empty() && key.kind == "Namespace" && key.name == *home;
    }
}

/// Whether nothing carries the environment's label any more.
pub(super) async fn is_bare(
    engine: &KubernetesEngine,
    api: &Api,
    records: &Records<'_>,
) -> Result<bool, ApiError> {
    let (snapshot, _) = snapshot(engine, api, records, Some(&[])).await?;
    Ok(snapshot.found.unmanaged.is_empty())
}

/// An object of a cluster that is not there yet.
fn nothing_yet(wanted: &Manifest) -> ObjectFacts {
    ObjectFacts::plain(wanted.key(), ObjectState::Absent)
}

/// What the pods of an environment are found by.
pub(super) fn of_scope(scope: &Scope) -> String {
    format!(
        "{}={},{}={}",
        mark::PROJECT,
        scope.project,
        mark::ENVIRONMENT,
        scope.environment
    )
}

/// Where live traffic goes by the live objects, when all of them agree; else what was written.
pub(super) fn traffic(record: &Record, live: &[&Value]) -> LiveTraffic {
    let said: BTreeSet<&str> = live
        .iter()
        .filter_map(|object| object["metadata"]["labels"][mark::ACTIVE].as_str())
        .collect();
    let all = record
        .routes
        .values()
        .filter(|route| route.objects().is_some())
        .count();
    match said.iter().collect::<Vec<_>>()[..] {
        [one] if live.len() == all && all > 0 => one.parse().ok().into(),
        _ => record.traffic,
    }
}

/// The objects of an entry point as they are sent.
pub(super) fn of_route(route: &Route, traffic: LiveTraffic, set: &str) -> Vec<Manifest> {
    let Some(objects) = route.objects() else {
        return Vec::new();
    };
    objects
        .fixed
        .iter()
        .chain([objects.live(traffic)])
        .map(|manifest| shared(manifest, set))
        .collect()
}

/// Those that must be as they were applied. Before the first switch the live object may still be
/// what it was before it was imported: its traffic is not deleted until a slot can have it.
pub(super) fn bound_of_route(route: &Route, traffic: LiveTraffic, set: &str) -> Vec<Manifest> {
    let mut all = of_route(route, traffic, set);
    if traffic.is_off() {
        all.pop();
    }
    all
}

/// The pods of a service in a slot that are not on their way out, by name.
pub(super) fn pods_of<'a>(pods: &'a [Value], slot: Slot, service: &ServiceName) -> Vec<&'a Value> {
    let is_own = |pod: &&Value| {
        let labels = &pod["metadata"]["labels"];
        labels[mark::SLOT] == slot.as_str()
            && labels[mark::SERVICE] == service.as_str()
            && pod["metadata"].get("deletionTimestamp").is_none()
    };
    let mut own: Vec<&Value> = pods.iter().filter(is_own).collect();
    own.sort_by_key(|pod| {
        pod["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    own
}

/// What an object is bound to: which one it is, what of it is ours, and what it has where we want
/// something.
pub(super) fn fingerprint(live: &Value, wanted: Option<&Value>) -> Fingerprint {
    let own = applied(live);
    let shadow = wanted.map(|wanted| shadow(wanted, live));
    Fingerprint::of_json(&(&live["metadata"]["uid"], own, shadow))
}

/// What an object is bound to in whatever version of its kind it is shown: which one it is.
pub(super) fn identity(live: &Value) -> Fingerprint {
    Fingerprint::of_json(&live["metadata"]["uid"])
}

/// What is there where `wanted` has something.
fn shadow(wanted: &Value, live: &Value) -> Value {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .map(|(key, value)| {
                (
                    key.clone(),
                    live.get(key)
                        .map_or(Value::Null, |live| shadow(value, live)),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        (_, live) => live.clone(),
    }
}
