//! What a server does not change, or does not take, of the environment's own objects: known while
//! the plan is made.

use serde_json::json;

use crate::losses::database;
use crate::site::{Site, until};

/// A site with objects of its own.
fn site() -> Option<Site> {
    let mut site = Site::new()?;
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.staging.push("manifests: own.yaml".to_owned());
    Some(site)
}

fn volume(site: &Site, claim: &str) {
    let namespace = &site.cluster.namespace;
    let body = json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"generateName": format!("{namespace}-")},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
            "hostPath": {"path": "/nowhere"}, "claimRef": {"namespace": namespace, "name": claim}}});
    site.cluster.post("/api/v1/persistentvolumes", &body);
}

#[test]
fn all_that_the_server_would_refuse_is_said_by_the_plan() {
    let Some(site) = site() else { return };
    site.put(
        "own.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: po}\n\
         spec: {containers: [{name: x, image: y}]}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndata: {'a b': c}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\ndata: {y: c}\n",
    );
    for said in [site.plan(), site.apply()] {
        said.code(6)
            .says("the cluster would refuse it")
            .says("Pod/po in")
            .says("ConfigMap/bad in")
            .says_not("ConfigMap/good")
            .says_not("run the command again");
    }
}

#[test]
fn a_rule_of_the_cluster_is_no_missing_permission() {
    let Some(site) = site() else { return };
    let claim = |size: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: pc}}\nspec:\n  \
             accessModes: [ReadWriteOnce]\n  storageClassName: ''\n  \
             resources: {{requests: {{storage: {size}}}}}\n"
        )
    };
    volume(&site, "pc");
    site.put("own.yaml", &claim("1Gi"));
    site.apply().code(0);
    let path = site.cluster.of("v1", "persistentvolumeclaims/pc");
    until("the claim is bound", || {
        site.cluster.get(&path)["status"]["phase"] == "Bound"
    });
    site.put("own.yaml", &claim("3Gi"));
    site.plan()
        .code(6)
        .says("only dynamically provisioned pvc can be resized")
        .says("allowVolumeExpansion")
        .says_not("shipit doctor");
}

#[test]
fn a_secret_of_another_type_is_replaced() {
    let Some(site) = site() else { return };
    let secret = |kind: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: ty}}\ntype: {kind}\n")
    };
    site.put("own.yaml", &secret("example.com/v1"));
    site.apply().code(0);
    site.put("own.yaml", &secret("example.com/v2"));
    site.plan()
        .code(2)
        .says("± Secret/ty")
        .says("type cannot be changed")
        .says_not("was never applied by shipit");
    site.apply().code(0);
    let there = site.cluster.get(&site.cluster.of("v1", "secrets/ty"));
    assert_eq!(there["type"], "example.com/v2");
    site.plan().code(0).says("No changes");
}

#[test]
fn a_set_with_other_claims_gets_pods_that_have_them() {
    let Some(site) = site() else { return };
    for claim in ["data-db-0", "data-db-1", "files-db-0", "files-db-1"] {
        volume(&site, claim);
    }
    site.put("own.yaml", &database("1Gi"));
    site.apply().code(0);

    let renamed = database("1Gi").replace("name: data", "name: files");
    site.put("own.yaml", &renamed);
    site.plan()
        .code(2)
        .says("± StatefulSet/db")
        .says("its claims stay, its pods end, and new ones start")
        .says("claim data-db-0 in")
        .says("no pod has it any more");
    site.apply()
        .code(6)
        .says("--allow-data-loss StatefulSet/db");
    let consent = ["--allow-data-loss", "StatefulSet/db"];
    let apply = ["apply", "--env", "staging", "--auto-approve"];
    site.run(&[&apply[..], &consent].concat()).code(0);
    for number in 0..2 {
        let pod = site
            .cluster
            .get(&site.cluster.of("v1", &format!("pods/db-{number}")));
        let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
        let claim = format!("files-db-{number}");
        assert!(
            volumes
                .iter()
                .any(|one| one["persistentVolumeClaim"]["claimName"] == claim.as_str()),
            "{volumes:?}"
        );
        let kept = format!("persistentvolumeclaims/data-db-{number}");
        assert!(site.cluster.get(&site.cluster.of("v1", &kept)).is_object());
    }
    site.plan().code(0).says("No changes");

    // It rolls as before.
    site.put(
        "own.yaml",
        &renamed.replace("example.com/db:1", "example.com/db:2"),
    );
    site.apply().code(0);
    site.plan().code(0).says("No changes");
}
