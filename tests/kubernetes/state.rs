//! A state that moves between a folder and the cluster, under one lock of the cluster.

use serde_json::Value;

use crate::site::Site;

fn releases(site: &Site) -> usize {
    let said = site
        .run(&["history", "--env", "staging", "--output", "json"])
        .code(0);
    let history: Value = serde_json::from_str(&said.stdout).expect("a document");
    history["releases"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_state_is_migrated_into_the_cluster_and_out_of_it() {
    let Some(mut site) = Site::live() else { return };
    let migrate = |site: &Site, from: &str| {
        site.run(&["state", "migrate", "--env", "staging", "--from", from])
    };
    site.staging.push("state: {kind: kubernetes}".to_owned());
    migrate(&site, "local")
        .code(0)
        .says("ConfigMap/shipit-state-shop-staging")
        .says("1 release,");
    assert_eq!(releases(&site), 1);
    site.message("v2");
    site.apply().code(0);
    assert_eq!(releases(&site), 2);

    // A checkout of before.
    let now = site.staging.pop().expect("a line");
    site.plan()
        .code(1)
        .says("migrated it to ConfigMap/shipit-state-shop-staging");

    // The lock of the store that is left is the one that every run of the cluster takes: it is taken
    // once.
    migrate(&site, "kubernetes").code(0).says("2 releases");
    assert_eq!(releases(&site), 2);
    site.plan().code(0).says("No changes");
    site.run(&["drift", "staging"])
        .code(0)
        .says("Nothing moved");
    site.staging.push(now);
    site.plan().code(1).says("state/staging/state.json");
}

#[test]
fn an_object_that_is_forgotten_stays_and_is_nobodys() {
    let Some(mut site) = Site::new() else { return };
    site.put(
        "own.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: one}\n",
    );
    site.staging.push("manifests: own.yaml".to_owned());
    site.apply().code(0);
    let address = format!("object.v1/ConfigMap/{}/settings", site.cluster.namespace);
    let state = |site: &Site, words: &[&str]| {
        site.run(&[&["state"], words, &["--env", "staging"]].concat())
    };
    state(&site, &["list"]).code(0).says(&address);
    state(&site, &["rm", &address, "--auto-approve"])
        .code(0)
        .says("is forgotten, and was left as it is");
    state(&site, &["list"]).code(0).says_not(&address);
    state(&site, &["rm", &address, "--auto-approve"])
        .code(64)
        .says("is none of this environment's objects");

    let path = format!("{}/settings", site.cluster.of("v1", "configmaps"));
    let left = site.cluster.get(&path);
    assert_eq!(left["data"]["a"], "one", "it stays as it was");
    site.run(&["history", "--env", "staging"])
        .code(0)
        .says(&format!("state rm {address}"));
    site.run(&["drift", "staging"])
        .code(2)
        .says(&format!("+ {address}"))
        .says("it belongs to");
    site.run(&["import", "ConfigMap/settings", "--env", "staging"])
        .code(0);
    site.apply().code(0);
    site.plan().code(0).says("No changes");
}
