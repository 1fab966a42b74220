//! A namespace of its own on the tests' cluster, and an account that may do there what the
//! documented Role says.
//!
//! `SHIPIT_TEST_KUBECONFIG` names an administrator's kubeconfig and `SHIPIT_TEST_REGISTRY` a
//! registry; `tests/cluster/up` starts both. Without them a test is skipped, loudly; under `./test`
//! that is a failure.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Method, Request};
use serde_json::{Value, json};

/// What is needed to reach the cluster.
#[derive(Clone)]
pub struct Admin {
    pub kubeconfig: PathBuf,
    pub registry: String,
}

/// The cluster, if there is one.
pub fn admin() -> Option<Admin> {
    let kubeconfig = std::env::var_os("SHIPIT_TEST_KUBECONFIG").map(PathBuf::from);
    let registry = std::env::var("SHIPIT_TEST_REGISTRY").ok();
    if let (Some(kubeconfig), Some(registry)) = (kubeconfig, registry) {
        return Some(Admin {
            kubeconfig,
            registry,
        });
    }
    assert!(
        std::env::var_os("SHIPIT_TEST_REAL").is_none(),
        "SHIPIT_TEST_KUBECONFIG and SHIPIT_TEST_REGISTRY are not set"
    );
    #[allow(clippy::print_stderr)]
    {
        eprintln!("SKIPPED: no cluster; `tests/cluster/up FOLDER` starts one");
    }
    None
}

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Namespaces of one test.
pub struct Cluster {
    pub admin: Admin,
    pub namespace: String,
    /// The kubeconfig of the least-privilege account.
    pub kubeconfig: PathBuf,
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    made: std::sync::Mutex<Vec<String>>,
}

fn client(kubeconfig: &Path, runtime: &tokio::runtime::Runtime) -> kube::Client {
    runtime.block_on(async {
        let file = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let config =
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await;
        kube::Client::try_from(config.expect("usable")).expect("a client")
    })
}

impl Cluster {
    /// A namespace with the account and its Role; the kubeconfig is written into `folder`.
    pub fn open(folder: &Path) -> Option<Self> {
        let admin = admin()?;
        let namespace = format!(
            "t{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Some(Self::at(admin, folder, &namespace))
    }

    /// The same, on a cluster and in a namespace that are named.
    pub fn at(admin: Admin, folder: &Path, namespace: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let client = client(&admin.kubeconfig, &runtime);
        let kubeconfig = folder.join("kubeconfig");
        let made = std::sync::Mutex::default();
        let namespace = namespace.to_owned();
        let cluster = Self {
            admin,
            namespace,
            kubeconfig,
            runtime,
            client,
            made,
        };
        cluster.namespace(&cluster.namespace);
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shipit"}});
        cluster.post(
            &format!("/api/v1/namespaces/{}/serviceaccounts", cluster.namespace),
            &account,
        );
        cluster.allow(&cluster.namespace);
        let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}});
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/shipit/token",
            cluster.namespace
        );
        let token = cluster.post(&path, &token)["status"]["token"]
            .as_str()
            .expect("a token")
            .to_owned();
        let text = std::fs::read_to_string(&cluster.admin.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_saphyr::from_str(&text).expect("yaml");
        config["users"][0]["user"] = json!({"token": token});
        std::fs::write(&cluster.kubeconfig, config.to_string()).expect("written");
        cluster
    }

    /// Makes a namespace, under the restricted Pod Security Standard.
    pub fn namespace(&self, name: &str) {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.post("/api/v1/namespaces", &body);
        self.made.lock().expect("whole").push(name.to_owned());
    }

    /// Gives the account the documented Role in a namespace.
    pub fn allow(&self, namespace: &str) {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/kubernetes-role.yaml");
        let text = std::fs::read_to_string(path).expect("the Role");
        let role: Value = serde_saphyr::from_str(&text).expect("yaml");
        self.role(namespace, &role);
    }

    pub fn role(&self, namespace: &str, role: &Value) {
        let base = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        self.post(&format!("{base}/roles"), role);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "shipit"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "shipit"},
            "subjects": [{"kind": "ServiceAccount", "name": "shipit", "namespace": self.namespace}],
        });
        self.post(&format!("{base}/rolebindings"), &binding);
    }

    /// Asks as the administrator; the answer, whatever it is, and whether it was a yes.
    #[track_caller]
    pub fn ask(&self, method: Method, path: &str, kind: &str, body: &Value) -> (bool, Value) {
        self.try_ask(method, path, kind, body).expect("an answer")
    }

    /// The same; none when nobody answers.
    fn try_ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> Option<(bool, Value)> {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body).expect("json")
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind);
        let request = request.body(bytes).expect("a request");
        let asked = async {
            use http_body_util::BodyExt as _;
            let answer = self.client.send(request.map(Into::into)).await.ok()?;
            let is_well = answer.status().is_success();
            let bytes = answer.into_body().collect().await.ok()?.to_bytes();
            Some((is_well, serde_json::from_slice(&bytes).unwrap_or_default()))
        };
        // On a thread of its own, so that a test with a runtime may ask, too.
        std::thread::scope(|threads| {
            threads
                .spawn(|| self.runtime.block_on(asked))
                .join()
                .expect("an answer")
        })
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (is_well, answer) = self.ask(Method::POST, path, "application/json", body);
        assert!(is_well, "{path}: {answer}");
        answer
    }

    /// A merge patch, as another manager.
    #[track_caller]
    pub fn patch(&self, path: &str, manager: &str, body: &Value) -> Value {
        let path = format!("{path}?fieldManager={manager}");
        let (is_well, answer) =
            self.ask(Method::PATCH, &path, "application/merge-patch+json", body);
        assert!(is_well, "{path}: {answer}");
        answer
    }

    /// An object, or null.
    pub fn get(&self, path: &str) -> Value {
        let (is_well, answer) = self.ask(Method::GET, path, "application/json", &Value::Null);
        if is_well { answer } else { Value::Null }
    }

    #[track_caller]
    pub fn delete(&self, path: &str) {
        let (is_well, answer) = self.ask(Method::DELETE, path, "application/json", &Value::Null);
        assert!(is_well, "{path}: {answer}");
    }

    /// The path of a kind's objects in the test's namespace.
    pub fn of(&self, group: &str, plural: &str) -> String {
        let root = if group == "v1" {
            "/api".to_owned()
        } else {
            "/apis".to_owned()
        };
        format!("{root}/{group}/namespaces/{}/{plural}", self.namespace)
    }

    pub fn deployment(&self, name: &str) -> String {
        format!("{}/{name}", self.of("apps/v1", "deployments"))
    }

    pub fn service(&self, name: &str) -> String {
        format!("{}/{name}", self.of("v1", "services"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for name in self
            .made
            .lock()
            .map(|made| made.clone())
            .unwrap_or_default()
        {
            self.try_ask(
                Method::DELETE,
                &format!("/api/v1/namespaces/{name}"),
                "application/json",
                &Value::Null,
            );
        }
    }
}
