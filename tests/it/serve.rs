//! The front doors, with the real program: pushes to a bare repository whose hook tells the server,
//! webhooks, commands; a server that is killed; and what strangers send.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_lc_rs::hmac;
use rustix::process::Signal;
use serde_json::Value;
use shipit::config::server::load_server;

use crate::support::{
    PATIENCE, Said, World, build_server, free_port, shipit, signal, started_with, until,
};

const SECRET: &str = "a secret of a webhook";

/// A server of its own, with a bare repository that a world is pushed to.
pub(crate) struct Server {
    pub(crate) world: World,
    folder: tempfile::TempDir,
    port: u16,
    /// Where commands of other machines arrive.
    pub(crate) remote_port: u16,
    process: Option<Child>,
    /// What it has besides among its variables.
    pub(crate) variables: Vec<(String, String)>,
}

impl Server {
    /// A project whose staging is deployed on its branch; nothing was pushed yet.
    pub(crate) fn new() -> Self {
        Self::of(World::new(), "everything")
    }

    pub(crate) fn of(world: World, may: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("s")
            .tempdir()
            .expect("a folder");
        let server = Self {
            world,
            folder,
            port: free_port(),
            remote_port: free_port(),
            process: None,
            variables: Vec::new(),
        };
        server.configure(may);
        git(
            server.folder.path(),
            &["init", "--quiet", "--bare", "bare.git"],
        );
        server.world.put(".gitignore", "/state/\n/a/\n");
        server.world.configure();
        server.world.git(&["init", "--quiet"]);
        server.world.git(&["checkout", "--quiet", "-b", "staging"]);
        let bare = server.bare().display().to_string();
        server.world.git(&["remote", "add", "origin", &bare]);
        server.commit("v1");
        server
    }

    fn configure(&self, may: &str) {
        let folder = self.folder.path().display();
        let text = format!(
            "version: 1\ndata: {folder}/data\nlisten:\n  remote: {{address: \"127.0.0.1:{remote}\", names: [localhost]}}\n  web: {{address: \"127.0.0.1:{port}\"}}\n  socket: {{path: {folder}/socket}}\n\
             runner: {{workers: 2, within: 2m, variables: [SHIPIT_AGENT_DIR]}}\n\
             projects:\n  shop:\n    source: {{url: {folder}/bare.git}}\n    receivers:\n      gitea: {{kind: gitea, secrets: [{{file: {folder}/secret}}], body: 64KiB}}\n\
             \x20   environments:\n      staging: {{on: {{branch: staging}}}}\n    may: {may}\n",
            port = self.port,
            remote = self.remote_port
        );
        fs::write(self.folder.path().join("server.yaml"), text).expect("written");
        fs::write(self.folder.path().join("secret"), format!("{SECRET}\n")).expect("written");
    }

    /// Writes something else into its configuration.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let path = self.folder.path().join("server.yaml");
        let config = fs::read_to_string(&path).expect("it is read");
        fs::write(&path, config.replace(from, to)).expect("written");
    }

    /// Pushes a build that writes what the one before wrote, and fails.
    pub(crate) fn fail_the_build(&mut self) {
        let build = &mut self.world.build[0];
        *build = build.replace("; \"}", "; exit 9\"}");
        assert!(build.contains("exit 9"), "{build}");
        self.commit("v2");
        self.push_aside();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A push that no hook tells of.
    pub(crate) fn push_aside(&self) {
        self.world.git(&["push", "--quiet", "origin", "staging"]);
    }

    fn bare(&self) -> PathBuf {
        self.folder.path().join("bare.git")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Commits what the service answers with.
    fn commit(&self, message: &str) -> String {
        self.world.message(message);
        self.world.configure();
        self.world.git(&["add", "--all"]);
        self.world
            .git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.world.git(&["rev-parse", "HEAD"])
    }

    /// A command beside the server.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(shipit());
        build_server::without_build_server(&mut command);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SHIPIT_AGENT_DIR", self.world.agent_folder())
            .env("SHIPIT_SOCKET", self.socket())
            .env(
                "SHIPIT_SERVER_CONFIG",
                self.folder.path().join("server.yaml"),
            )
            .env("NO_COLOR", "1")
            .env("SERVERS_OWN", "for nobody that it starts")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::from(&self.command(arguments).output().expect("shipit starts"))
    }

    /// Starts serving, and waits until it does.
    pub(crate) fn start(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("serve.log"))
            .expect("a log");
        let child = self
            .command(&["serve"])
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn();
        self.process = Some(child.expect("shipit starts"));
        until("the server answers", || self.get("/readyz").0 == 200);
    }

    /// Kills it where it stands.
    fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it is killed");
        process.wait().expect("it ends");
    }

    fn install(&self, more: &[&str]) {
        let bare = self.bare().display().to_string();
        let install = ["hook", "install", "--project", "shop", "--bare", &bare];
        self.run(&[&install[..], more].concat()).code(0);
    }

    /// A push from the world to the bare repository, not started yet.
    fn push(&self) -> Command {
        let mut command = Command::new("git");
        build_server::without_build_server(&mut command);
        command
            .args(["push", "--quiet", "origin", "staging"])
            .current_dir(self.world.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn pushed(&self) -> Said {
        Said::from(&self.push().output().expect("git starts")).code(0)
    }

    pub(crate) fn jobs(&self) -> Vec<Value> {
        let said = self
            .run(&["jobs", "list", "-n", "500", "--output", "json"])
            .code(0);
        let document: Value = serde_json::from_str(&said.stdout).expect("a document");
        document["items"].as_array().expect("a list").clone()
    }

    fn deliveries(&self) -> Vec<Value> {
        let said = self
            .run(&["deliveries", "list", "-n", "500", "--output", "json"])
            .code(0);
        let document: Value = serde_json::from_str(&said.stdout).expect("a document");
        document["items"].as_array().expect("a list").clone()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        request(
            &self.address(),
            &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
            b"",
        )
        .unwrap_or((0, String::new()))
    }

    pub(crate) fn post(&self, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        request(&self.address(), &head, body).unwrap_or((0, String::new()))
    }

    /// A webhook of Gitea's that says that `staging` is at a commit.
    pub(crate) fn hook(&self, id: &str, commit: &str) -> (u16, Value) {
        let body = format!(
            r#"{{"ref":"refs/heads/staging","after":"{commit}","pusher":{{"login":"kim"}}}}"#
        );
        let (status, text) = self.post(
            "/hooks/shop/gitea",
            &signed("push", id, &body),
            body.as_bytes(),
        );
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let jobs = self.folder.path().join("data/jobs");
        for job in fs::read_dir(&jobs).into_iter().flatten().flatten() {
            for attempt in 1..=3 {
                let text = fs::read_to_string(job.path().join(format!("process-{attempt}.json")));
                let process: Value =
                    serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
                let pid = process["pid"]
                    .as_i64()
                    .and_then(|pid| i32::try_from(pid).ok());
                if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                }
            }
            if std::thread::panicking() {
                let log = fs::read_to_string(job.path().join("log")).unwrap_or_default();
                eprintln!("--- {}\n{log}", job.path().display());
            }
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default();
            eprintln!("--- serve.log\n{log}");
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .status();
    assert!(status.expect("git starts").success(), "git {arguments:?}");
}

pub(crate) fn signed(event: &str, id: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    let mut digits = String::new();
    for byte in tag.as_ref() {
        let _ = write!(digits, "{byte:02x}");
    }
    format!("x-gitea-event: {event}\r\nx-gitea-delivery: {id}\r\nx-gitea-signature: {digits}\r\n")
}

fn request(address: &str, head: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    // One that is refused by its length is not read.
    let _ = stream.write_all(body);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.unwrap_or(0), body.to_owned()))
}

#[test]
fn a_push_is_deployed_and_whoever_pushed_sees_how() {
    let mut server = Server::new();
    server.install(&[]);
    server.start();
    let said = server.pushed();
    said.says("shipit: shop/staging is job 1")
        .says("shipit: job 1 succeeded");
    assert_eq!(server.world.get(), "v1");

    server.commit("v2");
    server.pushed().says("job 2 succeeded");
    assert_eq!(server.world.get(), "v2");
    // The state stays in the lane's folder, and says for whom it was.
    let jobs = server.jobs();
    assert_eq!(jobs.len(), 2);
    assert_eq!(
        (&jobs[0]["state"], &jobs[0]["ending"]),
        (&"ended".into(), &"succeeded".into())
    );
    let checkout = server
        .folder
        .path()
        .join("data/lanes/shop/staging/checkout");
    let history = server.run(&[
        "history",
        "--env",
        "staging",
        "-C",
        &checkout.display().to_string(),
        "--output",
        "json",
    ]);
    assert!(history.code(0).stdout.contains("shipit serve job 2"));

    // A branch that nothing is deployed on.
    server
        .world
        .git(&["push", "--quiet", "origin", "staging:other"]);
    let deliveries = server.deliveries();
    assert_eq!(deliveries[0]["verdict"], "ignored");
    let reason = deliveries[0]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("no environment is deployed on refs/heads/other"),
        "{reason}"
    );
}

#[test]
fn a_push_while_no_server_is_there_is_deployed_once_it_is() {
    let mut server = Server::new();
    server.install(&[]);
    server.pushed().says("the push is written down");
    assert!(
        fs::read_dir(server.bare().join("shipit/spool"))
            .expect("a spool")
            .count()
            == 1
    );

    server.start();
    until("the job is there", || !server.jobs().is_empty());
    server.run(&["jobs", "wait", "1"]).code(0);
    assert_eq!(server.world.get(), "v1");
    assert_eq!(
        fs::read_dir(server.bare().join("shipit/spool"))
            .expect("a spool")
            .count(),
        0
    );
}

#[test]
fn a_push_of_which_git_calls_no_hook_any_more_is_found() {
    let mut server = Server::new();
    server.install(&[]);
    let post = server.bare().join("hooks/post-receive");
    let hook = fs::read_to_string(&post).expect("a hook");
    fs::write(&post, "#!/bin/sh\n").expect("written");
    server.pushed();
    let spool = server.bare().join("shipit/spool");
    let spooled = || {
        fs::read_dir(&spool)
            .expect("a spool")
            .flatten()
            .map(|entry| entry.path())
    };
    let announced = spooled().next().expect("it was announced");
    assert_eq!(announced.extension(), Some("announced".as_ref()));

    // It is looked for some time after it was announced.
    let before = std::time::SystemTime::now() - Duration::from_mins(1);
    let file = fs::File::options()
        .write(true)
        .open(&announced)
        .expect("a file");
    file.set_modified(before).expect("its time");
    server.start();
    until("the job is there", || !server.jobs().is_empty());
    server.run(&["jobs", "wait", "1"]).code(0);
    assert_eq!(
        (server.world.get(), spooled().count()),
        ("v1".to_owned(), 0)
    );

    // A push that its hook tells of is not announced any more, nor is an earlier try of it that
    // another hook has refused.
    fs::write(&post, hook).expect("written");
    server.commit("v2");
    let update = server.bare().join("hooks/update");
    fs::write(&update, "#!/bin/sh\nexit 1\n").expect("written");
    fs::set_permissions(&update, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("its mode");
    let refused = server.push().output().expect("git starts");
    assert!(!refused.status.success());
    assert_eq!(spooled().count(), 1);
    fs::remove_file(&update).expect("removed");
    server.pushed().says("job 2 succeeded");
    assert_eq!((server.jobs().len(), spooled().count()), (2, 0));

    // A try of the same push whose announcement comes late has its job already.
    let commit = server.world.git(&["rev-parse", "HEAD"]);
    let late = spool.join("late.announced");
    let push = serde_json::json!({"project": "shop", "key": "late", "by": "kim",
        "refs": [{"name": "refs/heads/staging", "new": commit}]});
    fs::write(&late, push.to_string()).expect("written");
    let file = fs::File::options().write(true).open(&late).expect("a file");
    let before = std::time::SystemTime::now() - Duration::from_secs(20);
    file.set_modified(before).expect("its time");
    server.kill();
    server.start();
    until("it was looked for", || spooled().count() == 0);
    assert_eq!(server.jobs().len(), 2);
}

#[test]
fn a_ref_that_moved_is_found_by_looking_and_deployed_once() {
    let mut server = Server::new();
    let file = server.folder.path().join("server.yaml");
    let text = fs::read_to_string(&file).expect("it is there");
    let lines = text
        .lines()
        .filter(|line| !line.contains("gitea:") && !line.contains("receivers:"));
    let lines: Vec<String> = lines
        .map(|line| line.replace("bare.git}", "bare.git, poll: 1h}"))
        .collect();
    fs::write(&file, lines.join("\n")).expect("written");
    let seen = server.folder.path().join("data/polled/shop.json");
    let is_seen = |commit: &str| fs::read_to_string(&seen).is_ok_and(|text| text.contains(commit));

    // What a hook tells of is not done again because it is seen, too.
    server.install(&["--detach"]);
    server.start();
    until("it has looked", || seen.exists());
    server.pushed().says("shop/staging is job 1");
    server.run(&["jobs", "wait", "1"]).code(0);
    server.kill();
    server.start();
    let first = server.world.git(&["rev-parse", "HEAD"]);
    until("it has looked again", || is_seen(&first));
    assert_eq!(server.jobs().len(), 1);

    // Nobody tells of this one.
    server.kill();
    fs::remove_dir_all(server.bare().join("hooks")).expect("its hooks");
    let second = server.commit("v2");
    server.push_aside();
    server.start();
    until("it is found", || server.jobs().len() == 2);
    server.run(&["jobs", "wait", "2"]).code(0);
    assert_eq!(server.world.get(), "v2");
    server
        .run(&["jobs", "show", "2"])
        .says("a look at the repository");
    until("it is remembered", || is_seen(&second));

    // What nothing is deployed on is only seen.
    server.kill();
    server
        .world
        .git(&["push", "--quiet", "origin", "staging:aside"]);
    server.start();
    until("it is seen", || is_seen("refs/heads/aside"));
    assert_eq!(server.jobs().len(), 2);
}

#[test]
fn a_deployment_goes_on_when_whoever_pushed_is_gone() {
    let mut server = Server::new();
    server.install(&[]);
    server.start();
    let mut push = server.push();
    std::os::unix::process::CommandExt::process_group(&mut push, 0);
    let mut push = push.spawn().expect("git starts");
    until("the job runs", || {
        server.jobs().iter().any(|job| job["state"] == "running")
    });
    let group = i32::try_from(push.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process_group(group.expect("a pid"), Signal::KILL).expect("it is killed");
    push.wait().expect("it ends");

    server.run(&["jobs", "wait", "1"]).code(0);
    assert_eq!(server.world.get(), "v1");
    let marker = server.bare().display().to_string();
    until("its hook ends", || {
        started_with(&format!(
            "hook post-receive --project shop --socket {marker}"
        )) == 0
    });
}

#[test]
fn a_server_that_is_killed_while_a_job_runs_finds_it_again() {
    let mut server = Server::new();
    server.install(&["--detach"]);
    server.start();
    server.pushed().says("shop/staging is job 1");
    let process = server.folder.path().join("data/jobs/1/process-1.json");
    until("the job's process is there", || process.exists());
    server.kill();
    server.start();
    server.run(&["jobs", "wait", "1"]).code(0);
    assert_eq!(server.world.get(), "v1");
    let jobs = server.jobs();
    assert_eq!((jobs.len(), &jobs[0]["attempt"]), (1, &Value::from(1)));
    server
        .run(&["jobs", "logs", "1"])
        .code(0)
        .says("checked out")
        .says("succeeded");
}

#[test]
fn a_job_whose_process_is_killed_is_begun_again_and_ends_the_same() {
    let mut server = Server::new();
    server.install(&["--detach"]);
    server.start();
    server.pushed();
    let process = server.folder.path().join("data/jobs/1/process-1.json");
    until("the job's process is there", || process.exists());
    let text = fs::read_to_string(&process).expect("it is read");
    let document: Value = serde_json::from_str(&text).expect("a document");
    let pid = document["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    signal(pid.expect("a pid"), Signal::KILL);

    server.run(&["jobs", "wait", "1"]).code(0);
    assert_eq!(server.world.get(), "v1");
    assert_eq!(server.jobs()[0]["attempt"], 2);
}

#[test]
fn what_was_accepted_survives_a_server_that_is_killed_and_is_done_once() {
    let mut server = Server::new();
    let mut accepted = Vec::new();
    for round in 0..6u32 {
        server.start();
        for number in 0..(5 + round) {
            // No commit of the repository's: the jobs supersede each other, and the last fails.
            let id = format!("{round}-{number}");
            let (status, taken) = server.hook(&id, &format!("{:040x}", round * 100 + number + 1));
            assert_eq!(status, 202, "{taken}");
            accepted.push((
                id,
                taken["delivery"].clone(),
                taken["jobs"][0]["number"].clone(),
            ));
        }
        server.kill();
    }

    server.start();
    let (deliveries, jobs) = (server.deliveries(), server.jobs());
    assert_eq!(deliveries.len(), accepted.len());
    for (id, delivery, job) in &accepted {
        let found: Vec<&Value> = deliveries
            .iter()
            .filter(|one| one["number"] == *delivery)
            .collect();
        assert_eq!(found.len(), 1, "{id}");
        assert_eq!(found[0]["jobs"][0], *job, "{id}");
        assert_eq!(
            jobs.iter().filter(|one| one["number"] == *job).count(),
            1,
            "{id}"
        );
    }
    // What comes again is the same.
    let (id, delivery, _) = &accepted[0];
    let (status, again) = server.hook(id, &format!("{:040x}", 1));
    assert_eq!(
        (status, &again["delivery"], &again["is_repeated"]),
        (202, delivery, &Value::Bool(true))
    );
    assert_eq!(server.jobs().len(), jobs.len());
}

#[test]
fn a_webhook_is_answered_by_what_it_proves_and_means() {
    let mut server = Server::new();
    server.world.git(&["push", "--quiet", "origin", "staging"]);
    server.start();
    let commit = server.world.git(&["rev-parse", "HEAD"]);
    let (status, taken) = server.hook("a", &commit);
    assert_eq!(
        (status, &taken["jobs"][0]["lane"]["environment"]),
        (202, &"staging".into())
    );
    server.run(&["jobs", "wait", "1"]).code(0);
    assert_eq!(server.world.get(), "v1");

    let body = r#"{"ref":"refs/heads/other","after":"0000000000000000000000000000000000000001"}"#;
    let (status, text) = server.post(
        "/hooks/shop/gitea",
        &signed("push", "b", body),
        body.as_bytes(),
    );
    assert!(
        status == 200 && text.contains("no environment is deployed on"),
        "{status} {text}"
    );
    let forged = signed("push", "c", "{}");
    assert_eq!(
        server.post("/hooks/shop/gitea", &forged, body.as_bytes()).0,
        401
    );
    assert_eq!(
        server
            .post(
                "/hooks/shop/gitea",
                "x-gitea-event: push\r\n",
                body.as_bytes()
            )
            .0,
        401
    );
    assert_eq!(server.post("/hooks/shop/github", &forged, b"{}").0, 404);
    assert_eq!(server.post("/hooks/none/gitea", &forged, b"{}").0, 404);
    assert_eq!(server.get("/hooks/shop/gitea").0, 405);
    assert_eq!(server.get("/jobs").0, 404);

    let metrics = server.get("/metrics").1;
    assert!(
        metrics.contains("shipit_deliveries_total{verdict=\"refused\"} 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("shipit_deliveries_total{verdict=\"accepted\"} 1"),
        "{metrics}"
    );
    // Nothing of what is not authentic is recorded.
    assert_eq!(server.deliveries().len(), 2);
}

#[test]
fn huge_and_slow_bodies_are_kept_from_nobody_elses() {
    let mut server = Server::new();
    server.start();
    let large = vec![b' '; 65 << 10];
    let (status, _) = server.post("/hooks/shop/gitea", &signed("push", "a", ""), &large);
    assert_eq!(status, 413);
    // One that does not say how long it is.
    let chunk = format!("{:x}\r\n{}\r\n", 32 << 10, " ".repeat(32 << 10));
    let head = "POST /hooks/shop/gitea HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let (status, _) =
        request(&server.address(), head, chunk.repeat(4).as_bytes()).expect("an answer");
    assert_eq!(status, 413);

    let slow: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = TcpStream::connect(server.address()).expect("it is let in");
            let begun: &[u8] = if number % 2 == 0 {
                b"P"
            } else {
                b"POST /hooks/shop/gitea HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
            };
            stream.write_all(begun).expect("it is taken");
            stream
        })
        .collect();
    let (status, _) = server.hook("b", &"1".repeat(40));
    assert_eq!(status, 202);
    // Whoever says nothing is sent away.
    for mut stream in slow {
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .expect("a limit");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it is closed");
    }
}

#[test]
fn a_command_has_the_exit_code_of_apply() {
    let mut server = Server::new();
    server
        .run(&["trigger", "shop"])
        .code(1)
        .says("the server at")
        .says("shipit serve");
    server.world.git(&["push", "--quiet", "origin", "staging"]);
    server.start();
    server
        .run(&["trigger", "shop"])
        .code(0)
        .says("job 1 succeeded");
    assert_eq!(server.world.get(), "v1");
    server
        .run(&["trigger", "shop", "--ref", "other"])
        .code(1)
        .says("is not deployed on refs/heads/other");
    server
        .run(&["trigger", "none"])
        .code(1)
        .says("the server has no project none; it has shop");
    server
        .run(&["jobs", "retry", "1"])
        .code(0)
        .says("job 2 succeeded");

    server.world.put(
        "shipit.yaml",
        "version: 1\nproject: shop\nservices: {web: {prot: 1}}\n",
    );
    server.world.git(&["commit", "--quiet", "-am", "broken"]);
    server.world.git(&["push", "--quiet", "origin", "staging"]);
    server
        .run(&["trigger", "shop", "--env", "staging"])
        .code(1)
        .says("job 3 failed")
        .says("unknown key");
    assert_eq!(server.world.get(), "v1");
}

#[test]
fn a_push_with_a_broken_configuration_is_refused_before_it_is_taken() {
    let server = Server::new();
    server.install(&[]);
    server.world.put(
        "shipit.yaml",
        "version: 1\nproject: shop\nservices: {web: {prot: 1}}\n",
    );
    server.world.git(&["commit", "--quiet", "-am", "broken"]);
    let said = Said::from(&server.push().output().expect("git starts"));
    assert_ne!(said.code, Some(0));
    said.says("unknown key `prot`")
        .says("the configuration has faults");
    git(&server.bare(), &["rev-parse", "--git-dir"]);
    let refs = Command::new("git")
        .args(["for-each-ref"])
        .current_dir(server.bare())
        .output();
    assert!(refs.expect("git starts").stdout.is_empty());
}

/// What Git answers with this on its standard input.
fn git_says(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut git = Command::new("git");
    build_server::without_build_server(&mut git);
    let mut git = git
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git starts");
    let mut stdin = git.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let said = git.wait_with_output().expect("it ends");
    assert!(said.status.success(), "git {arguments:?}");
    String::from_utf8(said.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// A tree that was made by hand has any names: none of them is written anywhere.
#[test]
fn a_pushed_tree_whose_names_lead_out_is_refused_and_nothing_is_written() {
    let server = Server::new();
    server.install(&[]);
    let (work, canary) = (server.world.path(), server.path().join("canary"));
    let blob = |text: &[u8]| git_says(work, &["hash-object", "-w", "--stdin"], text);
    let tree = |entries: &[(&str, &str, &str)]| {
        let lines: Vec<String> = entries
            .iter()
            .map(|(mode, name, hash)| {
                let kind = if *mode == "040000" { "tree" } else { "blob" };
                format!("{mode} {kind} {hash}\t{name}\n")
            })
            .collect();
        git_says(work, &["mktree"], lines.concat().as_bytes())
    };

    let mut inner = tree(&[("100644", "canary", &blob(b"written by a pusher"))]);
    let parts = server.path().components().skip(1);
    let parts: Vec<String> = parts
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    for name in parts.iter().rev().map(String::as_str).chain([".."; 8]) {
        inner = tree(&[("040000", name, &inner)]);
    }
    let file = blob(b"version: 1\n");
    let root = tree(&[
        ("040000", "environments", &inner),
        ("100644", "shipit.yaml", &file),
    ]);
    let commit = git_says(work, &["commit-tree", &root, "-m", "by hand"], b"");
    let mut push = Command::new("git");
    build_server::without_build_server(&mut push);
    let said = push
        .args([
            "push",
            "--quiet",
            "origin",
            &format!("{commit}:refs/heads/evil"),
        ])
        .current_dir(work)
        .output();
    let said = Said::from(&said.expect("git starts"));
    assert_ne!(said.code, Some(0), "it is refused");
    said.says("leads out of the repository");
    assert!(!canary.exists(), "nothing is written");
}

#[test]
fn a_repository_gets_no_more_than_its_operator_allows() {
    let mut world = World::new();
    world
        .staging
        .push("secrets: {shadow: {file: /etc/shadow}}".to_owned());
    let may = "{registries: [layout], clusters: [host], secrets: [\"env:SHOP_*\"]}";
    let mut server = Server::of(world, may);
    server.world.git(&["push", "--quiet", "origin", "staging"]);
    server.start();
    let said = server.run(&["trigger", "shop"]).code(6);
    said.says("secrets.shadow: file:/etc/shadow is not in the server's may.secrets")
        .says("may.commands");
    assert_eq!(server.world.agent_pid(), None, "nothing was started");
}

#[test]
fn a_pipeline_is_run_in_the_checkout_before_the_deployment() {
    let mut server = Server::of(World::new(), "everything\n    pipeline: PIPELINE");
    let pipeline = server.path().join("pipeline.json");
    server.reconfigure("PIPELINE", &pipeline.display().to_string());
    let steps = r#"{"parameters": {"WORD": "$(touch /tmp/never); built"}, "steps": [
        {"step": "compile", "commands": ["echo compiling", "printf %s \"$WORD\" > app/message.txt"]},
        {"step": "facts", "commands": ["test \"$SHIPIT_ENVIRONMENT\" = staging", "test \"$SHIPIT_REF\" = refs/heads/staging"]},
        {"step": "variables", "commands": ["test -n \"$SHIPIT_AGENT_DIR\"", "test -z \"$SERVERS_OWN\""]}]}"#;
    fs::write(&pipeline, steps).expect("written");
    server.push_aside();
    server.start();
    server
        .run(&["trigger", "shop"])
        .code(0)
        .says("step compile")
        .says("  compiling");
    assert_eq!(server.world.get(), "$(touch /tmp/never); built");

    let broken = r#"[{"step": "test", "commands": ["echo no >&2; exit 3", "echo not reached"]}]"#;
    fs::write(&pipeline, broken).expect("written");
    let said = server.run(&["trigger", "shop"]).code(1);
    said.says("step test: `echo no >&2; exit 3` ended with exit status: 3")
        .says_not("\n  not reached");
    fs::write(&pipeline, "[]").expect("written");
    server
        .run(&["trigger", "shop"])
        .code(1)
        .says("a pipeline has 1 to 100 steps");
    assert_eq!(server.world.get(), "$(touch /tmp/never); built");
}

#[test]
fn of_several_tags_of_one_push_the_newest_version_is_deployed() {
    let mut server = Server::new();
    server.reconfigure("{on: {branch: staging}}", "{on: {tag: \"v*\"}}");
    server.install(&["--detach"]);
    server.start();
    server.world.git(&["tag", "v1.9.0"]);
    server.commit("v2");
    server.world.git(&["tag", "v1.10.0"]);
    server
        .world
        .git(&["push", "--quiet", "origin", "v1.9.0", "v1.10.0"]);

    server.run(&["jobs", "wait", "1"]).code(0);
    let jobs = server.jobs();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["reference"], "refs/tags/v1.10.0");
    assert_eq!(server.world.get(), "v2");
}

#[test]
fn a_sender_without_ids_is_heard_when_a_branch_goes_back_and_forth() {
    let mut server = Server::new();
    server.reconfigure("kind: gitea", "kind: gitlab_token");
    server.push_aside();
    server.start();
    let hook = |server: &Server, commit: &str| -> Value {
        let body = format!(
            r#"{{"object_kind":"push","ref":"refs/heads/staging","after":"{commit}","user_username":"kim"}}"#
        );
        let token = format!("x-gitlab-event: Push Hook\r\nx-gitlab-token: {SECRET}\r\n");
        let (status, text) = server.post("/hooks/shop/gitea", &token, body.as_bytes());
        assert_eq!(status, 202, "{text}");
        let document: Value = serde_json::from_str(&text).expect("a document");
        let job = document["jobs"][0]["number"].to_string();
        server.run(&["jobs", "wait", &job]).code(0);
        document
    };
    let first = server.world.git(&["rev-parse", "HEAD"]);
    hook(&server, &first);
    let second = server.commit("v2");
    server.push_aside();
    hook(&server, &second);
    assert_eq!(server.world.get(), "v2");

    for (commit, message) in [(&first, "v1"), (&second, "v2")] {
        let to = format!("+{commit}:refs/heads/staging");
        server.world.git(&["push", "--quiet", "origin", &to]);
        assert_eq!(hook(&server, commit)["is_repeated"], false);
        assert_eq!(server.world.get(), message);
    }
    assert_eq!(server.jobs().len(), 4);
}

#[test]
fn a_checkout_that_a_killed_git_has_left_is_worked_with() {
    let mut server = Server::new();
    server.push_aside();
    server.start();
    server.run(&["trigger", "shop"]).code(0);

    let checkout = server.path().join("data/lanes/shop/staging/checkout");
    let repository = checkout.join(".git");
    for name in ["index.lock", "config.lock", "refs/remotes/origin/x.lock"] {
        fs::write(repository.join(name), "").expect("written");
    }
    server.commit("v2");
    server.push_aside();
    server.run(&["trigger", "shop"]).code(0);
    assert_eq!(server.world.get(), "v2");

    // What a loss of power leaves: a name without its content.
    for (name, message) in [("HEAD", "v3"), ("index", "v4")] {
        fs::write(repository.join(name), "x").expect("written");
        server.commit(message);
        server.push_aside();
        server.run(&["trigger", "shop"]).code(0);
        assert_eq!(server.world.get(), message);
    }
    // The state was not lost with the repository.
    let checkout = checkout.display().to_string();
    let history = [
        "history", "--env", "staging", "-C", &checkout, "--output", "json",
    ];
    let history = server.run(&history).code(0).stdout;
    for job in ["shipit serve job 1", "shipit serve job 4"] {
        assert!(history.contains(job), "{history}");
    }
}

#[test]
fn a_branch_may_have_a_name_below_that_of_an_earlier_one() {
    let mut server = Server::new();
    server.reconfigure("branch: staging", "branch: \"{feature,feature/x}\"");
    server.start();
    let deploy = |server: &Server, branch: &str| {
        let to = format!("+HEAD:refs/heads/{branch}");
        server.world.git(&["push", "--quiet", "origin", &to]);
        server
            .run(&["trigger", "shop", "--ref", branch])
            .code(0)
            .says("succeeded");
        let gone = format!(":refs/heads/{branch}");
        server.world.git(&["push", "--quiet", "origin", &gone]);
    };
    deploy(&server, "feature");
    server.commit("v2");
    deploy(&server, "feature/x");
    assert_eq!(server.world.get(), "v2");
    deploy(&server, "feature");
}

#[test]
fn what_a_step_leaves_keeps_no_later_job_from_its_work() {
    let mut server = Server::of(World::new(), "everything\n    pipeline: PIPELINE");
    let pipeline = server.path().join("pipeline.json");
    server.reconfigure("PIPELINE", &pipeline.display().to_string());
    let left = server.path().join("left");
    let script = format!(
        "mkdir -p go/module@v1; touch go/module@v1/file; chmod -R a-w go; \
         setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $! >{}",
        left.display()
    );
    let step = |script: &str| {
        let steps = serde_json::json!([{"step": "leave", "commands": [script]}]);
        fs::write(&pipeline, steps.to_string()).expect("written");
    };
    let is_over = || {
        let pid = fs::read_to_string(&left).unwrap_or_default();
        let pid = pid.trim().parse().expect("a number");
        shipit::files::process::started(pid).is_none()
    };
    step(&script);
    server.push_aside();
    server.start();
    for message in ["v2", "v3"] {
        server.commit(message);
        server.push_aside();
        server.run(&["trigger", "shop"]).code(0);
        assert_eq!(server.world.get(), message);
        until("what the step left has ended", is_over);
    }

    // A job that is cancelled takes with it all that its step has started.
    fs::remove_file(&left).expect("it was there");
    step(&format!("sleep 600 & echo $! >{}; wait", left.display()));
    let mut trigger = server.command(&["trigger", "shop"]);
    let trigger = trigger.spawn().expect("shipit starts");
    until("the step has begun", || {
        fs::read_to_string(&left).is_ok_and(|text| text.ends_with('\n'))
    });
    server.run(&["jobs", "cancel", "3"]).code(0);
    let said = trigger.wait_with_output().expect("it ends");
    assert_eq!(said.status.code(), Some(130));
    until("what the step has started has ended", is_over);
}

#[test]
fn a_job_is_cancelled_cleanly_whether_it_waits_or_runs() {
    let mut world = World::new();
    // It never becomes ready.
    world.service.insert(
        "health".to_owned(),
        "{path: /nothing-here, interval: 100ms, start_within: 50s}".to_owned(),
    );
    let mut server = Server::of(world, "everything");
    server.install(&["--detach"]);
    server.start();
    server.pushed();
    until("it waits for the service", || {
        server.run(&["jobs", "logs", "1"]).stdout.contains("deploy")
            || server.world.agent_pid().is_some()
    });
    server.commit("v2");
    server.pushed().says("is job 2");
    server.run(&["jobs", "list"]).code(0).says("behind job 1");
    server
        .run(&["jobs", "cancel", "2"])
        .code(0)
        .says("cancelled");
    server.run(&["jobs", "cancel", "1"]).code(0);
    server
        .run(&["jobs", "wait", "1"])
        .code(130)
        .says("cancelled: by");
    server
        .run(&["jobs", "cancel", "1"])
        .code(1)
        .says("job 1 has ended");
    let jobs = server.jobs();
    assert!(
        jobs.iter().all(|job| job["ending"] == "cancelled"),
        "{jobs:?}"
    );
}

#[test]
fn a_server_lets_no_other_take_its_folder_or_socket() {
    let mut server = Server::new();
    server.start();
    server
        .run(&["serve"])
        .code(1)
        .says("another `shipit serve` has it");
    server
        .run(&["serve", "check"])
        .code(0)
        .says("All checks are ok");
    server.kill();
    // A socket that a dead one has left is in nobody's way.
    server.start();
    server
        .run(&["jobs", "list"])
        .code(0)
        .says("There are no jobs");
}

#[test]
fn what_init_writes_and_what_the_example_has_is_a_configuration() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/serve/server.yaml");
    load_server(&example).expect("it is valid");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.yaml");
    let init = |more: &[&str]| {
        let mut command = Command::new(shipit());
        command.args([
            "serve",
            "init",
            "--project",
            "shop",
            "--repository",
            "/srv/git/a b.git",
        ]);
        let command = command.args(more).arg("--config").arg(&file);
        Said::from(&command.output().expect("shipit starts"))
    };
    init(&[])
        .code(0)
        .says("shipit-serve.service")
        .says("hook install --project shop");
    let loaded = load_server(&file).expect("it is valid");
    let project = loaded.config.projects.values().next().expect("a project");
    assert_eq!(project.source.url, "/srv/git/a b.git");
    init(&[]).code(1).says("is there already");
    init(&["--force"]).code(0);
}

#[test]
fn gitolite_gets_both_hooks_and_the_lines_of_its_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let local = folder.path().join("local");
    let install = |more: &[&str]| {
        let mut command = Command::new(shipit());
        command.args(["hook", "install", "--project", "shop", "--gitolite"]);
        let command = command.arg(&local).args(more);
        Said::from(&command.output().expect("shipit starts"))
    };
    install(&[]).code(1).says("is no folder");
    fs::create_dir(&local).expect("a folder");
    install(&[])
        .code(0)
        .says("option hook.post-receive = shipit-shop-post-receive")
        .says("option hook.pre-receive = shipit-shop-pre-receive");

    let hooks = local.join("hooks/repo-specific");
    for name in ["post-receive", "pre-receive"] {
        let file = hooks.join(format!("shipit-shop-{name}"));
        let text = fs::read_to_string(&file).expect("a hook");
        assert!(
            text.contains(&format!("hook {name} --project shop")),
            "{text}"
        );
        fs::write(&file, "#!/bin/sh\n").expect("written");
        install(&[]).code(1).says("somebody else's");
        install(&["--force"]).code(0);
    }
}
