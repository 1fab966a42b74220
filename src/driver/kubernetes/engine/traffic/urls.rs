//! Where services answer.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use serde_json::Value;

use super::{balancer, current, live, objects};
use crate::driver::kubernetes::client::api::Api;
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::record::Record;
use crate::driver::kubernetes::engine::{KubernetesEngine, observe};
use crate::model::outcome::Url;
use crate::model::port::PortName;
use crate::model::route::ObjectsRoute;
use crate::model::{LiveTraffic, ObjectKey, Role, ServiceName, Slot};
use crate::port::engine::{EngineError, Scope};

/// Where services answer. Without a URL in the configuration the load balancer's address is one,
/// or a Service's own, if it can be reached from here.
pub(in super::super) async fn urls(
    engine: &KubernetesEngine,
    scope: &Scope,
    role: Role,
) -> Result<Vec<Url>, EngineError> {
    let api = engine.api().await?;
    let read = engine
        .record(api, scope)
        .await
        .map_err(|fault| fault.while_(format!("looking at {scope}")))?;
    let live = live(api, &read.record).await;
    let live = live.map_err(|fault| fault.while_("looking at live traffic"))?;
    let traffic = observe::traffic(&read.record, &live.iter().collect::<Vec<_>>());
    let live = &match role {
        Role::Active => {
            // What has a name is asked by that.
            let routes = objects(&read.record).map(|(_, route)| route);
            let unnamed = routes.filter(|route| route.live_url.is_none());
            balancer::with_gateways(api, unnamed, live).await
        }
        Role::Preview => live,
    };

    let Some(slot) = slot_with(&read.record, role, traffic) else {
        return Ok(Vec::new());
    };

    let asked = objects(&read.record).map(|(service, route)| async move {
        let known = match role {
            Role::Active => route.live_url.clone(),
            Role::Preview => route.slot_urls.get(&slot).cloned(),
        };
        let known = match role {
            Role::Active if known.is_none() => balancer::url(route, live).await,
            Role::Active | Role::Preview => known,
        };
        let url = match known {
            Some(url) => Some(url),
            None => address(api, route, role, slot, live).await,
        };
        url.map(|url| Url {
            service: service.clone(),
            port: None,
            slot,
            url,
            trust: Vec::new(),
        })
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// Where the slot's own Service has a port of this name.
pub(in super::super) async fn port_addresses(
    engine: &KubernetesEngine,
    scope: &Scope,
    role: Role,
    (service, port): (&ServiceName, &PortName),
) -> Result<Vec<SocketAddr>, EngineError> {
    let api = engine.api().await?;
    let looking = || format!("looking at {scope}");
    let read = engine.record(api, scope).await;
    let read = read.map_err(|fault| fault.while_(looking()))?;
    let traffic = current(engine, api, &read).await?;
    let route = objects(&read.record).find(|(name, _)| *name == service);
    let slot = slot_with(&read.record, role, traffic);
    let key = route
        .zip(slot)
        .and_then(|((_, route), slot)| of_slot(route, slot));
    let Some(key) = key else {
        return Ok(Vec::new());
    };

    let found = api.get(&key).await;
    let found = found.map_err(|fault| fault.while_(looking()))?;
    let spec = &found.unwrap_or_default()["spec"];
    let mut ports = spec["ports"].as_array().into_iter().flatten();
    let number = ports.find(|one| one["name"] == port.as_str());
    let number = number.and_then(|one| u16::try_from(one["port"].as_u64()?).ok());
    let ip: Option<IpAddr> = spec["clusterIP"].as_str().and_then(|ip| ip.parse().ok());
    Ok(ip.zip(number).map(SocketAddr::from).into_iter().collect())
}

/// The slot with a role, when something stands in it.
fn slot_with(record: &Record, role: Role, traffic: LiveTraffic) -> Option<Slot> {
    let slot = match role {
        Role::Active => traffic.slot(),
        Role::Preview => match traffic.slot() {
            Some(slot) => Some(slot.other()),
            None => record.slots.keys().next().copied(),
        },
    };
    slot.filter(|slot| record.slots.contains_key(slot))
}

/// A slot's own Service.
fn of_slot(route: &ObjectsRoute, slot: Slot) -> Option<ObjectKey> {
    let (namespace, name) = route.targets.get(&slot)?.split_once('/')?;
    Some(ObjectKey {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    })
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
        // Through an ingress or a gateway without a host there is no telling; the slot's own
        // Service is the same pods.
        _ => of_slot(route, slot)?,
    };

    let seen = seen.iter().find(|live| key_of(live).as_ref() == Some(&key));
    let live = match seen {
        Some(live) => live.clone(),
        None => api.get(&key).await.ok()??,
    };

    let ip = live["spec"]["clusterIP"].as_str()?.parse().ok()?;
    let address = SocketAddr::new(ip, route.port);
    let is_reached = balancer::accepts(address).await;
    is_reached.then(|| format!("{}://{address}", route.protocol.scheme()))
}
