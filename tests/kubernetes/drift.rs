//! What others change is seen, named, and put right or left, as the configuration says.

use serde_json::json;

use crate::site::Site;

#[test]
fn another_manager_s_change_is_named_and_not_taken_over_by_the_way() {
    let Some(mut site) = Site::live() else { return };
    let path = site.cluster.deployment("web-blue");
    site.cluster.patch(
        &path,
        "kim",
        &json!({"spec": {"minReadySeconds": 3, "revisionHistoryLimit": 7}}),
    );
    site.plan()
        .code(6)
        .says("Deployment/web-blue .spec.revisionHistoryLimit: kim")
        .says("take_over");
    site.apply().code(6).says("kim");
    let conflicts =
        |site: &mut Site, how: &str| site.options.insert("conflicts".to_owned(), how.to_owned());
    conflicts(&mut site, "leave");
    site.plan().code(0).says("No changes");
    conflicts(&mut site, "take_over");
    site.plan()
        .code(2)
        .says("changed by kim at ")
        .says("- 7")
        .says("+ 2");
    site.apply().code(0);
    let there = site.cluster.get(&path);
    assert_eq!(there["spec"]["revisionHistoryLimit"], 2);
    assert_eq!(
        there["spec"]["minReadySeconds"], 3,
        "what shipit does not own stays with who does"
    );
    site.plan().code(0).says("No changes");
}

#[test]
fn drift_names_who_moved_what_and_when_and_writes_nothing() {
    let Some(mut site) = Site::live() else { return };
    let drift = |site: &Site| site.run(&["drift", "staging"]);
    let generation = |site: &Site| {
        let path = site.cluster.deployment("web-blue");
        site.cluster.get(&path)["metadata"]["generation"].clone()
    };
    drift(&site).code(0).says("Nothing moved");

    let path = site.cluster.deployment("web-blue");
    let fields = json!({"spec": {"minReadySeconds": 3, "revisionHistoryLimit": 7}});
    site.cluster.patch(&path, "kim", &fields);
    site.cluster.delete(&site.cluster.service("web-green"));
    let before = generation(&site);
    let said = site.run(&["drift", "staging", "--output", "json"]).code(2);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let moved = document["moved"].as_array().expect("a list");
    let one = |name: &str| {
        let mut all = moved.iter();
        let found = all.find(|one| {
            let address = one["address"].as_str();
            address.is_some_and(|address| address.ends_with(name))
        });
        found.unwrap_or_else(|| panic!("{name}: {moved:?}"))
    };
    let namespace = &site.cluster.namespace;
    let deployment = one(&format!("/Deployment/{namespace}/web-blue"));
    assert_eq!(deployment["about"], "of workload.blue/web");
    let field = &deployment["fields"][0];
    assert_eq!(
        deployment["fields"].as_array().map(Vec::len),
        Some(1),
        "{deployment}"
    );
    assert_eq!(field["field"], "spec.revisionHistoryLimit");
    assert_eq!((&field["was"], &field["is"]), (&"2".into(), &"7".into()));
    assert_eq!(field["by"], "kim");
    assert!(field["at"].is_string(), "{field}");
    assert_eq!(one("/web-green")["what"], "gone");
    assert_eq!(generation(&site), before, "nothing was written");

    // What is left to others has not drifted.
    site.options
        .insert("conflicts".to_owned(), "leave".to_owned());
    drift(&site).code(2).says_not("revisionHistoryLimit");
    site.apply().code(0);
    drift(&site).code(0).says("Nothing moved");
}

#[test]
fn what_was_deleted_is_made_again() {
    let Some(mut site) = Site::new() else { return };
    site.service.insert("replicas".to_owned(), "2".to_owned());
    site.apply().code(0);
    let budget = format!(
        "{}/web-blue",
        site.cluster.of("policy/v1", "poddisruptionbudgets")
    );
    site.cluster.delete(&budget);
    site.cluster.delete(&site.cluster.service("web-green"));
    site.plan()
        .code(2)
        .says("PodDisruptionBudget/web-blue")
        .says("Service/web-green");
    site.apply().code(0);
    assert!(site.cluster.get(&budget).is_object());
    site.plan().code(0).says("No changes");
}

#[test]
fn an_autoscaler_s_number_is_its_own_and_comes_along() {
    let Some(mut site) = Site::new() else { return };
    site.service
        .insert("autoscale".to_owned(), "{min: 2, max: 9}".to_owned());
    site.apply().code(0);
    let scale = |slot: &str| format!("{}/scale", site.cluster.deployment(&format!("web-{slot}")));
    site.cluster.patch(
        &scale("blue"),
        "the-autoscaler",
        &json!({"spec": {"replicas": 6}}),
    );
    site.plan().code(0).says("No changes");
    site.message("v2");
    site.apply().code(0);
    let green = site.cluster.get(&site.cluster.deployment("web-green"));
    assert_eq!(
        green["spec"]["replicas"], 6,
        "the new slot has what the live one had"
    );
}

#[test]
fn a_default_of_the_server_is_no_change() {
    let Some(mut site) = Site::new() else { return };
    // Written in other words than the server's: quantities, and lists with defaulted keys.
    site.service.insert(
        "resources".to_owned(),
        "{cpu: 0.5, memory: 0.5Gi, cpu_limit: 1000m}".to_owned(),
    );
    site.apply().code(0);
    site.plan().code(0).says("No changes");
}

#[test]
fn what_another_manager_removes_is_refused_like_what_it_changes() {
    let Some(mut site) = Site::new() else { return };
    let config =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: one, b: two}\n";
    site.put("own.yaml", config);
    site.staging.push("manifests: own.yaml".to_owned());
    site.env.insert("COLOUR".to_owned(), "red".to_owned());
    site.apply().code(0);
    let path = format!("{}/settings", site.cluster.of("v1", "configmaps"));
    site.cluster
        .patch(&path, "kim", &json!({"data": {"b": null, "theirs": "x"}}));
    let web = site.cluster.deployment("web-blue");
    let mut containers = site.cluster.get(&web)["spec"]["template"]["spec"]["containers"].clone();
    let env = containers[0]["env"].as_array_mut().expect("variables");
    env.retain(|variable| variable["name"] != "COLOUR");
    let spec = json!({"template": {"spec": {"containers": containers}}});
    site.cluster.patch(
        &web,
        "kim",
        &json!({"spec": spec, "metadata": {"labels": {"kim": "was-here"}}}),
    );
    site.plan()
        .code(6)
        .says("data.b: removed by kim")
        .says("env[COLOUR].value: removed by kim");
    site.apply().code(6).says("removed by kim");

    site.options
        .insert("conflicts".to_owned(), "leave".to_owned());
    // What is new in the configuration is nobody else's.
    site.put("own.yaml", &config.replace("a: one", "a: one, c: three"));
    site.apply().code(0);
    let data = site.cluster.get(&path)["data"].clone();
    assert_eq!(data, json!({"a": "one", "c": "three", "theirs": "x"}));
    site.plan().code(0).says("No changes");

    site.options
        .insert("conflicts".to_owned(), "take_over".to_owned());
    site.plan().code(2).says("removed by kim").says("+ two");
    site.apply().code(0);
    let data = site.cluster.get(&path)["data"].clone();
    assert_eq!(
        data,
        json!({"a": "one", "b": "two", "c": "three", "theirs": "x"})
    );
    site.plan().code(0).says("No changes");
}

/// A Deployment with a number of pods, and what scales it.
fn scaled(image: &str) -> String {
    let own = crate::objects::deployment(image)
        .replace(
            "          envFrom: [{configMapRef: {name: settings}}]\n",
            "",
        )
        .replace("spec:\n  selector", "spec:\n  replicas: 3\n  selector")
        .replace("name: web", "name: own")
        .replace("app: web", "app: own");
    format!(
        "{own}---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: own}}\nspec: \
         {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: own}}, minReplicas: 2, maxReplicas: 9}}\n"
    )
}

#[test]
fn a_number_in_a_manifest_is_what_an_autoscaler_begins_with() {
    let Some(mut site) = Site::new() else { return };
    site.put("own.yaml", &scaled("example.com/own:1"));
    site.staging.push("manifests: own.yaml".to_owned());
    site.service.insert("replicas".to_owned(), "2".to_owned());
    site.apply().code(0);
    let number = |site: &Site, name: &str| {
        site.cluster.get(&site.cluster.deployment(name))["spec"]["replicas"].clone()
    };
    assert_eq!(number(&site, "own"), 3);
    site.plan().code(0).says("No changes");

    // One in the manifests, and one that somebody has made for what a slot holds.
    let theirs = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs"}, "spec": {"minReplicas": 2, "maxReplicas": 9,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web-blue"}}});
    let scalers = site
        .cluster
        .of("autoscaling/v2", "horizontalpodautoscalers");
    site.cluster.post(&scalers, &theirs);
    let scale = json!({"spec": {"replicas": 5}});
    for name in ["own", "web-blue"] {
        let path = format!("{}/scale", site.cluster.deployment(name));
        site.cluster.patch(&path, "the-autoscaler", &scale);
    }
    site.plan()
        .code(0)
        .says("No changes")
        .says("left to HorizontalPodAutoscaler/own");
    site.put("own.yaml", &scaled("example.com/own:2"));
    site.plan().code(2).says("image");
    site.apply().code(0);
    assert_eq!(number(&site, "own"), 5);
    assert_eq!(number(&site, "web-blue"), 5);
    site.plan().code(0);
}
