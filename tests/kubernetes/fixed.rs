//! What a server does not change, or does not take, of the environment's own objects: known while
//! the plan is made.

use serde_json::json;

use crate::losses::database;
use crate::said::Said;
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
         spec: {restartPolicy: Sometimes, containers: [{name: x, image: z}]}\n---\n\
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

#[test]
fn an_owner_that_is_not_there_is_refused_and_one_that_is_wants_a_consent() {
    let Some(site) = site() else { return };
    volume(&site, "data");
    let claim = |meta: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: parent}}\n---\n\
             apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data{meta}}}\nspec:\n  \
             accessModes: [ReadWriteOnce]\n  storageClassName: ''\n  \
             resources: {{requests: {{storage: 1Gi}}}}\n"
        )
    };
    site.put("own.yaml", &claim(""));
    site.apply().code(0);

    let owner = |name: &str, uid: &str| {
        format!(
            ", ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: {name}, uid: \"{uid}\"}}]"
        )
    };
    let gone = owner("gone", "11111111-1111-1111-1111-111111111111");
    site.put("own.yaml", &claim(&gone));
    site.plan()
        .code(6)
        .says("its owner ConfigMap/gone in")
        .says("the cluster deletes what has no owner");

    let parent = site
        .cluster
        .get(&site.cluster.of("v1", "configmaps/parent"));
    let uid = parent["metadata"]["uid"].as_str().expect("a uid");
    site.put("own.yaml", &claim(&owner("parent", uid)));
    site.apply()
        .code(6)
        .says("it goes with ConfigMap/parent from now on")
        .says("--allow-data-loss PersistentVolumeClaim/data");
}

#[test]
fn a_claim_that_hangs_on_an_object_goes_only_when_that_is_named() {
    let Some(site) = site() else { return };
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    site.put(
        "own.yaml",
        &format!("{}---\n{}", map("parent"), map("other")),
    );
    site.apply().code(0);
    let parent = site
        .cluster
        .get(&site.cluster.of("v1", "configmaps/parent"));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "theirs", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap",
            "name": "parent", "uid": parent["metadata"]["uid"]}]},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "5Gi"}}}});
    let claims = site.cluster.of("v1", "persistentvolumeclaims");
    site.cluster.post(&claims, &claim);

    site.put("own.yaml", &map("other"));
    site.plan().code(2).says("destroys").says("claim theirs in");
    site.apply()
        .code(6)
        .says("--allow-data-loss ConfigMap/parent");
    assert!(site.cluster.get(&format!("{claims}/theirs")).is_object());
}

#[test]
fn a_definition_that_loses_a_field_takes_it_from_nobody_else() {
    let Some(site) = site() else { return };
    let group = format!("{}.example.com", site.cluster.namespace);
    let definition = |fields: &str| {
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata: {{name: things.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  \
             names: {{plural: things, singular: thing, kind: Thing}}\n  versions:\n    \
             - name: v1\n      served: true\n      storage: true\n      schema:\n        \
             openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, \
             properties: {{{fields}}}}}}}}}\n"
        )
    };
    let both = "color: {type: string}, size: {type: string}";
    let own = format!(
        "---\napiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: ours}}\nspec: {{size: big}}\n"
    );
    site.put("own.yaml", &format!("{}{own}", definition(both)));
    site.apply().code(0);

    let fewer = definition("size: {type: string}");
    site.put("own.yaml", &format!("{fewer}{own}"));
    let consent = format!("--allow-data-loss CustomResourceDefinition/things.{group}");
    site.apply()
        .code(6)
        .says("they lose field spec.color (v1)")
        .says(&consent);

    let theirs = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing",
        "metadata": {"name": "theirs"}, "spec": {"color": "red", "size": "big"}});
    let things = site.cluster.of(&format!("{group}/v1"), "things");
    site.cluster.post(&things, &theirs);
    site.apply().code(6).says("Thing/theirs");
    let there = site.cluster.get(&format!("{things}/theirs"));
    assert_eq!(there["spec"]["color"], "red");
    site.cluster.delete(&format!("{things}/theirs"));
    site.cluster.delete(&format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{group}"
    ));
}

#[test]
fn what_waits_for_a_finalizer_does_not_take_live_traffic_back() {
    let Some(site) = site() else { return };
    let map = |meta: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {meta}}}\n");
    site.put(
        "own.yaml",
        &format!(
            "{}---\n{}",
            map("held, finalizers: [example.com/hang]"),
            map("other")
        ),
    );
    site.apply().code(0);

    // Somebody has begun to delete it; nothing waits for it once more.
    let path = site.cluster.of("v1", "configmaps/held");
    site.cluster.delete(&path);
    site.plan()
        .code(6)
        .says("is being deleted")
        .says("example.com/hang");
    site.put("own.yaml", &map("other"));
    site.message("v2");
    site.apply()
        .code(0)
        .says("ConfigMap/held is being deleted already")
        .says("example.com/hang");
    assert_eq!(site.live_release(), 2);
    site.cluster
        .patch(&path, "test", &json!({"metadata": {"finalizers": null}}));
}

#[test]
fn whoever_asks_to_stop_while_a_removal_waits_keeps_the_release_that_is_live() {
    let Some(site) = site() else { return };
    let map = |meta: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {meta}}}\n");
    let held = map("held, finalizers: [example.com/hang]");
    site.put("own.yaml", &format!("{held}---\n{}", map("other")));
    site.apply().code(0);

    site.put("own.yaml", &map("other"));
    site.message("v2");
    let run = site.start_apply();
    let path = site.cluster.of("v1", "configmaps/held");
    until("it is being deleted", || {
        !site.cluster.get(&path)["metadata"]["deletionTimestamp"].is_null()
    });
    let pid = rustix::process::Pid::from_raw(run.id().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    Said::from(&run.wait_with_output().expect("it ends"))
        .code(0)
        .says("is left behind: ")
        .says("it is not gone yet, and somebody has asked to stop");
    assert_eq!(site.live_release(), 2);
    site.cluster
        .patch(&path, "test", &json!({"metadata": {"finalizers": null}}));
}
