//! Several ports of a service, and ports that are not HTTP.

use serde_json::{Value, json};

use super::{desired, objects, one, text};
use crate::model::desired::Desired;
use crate::model::route::ObjectsRoute;
use crate::model::{Manifest, Slot};

const THREE: &str = "services:
  web:
    ports: {metrics: 9090, db: {port: 5432, protocol: tcp}}
    health: {port: metrics, liveness: {path: /alive, port: http}}
";

const TCP: &str = "services:
  web:
    port: db
    ports: {db: {port: 5432, protocol: tcp}}
    health: null
";

fn route(desired: &Desired) -> ObjectsRoute {
    let service = desired.services.values().next().expect("one");
    let route = service.route.as_ref().expect("an entry point");
    route.objects().cloned().expect("objects")
}

fn container(desired: &Desired) -> Value {
    let deployment = one(&objects(desired, Slot::Green), "Deployment");
    deployment["spec"]["template"]["spec"]["containers"][0].clone()
}

fn ports(object: &Manifest) -> Value {
    object.body()["spec"]["ports"].clone()
}

#[test]
fn every_port_has_its_name_in_the_pods_and_in_all_services() {
    let desired = desired(THREE, &[]).expect("resolved");
    let container = container(&desired);
    let listed =
        |name: &str, port: u16| json!({"name": name, "containerPort": port, "protocol": "TCP"});
    assert_eq!(
        container["ports"],
        json!([
            listed("http", 8080),
            listed("db", 5432),
            listed("metrics", 9090)
        ])
    );
    let env = container["env"].as_array().expect("variables");
    for (name, value) in [
        ("PORT", "8080"),
        ("PORT_DB", "5432"),
        ("PORT_METRICS", "9090"),
    ] {
        assert!(
            env.contains(&json!({"name": name, "value": value})),
            "{name}"
        );
    }
    let asked = |kind: &str| container[kind]["httpGet"]["port"].clone();
    assert_eq!(asked("readinessProbe"), 9090);
    assert_eq!(asked("startupProbe"), 9090);
    assert_eq!(asked("livenessProbe"), 8080);

    let route = route(&desired);
    let listed = |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": name, "protocol": "TCP"});
    let all = json!([
        listed("http", 8080),
        listed("db", 5432),
        listed("metrics", 9090)
    ]);
    assert_eq!(route.port, 8080);
    assert_eq!(ports(&route.to[&Slot::Blue]), all);
    assert_eq!(ports(&route.off), all);
    assert_eq!(route.fixed.len(), 2);
    for object in &route.fixed {
        assert_eq!(ports(object), all);
    }
}

#[test]
fn a_port_in_short_and_in_long_is_the_same() {
    let long = "services: {web: {port: null, ports: {http: {port: 8080}}}}";
    let (short, long) = (desired("", &[]), desired(long, &[]));
    assert_eq!(short.expect("resolved"), long.expect("resolved"));
}

#[test]
fn only_the_traffics_port_is_behind_an_ingress_or_a_gateway() {
    for traffic in [
        "traffic: {kind: ingress}\n",
        "traffic: {kind: gateway, gateway: {name: a}}\n",
    ] {
        let route = route(&desired(&format!("{THREE}{traffic}"), &[]).expect("resolved"));
        let live = route.to[&Slot::Blue].body().to_string();
        assert!(live.contains("8080"), "{live}");
        assert!(!live.contains("9090") && !live.contains("5432"), "{live}");
    }
}

#[test]
fn an_application_load_balancer_asks_the_port_that_a_health_check_names() {
    let traffic = "traffic: {kind: ingress, controller: alb}\n";
    let key = "alb.ingress.kubernetes.io/healthcheck-port";
    let of = |extra: &str| {
        let route = route(&desired(extra, &[]).expect("resolved"));
        route.off.body()["metadata"]["annotations"][key].clone()
    };
    assert_eq!(of(&format!("{THREE}{traffic}")), "9090");
    assert_eq!(of(traffic), Value::Null);
}

#[test]
fn what_is_not_http_is_switched_by_a_service_however_http_comes_in() {
    for traffic in [
        "",
        "traffic: {kind: ingress, class: nginx, annotations: {a: b}}\n",
        "traffic: {kind: ingress, controller: alb}\n",
        "traffic: {kind: gateway, gateway: {name: a}}\n",
    ] {
        let desired = desired(&format!("{TCP}{traffic}"), &[]).expect("resolved");
        let route = route(&desired);
        let live = route.to[&Slot::Green].body();
        assert_eq!(text(live, "/kind"), "Service", "{traffic}");
        assert_eq!(text(live, "/spec/selector/shipit.dev~1slot"), "green");
        assert_eq!(
            live["metadata"]["annotations"]["a"],
            Value::Null,
            "it is of Ingresses"
        );
        assert_eq!((route.port, route.protocol.scheme()), (5432, "tcp"));
        assert_eq!(route.address_url, None, "{traffic}");
        assert_eq!(
            container(&desired)["readinessProbe"]["tcpSocket"]["port"],
            5432
        );
    }

    let balanced = "traffic: {kind: service, type: load_balancer}\n";
    let route = route(&desired(&format!("{TCP}{balanced}"), &[]).expect("resolved"));
    assert_eq!(route.address_url.as_deref(), Some("tcp://*:5432"));
}

#[test]
fn a_service_whose_ports_are_for_others_has_no_entry_point() {
    let worker = "services: {web: {port: none, ports: {metrics: 9090}, health: {port: metrics}}}";
    let desired = desired(worker, &[]).expect("resolved");
    let service = desired.services.values().next().expect("one");
    assert_eq!(service.route, None);
    assert_eq!(service.workload.port, None);
    let container = container(&desired);
    assert_eq!(container["ports"][0]["name"], "metrics");
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], 9090);
    let env = container["env"].as_array().expect("variables");
    assert!(env.iter().all(|one| one["name"] != "PORT"), "{env:?}");
}
