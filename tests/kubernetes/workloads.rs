//! Workloads of the environment's own that cannot become ready: said at once, in the words that a
//! service's have, and kept as a service's failure is.

use serde_json::json;

use crate::site::{Site, until};

/// A workload of a kind whose pods end so, with these keys in its specification.
fn workload(kind: &str, how: &str, keys: &str) -> String {
    let group = if kind == "Job" { "batch" } else { "apps" };
    let selector = if kind == "Job" {
        ""
    } else {
        "  selector: {matchLabels: {app: worker}}\n"
    };
    format!(
        "apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: worker}}\nspec:\n{selector}{keys}  template:\n    \
         metadata: {{labels: {{app: worker}}}}\n    spec:\n      {restart}\
         securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}\n      \
         containers: [{{name: main, image: example.com/a:1, env: [{{name: KWOK, value: {how}}}], \
         securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]\n",
        restart = if kind == "Job" {
            "restartPolicy: Never\n      "
        } else {
            ""
        }
    )
}

fn site(manifest: &str) -> Option<Site> {
    let mut site = Site::new()?;
    site.kubeconfig = site.cluster.admin.kubeconfig.clone();
    // Long enough that only what ends the wait ends it.
    site.staging.push("ready_within: 10m".to_owned());
    site.apply().code(0);
    site.put("own.yaml", manifest);
    site.staging.push("manifests: own.yaml".to_owned());
    Some(site)
}

/// Whatever makes the pods, what they say ends the wait, and is kept.
fn ends(kind: &str, how: &str, keys: &str, reason: &str) {
    let Some(site) = site(&workload(kind, how, keys)) else {
        return;
    };
    site.apply()
        .code(1)
        .says(reason)
        .says("likely cause: ")
        .says("failures/1");
    let folder = site.path().join("state/staging/failures/1");
    let summary = std::fs::read_to_string(folder.join("summary.txt")).expect("a summary");
    assert!(summary.contains(&format!("{kind}/worker")), "{summary}");
    assert_eq!(site.live_release(), 1);
}

#[test]
fn a_set_whose_process_will_not_stay_up_ends_the_wait() {
    let keys = "  serviceName: worker\n";
    ends("StatefulSet", "crash", keys, "main ended with exit code 3");
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_wait_for_a_deployment() {
    ends(
        "Deployment",
        "pull",
        "",
        "the image of main cannot be pulled",
    );
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_wait_for_a_job() {
    ends("Job", "pull", "", "the image of main cannot be pulled");
}

#[test]
fn a_deployment_that_is_paused_ends_the_wait() {
    ends(
        "Deployment",
        "never",
        "  paused: true\n",
        "it is paused by its manifest",
    );
}

#[test]
fn a_job_that_is_suspended_ends_the_wait() {
    ends("Job", "never", "  suspend: true\n", "it is suspended");
}

#[test]
fn a_quota_ends_the_wait_for_a_set_that_says_so_by_events_alone() {
    let keys = "  serviceName: worker\n";
    let Some(site) = site(&workload("StatefulSet", "never", keys)) else {
        return;
    };
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}});
    let quotas = site.cluster.of("v1", "resourcequotas");
    site.cluster.post(&quotas, &quota);
    until("the quota counts", || {
        let there = site.cluster.get(&format!("{quotas}/full"));
        there["status"]["hard"]["pods"] == "0"
    });
    site.apply()
        .code(1)
        .says("the namespace's quota does not allow its pods");
}

#[test]
fn an_interrupt_ends_the_wait() {
    let Some(site) = site(&workload("Deployment", "never", "")) else {
        return;
    };
    let apply = site.start_apply();
    let path = site.cluster.deployment("worker");
    until("it is waited for", || {
        site.cluster.get(&path)["status"]["updatedReplicas"] == 1
    });
    let pid = apply.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.expect("kill runs").success());
    let ended = apply.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    // Nothing had traffic moved: the next run goes on from here.
    assert_eq!(site.live_release(), 1);
}
