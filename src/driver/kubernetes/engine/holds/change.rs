//! What an object of the environment's own gives up when it is changed in place: an address, a name
//! that traffic arrives by, a volume that is freed.

use serde_json::{Map, Value};

use super::name_of;
use super::own::{entry, is_attached};
use crate::driver::kubernetes::engine::apply::said;
use crate::driver::kubernetes::engine::compare::is_own;
use crate::driver::kubernetes::engine::owner::{is_owned_by, owners};
use crate::model::ObjectKey;
use crate::model::loss::{Holding, can_hold};

/// The object as it will be once `wanted` is applied: with its fields, and without those that were
/// ours alone and are not in it any more. The server gives these their defaults.
pub(super) fn applied(live: &Value, wanted: &Value) -> Value {
    let entries = live["metadata"]["managedFields"].as_array();
    let (own, others): (Vec<&Value>, Vec<&Value>) = entries
        .into_iter()
        .flatten()
        .partition(|entry| is_own(entry));
    let others: Vec<&Value> = others.iter().map(|entry| &entry["fieldsV1"]).collect();

    let mut after = live.clone();
    for own in own {
        take_out(&mut after, wanted, &own["fieldsV1"], &others);
    }
    merge(&mut after, wanted);
    after
}

/// Takes the fields out that are ours alone and are not wanted.
fn take_out(after: &mut Value, wanted: &Value, own: &Value, others: &[&Value]) {
    let (Some(object), Some(own)) = (after.as_object_mut(), own.as_object()) else {
        return;
    };
    for (field, below) in own {
        let Some(name) = field.strip_prefix("f:") else {
            continue;
        };
        let held: Vec<&Value> = others.iter().filter_map(|it| it.get(field)).collect();
        let is_map = |fields: &Value| {
            let mut names = fields.as_object().into_iter().flat_map(Map::keys);
            names.any(|name| name.starts_with("f:"))
        };
        if is_map(below) {
            if let Some(after) = object.get_mut(name) {
                take_out(after, &wanted[name], below, &held);
            }
        } else if wanted.get(name).is_none() && held.is_empty() {
            object.remove(name);
        }
    }
}

fn merge(after: &mut Value, wanted: &Value) {
    match (after, wanted) {
        (Value::Object(after), Value::Object(wanted)) => {
            for (name, value) in wanted {
                merge(after.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (after, wanted) => *after = wanted.clone(),
    }
}

/// What goes with the change.
pub(super) fn given_up(key: &ObjectKey, live: &Value, after: &Value) -> Option<Holding> {
    match (key.group(), key.kind.as_str()) {
        ("", "Service") if service(live, after) => entry(key, live),
        ("", "Service") => {
            let is_outside = live["spec"]["externalIPs"]
                .as_array()
                .is_some_and(|all| !all.is_empty());
            if !is_outside && entry(key, live).is_none() {
                return None;
            }
            names_lost(key, &reached(live, live), &reached(after, live))
        }
        ("", "PersistentVolume") => volume(live, after),
        ("networking.k8s.io", "Ingress") => {
            let all = entry(key, live)?;
            if class(live) != class(after) {
                return Some(all);
            }
            paths_lost(key, live, after)
        }
        ("gateway.networking.k8s.io", "Gateway") => {
            let all = entry(key, live)?;
            if live["spec"]["gatewayClassName"] != after["spec"]["gatewayClassName"] {
                return Some(all);
            }
            names_lost(key, &listeners(live), &listeners(after))
        }
        ("gateway.networking.k8s.io", _) if is_attached(live) => {
            let parents = parents(after);
            if parents_of(live).any(|parent| !parents.contains(&parent)) {
                return entry(key, live);
            }
            match (texts(live, "hostnames"), texts(after, "hostnames")) {
                (_, after) if after.is_empty() => None,
                (live_names, _) if live_names.is_empty() => entry(key, live),
                (live, after) => names_lost(key, &live, &after),
            }
        }
        _ => None,
    }
}

/// That an object which can hold something goes, from this change on, with an owner that it gets.
pub(super) fn owned_since(key: &ObjectKey, live: &Value, after: &Value) -> Option<Holding> {
    let mut owners = owners(after).iter();
    let new = owners.find(|owner| !is_owned_by(live, &owner["uid"]))?;
    let text = |name: &str| new[name].as_str().unwrap_or_default();
    can_hold(key).then(|| Holding::Unknown {
        what: format!("what is in {}", said(key)),
        why: format!("it goes with {}/{} from now on", text("kind"), text("name")),
    })
}

/// Whether a Service loses the address that it has. A node's ports stay with a load balancer.
fn service(live: &Value, after: &Value) -> bool {
    let kind = |it: &Value| {
        it["spec"]["type"]
            .as_str()
            .unwrap_or("ClusterIP")
            .to_owned()
    };
    match (kind(live).as_str(), kind(after).as_str()) {
        ("LoadBalancer", "LoadBalancer") => {
            live["spec"]["loadBalancerClass"] != after["spec"]["loadBalancerClass"]
        }
        ("NodePort", "LoadBalancer") => false,
        (before, after) => before != after,
    }
}

/// A volume that no claim has any more goes at once when its policy says so.
fn volume(live: &Value, after: &Value) -> Option<Holding> {
    let policy = |it: &Value| it["spec"]["persistentVolumeReclaimPolicy"].clone();
    let is_free = matches!(
        live["status"]["phase"].as_str(),
        Some("Released" | "Failed")
    );
    if !is_free || policy(live) == policy(after) || policy(after) == "Retain" {
        return None;
    }
    let policy = policy(after);
    let policy = policy.as_str().unwrap_or("Delete");
    Some(Holding::Data {
        what: format!("volume {}", name_of(live)),
        size: live["spec"]["capacity"]["storage"]
            .as_str()
            .map(str::to_owned),
        policy: Some(format!(
            "no claim has it, so that {policy} takes it at once"
        )),
    })
}

fn names_lost(key: &ObjectKey, before: &[String], after: &[String]) -> Option<Holding> {
    let lost = before.iter().filter(|name| !after.contains(name));
    let lost: Vec<&str> = lost.map(String::as_str).collect();
    (!lost.is_empty()).then(|| Holding::Entry {
        what: format!("{} ({})", said(key), lost.join(", ")),
    })
}

fn class(ingress: &Value) -> &Value {
    let named = &ingress["spec"]["ingressClassName"];
    match named {
        Value::Null => &ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"],
        _ => named,
    }
}

/// The paths of an Ingress that lead nowhere any more, or to its default.
fn paths_lost(key: &ObjectKey, live: &Value, after: &Value) -> Option<Holding> {
    let (before, now) = (paths(live), paths(after));
    let covers = |(host, path): &(String, String), lost: &(String, String)| {
        let begins = format!("{}/", path.trim_end_matches('/'));
        *host == lost.0 && (*path == lost.1 || format!("{}/", lost.1).starts_with(&begins))
    };
    let lost = before
        .iter()
        .filter(|one| !now.iter().any(|next| covers(next, one)));
    let said: Vec<String> = lost
        .map(|(host, path)| match path.as_str() {
            "/" => host.clone(),
            path => format!("{host}{path}"),
        })
        .collect();
    names_lost(key, &said, &[])
}

/// The hosts of an Ingress with their paths; a rule without a host is for every one, and so is the
/// default backend.
fn paths(ingress: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
        let host = rule["host"].as_str().unwrap_or("every host").to_owned();
        let paths = rule["http"]["paths"].as_array();
        let of_rule = paths.into_iter().flatten();
        let mut of_rule: Vec<&str> = of_rule
            .map(|one| one["path"].as_str().unwrap_or("/"))
            .collect();
        if of_rule.is_empty() {
            of_rule.push("/");
        }
        all.extend(
            of_rule
                .iter()
                .map(|path| (host.clone(), (*path).to_owned())),
        );
    }
    if ingress["spec"]["defaultBackend"].is_object() {
        all.push(("every other host".to_owned(), "/".to_owned()));
    }
    all
}

/// Where a Service is reached from outside, a line for each way. A port that says no number of a
/// node keeps the one that it has.
fn reached(service: &Value, live: &Value) -> Vec<String> {
    let ports = |of: &Value| of["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
    let same = |one: &Value, other: &Value| {
        let protocol = |of: &Value| of["protocol"].as_str().unwrap_or("TCP").to_owned();
        one["port"] == other["port"] && protocol(one) == protocol(other)
    };
    let mut all = Vec::new();
    if matches!(kind, "NodePort" | "LoadBalancer") {
        all.extend(ports(service).iter().filter_map(|port| {
            let kept = || {
                let there = ports(live).into_iter().find(|there| same(there, port))?;
                there["nodePort"].as_u64()
            };
            let number = port["nodePort"].as_u64().or_else(kept)?;
            Some(format!("node port {number}"))
        }));
    }

    let texts = |field: &str| -> Vec<String> {
        let list = service["spec"][field].as_array().into_iter().flatten();
        list.filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    };
    let addresses = texts("externalIPs");
    if kind == "LoadBalancer" || !addresses.is_empty() {
        let numbers = ports(service);
        let numbers = numbers.iter().filter_map(|port| port["port"].as_u64());
        all.extend(numbers.map(|number| format!("port {number}")));
    }
    all.extend(addresses);
    let wanted = service["spec"]["loadBalancerIP"].as_str();
    all.extend(wanted.map(str::to_owned));
    all
}

fn listeners(gateway: &Value) -> Vec<String> {
    let listeners = gateway["spec"]["listeners"].as_array();
    let listeners = listeners.into_iter().flatten();
    let addresses = gateway["spec"]["addresses"].as_array();
    let addresses = addresses.into_iter().flatten();
    let addresses = addresses.filter_map(|one| one["value"].as_str().map(str::to_owned));
    listeners
        .map(|listener| {
            let host = listener["hostname"].as_str().unwrap_or("every host");
            format!("{host}, port {}", listener["port"])
        })
        .chain(addresses)
        .collect()
}

fn texts(object: &Value, field: &str) -> Vec<String> {
    let list = object["spec"][field].as_array().into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn parents(route: &Value) -> Vec<[&Value; 4]> {
    parents_of(route).collect()
}

fn parents_of(route: &Value) -> impl Iterator<Item = [&Value; 4]> {
    let parents = route["spec"]["parentRefs"].as_array().into_iter().flatten();
    parents.map(|it| {
        [
            &it["namespace"],
            &it["name"],
            &it["sectionName"],
            &it["port"],
        ]
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lost(text: &str, live: &Value, wanted: &Value) -> Option<String> {
        let key: ObjectKey = text.parse().expect(text);
        given_up(&key, live, &applied(live, wanted)).map(|it| it.to_string())
    }

    fn managed(fields: &Value, others: &Value) -> Value {
        json!([
            {"manager": "shipit", "operation": "Apply", "fieldsV1": fields},
            {"manager": "kim", "operation": "Update", "fieldsV1": others},
        ])
    }

    #[test]
    fn what_was_ours_alone_and_is_not_wanted_goes() {
        let live = json!({
            "metadata": {"managedFields": managed(
                &json!({"f:spec": {"f:replicas": {}, "f:ordinals": {"f:start": {}}, "f:paused": {}}}),
                &json!({"f:spec": {"f:paused": {}}}),
            )},
            "spec": {"replicas": 3, "ordinals": {"start": 5}, "paused": true, "serviceName": "db"},
        });
        let after = applied(&live, &json!({"spec": {"serviceName": "other"}}));
        assert_eq!(
            after["spec"],
            json!({"ordinals": {}, "paused": true, "serviceName": "other"})
        );
        let after = applied(
            &live,
            &json!({"spec": {"replicas": 4, "ordinals": {"start": 6}}}),
        );
        assert_eq!(
            after["spec"],
            json!({"replicas": 4, "ordinals": {"start": 6}, "paused": true, "serviceName": "db"})
        );
    }

    #[test]
    fn an_address_that_is_given_up_is_told() {
        let service = "v1/Service/shop/web";
        let owned = managed(
            &json!({"f:spec": {"f:type": {}, "f:loadBalancerClass": {}}}),
            &json!({}),
        );
        let balanced = json!({
            "metadata": {"managedFields": owned},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "a"},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
        });
        for wanted in [
            json!({"spec": {"type": "ClusterIP"}}),
            json!({"spec": {}}),
            json!({"spec": {"type": "NodePort"}}),
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "b"}}),
        ] {
            assert_eq!(
                lost(service, &balanced, &wanted).as_deref(),
                Some("live traffic arrives at Service/web in shop (192.0.2.1)"),
                "{wanted}"
            );
        }
        let same = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "a", "ports": []}});
        assert_eq!(lost(service, &balanced, &same), None);
        let node = json!({"spec": {"type": "NodePort", "ports": [{"nodePort": 30080}]}});
        let ports = json!([{"nodePort": 30080}]);
        let wider = json!({"spec": {"type": "LoadBalancer", "ports": ports}});
        assert_eq!(lost(service, &node, &wider), None, "its ports stay");
    }

    #[test]
    fn names_that_traffic_arrives_by_are_told_one_by_one() {
        let rule = |host: &str| json!({"host": host});
        let live = json!({
            "spec": {"ingressClassName": "nginx", "rules": [rule("a.example.com"), rule("b.example.com")]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
        });
        let ingress = "networking.k8s.io/v1/Ingress/shop/web";
        let fewer = json!({"spec": {"rules": [rule("b.example.com"), rule("c.example.com")]}});
        assert_eq!(
            lost(ingress, &live, &fewer).as_deref(),
            Some("live traffic arrives at Ingress/web in shop (a.example.com)")
        );
        let other = json!({"spec": {"ingressClassName": "alb"}});
        assert!(lost(ingress, &live, &other).is_some_and(|it| it.contains("192.0.2.1")));
        assert_eq!(lost(ingress, &live, &json!({"spec": {}})), None);

        let attached = json!([{"conditions": [{"type": "Accepted", "status": "True"}]}]);
        let route = json!({
            "spec": {"hostnames": ["a.example.com"], "parentRefs": [{"name": "edge"}]},
            "status": {"parents": attached},
        });
        let text = "gateway.networking.k8s.io/v1/HTTPRoute/shop/web";
        let moved = json!({"spec": {"hostnames": ["b.example.com"]}});
        assert!(lost(text, &route, &moved).is_some_and(|it| it.contains("a.example.com")));
        let elsewhere = json!({"spec": {"parentRefs": [{"name": "other"}]}});
        assert!(lost(text, &route, &elsewhere).is_some_and(|it| it.contains("a.example.com")));
        let more = json!({"spec": {"hostnames": ["a.example.com", "b.example.com"]}});
        assert_eq!(lost(text, &route, &more), None);
    }

    #[test]
    fn what_a_service_is_reached_by_is_told_one_by_one() {
        let port = |number: u16, node: u16| json!({"port": number, "nodePort": node});
        let service = "v1/Service/shop/np";
        let live = json!({"spec": {"type": "NodePort", "externalIPs": ["192.0.2.77"],
            "ports": [port(80, 30080), port(443, 30443)]}});
        assert_eq!(lost(service, &live, &live), None);
        let kept = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 443}]}});
        assert_eq!(lost(service, &live, &kept), None, "they keep their numbers");
        let other = json!({"spec": {"type": "NodePort", "externalIPs": [],
            "ports": [port(80, 30081)]}});
        let told = lost(service, &live, &other).expect("they go");
        for gone in ["node port 30080", "node port 30443", "192.0.2.77"] {
            assert!(told.contains(gone), "{told}");
        }
        let balanced = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}});
        let moved = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 81}]}});
        assert!(lost(service, &balanced, &moved).is_some_and(|it| it.contains("port 80")));
    }

    #[test]
    fn a_path_and_a_default_that_go_are_told() {
        let ingress = "networking.k8s.io/v1/Ingress/shop/web";
        let rule = |paths: &[&str]| {
            let paths: Vec<Value> = paths.iter().map(|path| json!({"path": path})).collect();
            json!({"host": "a.example.com", "http": {"paths": paths}})
        };
        let live = json!({
            "spec": {"rules": [rule(&["/shop", "/pay"])], "defaultBackend": {"service": {}}},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.5"}]}},
        });
        let fewer =
            json!({"spec": {"rules": [rule(&["/shop"])], "defaultBackend": {"service": {}}}});
        let told = lost(ingress, &live, &fewer).expect("a path goes");
        assert!(
            told.contains("a.example.com/pay") && !told.contains("/shop"),
            "{told}"
        );
        let wider = json!({"spec": {"rules": [rule(&["/"])], "defaultBackend": {"service": {}}}});
        assert_eq!(lost(ingress, &live, &wider), None, "it takes both in");
        let mut without = live.clone();
        without["spec"]["defaultBackend"] = Value::Null;
        let told = lost(ingress, &live, &without).expect("the default goes");
        assert!(told.contains("every other host"), "{told}");
    }

    #[test]
    fn a_volume_without_a_claim_goes_when_its_policy_says_so_then() {
        let text = "v1/PersistentVolume//pv-1";
        let volume = |phase: &str| {
            json!({"metadata": {"name": "pv-1"}, "status": {"phase": phase},
                "spec": {"persistentVolumeReclaimPolicy": "Retain", "capacity": {"storage": "10Gi"}}})
        };
        let delete = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
        let told = lost(text, &volume("Released"), &delete).expect("it goes");
        assert!(
            told.contains("volume pv-1") && told.contains("10Gi"),
            "{told}"
        );
        assert_eq!(lost(text, &volume("Bound"), &delete), None);
        assert_eq!(lost(text, &volume("Released"), &json!({"spec": {}})), None);
    }
}
