//! The entry point: slot Services that no switch touches, and one live object per service that is all a switch touches.
//! The patch carries the version of the object that was looked at, and is not believed until the endpoints say so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::apply::{self, refused, said};
use crate::driver::kubernetes::engine::autoscale::Pods;
use crate::driver::kubernetes::engine::complete::Key;
use crate::driver::kubernetes::engine::complete::shared;
use crate::driver::kubernetes::engine::list::{Expected, Search, key_of, list};
use crate::driver::kubernetes::engine::observe::{self, of_route};
use crate::driver::kubernetes::engine::owner::{self, belongs_to};
use crate::driver::kubernetes::engine::record::{Read, Record};
use crate::driver::kubernetes::engine::slots;
use crate::driver::kubernetes::engine::wait;
use crate::model::facts::Overview;
use crate::model::object::{mark, rank};
use crate::model::outcome::Url;
use crate::model::route::{ObjectsRoute, Route};
use crate::model::{Address, Fingerprint, Manifest, ObjectKey, Role, ServiceName, Slot};
use crate::port::engine::{EngineError, Permit, Scope};

/// How long endpoints may take to follow a switch.
const FOLLOW: Duration = Duration::from_secs(30);
/// How long a live object may be changed by others between looking and switching.
const TRIES: usize = 8;

fn moved(address: Address, read: &Read) -> EngineError {
    EngineError::Moved {
        address,
        by: read.record.changed_by.clone(),
        at: read.record.changed_at,
    }
}

fn objects(record: &Record) -> impl Iterator<Item = (&ServiceName, &ObjectsRoute)> {
    record
        .routes
        .iter()
        .filter_map(|(service, route)| Some((service, route.objects.as_deref()?)))
}

/// The live objects of all services, as they are now.
async fn live(api: &Api, record: &Record) -> Result<Vec<Value>, ApiError> {
    let keys: Vec<ObjectKey> = objects(record).map(|(_, route)| route.off.key()).collect();
    let found = try_join_all(keys.iter().map(|key| api.get(key))).await?;
    Ok(found.into_iter().flatten().collect())
}

/// The slot that has live traffic now.
pub(super) async fn active(
    _: &KubernetesEngine,
    api: &Api,
    read: &Read,
) -> Result<Option<Slot>, EngineError> {
    let live = live(api, &read.record)
        .await
        .map_err(|fault| fault.while_("looking at live traffic"))?;
    Ok(observe::active(
        &read.record,
        &live.iter().collect::<Vec<_>>(),
    ))
}

/// What stands where, without a look at the objects of the slots.
pub(super) async fn overview(
    engine: &KubernetesEngine,
    scope: &Scope,
) -> Result<Overview, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(Overview::default());
    };
    let read = engine.record(api, scope).await;
    let read = read.map_err(|fault| fault.while_(format!("looking at {scope}")))?;
    let active = active(engine, api, &read).await?;
    let record = read.record;
    let labels = record.slots.into_iter();
    Ok(Overview {
        lineage: record.lineage,
        active,
        labels: labels.map(|(slot, there)| (slot, there.label)).collect(),
        changed_by: record.changed_by,
        changed_at: record.changed_at,
    })
}

/// Whether all live objects point where they should.
fn agree(record: &Record, live: &[Value], slot: Option<Slot>) -> bool {
    let wanted = slot.map_or("off", Slot::as_str);
    live.len() == objects(record).count()
        && live
            .iter()
            .all(|object| object["metadata"]["labels"][mark::ACTIVE] == wanted)
}

pub(super) async fn route(
    engine: &KubernetesEngine,
    permit: &Permit,
    route: &Route,
    expects: Option<Fingerprint>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    let service = &route.service;
    let set = engine.records(api, &permit.scope).set();
    let active = active(engine, api, &read).await?;
    let old = read.record.routes.get(service).cloned();
    let failed = |fault: ApiError| fault.while_(format!("looking at the entry point of {service}"));
    let drift = match &old {
        None => Vec::new(),
        Some(old) => drift(engine, api, &read, old, active, &set)
            .await
            .map_err(failed)?,
    };
    if old.as_ref() == Some(route) && drift.is_empty() {
        return Ok(());
    }
    let current = old.as_ref().map(|old| {
        if drift.is_empty() {
            Fingerprint::of_json(old)
        } else {
            Fingerprint::of_json(&(old, &drift))
        }
    });
    if current != expects {
        return Err(moved(Address::Route(service.clone()), &read));
    }
    let manifests = of_route(route, active, &set);
    let found = match old {
        None => refuse_foreign(api, &manifests, &set).await?,
        Some(_) => BTreeMap::new(),
    };
    let kinds = kinds(api, &manifests).await?;
    let change = |record: &mut Record| {
        record.routes.insert(service.clone(), route.clone());
        record.will_have(&kinds, &manifests);
    };
    engine.remember(api, permit, &mut read, change).await?;
    let mut ranks: BTreeMap<u8, Vec<&Manifest>> = BTreeMap::new();
    for manifest in &manifests {
        let rank = rank(manifest.kind());
        ranks.entry(rank).or_default().push(manifest);
    }
    let off = route.objects.as_ref().map(|objects| objects.off.key());
    // Where nothing is, there is no traffic to leave alone.
    let is_absent = |key: &ObjectKey| matches!(found.get(key), Some(None));
    let untouched = off.filter(|off| active.is_none() && !is_absent(off));
    for group in ranks.values() {
        let applied = group
            .iter()
            .map(|manifest| listen(engine, api, &set, manifest, untouched.as_ref()));
        try_join_all(applied).await?;
    }
    let wanted: BTreeSet<ObjectKey> = manifests.iter().map(Manifest::key).collect();
    let gone = old
        .iter()
        .flat_map(|old| of_route(old, active, &set))
        .map(|manifest| manifest.key());
    for key in gone.filter(|key| !wanted.contains(key)) {
        apply::delete_own(api, &key, &set).await?;
    }
    Ok(())
}

/// Makes one object of an entry point what it should be. `untouched`: the live object, as long as no slot has its traffic.
async fn listen(
    engine: &KubernetesEngine,
    api: &Api,
    set: &str,
    manifest: &Manifest,
    untouched: Option<&ObjectKey>,
) -> Result<(), EngineError> {
    let key = manifest.key();
    let failed = |fault: ApiError| fault.while_(format!("looking at {}", said(&key)));
    if untouched == Some(&key) && serves_others(api, &key).await.map_err(failed)? {
        return Ok(());
    }
    let Err(fault) = apply::apply(api, slots::policy(engine), manifest, None).await else {
        return Ok(());
    };

    // A Service cannot become a name and back: it is replaced.
    apply::replacement(api, manifest.body(), fault)
        .await
        .map_err(|fault| refused(&key, fault))?;
    if let Some(live) = api.get(&key).await.map_err(failed)? {
        if !belongs_to(&live, set) {
            return Err(foreign(&key, &live));
        }
        apply::make_room(api, &live, manifest).await?;
    }
    apply::apply(api, slots::policy(engine), manifest, None)
        .await
        .map(drop)
        .map_err(|fault| refused(&key, fault))
}

/// Whether a live object is there that no switch of ours has touched: one that was imported.
async fn serves_others(api: &Api, key: &ObjectKey) -> Result<bool, ApiError> {
    let live = api.get(key).await?;
    Ok(live.is_some_and(|live| live["metadata"]["labels"].get(mark::ACTIVE).is_none()))
}

/// The objects that are there under the names of these, all of them ours.
async fn refuse_foreign(
    api: &Api,
    manifests: &[Manifest],
    set: &str,
) -> Result<BTreeMap<ObjectKey, Option<Value>>, EngineError> {
    let asked = manifests.iter().map(|manifest| async move {
        let key = manifest.key();
        let live = api
            .get(&key)
            .await
            .map_err(|fault| fault.while_(format!("looking for {}", said(&key))))?;
        match live {
            Some(live) if live["metadata"]["labels"][mark::PART_OF] != set => {
                Err(foreign(&key, &live))
            }
            live => Ok((key, live)),
        }
    });
    Ok(try_join_all(asked).await?.into_iter().collect())
}

/// What is not ours is neither taken over nor deleted by the way.
fn foreign(key: &ObjectKey, live: &Value) -> EngineError {
    EngineError::Refused {
        reason: format!(
            "{} is there and belongs to {}",
            said(key),
            owner::manager(live)
        ),
        help: "`shipit import` takes it over; or delete it, or name the service differently"
            .to_owned(),
    }
}

async fn kinds(api: &Api, manifests: &[Manifest]) -> Result<BTreeSet<Kind>, EngineError> {
    let mut kinds = BTreeSet::new();
    for manifest in manifests {
        let key = manifest.key();
        let found = api.kind(&key.api_version, &key.kind).await;
        let found =
            found.map_err(|fault| fault.while_(format!("asking for the kind {}", key.kind)))?;
        kinds.insert(found.ok_or_else(|| EngineError::Refused {
            reason: format!("the server has no kind {} in {}", key.kind, key.api_version),
            help: "install the Gateway API, or use another kind of traffic".to_owned(),
        })?);
    }
    Ok(kinds)
}

async fn drift(
    engine: &KubernetesEngine,
    api: &Api,
    read: &Read,
    route: &Route,
    active: Option<Slot>,
    set: &str,
) -> Result<Vec<crate::model::object::Drift>, ApiError> {
    let manifests = observe::bound_of_route(route, active, set);
    let objects = manifests
        .iter()
        .map(|manifest| (manifest.key(), manifest.body().clone()))
        .collect();
    let key = Key(Vec::new());
    let expected = Expected {
        objects,
        whole: BTreeSet::new(),
        unmanaged: false,
        key: &key,
    };
    let selector = Selector::Labels(format!(
        "{}={set},{}={}",
        mark::PART_OF,
        mark::SERVICE,
        route.service
    ));
    let names: BTreeSet<String> = manifests
        .iter()
        .map(|manifest| manifest.kind().to_owned())
        .collect();
    let record = &read.record;
    let kinds = record
        .kinds
        .iter()
        .filter(|kind| names.contains(&kind.kind))
        .cloned()
        .collect::<BTreeSet<Kind>>();
    let search = Search {
        kinds: &kinds,
        namespaces: engine.settings.namespaces.all(),
        elsewhere: &record.elsewhere,
        record,
        selector,
    };
    let found = list(api, &engine.settings, &search, &expected).await?;
    observe::drift(api, slots::policy(engine), &manifests, &found, Pods::Wanted).await
}

pub(super) async fn unroute(
    engine: &KubernetesEngine,
    permit: &Permit,
    service: &ServiceName,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    let Some(route) = read.record.routes.get(service).cloned() else {
        return Ok(());
    };
    let set = engine.records(api, &permit.scope).set();
    let mut manifests = of_route(&route, None, &set);
    manifests.sort_by_key(|manifest| std::cmp::Reverse(rank(manifest.kind())));
    for manifest in manifests {
        apply::delete_own(api, &manifest.key(), &set).await?;
    }
    let change = |record: &mut Record| {
        record.routes.remove(service);
    };
    engine.remember(api, permit, &mut read, change).await?;
    super::environment_objects::clear_if_empty(engine, api, &permit.scope, &read).await
}

pub(super) async fn switch(
    engine: &KubernetesEngine,
    permit: &Permit,
    from: Option<Slot>,
    to: Option<Slot>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    let there = async {
        let there = live(api, &read.record).await;
        there.map_err(|fault| fault.while_("looking at live traffic"))
    };
    // Asked at once, and only counts where traffic moves.
    let is_ready = async {
        match to {
            Some(slot) => Ok(slots::is_ready(engine, api, permit, &read, slot).await),
            None => Ok(Ok(())),
        }
    };
    let (there, is_ready) = tokio::try_join!(there, is_ready)?;
    let active = observe::active(&read.record, &there.iter().collect::<Vec<_>>());
    let is_whole = agree(&read.record, &there, active);
    if active == to && is_whole && read.record.active == to {
        return Ok(());
    }
    // Where a switch was cut off in between, some services are on either side.
    if is_whole && active != from && active != to {
        return Err(moved(Address::Traffic, &read));
    }
    is_ready?;
    let set = engine.records(api, &permit.scope).set();
    let wanted: Vec<Manifest> = objects(&read.record)
        .map(|(_, route)| shared(route.live(to), &set))
        .collect();
    try_join_all(
        wanted
            .iter()
            .map(|manifest| patch(engine, api, &set, manifest, &there)),
    )
    .await?;
    if let Some(slot) = to {
        let follows = objects(&read.record)
            .map(|(service, route)| follow(engine, api, permit, slot, service, route));
        try_join_all(follows).await?;
    }
    let now = Timestamp::now();
    let change = |record: &mut Record| {
        if record.active != to {
            record.switched_at = Some(now);
        }
        record.active = to;
        if let Some(there) = to.and_then(|slot| record.slots.get_mut(&slot)) {
            there.stops_at = None;
        }
    };
    engine.remember(api, permit, &mut read, change).await
}

/// One patch, for exactly the object that was looked at, and ours. Its status may move in between, its content may not.
async fn patch(
    engine: &KubernetesEngine,
    api: &Api,
    set: &str,
    manifest: &Manifest,
    there: &[Value],
) -> Result<(), EngineError> {
    let key = manifest.key();
    let failed = |fault: ApiError| fault.while_(format!("looking at {}", said(&key)));
    let mut seen = there
        .iter()
        .find(|object| key_of(object).as_ref() == Some(&key))
        .cloned();
    for _ in 0..TRIES {
        if let Some(live) = seen.as_ref().filter(|live| !belongs_to(live, set)) {
            return Err(foreign(&key, live));
        }
        let version = seen
            .as_ref()
            .and_then(|object| object["metadata"]["resourceVersion"].as_str());
        match apply::apply(api, slots::policy(engine), manifest, version).await {
            Ok(_) => return Ok(()),
            Err(fault)
                if fault.is(StatusCode::CONFLICT)
                    && fault.to_string().contains("the object has been modified") =>
            {
                let now = api.get(&key).await.map_err(failed)?;
                let spec =
                    |object: &Option<Value>| object.as_ref().map(|object| object["spec"].clone());
                if spec(&now) != spec(&seen) {
                    let by = now.as_ref().and_then(last_manager);
                    return Err(EngineError::Moved {
                        address: Address::Traffic,
                        by,
                        at: Some(Timestamp::now()),
                    });
                }
                seen = now;
            }
            Err(fault) => {
                let reason = apply::replacement(api, manifest.body(), fault)
                    .await
                    .map_err(|fault| refused(&key, fault))?;
                return Err(EngineError::Failed {
                    what: format!("switching {}", said(&key)),
                    reason,
                });
            }
        }
    }
    let what = format!("switching {}", said(&key));
    Err(EngineError::Failed {
        what,
        reason:
            "it was given up after several conflicts: somebody else changes it at the same time"
                .to_owned(),
    })
}

/// Who changed an object last.
pub(super) fn last_manager(live: &Value) -> Option<crate::model::release::Actor> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let last = entries
        .iter()
        .max_by_key(|entry| entry["time"].as_str().unwrap_or_default().to_owned())?;
    let user = last["manager"].as_str()?.to_owned();
    Some(crate::model::release::Actor {
        user,
        host: String::new(),
        run: String::new(),
        ci: None,
    })
}

/// Waits until what traffic reaches is the slot's ready pods, and nothing else.
async fn follow(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    slot: Slot,
    service: &ServiceName,
    route: &ObjectsRoute,
) -> Result<(), EngineError> {
    let live = route.live(Some(slot));
    let key = live.key();
    if !matches!(key.kind.as_str(), "Service" | "Ingress") {
        // A Gateway says whether it has taken the route as it is now.
        wait::object(engine, &key, FOLLOW, &|_| {}).await?;
    }
    let is_selector = live.kind() == "Service" && live.body()["spec"].get("selector").is_some();
    let (namespace, name) = if is_selector {
        (key.namespace.unwrap_or_default(), key.name)
    } else {
        let target = route.targets.get(&slot).cloned().unwrap_or_default();
        target
            .split_once('/')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap_or_default()
    };
    let failed = |fault: ApiError| fault.while_(format!("looking at the endpoints of {name}"));
    let selector = Selector::Labels(format!("kubernetes.io/service-name={name}"));
    let holds = |seen: &BTreeMap<ObjectKey, Value>| {
        let (pods, slices): (Vec<Value>, Vec<Value>) =
            seen.values().cloned().partition(|one| one["kind"] == "Pod");
        let own: BTreeSet<&str> = observe::pods_of(&pods, slot, service)
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .collect();
        let endpoints = slices
            .iter()
            .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready: Vec<&str> = endpoints
            .filter(|endpoint| endpoint["conditions"]["ready"] != false)
            .map(|endpoint| endpoint["targetRef"]["name"].as_str().unwrap_or_default())
            .collect();
        !ready.is_empty() && ready.iter().all(|name| own.contains(name))
    };
    let kind = api
        .must(("discovery.k8s.io/v1", "EndpointSlice"))
        .await
        .map_err(failed)?;
    let deadline = Instant::now() + FOLLOW;
    let pods = api.must(("v1", "Pod")).await.map_err(failed)?;
    let of_slot = Selector::Labels(slots::selector(&permit.scope, slot, None));
    let home = engine.settings.namespaces.slots[&slot].clone();
    let places = [(kind, namespace, selector), (pods, home, of_slot)];
    let watched = places.map(|(kind, namespace, selector)| wait::Watched {
        kind,
        namespace: Some(namespace),
        selector,
        need: wait::Need::Must,
    });
    let held = wait::until(engine.api().await?, &watched, deadline, |seen| {
        holds(seen).then_some(())
    });
    match held.await.map_err(failed)? {
        Some(()) => Ok(()),
        None => Err(EngineError::Failed {
            what: format!("switching {service}"),
            reason: format!("its endpoints were not the ready pods of {slot} within {FOLLOW:?}"),
        }),
    }
}

/// Where services answer. Without a URL in the configuration a Service's own address is one, if it can be reached
/// from here.
pub(super) async fn urls(
    engine: &KubernetesEngine,
    scope: &Scope,
    role: Role,
) -> Result<Vec<Url>, EngineError> {
    let api = engine.api().await?;
    let failed = |fault: ApiError| fault.while_(format!("looking at {scope}"));
    let read = engine.record(api, scope).await.map_err(failed)?;
    let live = live(api, &read.record).await;
    let live = live.map_err(|fault| fault.while_("looking at live traffic"))?;
    let active = observe::active(&read.record, &live.iter().collect::<Vec<_>>());
    let live = &live;
    let slot = match role {
        Role::Active => active,
        Role::Preview => match active {
            Some(slot) => Some(slot.other()),
            None => read.record.slots.keys().next().copied(),
        },
    };
    let Some(slot) = slot.filter(|slot| read.record.slots.contains_key(slot)) else {
        return Ok(Vec::new());
    };
    let asked = objects(&read.record).map(|(service, route)| async move {
        let known = match role {
            Role::Active => route.live_url.clone(),
            Role::Preview => route.slot_urls.get(&slot).cloned(),
        };
        let url = match known {
            Some(url) => Some(url),
            None => address(api, route, role, slot, live).await,
        };
        url.map(|url| Url {
            service: service.clone(),
            slot,
            url,
        })
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// A Service's address, when somebody answers there.
async fn address(
    api: &Api,
    route: &ObjectsRoute,
    role: Role,
    slot: Slot,
    seen: &[Value],
) -> Option<String> {
    let key = match role {
        Role::Active
            if route.off.kind() == "Service"
                && route.off.body()["spec"].get("selector").is_some() =>
        {
            route.off.key()
        }
        // Through an ingress or a gateway without a host there is no telling; the slot's own Service is the same pods.
        _ => {
            let (namespace, name) = route.targets.get(&slot)?.split_once('/')?;
            ObjectKey {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
            }
        }
    };
    let seen = seen.iter().find(|live| key_of(live).as_ref() == Some(&key));
    let live = match seen {
        Some(live) => live.clone(),
        None => api.get(&key).await.ok()??,
    };
    let ip = live["spec"]["clusterIP"].as_str()?.parse().ok()?;
    let address = SocketAddr::new(ip, route.port);
    let connect = tokio::net::TcpStream::connect(address);
    let reached = tokio::time::timeout(Duration::from_secs(1), connect).await;
    matches!(reached, Ok(Ok(_))).then(|| format!("http://{address}"))
}
