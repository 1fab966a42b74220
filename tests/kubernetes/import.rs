//! Taking over what others have made, and asking beforehand what is allowed.

use serde_json::{Value, json};

use crate::site::Site;

/// Makes an object as `kubectl apply` does.
fn by_kubectl(site: &Site, group: &str, plural: &str, body: &Value) {
    let path = format!(
        "{}?fieldManager=kubectl-client-side-apply",
        site.cluster.of(group, plural)
    );
    site.cluster.post(&path, body);
}

#[test]
fn a_service_that_serves_goes_on_serving_until_the_first_switch() {
    let Some(mut site) = Site::new() else { return };
    let old = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"team": "shop"}},
        "spec": {"selector": {"app": "old-web"}, "ports": [{"name": "http", "port": 8080, "targetPort": 8080}]}});
    by_kubectl(&site, "v1", "services", &old);
    site.staging = vec!["promotion: {mode: manual, probe: {rate: 0}}".to_owned()];
    site.apply()
        .code(1)
        .says("belongs to")
        .says("shipit import");
    site.run(&["import", "--env", "staging"])
        .code(0)
        .says("Service")
        .says("kubectl-client-side-apply");
    site.run(&["import", "Service/web", "--env", "staging"])
        .code(0)
        .says("with the fields of kubectl-client-side-apply");
    let live = || site.cluster.get(&site.cluster.service("web"));
    assert_eq!(live()["spec"]["selector"], json!({"app": "old-web"}));
    let address = live()["spec"]["clusterIP"].clone();
    site.apply().code(0).says("waits");
    assert_eq!(
        live()["spec"]["selector"],
        json!({"app": "old-web"}),
        "its traffic is where it was"
    );
    site.run(&["promote", "blue", "--env", "staging", "--auto-approve"])
        .code(0);
    let now = live();
    assert_eq!(now["spec"]["selector"]["shipit.dev/slot"], "blue");
    assert!(
        now["spec"]["selector"].get("app").is_none(),
        "what kubectl had set is gone: {}",
        now["spec"]["selector"]
    );
    assert_eq!(now["spec"]["clusterIP"], address);
    site.plan().code(0).says("No changes");
}

#[test]
fn an_imported_object_is_changed_by_a_plan_that_shows_it() {
    let Some(mut site) = Site::new() else { return };
    let old = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": "green", "old": "yes"}});
    by_kubectl(&site, "v1", "configmaps", &old);
    site.put(
        "own.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red}\n",
    );
    site.staging.push("manifests: own.yaml".to_owned());
    site.run(&["import", "--all", "--env", "staging"])
        .code(0)
        .says("ConfigMap");
    let there = || {
        site.cluster
            .get(&format!("{}/settings", site.cluster.of("v1", "configmaps")))["data"]
            .clone()
    };
    assert_eq!(
        there(),
        json!({"colour": "green", "old": "yes"}),
        "importing changes nothing"
    );
    site.plan()
        .code(2)
        .says("data.old")
        .says("- green")
        .says("+ red");
    site.apply().code(0);
    assert_eq!(there(), json!({"colour": "red"}));
}

#[test]
fn the_documented_role_is_enough_and_what_it_lacks_is_named() {
    let Some(mut site) = Site::new() else { return };
    site.service
        .insert("autoscale".to_owned(), "{min: 2, max: 3}".to_owned());
    site.run(&["doctor", "--env", "staging"])
        .code(0)
        .says("v1.3")
        .says("are ok")
        .says("patch deployments/scale.apps");
    let path = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/shipit",
        site.cluster.namespace
    );
    let mut rules = site.cluster.get(&path)["rules"].clone();
    rules
        .as_array_mut()
        .expect("rules")
        .retain(|rule| rule["apiGroups"] != json!(["policy"]));
    site.cluster.patch(&path, "tests", &json!({"rules": rules}));
    crate::site::until("the Role counts", || {
        site.run(&["doctor", "--env", "staging"]).code == Some(1)
    });
    site.run(&["doctor", "--env", "staging"])
        .code(1)
        .says("✗ create poddisruptionbudgets.policy")
        .says("add the verb `create`");
}
