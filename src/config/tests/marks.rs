//! Annotations and labels of the user's own, and the other keys of a cluster's front.

use super::{GOOD, faults, project};
use crate::model::port::Protocol;

const CLUSTER: &str = "registry: {kind: oci, endpoint: localhost}\ncluster: {kind: kubernetes}\n";

/// What is wrong with an environment on a cluster, without the file's name.
fn wrong(environment: &str) -> Vec<String> {
    let base = format!("{GOOD}{CLUSTER}");
    let found = faults(&base, environment);
    let short = |text: String| text.replace("environments/staging.yaml:", "");
    found.into_iter().map(short).collect()
}

#[test]
fn what_a_load_balancer_needs_is_written_for_all_and_for_one() {
    let base = format!("{GOOD}{CLUSTER}");
    let good = "traffic:
  kind: ingress
  class: alb
  controller: alb
  annotations: {alb.ingress.kubernetes.io/scheme: internet-facing}
  entries: {web: {annotations: {alb.ingress.kubernetes.io/healthcheck-interval-seconds: 5}}}
services:
  web:
    service_account: {annotations: {eks.amazonaws.com/role-arn: \"arn:aws:iam::1:role/web\"}}
    pod: {labels: {team: \"{{ slot }}\"}, readiness_gates: [example.com/warm]}
";
    let project = project(&base, good).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let entry = staging
        .traffic
        .entry(&"web".parse().expect("a name"), Protocol::Http);
    let keys: Vec<&str> = entry.annotations.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "alb.ingress.kubernetes.io/healthcheck-interval-seconds",
            "alb.ingress.kubernetes.io/scheme"
        ]
    );
}

#[test]
fn a_key_that_is_none_or_is_shipits_is_refused_at_its_place() {
    let found = wrong(
        "traffic: {kind: service, annotations: {\"a b\": x, shipit.dev/slot: blue}, \
         labels: {app.kubernetes.io/name: x, team: \"a b\"}}\n",
    );
    let heads: Vec<&str> = found
        .iter()
        .filter_map(|text| text.split(" | ").next())
        .collect();
    assert_eq!(heads.len(), 4, "{found:#?}");
    for (head, words) in heads.iter().zip([
        "traffic.annotations.a b: a key is",
        "traffic.annotations.shipit.dev/slot: shipit says by it",
        "traffic.labels.app.kubernetes.io/name: shipit sets it",
        "traffic.labels.team: a label's value",
    ]) {
        assert!(head.contains(words), "{head}");
    }
}

#[test]
fn a_key_of_the_front_that_has_no_effect_is_refused() {
    for (text, words) in [
        (
            "traffic: {kind: service, load_balancer_class: service.k8s.aws/nlb}\n",
            "traffic.load_balancer_class: only `type: load_balancer` has this",
        ),
        (
            "traffic: {kind: service, class: alb}\n",
            "traffic.class: `class` belongs to `kind: ingress`",
        ),
        (
            "traffic: {kind: service, entries: {web: {host: a.example.com}}}\n",
            "traffic.entries.web.host",
        ),
        (
            "traffic: {kind: gateway, gateway: {name: g}, type: load_balancer}\n",
            "traffic.type: `type` belongs to `kind: service`",
        ),
        (
            "traffic: {kind: service, type: load_balancer}\nslots: {blue: {namespace: b}}\n",
            "traffic.type: where slots have namespaces of their own",
        ),
        (
            "traffic: {kind: ingress, controller: alb, tls_secret: t}\n",
            "traffic.tls_secret: this load balancer takes no certificate",
        ),
        (
            "traffic: {kind: ingress, controller: alb}\nslots: {blue: {namespace: b}}\n",
            "traffic.controller: a load balancer's target groups",
        ),
        (
            "traffic: {kind: ingress, controller: alb, \
             annotations: {alb.ingress.kubernetes.io/target-type: instance}}\n",
            "the slots' Services have no ports of nodes",
        ),
        (
            "traffic: {kind: ingress, controller: alb, \
             annotations: {alb.ingress.kubernetes.io/actions.web: x}}\n",
            "shipit switches traffic by it",
        ),
        (
            "traffic: {kind: service}\nservices: {web: {service_account: {name: w, labels: {a: \
             b}}}}\n",
            "services.web.service_account.labels: shipit changes nothing",
        ),
        (
            "traffic: {kind: service}\nservices: {web: {manifests: a.yaml, pod: {labels: {a: \
             b}}}}\n",
            "services.web.pod: the service has manifests of its own",
        ),
        (
            "cluster: {kind: host}\nservices: {web: {service_account: {name: w}}}\n",
            "services.web.service_account: only a Kubernetes cluster has this",
        ),
    ] {
        let found = wrong(text);
        assert!(
            found.iter().any(|one| one.contains(words)),
            "{text}: {found:#?}"
        );
    }
}
