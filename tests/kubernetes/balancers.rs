//! Load balancers of a cloud: nobody makes one here, and the tests say in its place where it answers.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use crate::said::Said;
use crate::site::{Site, until};

const IP: &str = "127.77.0.9";

/// Says of a live object what the cloud would: where its load balancer answers.
fn answer_at(site: &Site, path: &str, address: &Value) {
    let status = json!({"status": {"loadBalancer": {"ingress": [address]}}});
    let (is_well, said) = site.cluster.ask(
        Method::PATCH,
        &format!("{path}/status"),
        "application/merge-patch+json",
        &status,
    );
    assert!(is_well, "{said}");
}

#[test]
fn the_address_of_a_load_balancer_is_shown_and_asked_when_it_answers() {
    let Some(mut site) = Site::new() else { return };
    // An address of this machine that is nobody else's.
    let front = TcpListener::bind((IP, 8080)).expect("a port");
    site.traffic = "{kind: service, type: load_balancer, labels: {team: shop}}".to_owned();
    site.apply().code(0);
    site.run(&["status", "--env", "staging"])
        .code(0)
        .says("the load balancer of web has no address yet");
    let live = site.cluster.get(&site.cluster.service("web"));
    assert_eq!(live["metadata"]["labels"]["team"], "shop");

    answer_at(&site, &site.cluster.service("web"), &json!({"ip": IP}));
    let status = site.status();
    assert_eq!(status["load_balancers"], json!({"web": IP}));
    assert_eq!(status["live"][0]["url"], format!("http://{IP}:8080"));
    site.plan().code(0).says("No changes");

    // Where nobody answers it is shown, and not asked.
    drop(front);
    let status = site.status();
    assert_eq!(status["load_balancers"], json!({"web": IP}));
    assert_ne!(status["live"][0]["url"], format!("http://{IP}:8080"));

    // Another class is another load balancer.
    site.traffic =
        "{kind: service, type: load_balancer, load_balancer_class: example.com/nlb}".to_owned();
    site.apply()
        .code(6)
        .says("the load balancer of Service/web")
        .says("--allow-data-loss route.web");
}

#[test]
fn a_switch_of_an_application_load_balancer_is_one_of_weights() {
    let Some(mut site) = Site::new() else { return };
    site.traffic = "{kind: ingress, class: alb, controller: alb}".to_owned();
    let path = site.cluster.of("networking.k8s.io/v1", "ingresses/web");
    let live = |site: &Site| site.cluster.get(&path);
    let weights = |live: &Value| {
        let action = &live["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.web"];
        let action: Value = serde_json::from_str(action.as_str().expect("a text")).expect("json");
        let groups = action["forwardConfig"]["targetGroups"].clone();
        [groups[0]["weight"].clone(), groups[1]["weight"].clone()]
    };

    site.apply().code(0);
    let first = live(&site);
    assert_eq!(weights(&first), [json!(100), json!(0)]);
    site.message("v2");
    site.apply().code(0);
    let second = live(&site);
    assert_eq!(weights(&second), [json!(0), json!(100)]);
    assert_eq!(first["spec"], second["spec"]);
    site.plan().code(0).says("No changes");

    // Who moves the weights by hand is named.
    let own = json!({"metadata": {"annotations": {"alb.ingress.kubernetes.io/actions.web": "{}"}}});
    site.cluster.patch(&path, "somebody", &own);
    let said = site.plan();
    assert_ne!(said.code, Some(0));
    said.says("actions.web: somebody");
    site.run(&["doctor", "--env", "staging"])
        .says("TargetGroupBindings: it is not there");
}

/// The definitions of the Gateway API, where they are not there yet.
fn define_gateways(site: &Site) {
    let bin = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/build")).output();
    let bin = String::from_utf8(bin.expect("it starts").stdout).expect("a folder");
    for plural in [
        "gatewayclasses",
        "gateways",
        "httproutes",
        "referencegrants",
    ] {
        let name = format!("gateway.networking.k8s.io_{plural}.yaml");
        let file = Path::new(bin.trim()).join("gateway-api").join(name);
        let text = std::fs::read_to_string(&file).expect("definitions");
        let body: Value = serde_saphyr::from_str(&text).expect("yaml");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        // Another test may have made it.
        site.cluster
            .ask(Method::POST, path, "application/json", &body);
    }
    let served = |plural: &str| {
        let path = format!("/apis/gateway.networking.k8s.io/v1/{plural}");
        site.cluster.get(&path).is_object()
    };
    until("the definitions are established", || {
        served("gateways") && served("httproutes")
    });
}

/// Says of a route what a controller would.
fn accept(site: &Site, path: &str) {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": kind, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let parent = json!({"parentRef": {"name": "edge"}, "controllerName": "example.com/edge",
        "conditions": [condition("Accepted"), condition("ResolvedRefs")]});
    let status = json!({"status": {"parents": [parent]}});
    let kind = "application/merge-patch+json";
    let (is_well, said) = site.cluster.ask(Method::PATCH, path, kind, &status);
    assert!(is_well, "{said}");
}

#[test]
fn the_address_of_a_gateway_is_shown_and_asked_when_it_answers() {
    let Some(mut site) = Site::new() else { return };
    define_gateways(&site);
    let front = TcpListener::bind((IP, 0)).expect("a port");
    let port = front.local_addr().expect("an address").port();
    let api = "gateway.networking.k8s.io/v1";
    let gateways = site.cluster.of(api, "gateways");
    let edge = json!({"apiVersion": api, "kind": "Gateway", "metadata": {"name": "edge"},
        "spec": {"gatewayClassName": "nobody",
            "listeners": [{"name": "web", "protocol": "HTTP", "port": port}]}});
    site.cluster.post(&gateways, &edge);

    site.traffic =
        "{kind: gateway, gateway: {name: edge}, entries: {web: {path: /shop}}}".to_owned();
    let run = site.start_apply();
    let routes = site.cluster.of(api, "httproutes");
    let path = format!("{routes}/web");
    until("there is a route", || site.cluster.get(&path).is_object());
    accept(&site, &format!("{path}/status"));
    Said::from(&run.wait_with_output().expect("it ends")).code(0);
    let status = site.status();
    assert_eq!(status["load_balancers"], Value::Null, "it has none yet");
    let answer = json!({"status": {"addresses": [{"type": "IPAddress", "value": IP}]}});
    let path = format!("{gateways}/edge/status");
    let kind = "application/merge-patch+json";
    let (is_well, said) = site.cluster.ask(Method::PATCH, &path, kind, &answer);
    assert!(is_well, "{said}");
    let status = site.status();
    assert_eq!(status["load_balancers"], json!({"web": IP}));
    assert_eq!(status["live"][0]["url"], format!("http://{IP}:{port}/shop"));
    site.plan().code(0).says("No changes");

    // Where nobody answers it is shown, and not asked.
    drop(front);
    let status = site.status();
    assert_eq!(status["load_balancers"], json!({"web": IP}));
    assert_ne!(status["live"][0]["url"], format!("http://{IP}:{port}/shop"));
}
