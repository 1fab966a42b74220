//! A project in a folder of its own, and a namespace of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{Admin, Cluster};
use crate::said::Said;

pub struct Site {
    pub cluster: Cluster,
    folder: TempDir,
    /// The kubeconfig that shipit is given: the least-privilege account's.
    pub kubeconfig: PathBuf,
    /// Keys of the one service, as lines of YAML.
    pub service: BTreeMap<String, String>,
    pub env: BTreeMap<String, String>,
    /// Lines of `environments/staging.yaml`.
    pub staging: Vec<String>,
    /// Keys of `cluster:`.
    pub options: BTreeMap<String, String>,
    pub traffic: String,
    /// Keys of the build, instead of those of an image that nobody starts.
    pub build: Vec<String>,
    /// The image of the service, when it is not built.
    pub image: Option<String>,
    /// Whether the project has a registry of its own.
    pub has_registry: bool,
}

impl Site {
    /// A project that nothing was done with yet; none without a cluster.
    pub fn new() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("k")
            .tempdir()
            .expect("a folder");
        let cluster = Cluster::open(folder.path())?;
        Some(Self::on(cluster, folder))
    }

    /// On a cluster that is started for one test.
    pub fn at(admin: Admin) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("k")
            .tempdir()
            .expect("a folder");
        let cluster = Cluster::at(admin, folder.path(), "shop");
        Self::on(cluster, folder)
    }

    pub fn on(cluster: Cluster, folder: TempDir) -> Self {
        let site = Self {
            kubeconfig: cluster.kubeconfig.clone(),
            cluster,
            folder,
            service: BTreeMap::from([("health".to_owned(), "{path: /healthz}".to_owned())]),
            env: BTreeMap::new(),
            staging: vec!["promotion: {mode: auto, probe: {rate: 0, linger: 10ms}}".to_owned()],
            options: BTreeMap::new(),
            traffic: "{kind: service}".to_owned(),
            build: vec!["copy: {message.txt: /app/message.txt}".to_owned()],
            image: None,
            has_registry: true,
        };
        site.message("v1");
        site
    }

    /// A site whose first release is live.
    pub fn live() -> Option<Self> {
        let site = Self::new()?;
        site.apply().code(0);
        assert_eq!(site.live_release(), 1);
        Some(site)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What has this text is not written again: a run that is under way reads it.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return;
        }
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// What makes the next image another one.
    pub fn message(&self, text: &str) {
        self.put("app/message.txt", text);
    }

    pub fn configure(&self) {
        let mut text = "version: 1\nproject: shop\n".to_owned();
        if self.has_registry {
            let _ = writeln!(
                text,
                "registry: {{kind: oci, endpoint: \"{}\", repository: \"{}/{{{{ service }}}}\"}}",
                self.cluster.admin.registry, self.cluster.namespace
            );
        }
        let _ = writeln!(
            text,
            "cluster:\n  kind: kubernetes\n  kubeconfig: {}",
            self.kubeconfig.display()
        );
        let _ = writeln!(text, "  namespace: {}", self.cluster.namespace);
        for (key, value) in &self.options {
            let _ = writeln!(text, "  {key}: {value}");
        }
        let _ = writeln!(text, "traffic: {}", self.traffic);
        text.push_str("services:\n  web:\n    port: 8080\n");
        match &self.image {
            Some(image) => {
                let _ = writeln!(text, "    image: {image}");
            }
            None => text.push_str(&self.build()),
        }
        for (key, value) in &self.service {
            let _ = writeln!(text, "    {key}: {value}");
        }
        if !self.env.is_empty() {
            text.push_str("    env:\n");
            for (name, value) in &self.env {
                let _ = writeln!(text, "      {name}: {value}");
            }
        }
        self.put("shipit.yaml", &text);
        self.put(
            "environments/staging.yaml",
            &(self.staging.join("\n") + "\n"),
        );
    }

    /// How the service is built.
    fn build(&self) -> String {
        let mut text = "    build:\n      kind: pack\n      context: app\n".to_owned();
        text.push_str("      entrypoint: [/app/web]\n");
        for line in &self.build {
            let _ = writeln!(text, "      {line}");
        }
        text
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.configure();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipit"));
        crate::build_server::without_build_server(&mut command);
        command
            .args(arguments)
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::from(&self.command(arguments).output().expect("shipit starts"))
    }

    pub fn apply(&self) -> Said {
        self.run(&["apply", "--env", "staging", "--auto-approve"])
    }

    pub fn plan(&self) -> Said {
        self.run(&["plan", "--env", "staging", "--detailed-exitcode"])
    }

    pub fn start_apply(&self) -> Child {
        self.command(&["apply", "--env", "staging", "--auto-approve"])
            .spawn()
            .expect("shipit starts")
    }

    pub fn status(&self) -> Value {
        let said = self
            .run(&["status", "--env", "staging", "--output", "json"])
            .code(0);
        serde_json::from_str(&said.stdout).expect("a document")
    }

    pub fn active(&self) -> String {
        self.status()["facts"]["active"]
            .as_str()
            .unwrap_or("off")
            .to_owned()
    }

    pub fn live_release(&self) -> u64 {
        let status = self.status();
        let active = status["facts"]["active"]
            .as_str()
            .expect("a slot")
            .to_owned();
        status["facts"]["slots"][&active]["label"]["number"]
            .as_u64()
            .expect("a number")
    }

    /// How many lines the newest journal has.
    pub fn journal_lines(&self) -> usize {
        let folder = self.path().join("state/staging/journal");
        let newest = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .max_by_key(std::fs::DirEntry::file_name);
        newest
            .and_then(|entry| std::fs::read_to_string(entry.path()).ok())
            .map_or(0, |text| text.lines().count())
    }
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
