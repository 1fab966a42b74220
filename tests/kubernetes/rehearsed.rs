//! What the server would refuse of a release is found by the plan, and not in the middle of apply.

use serde_json::{Value, json};

use crate::site::Site;

/// A workload of the service's own, with this in its container and this in its pod.
fn deployment(container: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 1\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}\n      \
         containers: [{{name: web, image: \"{{{{ image }}}}\", ports: [{{containerPort: 8080}}], {container}}}]\n{pod}"
    )
}

/// What a namespace that is restricted asks of a container.
const RESTRICTED: &str =
    "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}";

fn site(container: &str, pod: &str) -> Option<Site> {
    let mut site = Site::new()?;
    site.put("deploy/web.yaml", &deployment(container, pod));
    site.service
        .insert("manifests".to_owned(), "deploy/*.yaml".to_owned());
    Some(site)
}

/// The deployments of the namespace.
fn deployments(site: &Site) -> usize {
    let all = site.cluster.get(&site.cluster.of("apps/v1", "deployments"));
    all["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_variable_that_is_there_twice_is_found_by_the_plan() {
    let env = format!("{RESTRICTED}, env: [{{name: A, value: b}}, {{name: A, value: c}}]");
    let Some(site) = site(&env, "") else { return };
    site.plan().code(1).says("has `A` twice");
    site.apply().code(1);
    assert_eq!(deployments(&site), 0);
}

#[test]
fn a_value_of_another_type_is_found_by_the_plan() {
    let volume = "      volumes: [{name: v, secret: {secretName: s, defaultMode: \"0644\"}}]\n";
    let Some(site) = site(RESTRICTED, volume) else {
        return;
    };
    site.plan()
        .code(6)
        .says("Deployment/web-blue")
        .says("defaultMode");
}

#[test]
fn pods_that_a_security_standard_forbids_are_found_by_who_may_make_pods() {
    let Some(mut site) = site("securityContext: {privileged: true}", "") else {
        return;
    };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.plan()
        .code(6)
        .says("Deployment/web-blue")
        .says("its pods would be refused")
        .says("violates PodSecurity");
}

#[test]
fn pods_that_a_quota_has_no_room_for_are_found_by_who_may_make_pods() {
    let Some(mut site) = site(RESTRICTED, "") else {
        return;
    };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    let quotas = site.cluster.of("v1", "resourcequotas");
    site.cluster.post(&quotas, &quota);
    crate::site::until("the quota counts", || {
        let there = site.cluster.get(&format!("{quotas}/none"));
        there["status"]["hard"]["pods"] == "0"
    });
    site.plan()
        .code(6)
        .says("its pods would be refused")
        .says("exceeded quota");
}

/// A quota of the environment's own is raised before the pods are made that need it.
#[test]
fn a_quota_that_the_plan_raises_has_room_and_one_that_it_leaves_has_none() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    let quota = |pods: u32| {
        format!(
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: small}}\n\
             spec: {{hard: {{pods: {pods}}}}}\n"
        )
    };
    site.put("own.yaml", &quota(1));
    site.staging.push("manifests: own.yaml".to_owned());
    site.apply().code(0);

    site.env.insert("MARK".to_owned(), "two".to_owned());
    site.plan().code(6).says("its pods would be refused");

    site.put("own.yaml", &quota(20));
    site.plan()
        .code(2)
        .says("and ResourceQuota/small in")
        .says("changes before")
        .says_not("allows 1 pods");
}

#[test]
fn an_object_of_another_owner_is_found_by_the_plan() {
    let Some(site) = site(RESTRICTED, "") else {
        return;
    };
    let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web-blue", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": {
            "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}}});
    site.cluster
        .post(&site.cluster.of("apps/v1", "deployments"), &theirs);
    site.plan().code(6).says("Deployment/web-blue");
}

#[test]
fn a_namespace_that_is_still_to_be_made_is_no_reason_to_refuse() {
    let Some(mut site) = Site::new() else { return };
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    site.options
        .insert("create_namespaces".to_owned(), "true".to_owned());
    let other = format!("{}-green", site.cluster.namespace);
    let blue = format!("{}-blue", site.cluster.namespace);
    site.staging.push(format!(
        "slots: {{blue: {{namespace: {blue}}}, green: {{namespace: {other}}}}}"
    ));
    site.plan()
        .code(2)
        .says("not all objects of web could be checked")
        .says(&format!("the namespace {blue} is not there yet"));
    let plan = site.run(&["plan", "--env", "staging", "--output", "json"]);
    let plan: Value = serde_json::from_str(&plan.code(0).stdout).expect("a plan");
    let notes = plan["notes"].as_array().map_or(0, Vec::len);
    assert_eq!(notes, 1, "{}", plan["notes"]);
}
