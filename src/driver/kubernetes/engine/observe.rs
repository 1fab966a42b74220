//! Looking at an environment: its record, its pods and its objects ([`list`]), and what each of them means. Only what
//! cannot be told from an object itself is asked by a dry run.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::apply::{Decision, decide, said};
use crate::driver::kubernetes::engine::autoscale::{Pods, Scalers};
use crate::driver::kubernetes::engine::cache::Seen;
use crate::driver::kubernetes::engine::compare::{
    Comparison as Compared, applied, changes, compare, owned,
};
use crate::driver::kubernetes::engine::complete::{Finish, Key, finish, shared};
use crate::driver::kubernetes::engine::holds::{self, Asked, ClaimHolder, Fate, NOTHING, bound};
use crate::driver::kubernetes::engine::list::{Expected, ObjectsFound, Search, list};
use crate::driver::kubernetes::engine::owner::manager;
use crate::driver::kubernetes::engine::ready::{Ready, instance, trouble};
use crate::driver::kubernetes::engine::record::{Placed, Read, Record, Records, Workloads};
use crate::driver::kubernetes::engine::{Conflict, KubernetesEngine};
use crate::model::facts::{Facts, HealthState, SlotFacts, WorkloadFacts, WorkloadHealth};
use crate::model::loss::Claim;
use crate::model::object::{Drift, ObjectFacts, ObjectState, is_kept, mark};
use crate::model::plan::Change;
use crate::model::route::Route;
use crate::model::{Fingerprint, Manifest, ObjectKey, ReleaseNumber, ServiceName, Slot};
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

/// The manifests of a workload as they were sent, with hashes for the secrets' values.
pub(super) fn sent(
    placed: &Placed,
    slot: Slot,
    release: ReleaseNumber,
    set: &str,
) -> Vec<Manifest> {
    let how = Finish {
        slot,
        release,
        running: placed.running,
        bindings: &placed.bindings,
        values: None,
        set,
    };
    finish(&placed.spec, &how)
}

/// All that is known about an environment at one moment.
pub(super) struct Snapshot {
    pub read: Read,
    pub slots: BTreeMap<Slot, Workloads>,
    pub found: ObjectsFound,
    pub pods: Vec<Value>,
    pub claims: Vec<Claim>,
    pub set: String,
}

/// Facts, and how the environment's own objects stand when somebody wants to know.
pub(super) async fn observe(
    engine: &KubernetesEngine,
    scope: &Scope,
    wanted: Option<&[Manifest]>,
) -> Result<(Facts, Vec<ObjectFacts>), EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok((
            Facts::default(),
            wanted.unwrap_or_default().iter().map(nothing_yet).collect(),
        ));
    };
    let records = engine.records(api, scope);
    let failed = |fault: ApiError| fault.while_(format!("looking at {scope}"));
    let at = clock();
    let (snapshot, missing) = snapshot(engine, api, &records, wanted)
        .await
        .map_err(failed)?;
    let facts = async { facts(engine, api, scope, &snapshot).await.map_err(failed) };
    let (facts, objects) = match wanted {
        None => (facts.await?, Vec::new()),
        Some(wanted) => {
            let objects = objects(engine, api, scope, &snapshot, wanted, &missing);
            tokio::try_join!(facts, objects)?
        }
    };
    engine.keep_facts(at, scope, &facts);
    Ok((facts, objects))
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

/// Kinds of wanted objects that the server does not know.
type Unknown = BTreeSet<(String, String)>;

async fn snapshot(
    engine: &KubernetesEngine,
    api: &Api,
    records: &Records<'_>,
    wanted: Option<&[Manifest]>,
) -> Result<(Snapshot, Unknown), ApiError> {
    let set = records.set();
    let wanted_kinds = kinds_of(api, wanted.unwrap_or_default());
    // Whether the key is needed is only known with the record; it is asked for beside it.
    let (read, wanted_kinds, key) = tokio::join!(records.read(), wanted_kinds, records.key(false));
    let (read, (wanted_kinds, missing)) = (read?, wanted_kinds?);
    let record = &read.record;
    let pods = pods(engine, api, records.scope, record);
    let is_known =
        !record.slots.is_empty() || record.kinds.iter().any(|kind| kind.kind == "Secret");
    let key = if is_known { key? } else { Key(Vec::new()) };
    let (slots, pods) = tokio::try_join!(slots(records, record), pods)?;
    let mut objects = BTreeMap::new();
    let mut asks_for_storage = wanted
        .unwrap_or_default()
        .iter()
        .any(holds::asks_for_storage);
    for (slot, workloads) in &slots {
        let number = record.slots[slot].label.number;
        for placed in workloads.values() {
            for manifest in sent(placed, *slot, number, &set) {
                asks_for_storage |= holds::asks_for_storage(&manifest);
                objects.insert(manifest.key(), manifest.into());
            }
        }
    }
    let mut whole = BTreeSet::new();
    for route in record
        .routes
        .values()
        .filter_map(|route| route.objects.as_ref())
    {
        for manifest in &route.fixed {
            objects.insert(manifest.key(), shared(manifest, &set).into());
        }
        whole.insert(route.off.key());
    }
    for manifest in wanted.unwrap_or_default() {
        objects.insert(manifest.key(), shared(manifest, &set).into());
    }
    let mut kinds = wanted_kinds;
    kinds.extend(record.kinds.iter().cloned());
    let expected = Expected {
        objects,
        whole,
        unmanaged: wanted.is_some(),
        key: &key,
    };
    let search = Search {
        kinds: &kinds,
        namespaces: records.namespaces.all(),
        elsewhere: &record.elsewhere,
        record,
        selector: Selector::Labels(format!("{}={set}", mark::PART_OF)),
    };
    let storage = async {
        if asks_for_storage {
            holds::claims(api, &search.namespaces).await
        } else {
            Ok(Vec::new())
        }
    };
    let lists = list(api, &engine.settings, &search, &expected);
    let (found, claims) = tokio::try_join!(lists, storage)?;
    Ok((
        Snapshot {
            read,
            slots,
            found,
            pods,
            claims,
            set,
        },
        missing,
    ))
}

/// The kinds of manifests, and those that the server does not know.
async fn kinds_of(
    api: &Api,
    manifests: &[Manifest],
) -> Result<(BTreeSet<Kind>, Unknown), ApiError> {
    let names: BTreeSet<(String, String)> = manifests
        .iter()
        .map(Manifest::key)
        .map(|key| (key.api_version, key.kind))
        .collect();
    let asked = names.into_iter().map(|name| async move {
        let kind = api.kind(&name.0, &name.1).await?;
        Ok::<_, ApiError>((name, kind))
    });
    let (mut kinds, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for (name, kind) in try_join_all(asked).await? {
        match kind {
            Some(kind) => {
                kinds.insert(kind);
            }
            None => {
                missing.insert(name);
            }
        }
    }
    Ok((kinds, missing))
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

async fn pods(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    record: &Record,
) -> Result<Vec<Value>, ApiError> {
    let mut namespaces: Vec<&String> = record
        .slots
        .keys()
        .map(|slot| &engine.settings.namespaces.slots[slot])
        .collect();
    namespaces.sort();
    namespaces.dedup();
    let selector = Selector::Labels(of_scope(scope));
    let lists = namespaces.into_iter().map(|namespace| {
        let selector = &selector;
        async move {
            let mut pods = Vec::new();
            let kind = api.must(("v1", "Pod")).await?;
            api.list(&kind, Some(namespace), selector, |pod| pods.push(pod))
                .await?;
            Ok::<_, ApiError>(pods)
        }
    });
    Ok(try_join_all(lists).await?.concat())
}

/// The slot whose traffic the live objects say it is: what counts when all of them agree; else what was written.
pub(super) fn active(record: &Record, live: &[&Value]) -> Option<Slot> {
    let said: BTreeSet<&str> = live
        .iter()
        .filter_map(|object| object["metadata"]["labels"][mark::ACTIVE].as_str())
        .collect();
    let all = record
        .routes
        .values()
        .filter(|route| route.objects.is_some())
        .count();
    match said.iter().collect::<Vec<_>>()[..] {
        [one] if live.len() == all && all > 0 => one.parse().ok(),
        _ => record.active,
    }
}

async fn facts(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    snapshot: &Snapshot,
) -> Result<Facts, ApiError> {
    let record = &snapshot.read.record;
    let routes = record
        .routes
        .values()
        .filter_map(|route| route.objects.as_ref());
    let live: Vec<&Value> = routes
        .filter_map(|route| snapshot.found.known.get(&route.off.key())?.live.as_ref())
        .collect();
    let active = active(record, &live);
    let policy = engine.settings.conflict;
    let mut slots = BTreeMap::new();
    for (slot, workloads) in &snapshot.slots {
        let Some(there) = record.slots.get(slot) else {
            continue;
        };
        let number = there.label.number;
        let all = workloads.iter().map(|(service, placed)| async move {
            let manifests = sent(placed, *slot, number, &snapshot.set);
            let pods = pods_of(&snapshot.pods, *slot, service);
            let mut facts =
                workload(api, policy, placed, &manifests, &snapshot.found, &pods).await?;
            let (set, going) = (snapshot.set.as_str(), &NOTHING);
            let holder = ClaimHolder {
                api,
                scope,
                set,
                going,
                asked: Asked::ForPlan,
            };
            facts.held = holder.held(&manifests, &snapshot.found).await?;
            Ok::<_, ApiError>((service.clone(), facts))
        });
        let workloads = try_join_all(all).await?.into_iter().collect();
        let facts = SlotFacts {
            label: there.label.clone(),
            workloads,
            placed_at: there.placed_at,
            stops_at: there.stops_at,
        };
        slots.insert(*slot, facts);
    }
    let drifts = record.routes.iter().map(|(service, route)| async move {
        let bound = bound_of_route(route, active, &snapshot.set);
        let drift = drift(api, policy, &bound, &snapshot.found, Pods::Wanted).await?;
        Ok::<_, ApiError>((service.clone(), drift))
    });
    let drifts = try_join_all(drifts).await?;
    Ok(Facts {
        lineage: record.lineage.clone(),
        fence: record.fence,
        changed_by: record.changed_by.clone(),
        changed_at: record.changed_at,
        active,
        switched_at: record.switched_at,
        slots,
        routes: record.routes.clone(),
        route_drift: drifts
            .into_iter()
            .filter(|(_, drift)| !drift.is_empty())
            .collect(),
        claims: snapshot.claims.clone(),
    })
}

/// The objects of an entry point as they are sent.
pub(super) fn of_route(route: &Route, active: Option<Slot>, set: &str) -> Vec<Manifest> {
    let Some(objects) = &route.objects else {
        return Vec::new();
    };
    objects
        .fixed
        .iter()
        .chain([objects.live(active)])
        .map(|manifest| shared(manifest, set))
        .collect()
}

/// Those that must be as they were applied. Before the first switch the live object may still be what it was before
/// it was imported: its traffic is not deleted until a slot can have it.
pub(super) fn bound_of_route(route: &Route, active: Option<Slot>, set: &str) -> Vec<Manifest> {
    let mut all = of_route(route, active, set);
    if active.is_none() {
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

/// One workload: what drifted, its pods, and how it is as a whole.
pub(super) async fn workload(
    api: &Api,
    policy: Conflict,
    placed: &Placed,
    manifests: &[Manifest],
    found: &ObjectsFound,
    pods: &[&Value],
) -> Result<WorkloadFacts, ApiError> {
    let wanted = Pods::of(placed.running);
    let drift = drift(api, policy, manifests, found, wanted).await?;
    let instances = pods
        .iter()
        .enumerate()
        .map(|(index, pod)| instance(index, pod))
        .collect();
    let verdict = Some(verdict(manifests, found, pods));
    Ok(WorkloadFacts {
        spec: placed.spec.clone(),
        running: placed.running,
        instances,
        drift,
        changed_on_disk: None,
        verdict,
        held: Vec::new(),
    })
}

fn verdict(manifests: &[Manifest], found: &ObjectsFound, pods: &[&Value]) -> WorkloadHealth {
    let mut worst = WorkloadHealth {
        health: HealthState::Ready,
        reason: "all of it is ready".to_owned(),
    };
    for manifest in manifests {
        let key = manifest.key();
        let state = found.known.get(&key).map(|item| &item.ready);
        let (health, reason) = match state {
            Some(Ready::Yes) => continue,
            Some(Ready::Not(reason)) => {
                (HealthState::Starting, format!("{}: {reason}", key.short()))
            }
            // Nothing that shipit could do by starting it again: the cluster does that itself.
            Some(Ready::Failed(reason)) => {
                (HealthState::Unhealthy, format!("{}: {reason}", key.short()))
            }
            None => (
                HealthState::Unhealthy,
                format!("{} is not there", key.short()),
            ),
        };
        if health > worst.health {
            worst = WorkloadHealth { health, reason };
        }
    }
    if worst.health != HealthState::Ready
        && let Some(reason) = pods.iter().find_map(|pod| trouble(pod, Timestamp::now()))
    {
        worst = WorkloadHealth {
            health: HealthState::Unhealthy,
            reason,
        };
    }
    worst
}

/// What is not as it was applied.
pub(super) async fn drift(
    api: &Api,
    policy: Conflict,
    manifests: &[Manifest],
    found: &ObjectsFound,
    pods: Pods,
) -> Result<Vec<Drift>, ApiError> {
    let all = manifests.iter().map(|manifest| async move {
        let key = manifest.key();
        let gone = |key| Drift {
            key,
            missing: true,
            changes: Vec::new(),
            conflicts: Vec::new(),
        };
        let Some(item) = found.known.get(&key) else {
            return Ok::<_, ApiError>(Some(gone(key)));
        };
        let Some(live) = &item.live else {
            return Ok(None);
        };
        if live["metadata"].get("deletionTimestamp").is_some() {
            return Ok(Some(gone(key)));
        }
        let manifest = &found.scalers.leave(manifest, live, pods);
        if compare(manifest.body(), live) == Compared::Same {
            return Ok(None);
        }
        let (changes, conflicts) = match decide(api, policy, manifest.body(), live).await {
            Ok(Decision::Same) => return Ok(None),
            Ok(Decision::Differs { changes, conflicts }) => (changes, conflicts),
            Ok(Decision::Replace(reason)) => {
                let origin = Some(reason);
                let field = "(replaced)".to_owned();
                (
                    vec![Change {
                        field,
                        before: None,
                        after: None,
                        origin,
                    }],
                    Vec::new(),
                )
            }
            // It went away between the two looks.
            Err(fault) if fault.is(http::StatusCode::NOT_FOUND) => return Ok(Some(gone(key))),
            Err(fault) => return Err(fault),
        };
        Ok(Some(Drift {
            key,
            missing: false,
            changes,
            conflicts,
        }))
    });
    Ok(try_join_all(all).await?.into_iter().flatten().collect())
}

/// What an object is bound to: which one it is, what of it is ours, and what it has where we want something.
pub(super) fn fingerprint(live: &Value, wanted: Option<&Value>) -> Fingerprint {
    let own = applied(live);
    let shadow = wanted.map(|wanted| shadow(wanted, live));
    Fingerprint::of_json(&(&live["metadata"]["uid"], own, shadow))
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

/// How the environment's own objects stand.
async fn objects(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    snapshot: &Snapshot,
    wanted: &[Manifest],
    unknown: &Unknown,
) -> Result<Vec<ObjectFacts>, EngineError> {
    let definitions: BTreeMap<(String, String), ObjectKey> = wanted
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
        .collect();
    let definitions = &definitions;
    let all = wanted.iter().map(|manifest| async move {
        let key = manifest.key();
        if unknown.contains(&(key.api_version.clone(), key.kind.clone())) {
            let by = definitions.get(&(key.group().to_owned(), key.kind.clone()));
            let definition = by.cloned().ok_or_else(|| EngineError::Refused {
                reason: format!("the server has no kind {} in {}", key.kind, key.api_version),
                help: "install what defines it first, or add its CustomResourceDefinition to the manifests"
                    .to_owned(),
            })?;
            return Ok(ObjectFacts::plain(key, ObjectState::After { definition }));
        }
        one(engine, api, scope, snapshot, manifest)
            .await
            .map_err(|fault| fault.while_(format!("comparing {}", said(&key))))
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

/// One of ours that is not desired any more.
async fn leaving(
    holder: &ClaimHolder<'_>,
    key: &ObjectKey,
    live: &Value,
) -> Result<ObjectFacts, EngineError> {
    let failed = |fault: ApiError| fault.while_(format!("looking into {}", said(key)));
    let holds = holder.of(key, live, Fate::Deleted).await.map_err(failed)?;
    Ok(ObjectFacts {
        fingerprint: Some(bound(fingerprint(live, None), &holds)),
        before: before(live),
        holds,
        is_protected: holds::is_protected(live),
        is_kept: is_kept(live),
        ..ObjectFacts::plain(key.clone(), ObjectState::Gone)
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
    // The values of a Secret are not kept, and a new one in its place is made from what is there then.
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

/// What applying would change although every field is as it should be: in which version, and whether at all, the
/// server has it recorded that the fields are ours. By that record an object is known as ours.
fn unrecorded(sent: &Manifest, live: &Value) -> Option<Change> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let before = owned(live).and_then(|entry| text(&entry["apiVersion"]));
    let after = text(&sent.body()["apiVersion"]);
    (before != after).then(|| Change {
        field: "apiVersion".to_owned(),
        before,
        after,
        origin: None,
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
    let how = crate::driver::kubernetes::client::api::How {
        dry_run: true,
        force: false,
    };
    // What a dry run would replace has no version: mostly nothing is there, and that says so by itself.
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
            Err(fault) if !fault.is(http::StatusCode::NOT_FOUND) => Err(fault),
            _ => Ok(ObjectFacts::plain(key, ObjectState::Absent)),
        };
    };
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

/// Whether a refusal says that the namespace of an object is not there.
fn is_without_namespace(fault: &ApiError) -> bool {
    let details = fault.status().and_then(|status| status.details.as_ref());
    fault.is(http::StatusCode::NOT_FOUND)
        && details.is_some_and(|details| details.kind == "namespaces")
}

/// Whether an object is one that the server keeps.
fn has_version(object: &Value) -> bool {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.is_some_and(|version| !version.is_empty())
}
