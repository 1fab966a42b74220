//! What Helm does with a chart besides applying its objects, with the real Helm.

use serde_json::Value;

use crate::rendered::{APPLY, run, tools};
use crate::site::Site;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ";

/// A site whose own objects are a chart's, with a definition of a group of its own.
fn site() -> Option<(Site, String)> {
    let mut site = Site::new()?;
    // Definitions belong to the whole cluster: this needs more than the documented Role.
    site.kubeconfig.clone_from(&site.cluster.admin.kubeconfig);
    let group = format!("{}.example.com", site.cluster.namespace);
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: gadgets.{group}}}\n\
         spec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: gadgets, singular: gadget, kind: Gadget}}\n  \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]\n"
    );
    site.put("chart/crds/gadgets.yaml", &definition);
    site.put(
        "chart/Chart.yaml",
        "apiVersion: v2\nname: base\nversion: 0.1.0\n",
    );
    let seen = format!(
        "{MAP}seen\ndata:\n  version: '{{{{ .Capabilities.KubeVersion.Version }}}}'\n  \
         own: '{{{{ .Capabilities.APIVersions.Has \"{group}/v1/Gadget\" }}}}'\n"
    );
    site.put("chart/templates/seen.yaml", &seen);
    let kept =
        format!("{MAP}kept\n  annotations: {{helm.sh/resource-policy: keep}}\ndata: {{a: b}}\n");
    site.put("chart/templates/kept.yaml", &kept);
    let test = format!("{MAP}test\n  annotations: {{helm.sh/hook: test}}\n");
    site.put("chart/templates/tests/test.yaml", &test);
    Some((site, group))
}

fn config(site: &Site, name: &str) -> Value {
    site.cluster
        .get(&format!("{}/{name}", site.cluster.of("v1", "configmaps")))
}

#[test]
fn a_chart_sees_the_cluster_brings_its_definitions_and_leaves_its_tests_out() {
    let Some((mut site, group)) = site() else {
        return;
    };
    let at_hand = tools();
    site.staging.push("manifests: {helm: ./chart}".to_owned());
    run(&site, &APPLY, &at_hand).code(0);
    let version = site.cluster.get("/version")["gitVersion"].clone();
    assert_eq!(config(&site, "seen")["data"]["version"], version);
    assert_eq!(config(&site, "test"), Value::Null);
    let definition =
        format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.{group}");
    assert!(site.cluster.get(&definition).is_object());
    // What it defines itself is there before it is rendered, as with Helm.
    assert_eq!(config(&site, "seen")["data"]["own"], "true");
    let plan = ["plan", "--env", "staging"];
    run(&site, &plan, &at_hand).code(0).says("No changes");

    // What is to be kept stays when it leaves the chart, and when the environment goes.
    std::fs::remove_file(site.path().join("chart/templates/kept.yaml")).expect("removed");
    run(&site, &["plan", "--env", "staging"], &at_hand)
        .says("ConfigMap/kept")
        .says("it is left as it is, for it says so");
    run(&site, &APPLY, &at_hand).code(0);
    assert_eq!(config(&site, "kept")["data"]["a"], "b");
    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    run(&site, &destroy, &at_hand).code(0);
    assert_eq!(config(&site, "kept")["data"]["a"], "b");
    assert_eq!(config(&site, "seen"), Value::Null);
    assert!(site.cluster.get(&definition).is_object());
    site.cluster.delete(&definition);
}

#[test]
fn what_a_chart_renders_anew_each_time_is_named() {
    let Some((mut site, _)) = site() else {
        return;
    };
    let at_hand = tools();
    let random = format!("{MAP}random\ndata: {{n: {{{{ randAlphaNum 10 | quote }}}}, m: same}}\n");
    site.put("chart/templates/random.yaml", &random);
    site.staging
        .push("manifests: {helm: ./chart, crds: leave_out}".to_owned());
    run(&site, &["plan", "--env", "staging"], &at_hand)
        .code(0)
        .says(
            "renders another value each time, and every plan has changes: ConfigMap/random.data.n;",
        );
}

#[test]
fn a_charts_hooks_are_refused_by_name_until_they_may_be_left_out() {
    let Some((mut site, group)) = site() else {
        return;
    };
    let at_hand = tools();
    let hook = format!("{MAP}hook\n  annotations: {{helm.sh/hook: 'pre-delete,post-install'}}\n");
    site.put("chart/templates/hook.yaml", &hook);
    site.staging
        .push("manifests: {helm: ./chart, crds: leave_out}".to_owned());
    run(&site, &["plan", "--env", "staging"], &at_hand)
        .code(1)
        .says("ConfigMap/hook (pre-delete, post-install)")
        .says("hooks: leave_out");
    site.staging.pop();
    site.staging
        .push("manifests: {helm: ./chart, crds: leave_out, hooks: leave_out}".to_owned());
    run(&site, &APPLY, &at_hand).code(0);
    assert_eq!(config(&site, "hook"), Value::Null);
    let definition =
        format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.{group}");
    assert_eq!(site.cluster.get(&definition), Value::Null);
}

#[test]
fn what_a_slots_chart_keeps_stays_when_its_slot_is_emptied() {
    let Some((mut site, _)) = site() else { return };
    let at_hand = tools();
    site.put(
        "chart/templates/web.yaml",
        &crate::objects::deployment("{{ .Values.shipit.image }}")
            .replace("name: settings", "name: seen"),
    );
    let manifests = "{helm: ./chart, crds: leave_out}".to_owned();
    site.service = [("manifests".to_owned(), manifests)].into();
    run(&site, &APPLY, &at_hand).code(0);
    let list = |site: &Site| -> Vec<String> {
        let all = site.cluster.get(&site.cluster.of("v1", "configmaps"));
        let names = all["items"].as_array().cloned().unwrap_or_default();
        let names = names
            .iter()
            .filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned()));
        names.filter(|name| name.starts_with("kept-blue")).collect()
    };
    assert_eq!(list(&site).len(), 1);
    let destroy = ["destroy", "--env", "staging", "--auto-approve"];
    run(&site, &destroy, &at_hand).code(0);
    assert_eq!(list(&site).len(), 1);
}
