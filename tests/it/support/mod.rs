//! Worlds: a project in a folder of its own, an agent of its own, and an address of its own, so
//! that tests run side by side without meeting.

pub mod build_server;
pub mod canaries;
pub mod http;
pub mod killed;
mod parts;
#[allow(dead_code)] // each test binary uses its own part of it
pub mod receivers;
pub mod s3;
mod said;
#[allow(dead_code)] // each test binary uses its own part of it
pub mod sshd;
pub mod tls;
#[allow(dead_code)] // each test binary uses its own part of it
pub mod vault;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use parts::{docker_answers, has, is_given, is_root};
pub use said::Said;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A project with one service, and everything that can be said about it.
pub struct World {
    folder: TempDir,
    address: String,
    pub service: BTreeMap<String, String>,
    pub env: BTreeMap<String, String>,
    /// Lines of `environments/staging.yaml`.
    pub staging: Vec<String>,
    /// Lines of `shipit.yaml` besides the service.
    pub project: Vec<String>,
    pub build: Vec<String>,
    /// The image of `web`, when it is not built.
    pub image: Option<String>,
    /// Lines of services besides `web`.
    pub others: Vec<String>,
    /// The machine that it is on; this one without it.
    machine: Option<Machine>,
}

/// Another machine, as `tests/systemd/up` starts it: a container that sees this one's network.
#[derive(Clone)]
pub struct Machine {
    /// The container.
    pub name: String,
    /// A folder that both machines have.
    pub folder: PathBuf,
    /// Who uses it.
    pub user: &'static str,
    /// The names of variables that its programs have from whoever starts them.
    pub variables: Vec<String>,
}

impl Machine {
    /// A program there.
    pub fn command(&self, program: &str, folder: &Path, env: &[(&str, String)]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["exec", "--user", self.user, "--workdir"])
            .arg(folder);
        for (name, value) in env {
            command.args(["--env", &format!("{name}={value}")]);
        }
        for name in &self.variables {
            command.args(["--env", name]);
        }
        command.args([&self.name, program]);
        command
    }
}

pub fn shipit() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_shipit"))
}

/// The program of the service that the tests ship.
pub fn storefront() -> PathBuf {
    let program = shipit()
        .parent()
        .expect("a folder")
        .join("examples/storefront");
    assert!(
        program.exists(),
        "`cargo build --example storefront` makes {}",
        program.display()
    );
    program
}

/// The volumes `{/inside: /from, …}` as what every instance may have at once.
fn shared(volumes: &str) -> String {
    let pairs = volumes.trim_matches(['{', '}']).split(", ");
    let shared = pairs.filter_map(|pair| pair.split_once(": "));
    let shared: Vec<String> = shared
        .map(|(inside, from)| format!("{inside}: {{from: {from}, shared: true}}"))
        .collect();
    format!("{{{}}}", shared.join(", "))
}

/// An address of the loopback range that no other world of this machine has.
fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!(
        "127.{}.{}.{}",
        1 + pid % 250,
        (pid / 250) % 250,
        next % 250 + 1
    )
}

impl World {
    /// A project that serves `v1`, and that nothing was done with yet.
    pub fn new() -> Self {
        Self::within(
            tempfile::Builder::new()
                .prefix("w")
                .tempdir()
                .expect("a folder"),
            None,
        )
    }

    /// The same on another machine.
    pub fn on(machine: Machine) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("w")
            .tempdir_in(&machine.folder)
            .expect("a folder");
        if machine.user != "root" {
            std::os::unix::fs::chown(folder.path(), Some(1000), Some(1000)).expect("it is theirs");
        }
        Self::within(folder, Some(machine))
    }

    /// The same on this machine, in a folder that another one has, too.
    pub fn shared_with(machine: &Machine) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("w")
            .tempdir_in(&machine.folder)
            .expect("a folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("it is ours");
        Self::within(folder, None)
    }

    fn within(folder: TempDir, machine: Option<Machine>) -> Self {
        let world = Self {
            folder,
            machine,
            address: address(),
            service: BTreeMap::from([(
                "health".to_owned(),
                "{path: /healthz, interval: 100ms, start_within: 20s}".to_owned(),
            )]),
            env: BTreeMap::new(),
            staging: vec!["promotion: {mode: auto, probe: {linger: 50ms}}".to_owned()],
            project: Vec::new(),
            build: Vec::new(),
            image: None,
            others: Vec::new(),
        };
        world.message("v1");
        world
    }

    /// A world whose release `v1` is live.
    pub fn live() -> Self {
        let world = Self::new();
        world.apply().code(0);
        assert_eq!(world.get(), "v1");
        world
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    pub fn put(&self, path: &str, text: &str) {
        let path = self.file(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// The same, but what has this text is not written again: a run that is under way reads it.
    fn put_once(&self, path: &str, text: &str) {
        if fs::read_to_string(self.file(path)).is_ok_and(|there| there == text) {
            return;
        }
        self.put(path, text);
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).expect(path)
    }

    /// What the service answers with from the next apply on.
    pub fn message(&self, text: &str) {
        self.put("app/message.txt", text);
    }

    pub fn agent_folder(&self) -> PathBuf {
        self.path().join("a")
    }

    /// Where live traffic arrives.
    pub fn live_address(&self) -> String {
        format!("{}:8080", self.address)
    }

    /// Where only the preview slot answers.
    pub fn preview_address(&self) -> String {
        format!("{}:8081", self.address)
    }

    /// Writes the configuration as the fields say.
    pub fn configure(&self) {
        let mut text = "version: 1\nproject: shop\n".to_owned();
        for line in &self.project {
            let _ = writeln!(text, "{line}");
        }
        text.push_str("services:\n  web:\n    port: 8080\n");
        match &self.image {
            Some(image) => {
                let _ = writeln!(text, "    image: {image}");
            }
            None => text.push_str(&self.build()),
        }
        for (key, value) in &self.service {
            let value = match key.as_str() {
                "volumes" => &shared(value),
                _ => value,
            };
            let _ = writeln!(text, "    {key}: {value}");
        }
        if !self.env.is_empty() {
            text.push_str("    env:\n");
            for (name, value) in &self.env {
                let _ = writeln!(text, "      {name}: {value}");
            }
        }
        for line in &self.others {
            let _ = writeln!(text, "{line}");
        }
        self.put_once("shipit.yaml", &text);
        let mut staging = self.staging.join("\n");
        if !staging.contains("traffic:") {
            let _ = write!(
                staging,
                "\ntraffic: {{address: {}, limits: {{drain: 5s, hold: 5s}}}}\n",
                self.address
            );
        }
        self.put_once("environments/staging.yaml", &staging);
    }

    /// How `web` is built.
    fn build(&self) -> String {
        let mut text = "    build:\n      kind: pack\n      context: app\n".to_owned();
        if !self.build.iter().any(|line| line.starts_with("copy:")) {
            text.push_str("      copy: {message.txt: /app/message.txt}\n");
        }
        text.push_str("      workdir: /app\n");
        let _ = writeln!(text, "      entrypoint: [{}]", storefront().display());
        for line in &self.build {
            let _ = writeln!(text, "      {line}");
        }
        text
    }

    /// A command that was not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.configure();
        let env = [
            (
                "SHIPIT_AGENT_DIR",
                self.agent_folder().display().to_string(),
            ),
            ("NO_COLOR", "1".to_owned()),
        ];
        let mut command = match &self.machine {
            Some(machine) => machine.command(&shipit().display().to_string(), self.path(), &env),
            None => Command::new(shipit()),
        };
        build_server::without_build_server(&mut command);
        command
            .args(arguments)
            .current_dir(self.path())
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::from(&self.command(arguments).output().expect("shipit starts"))
    }

    pub fn apply(&self) -> Said {
        self.apply_with(&[])
    }

    pub fn apply_with(&self, more: &[&str]) -> Said {
        self.run(&[&["apply", "--env", "staging", "--auto-approve"], more].concat())
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("shipit starts")
    }

    pub fn start_apply(&self) -> Child {
        self.start(&["apply", "--env", "staging", "--auto-approve"])
    }

    /// The body of `/` on the live listener.
    pub fn get(&self) -> String {
        self.get_path("/")
    }

    pub fn get_path(&self, path: &str) -> String {
        http::get(&self.live_address(), path)
            .expect("an answer")
            .body
    }

    pub fn preview(&self) -> String {
        http::get(&self.preview_address(), "/")
            .expect("an answer")
            .body
    }

    /// The status as a document.
    pub fn status(&self) -> serde_json::Value {
        let said = self
            .run(&["status", "--env", "staging", "--output", "json"])
            .code(0);
        serde_json::from_str(&said.stdout).expect("a document")
    }

    /// The release number in the active slot.
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

    pub fn history(&self) -> Vec<(u64, String)> {
        let said = self
            .run(&["history", "--env", "staging", "--output", "json"])
            .code(0);
        let history: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
        let releases = history["releases"].as_array().expect("a list");
        releases
            .iter()
            .map(|release| {
                let number = release["number"].as_u64().expect("a number");
                (
                    number,
                    release["status"]["is"].as_str().expect("a word").to_owned(),
                )
            })
            .collect()
    }

    /// How many lines the newest journal has.
    pub fn journal_lines(&self) -> usize {
        self.newest_journal().lines().count()
    }

    /// The newest journal, as far as it is written.
    pub fn newest_journal(&self) -> String {
        let folder = self.file("state/staging/journal");
        let mut names: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        names.sort();
        names
            .last()
            .and_then(|path| fs::read_to_string(path).ok())
            .unwrap_or_default()
    }

    pub fn agent_pid(&self) -> Option<u32> {
        let said = self.run(&["agent", "status"]);
        said.stdout
            .split("pid ")
            .nth(1)?
            .split(',')
            .next()?
            .parse()
            .ok()
    }

    /// Makes the folder a Git repository with one commit on `branch`.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.com",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .current_dir(self.path())
            .output()
            .expect("git starts");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let stop = self
            .command(&["agent", "stop", "--services", "--end-tasks"])
            .output();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.agent_folder().join("agent.log")).unwrap_or_default();
            eprintln!("--- agent.log\n{log}\n--- stop: {stop:?}");
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether something stands in a file. Who opens one to write it has not written yet.
pub fn is_written(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.len() > 0)
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

/// Waits for a child's end.
pub fn finish(child: Child) -> Said {
    Said::from(&child.wait_with_output().expect("it ends"))
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("small")).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("it lives");
}

/// How many processes of this machine were started with this text.
pub fn started_with(text: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("processes");
    let command = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let commands = entries.filter_map(|entry| command(entry.ok()?));
    commands
        .filter(|command| String::from_utf8_lossy(command).contains(text))
        .count()
}
