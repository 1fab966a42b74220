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

/// A workload as a team has it, of one colour.
fn coloured(colour: &str, image: &str) -> Value {
    let labels = json!({"app": "front", "colour": colour});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": format!("front-{colour}")},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "front", "image": image,
                "ports": [{"name": "web", "containerPort": 8080}],
                "env": [{"name": "LOG_LEVEL", "value": "info"},
                    {"name": "API_TOKEN", "value": "canary-4c1e-hunter2"},
                    {"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "web"}},
                "resources": {"limits": {"memory": "64Mi", "cpu": "100m"}}}]}}}})
}

#[test]
fn a_namespace_with_two_colours_is_proposed_and_left_as_it_is() {
    let Some(site) = Site::new() else { return };
    let cluster = &site.cluster;
    let deployments = cluster.of("apps/v1", "deployments");
    cluster.post(&deployments, &coloured("blue", "acme/front:1"));
    cluster.post(&deployments, &coloured("green", "acme/front:2"));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"},
        "spec": {"selector": {"app": "front", "colour": "green"}, "ports": [{"port": 80, "targetPort": "web"}]}});
    cluster.post(&cluster.of("v1", "services"), &service);
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "front"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.example.com", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "front", "port": {"number": 80}}}}]}}]}});
    cluster.post(&cluster.of("networking.k8s.io/v1", "ingresses"), &ingress);

    let discover = |words: &[&str]| {
        let all = [
            &["import", "--discover", "--namespace", &cluster.namespace],
            words,
        ]
        .concat();
        let mut command = site.command(&all);
        command.env("KUBECONFIG", &cluster.kubeconfig);
        let said = crate::said::Said::from(&command.output().expect("it ran")).code(0);
        assert!(!said.stdout.contains("canary-4c1e"), "{}", said.stdout);
        said
    };
    discover(&[])
        // The documented Role lists no sets.
        .says("# not looked at: StatefulSets: ")
        .says("front-blue and front-green are its two colours")
        .says("image: \"acme/front:2\"")
        .says("port: 8080")
        .says("path: /healthz")
        .says("replicas: 2")
        .says("memory_limit: \"64Mi\"")
        .says("secret: api_token")
        .says("secret: db_url")
        .says("strategy: blue_green")
        .says("host: shop.example.com");
    discover(&["--out", "new"]).says("new/shipit.yaml written");
    site.run(&["-C", "new", "validate"])
        .code(0)
        .says("is valid");
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
