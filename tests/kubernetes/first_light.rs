//! The commands that exist, on a cluster.

use serde_json::Value;

use crate::site::Site;

#[test]
fn releases_follow_each_other_and_nothing_changes_twice() {
    let Some(site) = Site::live() else { return };
    site.plan().code(0).says("No changes");
    site.apply().code(0).says("No changes");
    assert_eq!(site.active(), "blue");
    site.message("v2");
    site.plan().code(2).says("blue → green");
    site.apply().code(0).says("release 2; green is active");
    site.plan().code(0).says("No changes");
    let live = site.cluster.get(&site.cluster.service("web"));
    assert_eq!(live["spec"]["selector"]["shipit.dev/slot"], "green");
    let deployment = site.cluster.get(&site.cluster.deployment("web-green"));
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .expect("an image");
    assert!(
        image.starts_with(&site.cluster.admin.registry) && image.contains("@sha256:"),
        "{image}"
    );
    assert_eq!(deployment["metadata"]["labels"]["shipit.dev/release"], "2");
    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("blue is active");
    site.run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("nothing is live");
    for kind in [
        ("v1", "services"),
        ("apps/v1", "deployments"),
        ("v1", "secrets"),
    ] {
        let left = site.cluster.get(&site.cluster.of(kind.0, kind.1));
        assert_eq!(
            left["items"].as_array().map(Vec::len),
            Some(0),
            "{kind:?}: {left}"
        );
    }
    site.plan().code(2).says("nothing is live yet");
}

#[test]
fn a_manual_promotion_waits_for_its_word() {
    let Some(mut site) = Site::live() else { return };
    site.staging = vec!["promotion: {mode: manual, probe: {rate: 0}}".to_owned()];
    site.message("v2");
    site.apply().code(0).says("waits");
    assert_eq!(site.active(), "blue");
    site.run(&["promote", "green", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("green is active");
    assert_eq!(site.live_release(), 2);
}

#[test]
fn a_previous_release_is_scaled_down_in_its_time_and_comes_back() {
    let Some(mut site) = Site::live() else { return };
    site.staging =
        vec!["promotion: {keep_previous: 0s, probe: {rate: 0, linger: 10ms}}".to_owned()];
    site.message("v2");
    site.apply().code(0);
    let blue = site.cluster.get(&site.cluster.deployment("web-blue"));
    assert_eq!(blue["spec"]["replicas"], 0);
    site.plan().code(0).says("No changes");
    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0)
        .says("stopped; starts again");
    assert_eq!(site.live_release(), 1);
}

#[test]
fn a_plan_that_was_saved_is_for_one_world_only() {
    let Some(site) = Site::live() else { return };
    site.message("v2");
    site.run(&[
        "plan",
        "--env",
        "staging",
        "--detailed-exitcode",
        "--out",
        "p.json",
    ])
    .code(2);
    site.run(&["apply", "--env", "staging", "--auto-approve", "p.json"])
        .code(0)
        .says("release 2");
    site.run(&["apply", "--env", "staging", "--auto-approve", "p.json"])
        .code(5)
        .says("stale");
}

#[test]
fn rolling_and_recreate_replace_in_place() {
    for strategy in ["rolling", "recreate"] {
        let Some(mut site) = Site::new() else { return };
        site.staging.push(format!("strategy: {strategy}"));
        site.apply().code(0);
        site.message("v2");
        site.apply().code(0).says("release 2");
        assert_eq!(
            (site.active(), site.live_release()),
            ("blue".to_owned(), 2),
            "{strategy}"
        );
        let deployment = site.cluster.get(&site.cluster.deployment("web-blue"));
        assert_eq!(deployment["status"]["updatedReplicas"], 1);
        assert_eq!(
            site.cluster.get(&site.cluster.deployment("web-green")),
            Value::Null
        );
    }
}

#[test]
fn logs_and_connection_faults_are_told_in_words() {
    let Some(mut site) = Site::live() else { return };
    site.run(&["status", "--env", "staging"])
        .code(0)
        .says("ready 1/1");
    let good = site.kubeconfig.clone();
    site.kubeconfig = site.path().join("nothing");
    site.plan().code(1).says("help").says("cluster.kubeconfig");
    let text = std::fs::read_to_string(&good).expect("a kubeconfig");
    let write = |site: &mut Site, text: &str| {
        site.kubeconfig = site.path().join("other");
        std::fs::write(&site.kubeconfig, text).expect("written");
    };
    let mut config: Value = serde_json::from_str(&text).expect("json");
    config["users"][0]["user"]["token"] = "wrong".into();
    write(&mut site, &config.to_string());
    site.plan().code(1).says("does not know who this is (401)");
    config["current-context"] = "other".into();
    write(&mut site, &config.to_string());
    site.plan()
        .code(1)
        .says("no context `other`")
        .says("its contexts are: tests");
    config["current-context"] = "tests".into();
    config["users"][0]["user"] = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "steal"}});
    write(&mut site, &config.to_string());
    site.plan()
        .code(1)
        .says("by starting `steal`")
        .says("exec_plugins");
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    config["users"][0]["user"] = serde_json::json!({"token": "x"});
    write(&mut site, &config.to_string());
    site.plan().code(1).says("refused");
    let mut config: Value = serde_json::from_str(&text).expect("json");
    config["clusters"][0]["cluster"]
        .as_object_mut()
        .expect("a map")
        .remove("certificate-authority");
    write(&mut site, &config.to_string());
    site.plan().code(1).says("certificate");
}

#[test]
fn a_secret_s_value_is_nowhere_but_in_its_secret() {
    let Some(mut site) = Site::new() else { return };
    site.put("keys/db", "hunter2-hunter2\n");
    site.staging
        .push("secrets: {db: {file: keys/db}}".to_owned());
    site.env.insert("DB".to_owned(), "{secret: db}".to_owned());
    let said = site.apply().code(0).says_not("hunter2");
    drop(said);
    let secrets = site.cluster.get(&site.cluster.of("v1", "secrets"));
    let names = |secrets: &Value| -> Vec<String> {
        let items = secrets["items"].as_array().expect("items");
        let own = items.iter().filter(|item| item["type"] == "Opaque");
        own.map(|item| {
            item["metadata"]["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        })
        .collect()
    };
    let first = names(&secrets);
    assert_eq!(first.len(), 1);
    let holders: Vec<&Value> = secrets["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|item| item.to_string().contains("aHVudGVyMi1odW50ZXIy"))
        .collect();
    assert_eq!(holders.len(), 1, "only in its own Secret");
    for entry in walk(&site.path().join("state")) {
        let bytes = std::fs::read(&entry).expect("a file");
        assert!(
            !String::from_utf8_lossy(&bytes).contains("hunter2"),
            "{}",
            entry.display()
        );
    }
    site.plan().code(0).says("No changes");
    // Another value makes another Secret; the slot without traffic keeps what it was released with.
    site.put("keys/db", "other-value\n");
    site.message("v2");
    site.apply().code(0);
    let second = names(&site.cluster.get(&site.cluster.of("v1", "secrets")));
    assert!(
        second.contains(&first[0]) && second.len() == 2,
        "{second:?}"
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)
        .expect("a folder")
        .filter_map(Result::ok)
    {
        if entry.path().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn what_has_come_due_is_done_by_the_next_command() {
    let Some(mut site) = Site::live() else { return };
    site.staging =
        vec!["promotion: {keep_previous: 1s, probe: {rate: 0, linger: 10ms}}".to_owned()];
    site.message("v2");
    site.apply().code(0);
    let replicas =
        || site.cluster.get(&site.cluster.deployment("web-blue"))["spec"]["replicas"].clone();
    assert_eq!(replicas(), 1, "it is kept for a second");
    let due = || {
        site.status()["facts"]["slots"]["blue"]["stops_at"]
            .as_str()
            .map(str::to_owned)
    };
    let at: jiff::Timestamp = due().expect("a time").parse().expect("a time");
    crate::site::until("the second is over", || jiff::Timestamp::now() > at);
    site.apply().code(0).says("kept long enough");
    assert_eq!(replicas(), 0);
}
