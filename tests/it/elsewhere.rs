//! A host that is reached by ssh: a real sshd, a real agent behind it, and every fault that the way
//! between may have.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::Signal;
use shipit::driver::host::{Starting, connect};
use shipit::model::Digest;
use shipit::proto::v1::blob_piece::Piece;
use shipit::proto::{Directory, v1};

use crate::support::http::Load;
use crate::support::sshd::{self, Sshd};
use crate::support::{Machine, Said, World, finish, has, shipit, signal, until};
use crate::systemd::{machine, shell};

/// A project whose environment is behind an sshd, with an agent that runs there.
struct Elsewhere {
    world: World,
    sshd: Sshd,
    agent: Option<Child>,
}

impl Elsewhere {
    fn new() -> Self {
        let mut elsewhere = Self::without_agent();
        elsewhere.start_agent();
        elsewhere
    }

    fn without_agent() -> Self {
        let mut world = World::new();
        let sshd = Sshd::start(world.path());
        let cluster = sshd.cluster(&world.agent_folder());
        world.staging.push(cluster);
        Self {
            world,
            sshd,
            agent: None,
        }
    }

    fn start_agent(&mut self) {
        self.agent = Some(agent_of(&self.world));
    }

    /// Kills what connects this machine with that one.
    fn kill_connections(&self) {
        for client in self.sshd.clients() {
            // It may have ended by itself.
            let pid = i32::try_from(client)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            let _ = rustix::process::kill_process(pid.expect("a process"), Signal::KILL);
        }
    }

    fn has_no_connection(&self) {
        let sshd = &self.sshd;
        until("every connection has ended", || sshd.clients().is_empty());
    }

    /// Where the environment's images are there.
    fn sent(&self) -> PathBuf {
        let folder = self.world.agent_folder();
        folder.join("sent/shop/staging/blobs/sha256")
    }

    /// How many blobs the environment has there.
    fn blobs(&self) -> usize {
        names(&self.sent()).len()
    }
}

/// An agent that nobody but who comes by ssh starts.
pub(crate) fn agent_of(world: &World) -> Child {
    let mut command = Command::new(shipit());
    command
        .args(["agent", "run", "--agent-directory"])
        .arg(world.agent_folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let agent = command.spawn().expect("shipit starts");
    let socket = world.agent_folder().join("agent.sock");
    until("the agent listens", || socket.exists());
    agent
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.world.run(&["agent", "stop", "--services"]);
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.wait();
        }
    }
}

#[test]
fn a_release_is_brought_to_another_machine_switched_under_load_and_taken_back() {
    if !sshd::is_there() {
        return;
    }
    let there = Elsewhere::new();
    let world = &there.world;
    world.apply().code(0).says("sending");
    assert_eq!(world.get(), "v1");
    let first = there.blobs();
    assert!(first > 0, "the image was sent");

    let load = Load::start(&world.live_address(), 8, 100);
    world.message("v2");
    let said = world.apply().code(0);
    said.says("sending");
    assert_eq!(world.get(), "v2");
    world
        .run(&["rollback", "--env", "staging", "--auto-approve"])
        .code(0);
    assert_eq!(world.get(), "v1");
    let seen = load.stop();
    seen.has_lost_none_of(0);
    assert!(there.blobs() > first, "what v2 has alone was sent");

    there.has_no_connection();
}

#[test]
fn what_is_there_already_is_not_sent_again() {
    if !sshd::is_there() {
        return;
    }
    let mut there = Elsewhere::new();
    there.world.apply().code(0);
    let first = there.blobs();
    // Another configuration and another manifest; the layer is the same.
    there.world.build.push("labels: {team: shop}".to_owned());
    there
        .world
        .apply()
        .code(0)
        .says(&format!("sending 2 of {first} blobs"));
    let second = there.blobs();
    assert_eq!(second, first + 2);

    // What was there before is there again: nothing is sent.
    there.world.build.clear();
    there.world.apply().code(0).says_not("sending");
    assert_eq!(there.blobs(), second);

    // One that is damaged there is sent again once it is needed.
    let folder = there.sent();
    for blob in std::fs::read_dir(&folder).expect("blobs") {
        std::fs::write(blob.expect("a blob").path(), "damaged").expect("written");
    }
    there.world.message("v3");
    there.world.apply().code(0).says("sending");
    assert_eq!(there.world.get(), "v3");
}

/// A client of the agent by itself: what it sends is what the test says.
async fn send(there: &Elsewhere, lineage: &str, named: &str, bytes: &[u8]) -> Result<(), String> {
    let directory = Directory::find(Some(there.world.agent_folder()));
    let client = connect(&directory, Starting::Never).await;
    let scope = v1::Scope {
        project: "shop".to_owned(),
        environment: "staging".to_owned(),
    };
    let permit = v1::Permit {
        scope: Some(scope),
        lineage: lineage.to_owned(),
        fence: 1_000_000,
        user: "mallory".to_owned(),
        host: "h".to_owned(),
        run: "r".to_owned(),
    };
    let blob = v1::Blob {
        digest: format!("sha256:{named}"),
        size: bytes.len() as u64,
    };
    let begin = v1::BlobBegin {
        permit: Some(permit),
        blob: Some(blob),
    };
    let pieces = [Piece::Begin(begin), Piece::Data(bytes.to_vec())];
    let pieces = pieces.map(|piece| v1::BlobPiece { piece: Some(piece) });
    let sent = client
        .expect("an agent")
        .send_blob(futures_util::stream::iter(pieces))
        .await;
    sent.map(drop).map_err(|status| status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_taken_from_who_may_deploy_and_only_as_what_its_digest_says() {
    if !sshd::is_there() {
        return;
    }
    let there = Elsewhere::new();
    there.world.apply().code(0);
    let state = std::fs::read_to_string(there.world.file("state/staging/state.json"));
    let state: serde_json::Value = serde_json::from_str(&state.expect("text")).expect("a state");
    let lineage = find(&state, "lineage").expect("a lineage");
    let (before, right) = (names(&there.sent()), sha256(b"layer"));

    let refused = send(&there, &lineage, &right, b"tampered").await;
    let reason = refused.expect_err("it is something else");
    assert!(reason.contains("is something else"), "{reason}");
    let refused = send(&there, "another", &right, b"layer").await;
    let reason = refused.expect_err("it is another state's");
    assert!(reason.contains("belongs to the state"), "{reason}");
    assert_eq!(names(&there.sent()), before, "nothing of it is kept");

    send(&there, &lineage, &right, b"layer")
        .await
        .expect("it is right");
    assert!(names(&there.sent()).contains(&right));
}

/// A text in a document, however deep.
fn find(document: &serde_json::Value, name: &str) -> Option<String> {
    if let Some(text) = document[name].as_str() {
        return Some(text.to_owned());
    }
    let fields = document.as_object()?.values();
    fields.into_iter().find_map(|field| find(field, name))
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn sha256(bytes: &[u8]) -> String {
    Digest::of(bytes).hex().to_owned()
}

#[test]
fn what_reads_and_what_runs_there_works_as_here() {
    if !sshd::is_there() {
        return;
    }
    let there = Elsewhere::new();
    let world = &there.world;
    world.apply().code(0);
    world
        .run(&["status", "--env", "staging"])
        .code(0)
        .says("blue");
    world
        .run(&[
            "exec",
            "--env",
            "staging",
            "web",
            "--",
            "echo",
            "from there",
        ])
        .code(0)
        .says("from there");
    world.run(&["logs", "--env", "staging"]).code(0);
    world
        .run(&["doctor", "--env", "staging"])
        .says("ssh logs in to ssh://")
        .says("answers: shipit")
        .says("both clocks agree")
        .says("has room for an image")
        .says("`state: {kind: host}` keeps it there");
    world
        .run(&["plan", "--env", "staging"])
        .code(0)
        .says("No changes");
    world
        .run(&["open", "--env", "staging"])
        .code(64)
        .says("is the loopback of ssh://")
        .says("ssh -L");
    there.has_no_connection();
}

#[test]
fn an_address_that_somebody_has_there_is_found_beforehand() {
    if !sshd::is_there() {
        return;
    }
    let there = Elsewhere::new();
    let live = there.world.live_address();
    let doctor = || there.world.run(&["doctor", "--env", "staging"]);
    doctor().says(&format!("{live} is free there"));
    let holder = std::net::TcpListener::bind(&live).expect("it is free");
    doctor().says("somebody listens there already");
    drop(holder);
    there.world.apply().code(0);
    doctor().says_not(&live);
}

#[test]
fn each_fault_on_the_way_is_said_with_what_to_do() {
    if !sshd::is_there() {
        return;
    }
    let mut there = Elsewhere::new();
    there.world.apply().code(0);
    let plan = |there: &Elsewhere| there.world.run(&["plan", "--env", "staging"]).code(1);

    there.sshd.end();
    plan(&there)
        .says("connecting to ssh://")
        .says("Connection refused")
        .says("look at `cluster.at`");
    there.sshd.begin();

    there.sshd.lets_in(false);
    plan(&there)
        .says("Permission denied")
        .says("cluster.ssh.identity");
    there.sshd.lets_in(true);

    there.sshd.is_known_by_another_key();
    plan(&there).says("it shows another key than the one that it is known by");
    there.sshd.is_not_known();
    plan(&there)
        .says("its key is not known")
        .says("ssh-keyscan -p");
    there.sshd.is_known();

    there.sshd.end();
    there.sshd.begin_with("AllowStreamLocalForwarding no\n");
    plan(&there).says("AllowStreamLocalForwarding");
    there.sshd.end();
    there.sshd.begin_with("AllowTcpForwarding no\n");
    let doctor = |there: &Elsewhere| there.world.run(&["doctor", "--env", "staging"]);
    doctor(&there)
        .code(1)
        .says("administratively prohibited")
        .says("AllowTcpForwarding local");
    there.sshd.end();
    there.sshd.begin();
    doctor(&there)
        .says("are reached through ssh")
        .says_not("prohibited");

    there.world.run(&["agent", "stop"]).code(0);
    plan(&there)
        .says("no agent of that user answers")
        .says("shipit agent install --at ssh://");
    assert!(!there.world.file("a/agent.sock").exists());
    there.start_agent();
    there.world.apply().code(0).says("No changes");
    assert_eq!(there.world.get(), "v1");
    there.has_no_connection();
}

#[test]
fn a_change_request_brings_no_key_of_a_host() {
    if !sshd::is_there() {
        return;
    }
    let mut there = Elsewhere::new();
    let cluster = there.sshd.cluster(&there.world.agent_folder());
    let known = there.sshd.known_hosts().display().to_string();
    let world = &mut there.world;
    world.staging.pop();
    world
        .staging
        .push(cluster.replace(&known, "sshd/known_hosts"));
    world.configure();
    world.git(&["init", "-q"]);
    world.git(&["add", "shipit.yaml", "environments", "app"]);
    world.git(&["commit", "-q", "-m", "first"]);
    world.run(&["plan", "--env", "staging"]).code(0);

    let planned = |world: &World| {
        let mut command = world.command(&["plan", "--env", "staging"]);
        let command = command.env("CHANGE_ID", "7").env("CHANGE_TARGET", "main");
        Said::from(&command.output().expect("shipit starts"))
    };
    planned(world)
        .code(64)
        .says("known by a file of the repository")
        .says("cluster.ssh.known_hosts");
    world.staging.pop();
    let outside = tempfile::tempdir().expect("a folder");
    let path = outside.path().join("known");
    std::fs::copy(known, &path).expect("copied");
    let path = path.display().to_string();
    world
        .staging
        .push(cluster.replace(&there.sshd.known_hosts().display().to_string(), &path));
    planned(world).says_not("known by a file of the repository");
}

#[test]
fn a_connection_that_dies_anywhere_costs_no_traffic_and_the_next_run_comes_to_the_same_end() {
    if !sshd::is_there() {
        return;
    }
    for line in [1, 3, 5, 7, 9] {
        let mut there = Elsewhere::new();
        let delay = ("START_DELAY_MS".to_owned(), "\"700\"".to_owned());
        there.world.env.extend([delay]);
        let world = &there.world;
        world.apply().code(0);
        let load = Load::start(&world.live_address(), 4, 50);
        world.message("v2");
        let mut run = world.start_apply();
        while world.journal_lines() < line || journals(world) < 2 {
            if run.try_wait().expect("it can be asked").is_some() {
                break;
            }
            std::thread::yield_now();
        }
        there.kill_connections();
        let said = finish(run);
        assert!(
            matches!(said.code, Some(0 | 1 | 3)),
            "killed at line {line}: {said:?}"
        );

        world.apply().code(0);
        assert_eq!(world.get(), "v2", "killed at line {line}");
        let seen = load.stop();
        assert!(
            seen.failures.is_empty(),
            "killed at line {line}: {:?}",
            seen.failures.first()
        );
        there.has_no_connection();
    }
}

#[test]
fn a_connection_that_dies_while_traffic_is_measured_is_no_failure_of_the_release() {
    if !sshd::is_there() {
        return;
    }
    let mut there = Elsewhere::new();
    // Long enough for a new connection, however busy the machine is.
    there.world.staging[0] = "promotion: {probe: {linger: 10s}}".to_owned();
    let world = &there.world;
    world.apply().code(0);
    let load = Load::start(&world.live_address(), 4, 50);
    world.message("v2");
    let mut run = world.start_apply();
    // The switch has been answered, and is being measured.
    let mut errors = said_until(&mut run, "green is active");
    there.kill_connections();
    let errors = errors.all();
    let said = Said {
        stderr: errors,
        ..finish(run)
    };
    // What it asks the agent next may be what finds that the connection has ended.
    let taken_back =
        [&said.stdout, &said.stderr].map(|text| text.contains("requests failed while"));
    assert_eq!(taken_back, [false, false], "{said:?}");
    assert_eq!(world.get(), "v2", "{said:?}");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    let seen = load.stop();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures.first());
    there.has_no_connection();
}

#[test]
fn a_socket_that_somebody_else_has_made_there_is_not_asked() {
    if !sshd::is_there() || !rustix::process::geteuid().is_root() {
        return;
    }
    let there = Elsewhere::without_agent();
    let folder = there.world.agent_folder();
    std::fs::create_dir_all(&folder).expect("a folder");
    let socket = folder.join("agent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::os::unix::fs::chown(&socket, Some(65534), None).expect("it is ours");
    let plan = there.world.run(&["plan", "--env", "staging"]);
    plan.code(1).says("agent.sock on ssh://").says("log in as");
    drop(std::fs::remove_file(&socket));
}

#[test]
fn a_connection_that_dies_while_a_release_starts_is_the_reason_that_is_given() {
    if !sshd::is_there() {
        return;
    }
    let mut there = Elsewhere::new();
    there.world.apply().code(0);
    // Long enough to be under way when the connection dies, however busy the machine is.
    let delay = ("START_DELAY_MS".to_owned(), "\"60000\"".to_owned());
    there.world.env.extend([delay]);
    let world = &there.world;
    let mut run = world.start_apply();
    // The agent says it in the call that waits.
    let mut errors = said_until(&mut run, "web starting");
    there.kill_connections();
    let said = errors.all();
    finish(run).code(1);
    assert!(said.contains("the connection was cut off"), "{said}");
    assert_eq!(world.get(), "v1");
    there.has_no_connection();
}

/// What a run prints as errors, and what of it has come.
struct Errors {
    from: ChildStderr,
    said: Vec<u8>,
}

impl Errors {
    /// All of it, when the run has ended.
    fn all(&mut self) -> String {
        self.from.read_to_end(&mut self.said).expect("it is read");
        String::from_utf8_lossy(&self.said).into_owned()
    }
}

/// Waits until a run has printed this.
fn said_until(run: &mut Child, text: &str) -> Errors {
    let from = run.stderr.take().expect("its errors");
    let mut errors = Errors {
        from,
        said: Vec::new(),
    };
    let mut piece = [0; 256];
    while !String::from_utf8_lossy(&errors.said).contains(text) {
        let count = errors.from.read(&mut piece).expect("it is read");
        let said = String::from_utf8_lossy(&errors.said);
        assert!(count > 0, "it has ended before `{text}`: {said}");
        errors.said.extend_from_slice(&piece[..count]);
    }
    errors
}

/// How many runs have a journal.
fn journals(world: &World) -> usize {
    std::fs::read_dir(world.file("state/staging/journal")).map_or(0, Iterator::count)
}

/// A command that follows the logs, and has had the first of them.
fn follow(there: &Elsewhere) -> Child {
    let mut follows = there.world.start(&["logs", "--env", "staging", "--follow"]);
    let output = follows.stdout.as_mut().expect("its output");
    output.read_exact(&mut [0]).expect("a line comes");
    follows
}

#[test]
fn a_shipit_that_is_killed_leaves_no_connection() {
    if !sshd::is_there() {
        return;
    }
    let there = Elsewhere::new();
    there.world.apply().code(0);
    let mut follows = follow(&there);
    follows.kill().expect("it runs");
    follows.wait().expect("it ends");
    there.has_no_connection();
}

#[test]
fn everybody_who_deploys_there_has_one_history() {
    if !sshd::is_there() {
        return;
    }
    let mut there = Elsewhere::new();
    there.world.staging.push("state: {kind: host}".to_owned());
    let world = &there.world;
    world.apply().code(0);
    assert_eq!(world.history(), [(1, "live".to_owned())]);
    assert!(!world.file("state/staging/state.json").exists());

    let other = world.file("elsewhere");
    for name in ["environments", "app"] {
        std::fs::create_dir_all(other.join(name)).expect("a folder");
        for file in names(&world.file(name)) {
            let from = world.file(name).join(&file);
            std::fs::copy(from, other.join(name).join(&file)).expect("copied");
        }
    }
    std::fs::copy(world.file("shipit.yaml"), other.join("shipit.yaml")).expect("copied");
    std::fs::write(other.join("app/message.txt"), "v2").expect("written");
    let applied = world
        .command(&["apply", "--env", "staging", "--auto-approve"])
        .current_dir(&other)
        .output()
        .expect("shipit starts");
    assert!(applied.status.success(), "{applied:?}");
    assert_eq!(world.get(), "v2");
    let expected = [(1, "superseded".to_owned()), (2, "live".to_owned())];
    assert_eq!(world.history(), expected);

    // What this folder has built the other one has not: the host has it.
    let rolled = world
        .command(&["rollback", "--env", "staging", "--auto-approve"])
        .current_dir(&other)
        .output()
        .expect("shipit starts");
    assert!(rolled.status.success(), "{rolled:?}");
    assert_eq!(world.get(), "v1");
    let applied = world
        .command(&["apply", "--env", "staging", "--auto-approve"])
        .current_dir(&other)
        .output();
    assert!(applied.expect("shipit starts").status.success());
    assert_eq!(world.get(), "v2");
}

#[test]
fn a_connection_without_a_sign_of_life_is_given_up() {
    if !sshd::is_there() {
        return;
    }
    let there = Elsewhere::new();
    there.world.apply().code(0);
    let follows = follow(&there);
    let sessions = there.sshd.sessions();
    for session in &sessions {
        signal(*session, Signal::STOP);
    }
    let said = finish(follows);
    for session in sessions {
        signal(session, Signal::CONT);
    }
    said.code(1)
        .says("the connection was cut off: Timeout, server");
    there.has_no_connection();
}

#[test]
fn an_agent_is_put_on_a_machine_and_replaced_while_its_services_run_on() {
    if !sshd::is_there() || !has("strip") {
        return;
    }
    let there = Elsewhere::without_agent();
    let world = &there.world;
    let program = world.file("program");
    let stripped = Command::new("strip")
        .arg("-o")
        .args([&program, &shipit()])
        .status();
    assert!(stripped.expect("it runs").success());
    let run = |words: &[&str], program: &std::path::Path| {
        let (at, folder) = (there.sshd.address(), world.agent_folder());
        let mut command = world.command(words);
        command.args(["--no-systemd", "--at", &at, "--agent-directory"]);
        command.arg(folder).arg("--ssh-identity");
        command.arg(there.sshd.identity()).arg("--ssh-known-hosts");
        command.arg(there.sshd.known_hosts()).arg("--program");
        Said::from(&command.arg(program).output().expect("shipit starts"))
    };

    let broken = world.file("broken");
    std::fs::write(
        &broken,
        "#!/bin/sh\necho 'GLIBC_2.99 not found' >&2; exit 1\n",
    )
    .expect("written");
    run(&["agent", "install"], &broken)
        .code(64)
        .says("the program does not run there: GLIBC_2.99 not found")
        .says("--program FILE");
    let installed = there.sshd.home().join(".local/bin/shipit");
    assert_eq!(
        names(installed.parent().expect("a folder")),
        Vec::<String>::new()
    );

    run(&["agent", "install"], &program)
        .code(0)
        .says("answers on ssh://");
    assert!(installed.exists());
    run(&["agent", "install"], &program)
        .code(0)
        .says("Nothing to do");
    world.apply().code(0);
    let pid = instance(world);

    run(&["agent", "upgrade"], &program)
        .code(0)
        .says("Nothing to do");
    let mut bytes = std::fs::read(&program).expect("read");
    bytes.push(0);
    std::fs::write(&program, bytes).expect("written");
    run(&["agent", "upgrade"], &program)
        .code(64)
        .says("For a moment nothing listens at")
        .says("--auto-approve");
    let before = world.agent_pid();
    run(&["agent", "upgrade", "--auto-approve"], &program).code(0);
    assert_ne!(world.agent_pid(), before);
    assert_eq!(instance(world), pid, "its service ran on");
    assert_eq!(world.get(), "v1");
    there.has_no_connection();
}

/// Ends the agent of a machine's user, with what it was put there with.
struct Cleared<'a>(&'a Machine);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let script = "~/.local/bin/shipit agent stop --services; \
                      systemctl --user disable --now shipit-agent.socket shipit-agent.service; \
                      rm -rf ~/.local/bin/shipit ~/.local/state/shipit ~/.config/systemd/user/shipit-*; \
                      systemctl --user daemon-reload";
        shell(self.0, script);
    }
}

#[test]
fn an_agent_of_systemd_is_put_on_a_machine_and_replaced_and_no_request_is_lost() {
    if !sshd::is_there() || !has("strip") {
        return;
    }
    let Some(machine) = machine("kim") else {
        return;
    };
    let mut world = World::shared_with(&machine);
    let sshd = Sshd::start_on(&machine, world.path());
    let _cleared = Cleared(&machine);
    let (at, identity, known) = (
        sshd.address(),
        sshd.identity().display().to_string(),
        sshd.known_hosts().display().to_string(),
    );
    world.staging.push(format!(
        "cluster: {{kind: host, at: \"{at}\", ssh: {{identity: {identity}, known_hosts: {known}}}}}"
    ));
    let program = world.file("program");
    let stripped = Command::new("strip")
        .arg("-o")
        .args([&program, &shipit()])
        .status();
    assert!(stripped.expect("it runs").success());
    let run = |words: &[&str]| {
        let mut command = world.command(words);
        command.args(["--at", &at, "--ssh-identity", &identity]);
        command.args(["--ssh-known-hosts", &known, "--program"]);
        Said::from(&command.arg(&program).output().expect("shipit starts"))
    };
    let change = || {
        let mut bytes = std::fs::read(&program).expect("read");
        bytes.push(0);
        std::fs::write(&program, bytes).expect("written");
    };

    run(&["agent", "install"]).code(0).says("answers on ssh://");
    world
        .run(&["doctor", "--env", "staging"])
        .says("the agent starts with ssh://");
    world.apply().code(0);
    let pid = instance(&world);

    // systemd does not have the listeners' sockets yet.
    change();
    run(&["agent", "upgrade"])
        .code(64)
        .says("yet; it does from then on");
    run(&["agent", "upgrade", "--auto-approve"]).code(0);
    assert_eq!((instance(&world), world.get()), (pid, "v1".to_owned()));

    change();
    let load = Load::start(&world.live_address(), 8, 100);
    run(&["agent", "upgrade"]).code(0).says("answers on ssh://");
    let seen = load.stop();
    seen.has_lost_none_of(0);
    assert_eq!((instance(&world), world.get()), (pid, "v1".to_owned()));
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn the_example_comes_to_another_machine_by_its_own_commands() {
    if !sshd::is_there() || !has("python3") {
        return;
    }
    let there = Elsewhere::new();
    let world = &there.world;
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/host-elsewhere");
    let example = world.file("example");
    for folder in ["", "app", "environments"] {
        std::fs::create_dir_all(example.join(folder)).expect("a folder");
        for name in names(&from.join(folder)) {
            if from.join(folder).join(&name).is_file() {
                let to = example.join(folder).join(&name);
                std::fs::copy(from.join(folder).join(&name), to).expect("copied");
            }
        }
    }
    let environment = example.join("environments/production.yaml");
    let text = std::fs::read_to_string(&environment).expect("text");
    let cluster = there.sshd.cluster(&world.agent_folder());
    let own = "cluster: {kind: host, at: \"ssh://deploy@10.0.0.5\"}";
    assert!(text.contains(own) && text.contains("address: 0.0.0.0"));
    let host = world.live_address();
    let host = host.split(':').next().expect("an address");
    let text = text.replace(own, &cluster).replace("0.0.0.0", host);
    std::fs::write(&environment, text).expect("written");

    let run = |words: &[&str]| {
        let mut command = world.command(words);
        let output = command.current_dir(&example).output();
        Said::from(&output.expect("shipit starts"))
    };
    run(&["apply", "--env", "production", "--auto-approve"]).code(0);
    assert!(world.get().contains("Hello from another machine"));
    let page = example.join("app/index.html");
    std::fs::write(page, "<h1>Hello again</h1>").expect("written");
    run(&["apply", "--env", "production", "--auto-approve"]).code(0);
    assert!(world.get().contains("Hello again"));
    run(&["rollback", "--env", "production", "--auto-approve"]).code(0);
    assert!(world.get().contains("Hello from another machine"));
}

fn instance(world: &World) -> u64 {
    let status = world.status();
    let instances = &status["facts"]["slots"]["blue"]["workloads"]["web"]["instances"];
    instances[0]["pid"].as_u64().expect("a process")
}
