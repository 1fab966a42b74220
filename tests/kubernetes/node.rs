//! Real pods on a real node: kubelet, containerd and kube-proxy, images pulled from a registry,
//! requests that count. `SHIPIT_TEST_PROMOTIONS` sets how many promotions the load goes through.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Admin, Cluster};
use crate::http::{self, Load};
use crate::site::{Site, until};

/// A control plane and a node of its own.
struct Node {
    folder: tempfile::TempDir,
    admin: Admin,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cluster")
        .join(name)
}

impl Node {
    fn start() -> Option<Self> {
        crate::cluster::admin()?;
        if !rustix::process::getuid().is_root() {
            assert!(
                std::env::var_os("SHIPIT_TEST_REAL").is_none(),
                "a node needs root"
            );
            eprintln!("SKIPPED: a node needs root");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c");
        for (name, nodes) in [("up", "0"), ("node", "")] {
            let done = Command::new(script(name))
                .arg(&path)
                .env("SHIPIT_CLUSTER_NODES", nodes)
                .output();
            let done = done.expect("it starts");
            assert!(
                done.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        let registry = std::fs::read_to_string(path.join("registry"))
            .expect("a registry")
            .trim()
            .to_owned();
        Some(Self {
            folder,
            admin: Admin {
                kubeconfig: path.join("admin.kubeconfig"),
                registry,
            },
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = Command::new(script("down"))
            .arg(self.folder.path().join("c"))
            .status();
    }
}

/// A site whose service is the tests' own, with the libraries that it needs: its image starts from
/// nothing.
fn site(node: &Node, name: &str) -> Site {
    let folder = tempfile::Builder::new()
        .prefix("k")
        .tempdir()
        .expect("a folder");
    let cluster = Cluster::at(node.admin.clone(), folder.path(), name);
    let mut site = Site::on(cluster, folder);
    let program = Path::new(env!("CARGO_BIN_EXE_shipit"))
        .parent()
        .expect("a folder")
        .join("examples/storefront");
    assert!(
        program.exists(),
        "`cargo build --example storefront` makes {}",
        program.display()
    );
    let app = site.path().join("app");
    std::fs::create_dir_all(app.join("lib")).expect("a folder");
    std::fs::copy(&program, app.join("web")).expect("copied");
    let stripped = Command::new("strip").arg(app.join("web")).status();
    assert!(stripped.expect("strip starts").success());
    let needed = Command::new("ldd")
        .arg(&program)
        .output()
        .expect("ldd starts");
    let mut copies = "web: /app/web, message.txt: /app/message.txt".to_owned();
    for path in String::from_utf8_lossy(&needed.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let file = Path::new(path)
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        std::fs::copy(path, app.join("lib").join(&file)).expect("copied");
        copies = format!("{copies}, lib/{file}: {path}");
    }
    site.build = vec![format!("copy: {{{copies}}}"), "workdir: /app".to_owned()];
    site.env.insert("HOST".to_owned(), "0.0.0.0".to_owned());
    site.service.insert(
        "health".to_owned(),
        "{path: /healthz, interval: 1s}".to_owned(),
    );
    site.service.insert("replicas".to_owned(), "2".to_owned());
    site.staging = vec!["promotion: {probe: {linger: 50ms}}".to_owned()];
    site
}

fn address(site: &Site) -> String {
    let live = site.cluster.get(&site.cluster.service("web"));
    format!(
        "{}:8080",
        live["spec"]["clusterIP"].as_str().expect("an address")
    )
}

/// Promotes back and forth under a load, and releases anew in between.
fn under_load(site: &Site, address: &str) {
    let promotions: usize = std::env::var("SHIPIT_TEST_PROMOTIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    site.apply().code(0);
    // A router takes its moment until it has heard of a new entry point.
    until("the entry point is there", || {
        http::get(address, "/").is_ok_and(|answer| answer.body.trim() == "v1")
    });
    site.message("v2");
    site.apply().code(0);
    until("the entry point answers", || {
        http::get(address, "/").is_ok_and(|answer| answer.body.trim() == "v2")
    });
    let load = Load::start(address, 16, 400);
    for turn in 0..promotions {
        let slot = if turn % 2 == 0 { "blue" } else { "green" };
        let said = site
            .run(&["promote", slot, "--env", "staging", "--auto-approve"])
            .code(0);
        said.says("0 of ");
        let expected = if slot == "blue" { "v1" } else { "v2" };
        until("new connections reach the new slot", || {
            http::get(address, "/").is_ok_and(|answer| answer.body.trim() == expected)
        });
    }
    // A whole release: the old pods go while their kept connections are in use.
    site.message("v3");
    site.apply().code(0).says("0 of ");
    let seen = load.stop();
    seen.has_lost_none_of(promotions as u64 * 20);
    eprintln!(
        "{promotions} promotions, {} requests, 0 failures",
        seen.requests
    );
}

/// One node for all stories: two kube-proxies on one machine would undo each other's rules.
#[test]
fn real_pods_lose_no_request_and_their_failures_are_told() {
    let Some(node) = Node::start() else { return };
    let mut shop = site(&node, "shop");
    shop.apply().code(0);
    let live = address(&shop);
    under_load(&shop, &live);
    failures(&mut shop);
    drop(shop);
    crate::canaries::tasks_tell_nothing(site(&node, "told"));
    let router = Router::start(&node);
    let mut shop = site(&node, "ingress");
    let entries = format!("entries: {{web: {{url: \"http://{}\"}}}}", router.address);
    shop.traffic = format!("{{kind: ingress, {entries}}}");
    under_load(&shop, &router.address);
    drop(shop);
    let mut shop = site(&node, "gateway");
    router.gateway(&shop.cluster);
    shop.traffic = format!("{{kind: gateway, gateway: {{name: edge}}, {entries}}}");
    under_load(&shop, &router.address);
}

/// Traefik, as an ingress controller and as the controller of a Gateway.
struct Router {
    process: std::process::Child,
    address: String,
}

impl Router {
    fn start(node: &Node) -> Self {
        let build = Command::new(script("build")).output().expect("it starts");
        let bin = PathBuf::from(String::from_utf8_lossy(&build.stdout).trim());
        let text = std::fs::read_to_string(&node.admin.kubeconfig).expect("a kubeconfig");
        let config: serde_json::Value = serde_saphyr::from_str(&text).expect("yaml");
        let word = |path: &str| {
            config
                .pointer(path)
                .and_then(|word| word.as_str())
                .expect(path)
                .to_owned()
        };
        let (server, authority) = (
            word("/clusters/0/cluster/server"),
            word("/clusters/0/cluster/certificate-authority"),
        );
        // The definitions are there before the controller looks for them.
        let cluster = Cluster::at(node.admin.clone(), node.folder.path(), "definitions");
        for file in std::fs::read_dir(bin.join("gateway-api"))
            .expect("definitions")
            .filter_map(Result::ok)
        {
            let text = std::fs::read_to_string(file.path()).expect("text");
            let body: serde_json::Value = serde_saphyr::from_str(&text).expect("yaml");
            if body["kind"] == "CustomResourceDefinition" {
                cluster.post(
                    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                    &body,
                );
            }
        }
        let known = "/apis/gateway.networking.k8s.io/v1/httproutes";
        until("the definitions are established", || {
            cluster.get(known).is_object()
        });
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = held.local_addr().expect("an address").to_string();
        drop(held);
        let mut command = Command::new(bin.join("traefik"));
        command
            .arg(format!("--entrypoints.web.address={address}"))
            .args(["--log.level=WARN", "--global.sendanonymoususage=false"]);
        for provider in ["kubernetesingress", "kubernetesgateway"] {
            command
                .arg(format!("--providers.{provider}=true"))
                .arg(format!("--providers.{provider}.endpoint={server}"))
                .arg(format!(
                    "--providers.{provider}.token={}",
                    word("/users/0/user/token")
                ))
                .arg(format!(
                    "--providers.{provider}.certauthfilepath={authority}"
                ))
                .arg(format!("--providers.{provider}.throttleduration=0s"));
        }
        let log = std::fs::File::create(node.folder.path().join("traefik.log")).expect("a file");
        let process = command
            .stdout(log)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        Self { process, address }
    }

    /// A Gateway of its own in a namespace.
    fn gateway(&self, cluster: &Cluster) {
        let api = "gateway.networking.k8s.io/v1";
        let class = serde_json::json!({"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"}});
        cluster.post(&format!("/apis/{api}/gatewayclasses"), &class);
        let port: u16 = self
            .address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let gateway = serde_json::json!({"apiVersion": api, "kind": "Gateway", "metadata": {"name": "edge"},
            "spec": {"gatewayClassName": "traefik", "listeners": [{"name": "web", "protocol": "HTTP", "port": port}]}});
        cluster.post(&cluster.of(api, "gateways"), &gateway);
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a kubelet says about pods that fail, and the logs of those that are gone.
fn failures(site: &mut Site) {
    let before = site.live_release();
    site.staging.push("ready_within: 60s".to_owned());
    site.env
        .insert("FAIL_START".to_owned(), "\"no database\"".to_owned());
    site.apply()
        .code(1)
        .says("web ended with exit code 3")
        .says("cannot start: no database");
    assert_eq!(site.live_release(), before);
    let failed = std::fs::read_dir(site.path().join("state/staging/failures")).expect("a bundle");
    let newest = failed
        .filter_map(Result::ok)
        .max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
    let logs = newest.expect("one").path().join("logs");
    let texts: Vec<String> = std::fs::read_dir(logs)
        .expect("logs")
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().contains(".previous."))
        .map(|entry| std::fs::read_to_string(entry.path()).expect("text"))
        .collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("cannot start: no database")),
        "{texts:?}"
    );
    site.env.remove("FAIL_START");
    site.service.insert(
        "resources".to_owned(),
        "{memory: 24Mi, memory_limit: 24Mi}".to_owned(),
    );
    site.env.insert("EAT_MIB".to_owned(), "\"100\"".to_owned());
    site.apply().code(1).says("more memory than its limit");
    assert_eq!(site.live_release(), before);
    site.service.remove("resources");
    site.env.remove("EAT_MIB");
    // A slow start is no failure.
    site.env
        .insert("START_DELAY_MS".to_owned(), "\"4000\"".to_owned());
    site.message("slow");
    site.apply().code(0);
    site.run(&["logs", "--env", "staging"])
        .code(0)
        .says("storefront listens on 8080: slow");
}
