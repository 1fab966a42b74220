//! Three entry points, in one namespace and in two.

use serde_json::{Value, json};

use crate::site::Site;

/// Applies two releases and gives the live object after each.
fn switched(site: &Site, path: &str) -> (Value, Value) {
    site.apply().code(0);
    let first = site.cluster.get(path);
    site.message("v2");
    site.apply().code(0);
    let second = site.cluster.get(path);
    site.plan().code(0).says("No changes");
    assert_eq!(
        first["metadata"]["uid"], second["metadata"]["uid"],
        "the live object is changed, never replaced"
    );
    (first, second)
}

#[test]
fn an_ingress_has_one_backend_at_a_time() {
    let Some(mut site) = Site::new() else { return };
    site.traffic =
        "{kind: ingress, class: nginx, entries: {web: {host: shop.example.com}}}".to_owned();
    let path = format!(
        "{}/web",
        site.cluster.of("networking.k8s.io/v1", "ingresses")
    );
    let (first, second) = switched(&site, &path);
    let backend = |object: &Value| {
        object["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"].clone()
    };
    assert_eq!(
        (backend(&first), backend(&second)),
        (json!("web-blue"), json!("web-green"))
    );
    assert_eq!(second["spec"]["ingressClassName"], "nginx");
}

#[test]
fn slots_may_be_in_namespaces_of_their_own() {
    let Some(mut site) = Site::new() else { return };
    let names = ["blue", "green"].map(|slot| format!("{}-{slot}", site.cluster.namespace));
    for name in &names {
        site.cluster.namespace(name);
        site.cluster.allow(name);
    }
    site.staging.push(format!(
        "slots: {{blue: {{namespace: {}}}, green: {{namespace: {}}}}}",
        names[0], names[1]
    ));
    site.traffic = "{kind: ingress, entries: {web: {host: shop.example.com}}}".to_owned();
    let path = format!(
        "{}/web",
        site.cluster.of("networking.k8s.io/v1", "ingresses")
    );
    switched(&site, &path);
    for name in &names {
        let there = site
            .cluster
            .get(&format!("/apis/apps/v1/namespaces/{name}/deployments/web"));
        assert_eq!(there["status"]["readyReplicas"], 1, "{name}");
    }
    let alias = site.cluster.get(&site.cluster.service("web-green"));
    assert_eq!(
        alias["spec"]["externalName"],
        format!("web-green.{}.svc.cluster.local", names[1])
    );
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    let left = site.cluster.get(&format!(
        "/apis/apps/v1/namespaces/{}/deployments",
        names[0]
    ));
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_live_object_that_somebody_changed_is_not_switched() {
    let Some(mut site) = Site::live() else { return };
    site.staging = vec!["promotion: {mode: manual, probe: {rate: 0}}".to_owned()];
    site.message("v2");
    site.apply().code(0);
    let path = site.cluster.service("web");
    site.cluster.patch(
        &path,
        "kim",
        &json!({"spec": {"selector": {"shipit.dev/slot": "elsewhere"}}}),
    );
    let said = site.run(&["promote", "green", "--env", "staging", "--auto-approve"]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("kim") || said.stderr.contains("kim"),
        "{said:?}"
    );
}

#[test]
fn an_entry_that_is_somebody_elses_by_now_or_protected_is_not_deleted() {
    let Some(site) = Site::live() else { return };
    let theirs = site.cluster.service("web-blue");
    site.cluster.delete(&theirs);
    let body = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web-blue"}, "spec": {"ports": [{"port": 80}]}});
    let services = site.cluster.of("v1", "services");
    let made = site.cluster.post(&services, &body);

    let protect = |value: Value| {
        let annotations = json!({"shipit.dev/protected": value});
        let body = json!({"metadata": {"annotations": annotations}});
        site.cluster
            .patch(&site.cluster.service("web"), "kim", &body);
    };
    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    protect(json!("true"));
    site.run(&destroy).code(6).says("Service/web is protected");
    assert!(site.cluster.get(&site.cluster.service("web")).is_object());

    protect(json!(null));
    site.run(&destroy).code(0);
    assert!(site.cluster.get(&site.cluster.service("web")).is_null());
    let left = site.cluster.get(&theirs);
    assert_eq!(left["metadata"]["uid"], made["metadata"]["uid"]);
}

#[test]
fn a_check_asks_the_slots_own_service_at_the_port_that_it_names() {
    let Some(mut site) = Site::live() else { return };
    let ports = "{metrics: 9090}".to_owned();
    site.service.insert("ports".to_owned(), ports);
    // Nobody answers well there: what is asked is in the words of the failure.
    site.staging = vec![
        "promotion: {mode: auto, probe: {rate: 0}, before: [{http: {path: /nowhere, service: web, port: metrics, \
         contains: not-there, timeout: 1s}}]}"
            .to_owned(),
    ];
    site.message("v2");
    site.apply()
        .code(1)
        .says("http /nowhere at metrics → 200: http://")
        .says(":9090/nowhere");
    assert_eq!(site.active(), "blue");
}
