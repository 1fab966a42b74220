//! Manifests that the user's own kustomize and Helm render.

use std::path::PathBuf;
use std::process::Command;

use crate::objects::deployment;
use crate::said::Said;
use crate::site::Site;

/// The folder with the tools that the tests have built.
pub fn tools() -> PathBuf {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/build");
    let built = Command::new(script).output().expect("it starts");
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim())
}

/// Runs a command that finds these tools, or none.
pub fn run(site: &Site, arguments: &[&str], path: &std::path::Path) -> Said {
    // Git is there, and nothing else: what these tests are about comes from `path`.
    let git = site.path().join("git-only");
    std::fs::create_dir_all(&git).expect("a folder");
    let found = Command::new("sh")
        .args(["-c", "command -v git"])
        .output()
        .expect("sh starts");
    let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    let _ = std::os::unix::fs::symlink(found, git.join("git"));
    let all = format!("{}:{}", path.display(), git.display());
    let output = site
        .command(arguments)
        .env("PATH", all)
        .output()
        .expect("shipit starts");
    Said::from(&output)
}

pub const APPLY: [&str; 4] = ["apply", "--env", "staging", "--auto-approve"];

#[test]
fn kustomize_renders_the_overlay_of_the_environment() {
    let Some(mut site) = Site::new() else { return };
    site.put("base/web.yaml", &deployment("image://web"));
    site.put(
        "base/kustomization.yaml",
        "resources: [web.yaml]\nconfigMapGenerator: [{name: settings, literals: [a=base]}]\n",
    );
    site.put(
        "overlays/staging/kustomization.yaml",
        "resources: [../../base]\nconfigMapGenerator: [{name: settings, behavior: merge, literals: [a=staging]}]\nreplicas: \
         [{name: web, count: 2}]\n",
    );
    site.service = [(
        "manifests".to_owned(),
        "{kustomize: \"overlays/{{ environment }}\"}".to_owned(),
    )]
    .into();
    run(&site, &APPLY, &tools()).code(0);
    let there = site.cluster.get(&site.cluster.deployment("web-blue"));
    assert_eq!(there["spec"]["replicas"], 2);
    let container = &there["spec"]["template"]["spec"]["containers"][0];
    assert!(
        container["image"]
            .as_str()
            .is_some_and(|image| image.contains("@sha256:")),
        "{container}"
    );
    let name = container["envFrom"][0]["configMapRef"]["name"]
        .as_str()
        .expect("a name");
    let config = site
        .cluster
        .get(&format!("{}/{name}", site.cluster.of("v1", "configmaps")));
    assert_eq!(config["data"]["a"], "staging");
    run(
        &site,
        &["plan", "--env", "staging", "--detailed-exitcode"],
        &tools(),
    )
    .code(0)
    .says("No changes");
}

#[test]
fn helm_renders_a_chart_that_sees_slot_and_image() {
    let Some(mut site) = Site::new() else { return };
    site.put(
        "chart/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 0.1.0\n",
    );
    site.put(
        "chart/templates/web.yaml",
        &deployment("{{ .Values.shipit.image }}"),
    );
    site.put(
        "chart/templates/settings.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {slot: '{{ .Values.shipit.slot }}', colour: \
         '{{ .Values.colour }}'}\n",
    );
    site.put("values/staging.yaml", "colour: red\n");
    let manifests = "{helm: ./chart, values: \"values/{{ environment }}.yaml\"}";
    site.service = [("manifests".to_owned(), manifests.to_owned())].into();
    run(&site, &APPLY, &tools()).code(0);
    let there = site.cluster.get(&site.cluster.deployment("web-blue"));
    let name =
        &there["spec"]["template"]["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"];
    let config = site.cluster.get(&format!(
        "{}/{}",
        site.cluster.of("v1", "configmaps"),
        name.as_str().expect("a name")
    ));
    assert_eq!(
        config["data"],
        serde_json::json!({"slot": "blue", "colour": "red"})
    );
    let nowhere = tempfile::tempdir().expect("a folder");
    run(&site, &["plan", "--env", "staging"], nowhere.path())
        .code(64)
        .says("helm is not in PATH")
        .says("install it");
    // What stands there is moved, looked at and deleted without it.
    for command in [
        &["status", "--env", "staging"][..],
        &["history", "--env", "staging"],
        &["logs", "--env", "staging"],
        &["destroy", "--env", "staging"],
        &["abort", "--env", "staging", "--auto-approve"],
        &["rollback", "--env", "staging", "--auto-approve"],
    ] {
        run(&site, command, nowhere.path()).says_not("helm");
    }

    // What the tool says is quoted.
    site.put("chart/templates/bad.yaml", "{{ .Values.nothing.at.all }}\n");
    run(&site, &["plan", "--env", "staging"], &tools())
        .code(64)
        .says("helm ended with")
        .says("nil pointer");
}
