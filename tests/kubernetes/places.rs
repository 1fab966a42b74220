//! Objects in namespaces of their own: how many requests they cost, and what is known of them
//! wherever they are.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::rounds::Rounds;
use crate::site::Site;

/// The namespaces of a test besides its own.
fn others(site: &Site, count: usize) -> Vec<String> {
    let base = &site.cluster.namespace;
    (0..count).map(|n| format!("{base}-{n}")).collect()
}

/// Four objects of two kinds in each namespace.
fn objects(namespaces: &[String], value: &str) -> String {
    let mut text = String::new();
    for namespace in namespaces {
        for number in 0..2 {
            let _ = write!(
                text,
                "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c{number}, namespace: {namespace}}}, \
                 data: {{a: {value}}}}}\n---\n{{apiVersion: v1, kind: ServiceAccount, \
                 metadata: {{name: s{number}, namespace: {namespace}}}}}\n"
            );
        }
    }
    text
}

/// Where the environment's record says that there may be objects besides its home.
fn recorded(site: &Site) -> String {
    let name = "configmaps/shipit-shop-staging";
    let record = site.cluster.get(&site.cluster.of("v1", name));
    assert_ne!(record, Value::Null, "there is no record");
    let places = &record["metadata"]["annotations"]["applyset.kubernetes.io/additional-namespaces"];
    places.as_str().unwrap_or_default().to_owned()
}

fn destroy(site: &Site) {
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
}

#[test]
fn a_plan_lists_each_kind_once_a_namespace_or_once_at_all() {
    let Some(mut site) = Site::new() else { return };
    let all = others(&site, 10);
    for namespace in &all {
        site.cluster.namespace(namespace);
        site.cluster.allow(namespace);
    }
    site.staging.push("manifests: own.yaml".to_owned());
    site.put("own.yaml", &objects(&all, "one"));
    site.apply().code(0);

    // As the account of the Role, which may list in its namespaces alone: 20 lists and two refusals.
    let few = site.kubeconfig.clone();
    let rounds = Rounds::before(&mut site);
    site.plan().code(0).says("No changes");
    let count = rounds.take();
    assert!(count.requests <= 44, "{count:?}");
    assert!(count.rounds <= 5, "{count:?}");
    drop(rounds);

    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let rounds = Rounds::before(&mut site);
    site.plan().code(0).says("No changes");
    let count = rounds.take();
    assert!(count.requests <= 16, "{count:?}");
    drop(rounds);

    // What leaves is found, and nothing is left.
    site.kubeconfig = few;
    site.put("own.yaml", &objects(&all[..1], "one"));
    let said = site.plan().code(2);
    assert!(said.stdout.contains("36 removals"), "{}", said.stdout);
    site.apply().code(0);
    assert_eq!(recorded(&site), all[0]);
    destroy(&site);
    for namespace in &all {
        let list = site.cluster.get(&format!(
            "/api/v1/namespaces/{namespace}/configmaps?labelSelector=shipit.dev/project"
        ));
        assert_eq!(list["items"], json!([]));
    }
}

#[test]
fn a_namespace_that_may_not_be_listed_is_not_taken_for_empty_and_one_that_is_done_with_is_not_asked()
 {
    let Some(mut site) = Site::new() else { return };
    let other = others(&site, 1).remove(0);
    site.cluster.namespace(&other);
    site.cluster.allow(&other);
    site.staging.push("manifests: own.yaml".to_owned());
    site.put("own.yaml", &objects(std::slice::from_ref(&other), "one"));
    site.apply().code(0);
    assert_eq!(recorded(&site), other);

    let binding =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{other}/rolebindings/shipit");
    site.cluster.delete(&binding);
    site.put("own.yaml", "");
    let said = site.plan();
    assert_ne!(said.code, Some(0), "{}", said.stdout);
    assert_ne!(said.code, Some(2), "{}", said.stdout);
    said.says(&other).says("may still be there");

    // With the right to look they go, and the right is not needed any more.
    let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{other}/roles/shipit");
    site.cluster.delete(&role);
    site.cluster.allow(&other);
    site.apply().code(0);
    assert_eq!(recorded(&site), "");
    site.cluster.delete(&binding);
    site.plan().code(0).says("No changes");
}

#[test]
fn the_home_of_the_record_is_made_before_other_namespaces_and_deleted_after_them() {
    let Some(mut site) = Site::new() else { return };
    // Whoever makes namespaces may do everything; more of them than steps are done at a time.
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let old = site.cluster.namespace.clone();
    let home = format!("{old}-z");
    site.cluster.namespace = home.clone();
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    let mut text = String::new();
    for number in 0..24 {
        let _ = writeln!(
            text,
            "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: {old}-a{number}}}}}"
        );
    }
    site.staging.push("manifests: own.yaml".to_owned());
    site.put("own.yaml", &text);
    site.apply().code(0);
    site.plan().code(0).says("No changes");
    destroy(&site);
    for name in [home, format!("{old}-a0"), format!("{old}-a23")] {
        let there = site.cluster.get(&format!("/api/v1/namespaces/{name}"));
        assert_eq!(there, Value::Null, "{name}");
    }
    site.cluster.namespace = old;
}

#[test]
fn an_autoscaler_is_honoured_in_whatever_namespace_it_is() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let other = others(&site, 1).remove(0);
    site.cluster.namespace(&other);
    let deployment = |image: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d, namespace: {other}}}, spec: {{replicas: 0, \
             selector: {{matchLabels: {{app: d}}}}, template: {{metadata: {{labels: {{app: d}}}}, \
             spec: {{containers: [{{name: a, image: {image}}}]}}}}}}}}\n"
        )
    };
    site.staging.push("manifests: own.yaml".to_owned());
    site.put("own.yaml", &deployment("example.com/a"));
    site.apply().code(0);

    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "d"}, "spec": {"minReplicas": 1, "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let base = format!("namespaces/{other}");
    site.cluster.post(
        &format!("/apis/autoscaling/v2/{base}/horizontalpodautoscalers"),
        &scaler,
    );
    let path = format!("/apis/apps/v1/{base}/deployments/d");
    let number = json!({"spec": {"replicas": 3}});
    site.cluster
        .patch(&format!("{path}/scale"), "kube-controller-manager", &number);

    site.plan().code(0).says("No changes");
    site.put("own.yaml", &deployment("example.com/b"));
    site.plan()
        .code(2)
        .says("~ Deployment/d")
        .says("left to HorizontalPodAutoscaler/d")
        .says_not("spec.replicas");
}
