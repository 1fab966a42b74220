//! Whether traffic has followed a switch: the endpoints say so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::{KubernetesEngine, observe, slots, wait};
use crate::model::route::ObjectsRoute;
use crate::model::{LiveTraffic, Manifest, ObjectKey, ServiceName, Slot};
use crate::port::engine::{EngineError, Permit};

/// How long endpoints may take to follow a switch.
const FOLLOW: Duration = Duration::from_secs(30);

/// Waits until what traffic reaches is the slot's ready pods, and nothing else.
pub(super) async fn follow(
    engine: &KubernetesEngine,
    api: &Api,
    permit: &Permit,
    slot: Slot,
    service: &ServiceName,
    route: &ObjectsRoute,
) -> Result<(), EngineError> {
    let live = route.live(LiveTraffic::All(slot));
    let key = live.key();
    if !matches!(key.kind.as_str(), "Service" | "Ingress") {
        // A Gateway says whether it has taken the route as it is now.
        wait::object(engine, &key, FOLLOW, &|_| {}).await?;
    }
    let (namespace, name) = behind(live, route, slot);
    let failed = |fault: ApiError| fault.while_(format!("looking at the endpoints of {name}"));

    let selector = Selector::Labels(format!("kubernetes.io/service-name={name}"));
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
        is_followed(seen, slot, service).then_some(())
    });
    match held.await.map_err(failed)? {
        Some(()) => Ok(()),
        None => Err(EngineError::Failed {
            what: format!("switching {service}"),
            reason: format!("its endpoints were not the ready pods of {slot} within {FOLLOW:?}"),
        }),
    }
}

/// The namespace and the name of the Service that traffic goes through.
fn behind(live: &Manifest, route: &ObjectsRoute, slot: Slot) -> (String, String) {
    let is_selector = live.kind() == "Service" && live.body()["spec"].get("selector").is_some();
    if is_selector {
        let key = live.key();
        return (key.namespace.unwrap_or_default(), key.name);
    }
    let target = route.targets.get(&slot).cloned().unwrap_or_default();
    target
        .split_once('/')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap_or_default()
}

/// Whether the endpoints that are ready are pods of the slot, and there are some.
fn is_followed(seen: &BTreeMap<ObjectKey, Value>, slot: Slot, service: &ServiceName) -> bool {
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
}
