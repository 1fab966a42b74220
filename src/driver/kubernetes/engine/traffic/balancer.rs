//! The addresses that a cloud's load balancers have got, as the live objects' status says.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use serde_json::Value;

use super::{live, objects};
use crate::driver::kubernetes::engine::KubernetesEngine;
use crate::driver::kubernetes::engine::list::key_of;
use crate::model::ServiceName;
use crate::model::endpoint;
use crate::model::route::{ANY_ADDRESS, ObjectsRoute};
use crate::port::engine::{EngineError, Scope};

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

    let all = objects(&read.record).filter_map(|(service, route)| {
        let address = address_of(route, &live);
        // Not every controller says where its Ingress can be reached.
        let is_awaited = route.off.kind() == "Service" && route.address_url.is_some();
        (address.is_some() || is_awaited).then(|| (service.clone(), address))
    });
    Ok(all.collect())
}

/// The URL of a live object's load balancer, when somebody accepts connections there.
pub(super) async fn url(route: &ObjectsRoute, live: &[Value]) -> Option<String> {
    let address = address_of(route, live)?;
    let url = route.address_url.as_ref()?.replace(ANY_ADDRESS, &address);
    let uri: http::Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(80);

    let connect = tokio::net::TcpStream::connect(format!("{address}:{port}"));
    let reached = tokio::time::timeout(ACCEPTS, connect).await;
    matches!(reached, Ok(Ok(_))).then_some(url)
}

/// The address in a live object's status, as a URL has it.
fn address_of(route: &ObjectsRoute, live: &[Value]) -> Option<String> {
    let key = route.off.key();
    let object = live
        .iter()
        .find(|live| key_of(live).as_ref() == Some(&key))?;
    let first = object.pointer("/status/loadBalancer/ingress/0")?;
    let text = |name: &str| first[name].as_str().filter(|text| !text.is_empty());
    let address = text("hostname").or_else(|| text("ip"))?;
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

    fn address(status: &Value) -> Option<String> {
        let body = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"}});
        let off = Manifest::try_from(body.clone()).expect("a manifest");
        let route = ObjectsRoute {
            fixed: Vec::new(),
            to: BTreeMap::from([(Slot::Blue, off.clone())]),
            off,
            targets: BTreeMap::new(),
            port: 8080,
            protocol: Protocol::Http,
            live_url: None,
            address_url: Some("http://*:8080".to_owned()),
            slot_urls: BTreeMap::new(),
        };
        let mut live = body;
        live["status"] = status.clone();
        address_of(&route, &[live])
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
}
