//! Load balancers of a cloud, and accounts of a cloud for pods.

use serde_json::{Value, json};

use super::{desired, objects, one};
use crate::model::Slot;
use crate::model::desired::Desired;
use crate::model::route::ObjectsRoute;

const ALB: &str = "
traffic:
  kind: ingress
  class: alb
  controller: alb
  annotations: {alb.ingress.kubernetes.io/scheme: internet-facing}
  labels: {team: \"{{ environment }}\"}
  entries: {web: {annotations: {alb.ingress.kubernetes.io/group.name: \"{{ project }}\"}}}
";

fn route(desired: &Desired) -> ObjectsRoute {
    let service = desired.services.values().next().expect("one");
    let route = service.route.as_ref().expect("an entry point");
    route.objects().cloned().expect("objects")
}

fn weights(live: &Value) -> Vec<(String, u64)> {
    let action = &live["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.web"];
    let action: Value = serde_json::from_str(action.as_str().expect("a text")).expect("json");
    let groups = action["forwardConfig"]["targetGroups"]
        .as_array()
        .expect("groups");
    let one = |group: &Value| {
        assert_eq!(group["servicePort"], 8080);
        let name = group["serviceName"].as_str().expect("a name").to_owned();
        (name, group["weight"].as_u64().expect("a weight"))
    };
    groups.iter().map(one).collect()
}

#[test]
fn a_switch_of_an_application_load_balancer_moves_weights_and_nothing_else() {
    let route = route(&desired(ALB, &[]).expect("resolved"));
    let groups = |blue, green| {
        vec![
            ("web-blue".to_owned(), blue),
            ("web-green".to_owned(), green),
        ]
    };
    let off = &route.off.body()["metadata"]["annotations"];
    let off = off["alb.ingress.kubernetes.io/actions.web"].as_str();
    assert!(
        off.is_some_and(|off| off.contains("fixed-response")),
        "{off:?}"
    );
    assert_eq!(weights(route.to[&Slot::Blue].body()), groups(100, 0));
    assert_eq!(weights(route.to[&Slot::Green].body()), groups(0, 100));

    let [blue, green] = [Slot::Blue, Slot::Green].map(|slot| route.to[&slot].body().clone());
    assert_eq!(blue["spec"], green["spec"], "no backend changes");
    let backend = &blue["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(
        *backend,
        json!({"name": "web", "port": {"name": "use-annotation"}})
    );

    let annotation = |name: &str| {
        let key = format!("alb.ingress.kubernetes.io/{name}");
        blue["metadata"]["annotations"][key].clone()
    };
    assert_eq!(annotation("target-type"), "ip");
    assert_eq!(annotation("healthcheck-path"), "/healthz");
    assert_eq!(annotation("scheme"), "internet-facing");
    assert_eq!(annotation("group.name"), "shop");
    assert_eq!(blue["metadata"]["labels"]["team"], "staging");
    assert_eq!(route.address_url.as_deref(), Some("http://*"));
}

#[test]
fn what_the_user_says_counts_before_what_shipit_would() {
    let extra = "
traffic:
  kind: ingress
  controller: alb
  annotations:
    alb.ingress.kubernetes.io/healthcheck-path: /up
    alb.ingress.kubernetes.io/listen-ports: '[{\"HTTPS\": 443}]'
  entries: {web: {host: shop.example.com, path: /a/}}
";
    let route = route(&desired(extra, &[]).expect("resolved"));
    let annotations = &route.off.body()["metadata"]["annotations"];
    assert_eq!(
        annotations["alb.ingress.kubernetes.io/healthcheck-path"],
        "/up"
    );
    assert_eq!(
        route.live_url.as_deref(),
        Some("https://shop.example.com/a")
    );
}

#[test]
fn a_load_balancer_that_answers_to_tls_has_no_url_by_its_own_name() {
    for tls in [
        "kind: ingress\n  tls_secret: web-tls",
        "kind: ingress\n  controller: alb\n  annotations: \
         {alb.ingress.kubernetes.io/certificate-arn: a}",
    ] {
        let route = route(&desired(&format!("\ntraffic:\n  {tls}\n"), &[]).expect("resolved"));
        assert_eq!((route.address_url, route.live_url), (None, None), "{tls}");
    }
}

#[test]
fn namespaces_that_shipit_makes_have_pods_wait_for_their_target_group() {
    let gate = "elbv2.k8s.aws/pod-readiness-gate-inject";
    let label = |extra: &str| {
        let desired = desired(extra, &[]).expect("resolved");
        let namespace = desired
            .objects
            .iter()
            .find(|object| object.kind() == "Namespace");
        namespace.expect("one").body()["metadata"]["labels"][gate].clone()
    };
    let create = "cluster: {create_namespaces: true}\n";
    assert_eq!(label(&format!("{create}{ALB}")), "enabled");
    assert_eq!(label(create), Value::Null);
}

#[test]
fn a_live_service_is_what_its_type_says_and_those_of_the_slots_are_not() {
    let extra = "
traffic:
  kind: service
  type: load_balancer
  load_balancer_class: service.k8s.aws/nlb
  annotations: {service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing}
";
    let route = route(&desired(extra, &[]).expect("resolved"));
    for live in [&route.off, &route.to[&Slot::Blue]] {
        let live = live.body();
        assert_eq!(live["spec"]["type"], "LoadBalancer");
        assert_eq!(live["spec"]["loadBalancerClass"], "service.k8s.aws/nlb");
        let annotations = &live["metadata"]["annotations"];
        let scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme";
        assert_eq!(annotations[scheme], "internet-facing");
    }
    for fixed in &route.fixed {
        assert_eq!(fixed.body()["spec"].get("type"), None);
        assert_eq!(fixed.body()["metadata"].get("annotations"), None);
    }
    assert_eq!(route.address_url.as_deref(), Some("http://*:8080"));
}

#[test]
fn pods_run_as_the_account_that_the_service_names() {
    let extra = "
services:
  web:
    service_account: {annotations: {eks.amazonaws.com/role-arn: \"arn:aws:iam::1:role/{{ \
    environment }}\"}}
    pod: {annotations: {a: \"{{ slot }}\"}, labels: {team: shop}, readiness_gates: \
    [example.com/warm]}
";
    let found = objects(&desired(extra, &[]).expect("resolved"), Slot::Green);
    let account = one(&found, "ServiceAccount");
    let role = &account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"];
    assert_eq!(*role, "arn:aws:iam::1:role/staging");

    let deployment = one(&found, "Deployment");
    let template = &deployment["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["a"], "green");
    assert_eq!(template["metadata"]["labels"]["team"], "shop");
    let gates = json!([{"conditionType": "example.com/warm"}]);
    assert_eq!(template["spec"]["readinessGates"], gates);
    assert_eq!(
        template["spec"]["serviceAccountName"],
        account["metadata"]["name"]
    );
    assert_eq!(
        deployment["spec"]["selector"]["matchLabels"].get("team"),
        None
    );

    let extra = "services: {web: {service_account: {name: web}}}";
    let found = objects(&desired(extra, &[]).expect("resolved"), Slot::Green);
    assert!(found.iter().all(|object| object.kind() != "ServiceAccount"));
    let spec = &one(&found, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(spec["serviceAccountName"], "web", "the one that is there");
}

#[test]
fn a_variable_that_shipit_sets_is_there_once() {
    let extra = "services: {web: {env_file: web.env}}";
    let file = [("web.env", "PORT=1\nSHIPIT_SLOT=x\nA=b\n")];
    let found = objects(&desired(extra, &file).expect("resolved"), Slot::Green);
    let spec = &one(&found, "Deployment")["spec"]["template"]["spec"];
    let slot = json!({"name": "SHIPIT_SLOT", "value": "green"});
    let port = json!({"name": "PORT", "value": "8080"});
    let own = json!({"name": "A", "value": "b"});
    assert_eq!(spec["containers"][0]["env"], json!([slot, port, own]));
}

#[test]
fn a_label_that_a_template_makes_no_word_of_is_refused() {
    let extra = "services: {web: {pod: {labels: {team: \"{{ project }} team\"}}}}";
    let error = desired(extra, &[]).expect_err("no word");
    assert!(
        error.what.contains("services.web.pod.labels.team"),
        "{}",
        error.what
    );
}
