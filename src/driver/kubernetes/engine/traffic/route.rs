//! Entry points: opened, changed and closed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde_json::Value;

use super::{current, foreign, moved};
use crate::driver::kubernetes::client::api::{Api, ApiError, Kind, Selector};
use crate::driver::kubernetes::engine::apply::{self, refused, said};
use crate::driver::kubernetes::engine::autoscale::Pods;
use crate::driver::kubernetes::engine::list::{Expected, Search, list};
use crate::driver::kubernetes::engine::observe::{self, of_route};
use crate::driver::kubernetes::engine::owner::belongs_to;
use crate::driver::kubernetes::engine::record::{Read, Record};
use crate::driver::kubernetes::engine::{KubernetesEngine, environment_objects, slots};
use crate::model::object::{Drift, mark, rank};
use crate::model::route::Route;
use crate::model::secret::HashKey;
use crate::model::{Address, Fingerprint, LiveTraffic, Manifest, ObjectKey, ServiceName};
use crate::port::engine::{EngineError, Permit};

pub(in super::super) async fn route(
    engine: &KubernetesEngine,
    permit: &Permit,
    route: &Route,
    expects: Option<Fingerprint>,
) -> Result<(), EngineError> {
    let api = engine.api().await?;
    let mut read = engine.enter(api, permit).await?;
    let service = &route.service;
    let set = engine.records(api, &permit.scope).set();
    let traffic = current(engine, api, &read).await?;
    let old = read.record.routes.get(service).cloned();
    let failed = |fault: ApiError| fault.while_(format!("looking at the entry point of {service}"));
    let drift = match &old {
        None => Vec::new(),
        Some(old) => drift(engine, api, &read, old, traffic, &set)
            .await
            .map_err(failed)?,
    };
    if old.as_ref() == Some(route) && drift.is_empty() {
        return Ok(());
    }

    let current = old.as_ref().map(|old| fingerprint(old, &drift));
    if current != expects {
        return Err(moved(Address::Route(service.clone()), &read));
    }

    let manifests = of_route(route, traffic, &set);
    let found = match &old {
        None => refuse_foreign(api, &manifests, &set).await?,
        Some(_) => BTreeMap::new(),
    };

    let kinds = kinds(api, &manifests).await?;
    let change = |record: &mut Record| {
        record.routes.insert(service.clone(), route.clone());
        engine.will_have(record, &kinds, &manifests);
    };
    engine.remember(api, permit, &mut read, change).await?;

    let off = route.objects().map(|objects| objects.off.key());
    // Where nothing is, there is no traffic to leave alone.
    let is_absent = |key: &ObjectKey| matches!(found.get(key), Some(None));
    let untouched = off.filter(|off| traffic.is_off() && !is_absent(off));
    listen_all(engine, api, &set, &manifests, untouched.as_ref()).await?;

    let old = old.iter().flat_map(|old| of_route(old, traffic, &set));
    delete_rest(api, &set, &manifests, old.collect()).await
}

/// What an entry point is bound to: what was recorded, and what has drifted from it.
fn fingerprint(route: &Route, drift: &[Drift]) -> Fingerprint {
    if drift.is_empty() {
        Fingerprint::of_json(route)
    } else {
        Fingerprint::of_json(&(route, drift))
    }
}

/// Makes the objects of an entry point what they should be, rank after rank as they need each
/// other.
async fn listen_all(
    engine: &KubernetesEngine,
    api: &Api,
    set: &str,
    manifests: &[Manifest],
    untouched: Option<&ObjectKey>,
) -> Result<(), EngineError> {
    let mut ranks: BTreeMap<u8, Vec<&Manifest>> = BTreeMap::new();
    for manifest in manifests {
        let rank = rank(manifest.kind());
        ranks.entry(rank).or_default().push(manifest);
    }

    for group in ranks.values() {
        let applied = group
            .iter()
            .map(|manifest| listen(engine, api, set, manifest, untouched));
        try_join_all(applied).await?;
    }

    Ok(())
}

/// Deletes the objects that the entry point had before and has no more.
async fn delete_rest(
    api: &Api,
    set: &str,
    manifests: &[Manifest],
    old: Vec<Manifest>,
) -> Result<(), EngineError> {
    let wanted: BTreeSet<ObjectKey> = manifests.iter().map(Manifest::key).collect();
    let gone = old.iter().map(Manifest::key);
    for key in gone.filter(|key| !wanted.contains(key)) {
        apply::delete_own(api, &key, set).await?;
    }
    Ok(())
}

/// Makes one object of an entry point what it should be. `untouched`: the live object, as long as
/// no slot has its traffic.
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
    apply::replacement(api, manifest.body(), None, fault)
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
    traffic: LiveTraffic,
    set: &str,
) -> Result<Vec<Drift>, ApiError> {
    let manifests = observe::bound_of_route(route, traffic, set);
    let objects = manifests
        .iter()
        .map(|manifest| (manifest.key(), manifest.body().clone()))
        .collect();

    let key = HashKey(Vec::new());
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

pub(in super::super) async fn unroute(
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
    let mut manifests = of_route(&route, LiveTraffic::Off, &set);
    manifests.sort_by_key(|manifest| Reverse(rank(manifest.kind())));
    for manifest in manifests {
        apply::delete_own(api, &manifest.key(), &set).await?;
    }

    let change = |record: &mut Record| {
        record.routes.remove(service);
    };
    engine.remember(api, permit, &mut read, change).await?;
    environment_objects::clear_if_empty(engine, api, &permit.scope, &read).await
}
