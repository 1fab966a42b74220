//! What goes wrong is seen at once, said in words, and taken back.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::Admin;
use crate::site::{Site, until};

/// A second release whose pods behave like this; the first one stays live.
fn failing(how: &str, expected: &str) {
    let Some(mut site) = Site::live() else { return };
    site.env.insert("KWOK".to_owned(), how.to_owned());
    site.staging.push("ready_within: 4s".to_owned());
    site.apply().code(1).says(expected);
    assert_eq!((site.active(), site.live_release()), ("blue".to_owned(), 1));
    site.env.clear();
    site.message("v2");
    site.apply().code(0);
    assert_eq!(site.active(), "green", "the next release finds its place");
}

#[test]
fn a_pod_that_never_becomes_ready_is_waited_for_and_no_longer() {
    failing(
        "never",
        "not within 4s: Deployment/web-green: 0 of 1 pods are ready",
    );
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_wait() {
    failing("pull", "cannot be pulled");
}

#[test]
fn a_process_that_will_not_stay_up_ends_the_wait() {
    failing("crash", "web ended with exit code 3, 4 times");
}

#[test]
fn what_is_known_about_a_failure_is_kept_without_any_secret() {
    let Some(mut site) = Site::live() else { return };
    site.put("keys/db", "hunter2-hunter2");
    site.staging
        .push("secrets: {db: {file: keys/db}}".to_owned());
    site.env.insert("DB".to_owned(), "{secret: db}".to_owned());
    site.env.insert("KWOK".to_owned(), "crash".to_owned());
    // Somebody prints a secret where everybody can read it.
    site.env
        .insert("PRINTED".to_owned(), "hunter2-hunter2".to_owned());
    site.apply()
        .code(1)
        .says("likely cause: ")
        .says("ended with exit code 3, 4 times")
        .says("failures/2");
    let folder = site.path().join("state/staging/failures/2");
    let summary = std::fs::read_to_string(folder.join("summary.txt")).expect("a summary");
    assert!(summary.contains("ended with exit code 3"), "{summary}");
    let events = std::fs::read_to_string(folder.join("events.txt")).expect("events");
    assert!(
        events.contains("Deployment/web-green: ScalingReplicaSet"),
        "{events}"
    );
    let objects: Vec<_> = std::fs::read_dir(folder.join("objects"))
        .expect("objects")
        .filter_map(Result::ok)
        .collect();
    assert!(objects.len() >= 2, "{objects:?}");
    for object in objects {
        let text = std::fs::read_to_string(object.path()).expect("a file");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("KWOK"));
    }
}

#[test]
fn a_quota_is_named() {
    let Some(site) = Site::live() else { return };
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}});
    site.cluster
        .post(&site.cluster.of("v1", "resourcequotas"), &quota);
    let path = format!("{}/small", site.cluster.of("v1", "resourcequotas"));
    until("the quota counts", || {
        site.cluster.get(&path)["status"]["used"]["pods"] == "1"
    });
    site.message("v2");
    site.apply()
        .code(6)
        .says("the quota small")
        .says("allows 1 pods, and both slots need 2");
    let anyway = [
        "apply",
        "--env",
        "staging",
        "--auto-approve",
        "--allow-no-rollback",
    ];
    site.run(&anyway)
        .code(1)
        .says("quota does not allow its pods")
        .says("pods=1");
    assert_eq!(site.live_release(), 1);
}

#[test]
fn an_admission_policy_that_refuses_is_quoted_and_one_that_adds_is_no_drift() {
    let Some(mut site) = Site::live() else { return };
    let name = format!("no-debug-{}", site.cluster.namespace);
    let base = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]},
            "validations": [{"expression": "!object.spec.template.spec.containers.exists(c, has(c.env) && c.env.exists(e, e.name == 'DEBUG'))",
                "message": "DEBUG is not for production"}],
        },
    });
    site.cluster
        .post(&format!("{base}/validatingadmissionpolicies"), &policy);
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector":
            {"matchLabels": {"kubernetes.io/metadata.name": site.cluster.namespace}}}},
    });
    site.cluster.post(
        &format!("{base}/validatingadmissionpolicybindings"),
        &binding,
    );
    site.env.insert("DEBUG".to_owned(), "\"1\"".to_owned());
    // The server takes a moment until it enforces a new policy.
    until("the policy is enforced", || {
        let said = site.apply();
        let is_refused = said.stdout.contains("DEBUG is not for production")
            || said.stderr.contains("DEBUG is not for production");
        site.message(&format!("{:?}", Instant::now()));
        is_refused
    });
    site.cluster
        .delete(&format!("{base}/validatingadmissionpolicybindings/{name}"));
    site.cluster
        .delete(&format!("{base}/validatingadmissionpolicies/{name}"));
}

#[test]
fn a_permission_that_is_missing_is_named() {
    let Some(site) = Site::live() else { return };
    let path = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/shipit",
        site.cluster.namespace
    );
    let mut role = site.cluster.get(&path);
    let rules = role["rules"].as_array_mut().expect("rules");
    rules.retain(|rule| {
        rule["apiGroups"] != json!(["apps"]) || rule["resources"] != json!(["deployments"])
    });
    let read = json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]});
    rules.push(read);
    site.cluster
        .patch(&path, "tests", &json!({"rules": role["rules"]}));
    site.message("v2");
    let said = site.apply();
    assert_ne!(said.code, Some(0));
    said.says("cannot patch resource \"deployments\"")
        .says("shipit doctor");
    assert_eq!(site.live_release(), 1);
}

#[test]
fn a_switch_without_a_way_back_is_refused_unless_it_is_meant() {
    let Some(mut site) = Site::live() else { return };
    site.staging = vec!["promotion: {mode: manual, probe: {rate: 0}}".to_owned()];
    site.message("v2");
    site.apply().code(0);
    // The live release's image goes away, as a registry's own rule may have it.
    let live = site.cluster.get(&site.cluster.deployment("web-blue"));
    let image = live["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .expect("an image")
        .to_owned();
    let (name, digest) = image.split_once('@').expect("a digest");
    let (registry, repository) = name.split_once('/').expect("a repository");
    let url = format!("http://{registry}/v2/{repository}/manifests/{digest}");
    let deleted = Command::new("curl")
        .args(["-sf", "-X", "DELETE", &url])
        .status()
        .expect("curl starts");
    assert!(deleted.success());
    let promote = ["promote", "green", "--env", "staging", "--auto-approve"];
    site.run(&promote)
        .code(6)
        .says("no rollback")
        .says("cannot be pulled again")
        .says("--allow-no-rollback");
    assert_eq!(site.active(), "blue");
    site.run(&[&promote[..], &["--allow-no-rollback"]].concat())
        .code(0)
        .says("green is active");
}

/// A control plane that a test may hurt.
struct Own {
    folder: tempfile::TempDir,
}

impl Own {
    fn start() -> Option<(Self, Admin)> {
        let shared = crate::cluster::admin()?;
        let folder = tempfile::tempdir().expect("a folder");
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
        let up = Command::new(root.join("up"))
            .arg(folder.path().join("c"))
            .output()
            .expect("it starts");
        assert!(
            up.status.success(),
            "{}",
            String::from_utf8_lossy(&up.stderr)
        );
        let admin = Admin {
            kubeconfig: folder.path().join("c/admin.kubeconfig"),
            registry: shared.registry,
        };
        Some((Self { folder }, admin))
    }

    fn signal(&self, part: &str, signal: &str) {
        let pid =
            std::fs::read_to_string(self.folder.path().join("c/pids").join(part)).expect("a pid");
        let done = Command::new("kill")
            .args([signal, pid.trim()])
            .status()
            .expect("kill starts");
        assert!(done.success());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
        let _ = Command::new(root.join("down"))
            .arg(self.folder.path().join("c"))
            .status();
    }
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_waited_for() {
    let Some((own, admin)) = Own::start() else {
        return;
    };
    let site = Site::at(admin);
    site.apply().code(0);
    // etcd stops, as on a failing disk: the server answers with errors, or not at all.
    site.message("v2");
    let before = site.journal_lines();
    let mut run = site.start_apply();
    until("the run has begun", || {
        site.journal_lines() > before || matches!(run.try_wait(), Ok(Some(_)))
    });
    own.signal("etcd", "-STOP");
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(10) && matches!(run.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(100));
    }
    own.signal("etcd", "-CONT");
    let output = run.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(site.live_release(), 2);
    // The server itself is killed and started again.
    site.message("v3");
    let mut run = site.start_apply();
    own.signal("kube-apiserver", "-KILL");
    let mut server = Command::new(own.folder.path().join("c/restart-apiserver"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let _ = run.wait().expect("it ends");
    until("the server answers", || {
        site.run(&["status", "--env", "staging"]).code == Some(0)
    });
    // Cut off before its first answer, it may have given up; then nothing is half-done.
    site.apply().code(0);
    assert_eq!(site.live_release(), 3);
    site.plan().code(0).says("No changes");
    let _ = server.kill();
    let _ = server.wait();
}
