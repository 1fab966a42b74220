//! A namespace that shipit made goes only when nothing of others is in it, of whatever kind and
//! however it is owned.

use serde_json::json;

use crate::site::{Site, until};

/// A definition that is served in one version.
fn definition(group: &str, name: &str, version: &str) -> serde_json::Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}s.{group}", name.to_lowercase())},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": format!("{}s", name.to_lowercase()), "kind": name},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
}

/// Makes an environment with a namespace of its own, and checks that the namespace stays for what
/// `put` puts in there.
fn stays(suffix: &str, named: &str, put: impl Fn(&Site, &str)) {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let home = format!("{}-{suffix}", site.cluster.namespace);
    site.staging.push(format!("cluster: {{namespace: {home}}}"));
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    site.apply().code(0);
    put(&site, &home);

    let consent = format!("Namespace/{home}");
    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    site.run(&[&destroy[..], &["--allow-data-loss", &consent]].concat())
        .code(0)
        .says(&format!("· Namespace/{home}"))
        .says(named)
        .says_not("and 1 more");
    let path = format!("/api/v1/namespaces/{home}");
    assert_eq!(site.cluster.get(&path)["status"]["phase"], "Active");
    site.cluster.delete(&path);
}

#[test]
fn a_namespace_stays_for_a_kind_that_the_preferred_version_of_its_group_has_not() {
    stays("versions", "Scrape/theirs", |site, home| {
        let group = format!("{home}.example.com");
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for (name, version) in [("Monitor", "v1"), ("Scrape", "v1alpha1")] {
            let body = definition(&group, name, version);
            site.cluster.post(definitions, &body);
        }

        let scrapes = format!("/apis/{group}/v1alpha1/namespaces/{home}/scrapes");
        let of_group = format!("/apis/{group}");
        until("both versions are served", || {
            let group = site.cluster.get(&of_group);
            let versions = group["versions"].as_array().map_or(0, Vec::len);
            versions == 2 && site.cluster.get(&scrapes).is_object()
        });
        let preferred = &site.cluster.get(&of_group)["preferredVersion"];
        assert_eq!(preferred["version"], "v1");
        let scrape = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": "Scrape",
            "metadata": {"name": "theirs"}});
        site.cluster.post(&scrapes, &scrape);
    });
}

#[test]
fn a_namespace_stays_for_what_an_owner_outside_of_it_has() {
    stays("owned", "ConfigMap/owned", |site, home| {
        let name = format!("{home}-owner");
        let owner = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": []});
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        let uid = site.cluster.post(roles, &owner)["metadata"]["uid"].clone();
        let belonging = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned",
            "ownerReferences": [{"apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole", "name": name, "uid": uid}]}});
        let maps = format!("/api/v1/namespaces/{home}/configmaps");
        site.cluster.post(&maps, &belonging);
    });
}

#[test]
fn a_namespace_stays_for_the_claim_of_a_set_of_others() {
    let named = "PersistentVolumeClaim/data-theirs-0";
    stays("others", named, |site, home| {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-theirs-0"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}}}});
        let claims = format!("/api/v1/namespaces/{home}/persistentvolumeclaims");
        let as_controller = format!("{claims}?fieldManager=kube-controller-manager");
        site.cluster.post(&as_controller, &claim);
    });
}

#[test]
fn the_claims_of_a_set_of_its_own_go_with_the_namespace_when_they_are_named() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let home = format!("{}-claims", site.cluster.namespace);
    site.staging.push(format!("cluster: {{namespace: {home}}}"));
    site.staging.push("manifests: own.yaml".to_owned());
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    let set = crate::losses::database("1Gi").replace(
        "whenDeleted: Delete, whenScaled: Delete",
        "whenDeleted: Retain",
    );
    // A pod needs no volume to be there where no volume is mounted.
    let set = set
        .replace(
            "          volumeMounts: [{name: data, mountPath: /data}]\n",
            "",
        )
        .replace("replicas: 2", "replicas: 1");
    site.put("own.yaml", &set);
    let body = json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": home},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
            "hostPath": {"path": "/nowhere"}, "claimRef": {"namespace": home, "name": "data-db-0"}}});
    site.cluster.post("/api/v1/persistentvolumes", &body);
    site.apply().code(0);

    let consent = format!("Namespace/{home}");
    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    site.run(&destroy).code(6).says("claim data-db-0 in");
    site.run(&[&destroy[..], &["--allow-data-loss", &consent]].concat())
        .code(0)
        .says(&format!("- Namespace/{home}"));
    assert!(
        site.cluster
            .get(&format!("/api/v1/namespaces/{home}"))
            .is_null()
    );
    site.cluster
        .delete(&format!("/api/v1/persistentvolumes/{home}"));
}
