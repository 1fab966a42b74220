//! What keeps the server from doing it, and is neither the server nor the object: a webhook that
//! does not answer, a namespace that goes.

use http::Method;
use serde_json::{Value, json};

use crate::site::{Site, until};

/// A webhook of the whole cluster that nobody answers for, for one namespace; it goes with the
/// test.
struct Webhook<'a> {
    site: &'a Site,
    path: String,
}

impl<'a> Webhook<'a> {
    fn of(site: &'a Site, group: &str, resource: &str) -> Self {
        let namespace = &site.cluster.namespace;
        let all = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        let rule = json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource],
            "operations": ["CREATE", "UPDATE"]});
        let labels = json!({"kubernetes.io/metadata.name": namespace});
        let body = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": format!("{namespace}-{resource}")},
            "webhooks": [{"name": "away.example.com", "failurePolicy": "Fail",
                "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule],
                "namespaceSelector": {"matchLabels": labels},
                "clientConfig": {"url": "https://127.0.0.1:1/x"}}]});
        site.cluster.post(all, &body);
        let path = format!("{all}/{namespace}-{resource}");
        Webhook { site, path }
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        let path = &self.path;
        self.site
            .cluster
            .ask(Method::DELETE, path, "application/json", &Value::Null);
    }
}

/// Whether the server asks a webhook by now.
fn until_asked(site: &Site, group: &str, plural: &str, body: &Value) {
    let path = format!("{}?dryRun=All", site.cluster.of(group, plural));
    until("the webhook is asked", || {
        let (is_well, _) = site
            .cluster
            .ask(Method::POST, &path, "application/json", body);
        !is_well
    });
}

#[test]
fn a_webhook_that_does_not_answer_is_named() {
    let Some(site) = Site::new() else { return };
    let webhook = Webhook::of(&site, "", "configmaps");
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    until_asked(&site, "v1", "configmaps", &config);
    let failed = site.apply();
    failed
        .code(1)
        .says("writing the record of")
        .says("cannot ask the webhook away.example.com")
        .says("connection refused")
        .says("validatingwebhookconfigurations")
        .says_not("reading the record")
        .says_not("goes on where it was");

    drop(webhook);
    until("the webhook is gone", || {
        let path = format!("{}?dryRun=All", site.cluster.of("v1", "configmaps"));
        let kind = "application/json";
        site.cluster.ask(Method::POST, &path, kind, &config).0
    });
    site.apply().code(0);

    let _webhook = Webhook::of(&site, "apps", "deployments");
    let live = site
        .cluster
        .get(&site.cluster.deployment(&format!("web-{}", site.active())));
    let copy = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": live["spec"]});
    until_asked(&site, "apps/v1", "deployments", &copy);
    site.message("v2");
    site.plan()
        .code(1)
        .says("cannot ask the webhook away.example.com")
        .says("validatingwebhookconfigurations")
        .says_not("goes on where it was");
}

#[test]
fn a_namespace_that_goes_is_refused_alike_by_every_command() {
    let Some(mut site) = Site::new() else { return };
    // The account's own rights go with the namespace.
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    let path = site.cluster.of("v1", "configmaps");
    site.cluster.post(&path, &held);
    let namespace = format!("/api/v1/namespaces/{}", site.cluster.namespace);
    site.cluster.delete(&namespace);
    until("its status says what it waits for", || {
        let there = site.cluster.get(&namespace);
        there["status"]["conditions"]
            .to_string()
            .contains("example.com/hold")
    });

    for create in ["false", "true"] {
        site.options
            .insert("create_namespaces".to_owned(), create.to_owned());
        for said in [site.plan(), site.apply()] {
            said.code(1)
                .says("is being deleted since")
                .says("example.com/hold")
                .says("wait until it is gone")
                .says_not("a rule of the cluster");
        }
    }

    let free = json!({"metadata": {"finalizers": null}});
    site.cluster.patch(&format!("{path}/held"), "test", &free);
}
