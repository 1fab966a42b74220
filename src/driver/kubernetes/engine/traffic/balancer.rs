//! The addresses that load balancers and Gateways have got, as the status of the live objects and
//! of the Gateways says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::net::{TcpStream, ToSocketAddrs};

use super::{live, objects};
use crate::driver::kubernetes::client::api::Api;
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::addresses::addresses;
use crate::driver::kubernetes::engine::list::key_of;
use crate::model::endpoint;
use crate::model::route::{ANY_ADDRESS, ObjectsRoute};
use crate::model::{ObjectKey, ServiceName};
use crate::port::engine::{EngineError, Scope};

/// The port of a URL that has none.
const HTTP: u16 = 80;

/// How long a load balancer may take to accept a connection.
const ACCEPTS: Duration = Duration::from_secs(1);

/// The addresses of the live objects that have, or are to get, one.
pub(in super::super) async fn load_balancers(
    engine: &KubernetesEngine,
    scope: &Scope,
) -> Result<BTreeMap<ServiceName, Option<String>>, EngineError> {
    let Some(api) = engine.try_api().await? else {
        return Ok(BTreeMap::new());
    };
    let read = engine.record(api, scope).await;
    let read = read.map_err(|fault| fault.while_(format!("looking at {scope}")))?;
    let live = live(api, &read.record).await;
    let live = live.map_err(|fault| fault.while_("looking at live traffic"))?;
    let routes = objects(&read.record).map(|(_, route)| route);
    let seen = with_gateways(api, routes, live).await;

    let all = objects(&read.record).filter_map(|(service, route)| {
        let address = entrance(route, &seen).map(|entrance| entrance.address);
        // Not every controller says where its Ingress or Gateway can be reached.
        let is_awaited = route.off.kind() == "Service" && route.address_url.is_some();
        (address.is_some() || is_awaited).then(|| (service.clone(), address))
    });
    Ok(all.collect())
}

/// Live objects, and the Gateways that these routes hang on: those have the addresses. One that may
/// not be read is one without an address.
pub(super) async fn with_gateways<'a>(
    api: &Api,
    routes: impl Iterator<Item = &'a ObjectsRoute>,
    mut live: Vec<Value>,
) -> Vec<Value> {
    let keys: BTreeSet<ObjectKey> = routes.filter_map(gateway).collect();
    let asked = keys.iter().map(|key| async { api.get(key).await.ok()? });
    live.extend(join_all(asked).await.into_iter().flatten());
    live
}

/// The URL of a live object's load balancer, when somebody accepts connections there.
pub(super) async fn url(route: &ObjectsRoute, seen: &[Value]) -> Option<String> {
    let entrance = entrance(route, seen)?;
    let port = entrance.port?;
    let host = match route.address_url.as_ref()? {
        // The port of a Service is in the URL already.
        url if route.off.kind() == "Service" || port == HTTP => {
            url.replace(ANY_ADDRESS, &entrance.address)
        }
        url => url.replace(ANY_ADDRESS, &format!("{}:{port}", entrance.address)),
    };
    let is_reached = accepts(format!("{}:{port}", entrance.address)).await;
    is_reached.then_some(host)
}

/// Whether somebody accepts connections there.
pub(super) async fn accepts(place: impl ToSocketAddrs) -> bool {
    let connect = TcpStream::connect(place);
    let reached = tokio::time::timeout(ACCEPTS, connect).await;
    matches!(reached, Ok(Ok(_)))
}

/// Where traffic comes in from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entrance {
    /// As a URL has it.
    address: String,
    /// Where it is asked without TLS; none where nothing but TLS is spoken.
    port: Option<u16>,
}

/// The entrance of a live object, as its status or that of its Gateway says.
fn entrance(route: &ObjectsRoute, seen: &[Value]) -> Option<Entrance> {
    let of = |key: &ObjectKey| seen.iter().find(|live| key_of(live).as_ref() == Some(key));
    if let Some(key) = gateway(route) {
        let gateway = of(&key)?;
        return Some(Entrance {
            address: reachable(gateway)?,
            port: listener_port(gateway, route),
        });
    }

    Some(Entrance {
        address: reachable(of(&route.off.key())?)?,
        port: Some(match route.off.kind() {
            "Service" => route.port,
            _ => HTTP,
        }),
    })
}

/// The Gateway that a route hangs on; none of what is no route.
fn gateway(route: &ObjectsRoute) -> Option<ObjectKey> {
    let (key, parent) = (route.off.key(), parent(route)?);
    let namespace = parent["namespace"].as_str().map(str::to_owned);
    Some(ObjectKey {
        api_version: key.api_version,
        kind: "Gateway".to_owned(),
        namespace: namespace.or(key.namespace),
        name: parent["name"].as_str()?.to_owned(),
    })
}

fn parent(route: &ObjectsRoute) -> Option<&Value> {
    let is_route = route.off.kind() == "HTTPRoute";
    let parent = route.off.body().pointer("/spec/parentRefs/0");
    parent.filter(|_| is_route)
}

/// The first address that is a name or a number: a controller may have types of its own.
fn reachable(live: &Value) -> Option<String> {
    let is_known = |kind: &str| matches!(kind, "IPAddress" | "Hostname");
    addresses(live)
        .filter(|address| address.kind.is_none_or(is_known))
        .find_map(|address| as_host(address.text))
}

/// The port of the listener that a route is for, or of the first one, where HTTP is spoken.
fn listener_port(gateway: &Value, route: &ObjectsRoute) -> Option<u16> {
    let section = parent(route)?["sectionName"].as_str();
    let listeners = gateway.pointer("/spec/listeners")?.as_array()?.iter();
    let mut plain = listeners.filter(|one| {
        let is_meant = section.is_none_or(|section| one["name"] == section);
        is_meant && one["protocol"] == "HTTP"
    });
    u16::try_from(plain.next()?["port"].as_u64()?).ok()
}

/// As a URL has it; none of what is no host.
fn as_host(address: &str) -> Option<String> {
    let address = match address.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => address.to_owned(),
    };
    endpoint::problem(&address).is_none().then_some(address)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::port::Protocol;
    use crate::model::{Manifest, Slot};

    fn route(off: Value) -> ObjectsRoute {
        let off = Manifest::try_from(off).expect("a manifest");
        ObjectsRoute {
            fixed: Vec::new(),
            to: BTreeMap::from([(Slot::Blue, off.clone())]),
            off,
            targets: BTreeMap::new(),
            port: 8080,
            protocol: Protocol::Http,
            live_url: None,
            address_url: Some("http://*:8080".to_owned()),
            slot_urls: BTreeMap::new(),
        }
    }

    fn address(status: &Value) -> Option<String> {
        let body = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"}});
        let mut live = body.clone();
        live["status"] = status.clone();
        entrance(&route(body), &[live]).map(|entrance| entrance.address)
    }

    #[test]
    fn an_address_is_a_name_or_a_number_and_nothing_else() {
        let of = |first: Value| address(&json!({"loadBalancer": {"ingress": [first]}}));
        let host = "k8s-shop-web.eu-central-1.elb.amazonaws.com";
        assert_eq!(of(json!({"hostname": host})).as_deref(), Some(host));
        assert_eq!(of(json!({"ip": "192.0.2.1"})).as_deref(), Some("192.0.2.1"));
        assert_eq!(
            of(json!({"ip": "2001:db8::1"})).as_deref(),
            Some("[2001:db8::1]")
        );
        for odd in [
            json!({}),
            json!({"ip": ""}),
            json!({"hostname": "a/b"}),
            json!({"hostname": "u@h"}),
        ] {
            assert_eq!(of(odd.clone()), None, "{odd}");
        }
        assert_eq!(address(&json!({})), None);
    }

    /// The entrance of a route to a Gateway with these addresses, listeners, and what the route
    /// says of it.
    fn behind(
        addresses: &Value,
        listeners: &Value,
        parent: &Value,
    ) -> Option<(String, Option<u16>)> {
        let api = "gateway.networking.k8s.io/v1";
        let mut parent = parent.clone();
        parent["name"] = "edge".into();
        let own = route(json!({"apiVersion": api, "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"parentRefs": [parent]}}));
        let gateway = |namespace: &str, addresses: &Value| {
            json!({"apiVersion": api, "kind": "Gateway",
                "metadata": {"name": "edge", "namespace": namespace},
                "spec": {"listeners": listeners}, "status": {"addresses": addresses}})
        };
        let namespace = parent["namespace"].as_str().unwrap_or("shop").to_owned();
        let other = gateway("other", &json!([{"value": "192.0.2.99"}]));
        let seen = [other, gateway(&namespace, addresses)];
        entrance(&own, &seen).map(|entrance| (entrance.address, entrance.port))
    }

    #[test]
    fn a_route_answers_where_its_gateway_does() {
        let address = json!([{"type": "IPAddress", "value": "192.0.2.1"}]);
        let http = json!([{"name": "web", "protocol": "HTTP", "port": 8000}]);
        let own = json!({});
        let at = |address: &str, port| Some((address.to_owned(), port));
        assert_eq!(behind(&address, &http, &own), at("192.0.2.1", Some(8000)));
        let infra = json!({"namespace": "infra"});
        assert_eq!(behind(&address, &http, &infra), at("192.0.2.1", Some(8000)));

        // Which listener is meant decides about the port, and whether there is one for HTTP.
        let both = json!([{"name": "tls", "protocol": "HTTPS", "port": 443},
            {"name": "inner", "protocol": "HTTP", "port": 8000},
            {"name": "outer", "protocol": "HTTP", "port": 80}]);
        for (section, port) in [("tls", None), ("inner", Some(8000)), ("outer", Some(80))] {
            let parent = json!({"sectionName": section});
            assert_eq!(
                behind(&address, &both, &parent),
                at("192.0.2.1", port),
                "{section}"
            );
        }
        assert_eq!(behind(&address, &both, &own), at("192.0.2.1", Some(8000)));

        // What is of another type, or no host, is passed over.
        let several = json!([{"type": "example.com/pool", "value": "a"}, {"value": "a/b"},
            {"type": "Hostname", "value": "edge.example.com"}, {"value": "2001:db8::1"}]);
        assert_eq!(
            behind(&several, &http, &own),
            at("edge.example.com", Some(8000))
        );
        assert_eq!(behind(&json!([]), &http, &own), None);
        assert_eq!(behind(&Value::Null, &http, &own), None);
    }
}
