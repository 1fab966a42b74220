//! Which object is which, whose it is, and where it is.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::site::{Site, until};

/// A site whose environment has these objects, as somebody who may do everything.
fn with(objects: &str) -> Option<Site> {
    let mut site = Site::new()?;
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.put("own.yaml", objects);
    site.staging.push("manifests: own.yaml".to_owned());
    Some(site)
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"]
        .as_str()
        .unwrap_or_else(|| panic!("it is not there: {object}"))
}

fn destroy(site: &Site) {
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
}

const SCALER: &str = "kind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec:\n  maxReplicas: 3\n  \
                      scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: somebody}\n";

#[test]
fn an_object_in_another_version_is_the_same_object_and_changes_in_place() {
    let old = format!("apiVersion: autoscaling/v1\n{SCALER}  targetCPUUtilizationPercentage: 50\n");
    let new = format!(
        "apiVersion: autoscaling/v2\n{SCALER}  metrics: [{{type: Resource, resource: {{name: cpu, target: \
         {{type: Utilization, averageUtilization: 50}}}}}}]\n"
    );
    let Some(site) = with(&old) else { return };
    let there = || {
        site.cluster.get(
            &site
                .cluster
                .of("autoscaling/v2", "horizontalpodautoscalers/h"),
        )
    };
    site.apply().code(0);
    let first = there();

    for (text, version) in [
        (&new, "autoscaling/v2"),
        (&old, "autoscaling/v1"),
        (&new, "autoscaling/v2"),
    ] {
        site.put("own.yaml", text);
        site.plan()
            .code(2)
            .says("~ HorizontalPodAutoscaler/h")
            .says(version)
            .says_not("- Horizontal");
        site.apply().code(0);
        assert_eq!(uid(&there()), uid(&first), "replaced");
        site.plan().code(0).says("No changes");
    }

    site.put("own.yaml", "");
    site.plan().code(2).says("- HorizontalPodAutoscaler/h");
    site.apply().code(0);
    assert_eq!(there(), Value::Null);
}

#[test]
fn an_object_in_no_namespace_is_found_where_the_server_has_it() {
    let Some(site) = with("") else { return };
    let group = format!("{}.example.com", site.cluster.namespace);
    let name = site.cluster.namespace.clone();
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{group}}}\n\
         spec:\n  group: {group}\n  scope: Cluster\n  names: {{plural: widgets, singular: widget, kind: Widget}}\n  \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, \
         x-kubernetes-preserve-unknown-fields: true}}}}}}]\n"
    );
    let widget = format!(
        "apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {{size: 3}}\n"
    );
    let flow = format!(
        "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nmetadata: {{name: {name}}}\n\
         spec: {{priorityLevelConfiguration: {{name: exempt}}, matchingPrecedence: 9000}}\n"
    );
    let paths = [
        format!("/apis/{group}/v1/widgets/one"),
        format!("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/{name}"),
    ];
    let there = || paths.clone().map(|path| site.cluster.get(&path));
    site.put(
        "own.yaml",
        &[definition.as_str(), &widget, &flow].join("---\n"),
    );
    site.apply().code(0);
    let first = there();

    // Nothing has changed: neither the next plan nor the next apply takes it for somebody else's.
    for _ in 0..2 {
        site.plan().code(0).says("No changes");
        site.apply().code(0);
        let now = there();
        assert_eq!(now.each_ref().map(uid), first.each_ref().map(uid));
    }

    site.put("own.yaml", &definition);
    site.plan()
        .code(2)
        .says("- Widget/one")
        .says(&format!("- FlowSchema/{name}"));
    site.apply().code(0);
    assert_eq!(there(), [Value::Null, Value::Null]);
    destroy(&site);
}

#[test]
fn an_object_moves_to_a_version_that_comes_with_its_definition() {
    let Some(site) = with("") else { return };
    let group = format!("{}.example.com", site.cluster.namespace);
    let version = |name: &str, storage: bool| {
        format!(
            "{{name: {name}, served: true, storage: {storage}, schema: {{openAPIV3Schema: {{type: object, \
             x-kubernetes-preserve-unknown-fields: true}}}}}}"
        )
    };
    let definition = |versions: &[String]| {
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata: {{name: gizmos.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  \
             names: {{plural: gizmos, singular: gizmo, kind: Gizmo}}\n  versions: [{}]\n",
            versions.join(", ")
        )
    };
    let gizmo = |version: &str, size: u8| {
        format!(
            "---\napiVersion: {group}/{version}\nkind: Gizmo\nmetadata: {{name: one}}\nspec: {{size: {size}}}\n"
        )
    };
    let path = format!(
        "/apis/{group}/v1/namespaces/{}/gizmos/one",
        site.cluster.namespace
    );
    let one = definition(&[version("v1", true)]) + &gizmo("v1", 3);
    site.put("own.yaml", &one);
    site.apply().code(0);
    let first = site.cluster.get(&path);

    let both = definition(&[version("v1", true), version("v2", false)]);
    site.put("own.yaml", &(both + &gizmo("v2", 4)));
    site.plan().code(2).says("~ Gizmo/one").says("spec.size");
    site.apply().code(0);
    let now = site.cluster.get(&path);
    assert_eq!(uid(&now), uid(&first), "replaced");
    assert_eq!(now["spec"]["size"], 4);
    site.plan().code(0).says("No changes");
    destroy(&site);
}

#[test]
fn what_a_controller_made_is_never_taken_away() {
    let own = "apiVersion: v1\nkind: Service\nmetadata: {name: outside}\nspec: {ports: [{port: 80}]}\n---\n\
               apiVersion: v1\nkind: Endpoints\nmetadata: {name: outside}\n\
               subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]\n";
    let Some(site) = with(own) else { return };
    let endpoints = |name: &str| {
        site.cluster
            .get(&site.cluster.of("v1", &format!("endpoints/{name}")))
    };
    site.apply().code(0);
    // The controller has copied every label of ours, that of our set too, from the Services of the
    // release.
    let copied = endpoints("web-blue");
    let set =
        |object: &Value| object["metadata"]["labels"]["applyset.kubernetes.io/part-of"].clone();
    assert_eq!(set(&copied), set(&endpoints("outside")));

    site.plan().code(0).says("No changes");
    site.message("v2");
    site.apply().code(0).says_not("Endpoints/web");
    assert_eq!(uid(&endpoints("web-blue")), uid(&copied));

    // What we applied is ours, though it is of a kind that controllers make.
    site.put("own.yaml", "");
    site.plan()
        .code(2)
        .says("- Endpoints/outside")
        .says_not("- Endpoints/web");
    site.apply().code(0);
    assert_eq!(endpoints("outside"), Value::Null);
}

#[test]
fn an_object_with_an_owner_is_ours_when_we_applied_it() {
    let Some(site) = with("") else { return };
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let owner = site
        .cluster
        .post(&site.cluster.of("v1", "configmaps"), &body);
    let manifest = |name: &str, controller: bool| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  ownerReferences: [{{apiVersion: v1, kind: \
             ConfigMap, name: owner, uid: {}, controller: {controller}}}]\n",
            uid(&owner)
        )
    };
    site.put(
        "own.yaml",
        &[manifest("a", false), manifest("b", true)].join("---\n"),
    );
    site.apply().code(0);
    site.plan().code(0).says("No changes");
    site.put("own.yaml", "");
    site.plan()
        .code(2)
        .says("- ConfigMap/a")
        .says("- ConfigMap/b")
        .says_not("ConfigMap/owner");
    site.apply().code(0);
    let there = |name: &str| {
        site.cluster
            .get(&site.cluster.of("v1", &format!("configmaps/{name}")))
    };
    assert_eq!([there("a"), there("b")], [Value::Null, Value::Null]);
    assert_eq!(uid(&there("owner")), uid(&owner));
}

fn in_namespace(name: &str, namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{a: one}}\n"
    )
}

#[test]
fn objects_in_other_namespaces_are_kept_changed_and_taken_away() {
    let Some(mut site) = Site::new() else { return };
    let other = format!("{}-other", site.cluster.namespace);
    site.cluster.namespace(&other);
    site.cluster.allow(&other);
    let there = |site: &Site, name: &str| {
        site.cluster
            .get(&format!("/api/v1/namespaces/{other}/configmaps/{name}"))
    };
    site.staging.push("manifests: own.yaml".to_owned());
    site.put(
        "own.yaml",
        &[in_namespace("a", &other), in_namespace("b", &other)].join("---\n"),
    );
    site.apply().code(0);
    site.plan().code(0).says("No changes");

    site.put("own.yaml", &in_namespace("a", &other).replace("one", "two"));
    site.plan()
        .code(2)
        .says("~ ConfigMap/a")
        .says("- ConfigMap/b");
    site.apply().code(0);
    assert_eq!(there(&site, "a")["data"]["a"], "two");
    assert_eq!(there(&site, "b"), Value::Null);

    // It is found though no manifest names its namespace any more.
    site.put("own.yaml", "");
    site.plan().code(2).says("- ConfigMap/a");
    site.apply().code(0);
    assert_eq!(there(&site, "a"), Value::Null);
    site.plan().code(0).says("No changes");

    site.put("own.yaml", &in_namespace("a", &other));
    site.apply().code(0);
    destroy(&site);
    assert_eq!(there(&site, "a"), Value::Null);
}

#[test]
fn a_service_may_have_objects_in_another_namespace() {
    let Some(mut site) = Site::new() else { return };
    let other = format!("{}-other", site.cluster.namespace);
    site.cluster.namespace(&other);
    site.cluster.allow(&other);
    let own = |text: &str| {
        let shared = in_namespace("shared", &other).replace("one", text);
        let settings =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n";
        format!(
            "{settings}---\n{shared}---\n{}",
            crate::objects::deployment("{{ image }}")
        )
    };
    site.put("deploy/web.yaml", &own("one"));
    site.service = [("manifests".to_owned(), "'deploy/*.yaml'".to_owned())].into();
    let shared = |site: &Site| {
        let list = site.cluster.get(&format!(
            "/api/v1/namespaces/{other}/configmaps?labelSelector=shipit.dev/project"
        ));
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| item["data"]["a"].as_str().expect("a text").to_owned())
            .collect::<Vec<_>>()
    };
    site.apply().code(0);
    site.plan().code(0).says("No changes");
    for text in ["two", "three"] {
        site.put("deploy/web.yaml", &own(text));
        site.apply().code(0);
    }
    let mut both = shared(&site);
    both.sort();
    assert_eq!(
        both,
        ["three", "two"],
        "each slot has its own, and no other is left"
    );
    destroy(&site);
    assert_eq!(shared(&site), [""; 0]);
}

#[test]
fn a_name_that_is_part_of_a_path_is_refused_before_anything_is_asked() {
    let Some(site) =
        with("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'cfg-{{ branch }}'}\n")
    else {
        return;
    };
    git(
        site.path(),
        &["init", "--quiet", "--initial-branch", "x/status"],
    );
    git(
        site.path(),
        &["commit", "--quiet", "--allow-empty", "-m", "a"],
    );
    let said = site.apply();
    assert_ne!(said.code, Some(0));
    said.says("own.yaml:1")
        .says("`cfg-x/status` cannot be the name of a ConfigMap");
}

fn git(folder: &Path, arguments: &[&str]) {
    let done = std::process::Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(folder)
        .output();
    assert!(done.expect("git starts").status.success(), "{arguments:?}");
}

#[test]
fn a_destroy_that_was_killed_at_its_end_leaves_nothing_when_it_is_run_again() {
    let Some(site) = Site::live() else { return };
    let of = |plural: &str| site.cluster.of("v1", plural);
    let own = "?labelSelector=shipit.dev/project=shop,shipit.dev/environment=staging";
    let kept = || {
        let lists = ["configmaps", "secrets"]
            .map(|plural| site.cluster.get(&format!("{}{own}", of(plural))));
        lists
            .map(|list| list["items"].as_array().cloned().unwrap_or_default())
            .concat()
    };
    let before = kept();
    assert!(
        before.len() >= 3,
        "a record, a key and what is in a slot: {before:#?}"
    );
    let record = site.cluster.get(&of("configmaps/shipit-shop-staging"));
    destroy(&site);
    assert_eq!(kept(), Vec::<Value>::new());

    // As if it had been killed before it came to its own record, with a slot's that nothing points
    // to any more.
    let empty = r#"{"lineage":null,"fence":1,"slots":{},"routes":{},"kinds":[]}"#;
    let again = |object: &Value, plural: &str, data: &Value| {
        let meta = &object["metadata"];
        let body = json!({"apiVersion": "v1", "kind": object["kind"], "type": object["type"],
            "metadata": {"name": meta["name"], "labels": meta["labels"]}, "data": data});
        site.cluster.post(&of(plural), &body);
    };
    again(&record, "configmaps", &json!({"record": empty}));
    for secret in before.iter().filter(|object| object.get("type").is_some()) {
        let secret =
            json!({"kind": "Secret", "type": secret["type"], "metadata": secret["metadata"]});
        again(&secret, "secrets", &Value::Null);
    }
    destroy(&site);
    assert_eq!(kept(), Vec::<Value>::new());
}

#[test]
fn a_job_that_was_done_and_has_gone_is_not_run_again() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec:\n  ttlSecondsAfterFinished: 1\n  template:\n    \
               spec:\n      restartPolicy: Never\n      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: \
               {type: RuntimeDefault}}\n      containers: [{name: migrate, image: example.com/migrate:1, \
               securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]\n";
    let Some(site) = with(job) else { return };
    let path = site.cluster.of("batch/v1", "jobs/migrate");
    // kwok's pods of a Job never end by themselves: the test ends them.
    let pods = format!(
        "{}?labelSelector=job-name=migrate",
        site.cluster.of("v1", "pods")
    );
    let end_pods = || {
        let list = site.cluster.get(&pods);
        for pod in list["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().expect("a name");
            let path = site.cluster.of("v1", &format!("pods/{name}/status"));
            let status = json!({"status": {"phase": "Succeeded"}});
            // One that has gone since has ended.
            let kind = "application/merge-patch+json";
            site.cluster.ask(Method::PATCH, &path, kind, &status);
        }
    };
    let mut apply = site.start_apply();
    until("the Job is done and has gone", || {
        end_pods();
        apply.try_wait().expect("a child").is_some() && site.cluster.get(&path).is_null()
    });
    assert!(apply.wait().expect("it ended").success());

    site.plan()
        .code(0)
        .says("No changes")
        .says("Job/migrate was done at");
    site.apply().code(0);
    assert_eq!(site.cluster.get(&path), Value::Null);
    site.put("own.yaml", &job.replace("migrate:1", "migrate:2"));
    site.plan().code(2).says("+ Job/migrate");
}
