//! The environment's own objects, and manifests of the user's own.

use serde_json::{Value, json};

use crate::site::Site;

const CONFIG: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red}\n";

#[test]
fn what_leaves_the_configuration_is_deleted_and_what_is_not_ours_is_not() {
    let Some(mut site) = Site::new() else { return };
    site.put(
        "own.yaml",
        &format!("{CONFIG}---\n{}", CONFIG.replace("settings", "more")),
    );
    site.staging.push("manifests: own.yaml".to_owned());
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}});
    site.cluster
        .post(&site.cluster.of("v1", "configmaps"), &theirs);
    site.apply().code(0);
    let config = |name: &str| {
        site.cluster
            .get(&format!("{}/{name}", site.cluster.of("v1", "configmaps")))
    };
    assert_eq!(config("settings")["data"]["colour"], "red");
    site.plan().code(0).says("No changes");
    site.put("own.yaml", &CONFIG.replace("red", "blue"));
    site.plan()
        .code(2)
        .says("- ConfigMap/more")
        .says("data.colour")
        .says("- red")
        .says("+ blue");
    site.apply().code(0);
    assert_eq!(
        (config("settings")["data"]["colour"].clone(), config("more")),
        (json!("blue"), Value::Null)
    );
    assert!(config("theirs").is_object());
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(config("settings"), Value::Null);
    assert!(config("theirs").is_object());
}

#[test]
fn an_object_of_another_owner_is_refused() {
    let Some(mut site) = Site::new() else { return };
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "labels": {"app.kubernetes.io/managed-by": "Helm"}}, "data": {"colour": "green"}});
    site.cluster
        .post(&site.cluster.of("v1", "configmaps"), &theirs);
    site.put("own.yaml", CONFIG);
    site.staging.push("manifests: own.yaml".to_owned());
    site.apply()
        .code(6)
        .says("belongs to Helm")
        .says("shipit import");
    let there = site
        .cluster
        .get(&format!("{}/settings", site.cluster.of("v1", "configmaps")));
    assert_eq!(there["data"]["colour"], "green");
}

#[test]
fn a_definition_and_its_objects_come_in_one_apply() {
    let Some(mut site) = Site::new() else { return };
    // Definitions belong to the whole cluster: this needs more than the documented Role.
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let group = format!("{}.example.com", site.cluster.namespace);
    let text = format!(
        "apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {{size: 3}}\n---\n\
         apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{group}}}\n\
         spec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: widgets, singular: widget, kind: Widget}}\n  \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, \
         properties: {{spec: {{type: object, properties: {{size: {{type: integer}}}}}}}}}}}}}}]\n"
    );
    site.put("own.yaml", &text);
    site.staging.push("manifests: own.yaml".to_owned());
    site.plan()
        .code(2)
        .says("known after CustomResourceDefinition/widgets");
    site.apply().code(0);
    let widget = site
        .cluster
        .get(&site.cluster.of(&format!("{group}/v1"), "widgets/one"));
    assert_eq!(widget["spec"]["size"], 3);
    site.plan().code(0).says("No changes");
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    let definition =
        format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}");
    assert_eq!(site.cluster.get(&definition), Value::Null);
}

const JOB: &str = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec:\n  template:\n    spec:\n      \
                   restartPolicy: Never\n      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: \
                   {type: RuntimeDefault}}\n      containers: [{name: migrate, image: example.com/migrate:1, \
                   securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]\n";

#[test]
fn what_cannot_be_changed_is_made_anew_and_the_plan_says_so() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.put(
        "own.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fixed}\nimmutable: true\ndata: {a: one}\n",
    );
    site.staging.push("manifests: own.yaml".to_owned());
    site.apply().code(0);
    site.put(
        "own.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fixed}\nimmutable: true\ndata: {a: two}\n",
    );
    site.plan()
        .code(2)
        .says("± ConfigMap/fixed")
        .says("replaced")
        .says("- one")
        .says("+ two");
    site.apply().code(0);
    let there = site
        .cluster
        .get(&format!("{}/fixed", site.cluster.of("v1", "configmaps")));
    assert_eq!(there["data"]["a"], "two");
    site.put("own.yaml", JOB);
    // kwok's pods of a Job never end by themselves: the Job is there, and not done.
    site.staging.push("ready_within: 1s".to_owned());
    site.apply().code(1).says("0 of 1 runs are done");
}

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: 'hello from {{ slot }}'}
---
";

/// A Deployment with these settings, of the image that a template names.
pub fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: web
          image: '{image}'
          envFrom: [{{configMapRef: {{name: settings}}}}]
          securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"
    )
}

#[test]
fn a_slot_keeps_the_configuration_that_it_was_released_with() {
    let Some(mut site) = Site::new() else { return };
    let own = SETTINGS.to_owned() + &deployment("{{ image }}");
    site.put("deploy/web.yaml", &own);
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    site.apply().code(0);
    let name = |slot: &str| {
        let there = site
            .cluster
            .get(&site.cluster.deployment(&format!("web-{slot}")));
        let name = &there["spec"]["template"]["spec"]["containers"][0]["envFrom"][0]["configMapRef"]
            ["name"];
        name.as_str().expect("a name").to_owned()
    };
    let data = |name: &str| {
        site.cluster
            .get(&format!("{}/{name}", site.cluster.of("v1", "configmaps")))["data"]
            .clone()
    };
    let first = name("blue");
    assert_eq!(data(&first)["greeting"], "hello from blue");
    site.put("deploy/web.yaml", &own.replace("hello", "goodbye"));
    site.apply().code(0);
    assert_eq!(data(&name("green"))["greeting"], "goodbye from green");
    assert_eq!(
        data(&first)["greeting"],
        "hello from blue",
        "the rollback is as it was"
    );
    // The third release goes into blue: what blue had is not needed any more.
    site.put("deploy/web.yaml", &own.replace("hello", "again"));
    site.apply().code(0);
    assert_eq!(data(&first), Value::Null);
}
