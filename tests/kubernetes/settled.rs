//! What has come due, done by `shipit settle` with the account of the example's `CronJob`.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::said::Said;
use crate::site::{Site, until};

/// The documents of the example, by their kinds.
fn example(kind: &str) -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/kubernetes/settle.yaml"
    );
    let text = std::fs::read_to_string(path).expect("the example");
    let documents = text.split("\n---\n").map(|document| {
        let document: Value = serde_saphyr::from_str(document).expect("yaml");
        document
    });
    let mut found = documents.filter(|document| document["kind"] == kind);
    found.next().unwrap_or_else(|| panic!("no {kind}"))
}

/// Another folder with the same project, in which nobody has run anything, and the example's account.
struct Schedule {
    folder: tempfile::TempDir,
}

impl Schedule {
    fn of(site: &Site) -> Self {
        let cluster = &site.cluster;
        let namespace = &cluster.namespace;
        let core = format!("/api/v1/namespaces/{namespace}");
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        cluster.post(
            &format!("{core}/serviceaccounts"),
            &example("ServiceAccount"),
        );
        cluster.post(&format!("{rbac}/roles"), &example("Role"));
        let mut binding = example("RoleBinding");
        binding["subjects"][0]["namespace"] = namespace.clone().into();
        cluster.post(&format!("{rbac}/rolebindings"), &binding);
        let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200}});
        let path = format!("{core}/serviceaccounts/shipit-settle/token");
        let token = cluster.post(&path, &wanted)["status"]["token"].clone();

        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        let text = std::fs::read_to_string(&cluster.admin.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_saphyr::from_str(&text).expect("yaml");
        config["users"][0]["user"] = json!({"token": token});
        std::fs::write(at("kubeconfig"), config.to_string()).expect("written");

        // As the kubelet projects a ConfigMap: by links.
        let own = site.kubeconfig.display().to_string();
        let mine = at("kubeconfig").display().to_string();
        std::fs::create_dir_all(at("..2026_11_27/environments")).expect("a folder");
        std::os::unix::fs::symlink("..2026_11_27", at("..data")).expect("a link");
        std::fs::create_dir(at("environments")).expect("a folder");
        for (path, up) in [("shipit.yaml", ""), ("environments/staging.yaml", "../")] {
            let text = std::fs::read_to_string(site.path().join(path)).expect("a file");
            let file = at("..data").join(path);
            std::fs::write(file, text.replace(&own, &mine)).expect("written");
            let target = format!("{up}..data/{path}");
            std::os::unix::fs::symlink(target, at(path)).expect("a link");
        }
        Self { folder }
    }

    fn settle(&self, more: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
        command
            .args(["settle", "--env", "staging"])
            .args(more)
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null());
        Said::from(&command.output().expect("shipit starts"))
    }
}

fn site(keep: &str) -> Option<Site> {
    let mut site = Site::new()?;
    site.staging = vec![
        format!("promotion: {{keep_previous: {keep}, probe: {{rate: 0, linger: 10ms}}}}"),
        "state: {kind: kubernetes}".to_owned(),
    ];
    site.apply().code(0);
    site.message("v2");
    site.apply().code(0);
    Some(site)
}

fn replicas(site: &Site, name: &str) -> Value {
    site.cluster.get(&site.cluster.deployment(name))["spec"]["replicas"].clone()
}

fn lock(site: &Site) -> Value {
    let path = site.cluster.of("coordination.k8s.io/v1", "leases");
    site.cluster.get(&path)["items"].clone()
}

#[test]
fn what_is_not_due_is_left_alone_and_no_lock_is_taken_for_it() {
    let Some(site) = site("1h") else { return };
    let schedule = Schedule::of(&site);
    let before = lock(&site);
    let said = schedule.settle(&[]).code(0);
    assert!(
        said.stdout.starts_with("Nothing is due."),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout
            .contains("release 1 in blue is retained, and stops in 59m"),
        "{}",
        said.stdout
    );
    assert_eq!(lock(&site), before);
    assert_eq!(replicas(&site, "web-blue"), 1);

    let said = schedule.settle(&["--output", "json"]).code(0);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    assert_eq!(document["kind"], "settled");
    assert_eq!(document["done"], json!([]));
    assert_eq!(document["pending"][0]["slot"], "blue");
}

#[test]
fn what_is_due_is_done_once_with_no_more_rights_than_the_example_gives() {
    let Some(site) = site("1s") else { return };
    let schedule = Schedule::of(&site);
    let said = schedule.settle(&["--wait", "1m"]).code(0);
    assert!(
        said.stdout
            .contains("release 1 in blue was kept long enough"),
        "{}",
        said.stdout
    );
    assert_eq!(replicas(&site, "web-blue"), 0);
    assert_eq!(
        replicas(&site, "web-green"),
        1,
        "live traffic is not touched"
    );

    let said = schedule.settle(&[]).code(0);
    assert_eq!(said.stdout, "Nothing is due.\n");
    site.run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    until("the old release runs again", || {
        replicas(&site, "web-blue") == 1
    });
}
