//! What a process of a service has from whoever started it, and what it has not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Said, World, http, is_root, shipit, signal, until};

/// Applies from a shell that did something first.
pub fn apply_after(world: &World, first: &str) -> Said {
    let run = world.command(&["apply", "--env", "staging", "--auto-approve"]);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("{first}\nexec \"$0\" \"$@\"")])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(world.path())
        .stdin(Stdio::null());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Said::from(&shell.output().expect("a shell starts"))
}

/// The soft and the hard limit of open files in `/proc/PID/limits`.
fn open_files(limits: &str) -> (String, String) {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a limit");
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().expect("soft"), words.next().expect("hard"))
}

fn agents(world: &World, file: &str) -> String {
    let pid = world.agent_pid().expect("an agent runs");
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs")
}

#[test]
fn the_agent_takes_all_the_files_it_may_have_and_services_what_it_was_started_with() {
    let world = World::new();
    apply_after(&world, "ulimit -Sn 256").code(0);
    let limits = agents(&world, "limits");
    let (soft, hard) = open_files(&limits);
    assert_eq!(soft, hard);
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let core = core.expect("a limit").split_whitespace().next();
    assert_eq!(core, Some("0"), "no dump has the values of secrets");
    let (service, _) = open_files(&world.get_path("/file?/proc/self/limits"));
    assert_eq!(service, "256");
}

fn agents_log(world: &World) -> String {
    fs::read_to_string(world.agent_folder().join("agent.log")).unwrap_or_default()
}

#[test]
fn a_limit_of_file_sizes_ends_no_agent_and_bounds_its_logs() {
    let world = World::new();
    apply_after(&world, "ulimit -f 64").code(0);
    let before = world.agent_pid().expect("an agent runs");
    // Of one client a quarter of a file is logged, and no file is larger than the limit.
    for _ in 0..400 {
        assert_eq!(world.get(), "v1");
    }
    let log = world.agent_folder().join("access.log");
    until("requests are logged", || {
        fs::metadata(&log).is_ok_and(|meta| meta.len() > 8 << 10)
    });
    assert!(fs::metadata(&log).expect("a log").len() <= 64 << 10);
    assert_eq!(world.agent_pid(), Some(before));
}

#[test]
fn a_signal_that_means_nothing_to_the_agent_is_noted_and_one_to_quit_is_a_clean_stop() {
    let world = World::live();
    let pid = world.agent_pid().expect("an agent runs");
    for (sent, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::ALARM, "SIGALRM"),
    ] {
        signal(pid, sent);
        until("it is noted", || agents_log(&world).contains(name));
        assert_eq!(world.get(), "v1");
    }
    signal(pid, Signal::QUIT);
    until("it has stopped", || {
        agents_log(&world).contains("the agent has stopped")
    });
    // The next agent takes the services back, and ends them with itself.
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
}

#[test]
fn clients_that_take_all_the_files_there_are_end_no_service() {
    let mut world = World::new();
    let health = "{path: /healthz, interval: 50ms, failures: 2, start_within: 20s, \
                  liveness: {interval: 50ms, timeout: 5s, failures: 2}}";
    world.service.insert("health".to_owned(), health.to_owned());
    apply_after(&world, "ulimit -n 256").code(0);
    let instance =
        || world.status()["facts"]["slots"]["blue"]["workloads"]["web"]["instances"][0].clone();
    let before = instance();

    let begun: Vec<TcpStream> = (0..600)
        .filter_map(|_| {
            let mut client = TcpStream::connect(world.live_address()).ok()?;
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").ok()?;
            Some(client)
        })
        .collect();
    // Each look takes as long as a few probes.
    for _ in 0..20 {
        let now = instance();
        assert_eq!(now["health"], "ready", "{now}");
        assert_eq!(
            (&now["pid"], &now["restarts"]),
            (&before["pid"], &before["restarts"]),
            "{now}"
        );
    }

    drop(begun);
    until("clients are served again", || {
        http::get(&world.live_address(), "/").is_ok_and(|answer| answer.body == "v1")
    });
}

#[test]
fn what_a_caller_had_open_is_held_by_nobody_after_it() {
    let world = World::new();
    apply_after(
        &world,
        "exec 9>deploy.lock 8<deploy.lock; mkfifo pipe; exec 7<>pipe",
    )
    .code(0);
    let pid = world.agent_pid().expect("an agent runs");
    let agents: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let agents = agents.join("\n");
    let services = world.get_path("/descriptors");
    for open in [&agents, &services] {
        assert!(
            !open.contains("deploy.lock") && open.lines().all(|open| !open.ends_with("/pipe")),
            "{open}"
        );
    }
    let own = |open: &&str| open.contains(&world.agent_folder().display().to_string());
    let own: Vec<&str> = services.lines().filter(own).collect();
    assert!(
        own.iter().all(|open| open.ends_with("web.0.log")),
        "{services}"
    );
}

#[test]
fn a_service_starts_calm_whatever_its_agent_was_started_from() {
    let world = World::new();
    apply_after(
        &world,
        "trap '' INT HUP QUIT; umask 000; echo 500 >/proc/self/oom_score_adj",
    )
    .code(0);
    let status = world.get_path("/file?/proc/self/status");
    let has = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a line").trim().to_owned()
    };
    assert_eq!(has("Umask:"), "0022");
    let ignored = u64::from_str_radix(&has("SigIgn:"), 16).expect("a mask");
    assert_eq!(ignored & 0b111, 0, "HUP, INT and QUIT are heard");
    let agents = agents(&world, "status");
    assert!(agents.contains("Umask:\t0077"), "{agents}");
}

/// A launcher, as an agent starts it.
fn launcher() -> (std::process::Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let child = Command::new(shipit())
        .args(["agent", "launch"])
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()
        .expect("shipit starts");
    (child, ours)
}

fn start(arguments: &[&str]) -> Vec<u8> {
    let limit = serde_json::json!([1024, 4096]);
    let start = serde_json::json!({
        "program": "/bin/sh", "arguments": arguments, "workdir": "/", "env": {}, "user": null,
        "limits": {"files": limit, "core": [0, null]}, "socket": "none",
    });
    serde_json::to_vec(&start).expect("a document")
}

#[test]
fn a_launcher_whose_agent_dies_starts_nothing() {
    let whole = start(&["-c", "echo started"]);
    for sent in [0, 1, whole.len() / 2, whole.len() - 1] {
        let (child, mut agent) = launcher();
        agent.write_all(&whole[..sent]).expect("it waits");
        drop(agent);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            output.status.code(),
            Some(126),
            "{sent} bytes of {}",
            whole.len()
        );
        assert!(output.stdout.is_empty(), "{sent} bytes of {}", whole.len());
    }
}

#[test]
fn a_launcher_becomes_what_it_is_told_to_and_says_why_when_it_cannot() {
    let (child, mut agent) = launcher();
    agent
        .write_all(&start(&["-c", "echo pid $$"]))
        .expect("it waits");
    agent
        .shutdown(std::net::Shutdown::Write)
        .expect("it is there");
    let mut said = String::new();
    agent.read_to_string(&mut said).expect("it speaks");
    assert_eq!(said, "", "nothing is said when it runs");
    let pid = child.id();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("pid {pid}\n")
    );

    let (mut child, mut agent) = launcher();
    let wrong = String::from_utf8(start(&[])).expect("text");
    agent
        .write_all(wrong.replace("/bin/sh", "/no/such").as_bytes())
        .expect("it waits");
    agent
        .shutdown(std::net::Shutdown::Write)
        .expect("it is there");
    let mut said = String::new();
    agent.read_to_string(&mut said).expect("it speaks");
    assert_eq!(said, "{\"number\":2}");
    child.wait().expect("it ends");
}

#[test]
fn a_service_of_root_s_agent_runs_as_its_images_user_and_is_at_home_there() {
    if !is_root() {
        return;
    }
    let mut world = World::new();
    world.build.push("user: \"65532\"".to_owned());
    world.apply().code(0).says_not("runs as root");
    assert_eq!(world.get(), "v1");
    let status = world.get_path("/file?/proc/self/status");
    assert!(
        status.contains("Uid:\t65532\t65532\t65532\t65532"),
        "{status}"
    );
    assert_eq!(world.get_path("/env?HOME"), "/");
    let agent = world.agent_folder();
    for private in ["agent.log", "environments/shop/staging/record.json"] {
        let path = agent.join(private).display().to_string();
        let read = world.get_path(&format!("/file?{path}"));
        assert!(read.contains("Permission denied"), "{private}: {read}");
    }
}

#[test]
fn a_plan_says_which_services_would_run_as_root() {
    if !is_root() {
        return;
    }
    World::new()
        .run(&["plan", "--env", "staging"])
        .code(0)
        .says("web runs as root");
}

#[test]
fn to_look_at_nothing_starts_no_agent() {
    let world = World::new();
    world.run(&["status", "--env", "staging"]).code(0);
    world.run(&["plan", "--env", "staging"]).code(0);
    world.run(&["logs", "--env", "staging"]);
    assert!(!world.agent_folder().exists(), "not even its folder");
    assert_eq!(world.agent_pid(), None);
}

#[test]
fn a_folder_that_others_may_write_in_is_no_agents() {
    let world = World::new();
    fs::create_dir(world.agent_folder()).expect("made");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(world.agent_folder(), open).expect("its mode");
    world
        .apply()
        .code(1)
        .says("can be written by others")
        .says("chmod go-w");
    let closed = fs::Permissions::from_mode(0o755);
    fs::set_permissions(world.agent_folder(), closed).expect("its mode");
    world.apply().code(0);
}

#[test]
fn an_agent_whose_folder_is_deleted_ends_with_its_services() {
    let world = World::live();
    let agent = world.agent_pid().expect("it runs");
    fs::remove_dir_all(world.agent_folder()).ok();
    until("the agent is gone", || {
        !Path::new(&format!("/proc/{agent}")).exists()
    });
    assert!(http::get(&world.live_address(), "/").is_err());
    world.apply().code(0);
    assert_eq!(world.get(), "v1", "nobody has its addresses any more");
}

#[test]
fn a_long_name_of_a_folder_is_no_reason_to_fail() {
    let world = World::new();
    let long = world.path().join("a".repeat(120));
    let command = |arguments: &[&str]| {
        let output = world
            .command(arguments)
            .env("SHIPIT_AGENT_DIR", &long)
            .output();
        Said::from(&output.expect("shipit starts"))
    };
    command(&["apply", "--env", "staging", "--auto-approve"]).code(0);
    assert_eq!(world.get(), "v1");
    command(&["agent", "stop", "--services"]).code(0);
}

/// A user that is neither root nor anybody who runs services here.
fn as_nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    command
}

#[test]
fn a_client_of_another_user_is_turned_away_whatever_the_mode_of_the_socket() {
    if !is_root() {
        return;
    }
    let world = World::live();
    let folder = world.agent_folder();
    let socket = folder.join("agent.sock");
    for (path, mode) in [(&folder, 0o711), (&socket, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let answer = as_nobody("curl")
        .args([
            "--silent",
            "--max-time",
            "10",
            "--http2-prior-knowledge",
            "--unix-socket",
        ])
        .arg(&socket)
        .arg("http://agent/shipit.agent.v1.Agent/Info")
        .output()
        .expect("it starts");
    assert!(!answer.status.success(), "{answer:?}");
    until("it is told", || {
        let log = fs::read_to_string(folder.join("agent.log")).unwrap_or_default();
        log.contains("a client was turned away") && log.contains("65534")
    });
    world.run(&["status", "--env", "staging"]).code(0);
}

#[test]
fn a_socket_that_another_user_holds_is_no_agent() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let machine = tempfile::tempdir().expect("a folder");
    fs::set_permissions(machine.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
    let socket = machine.path().join("s");
    let listens = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Local => $ARGV[0], \
                   Listen => 9) or die; 1 while $s->accept()";
    let mut held = as_nobody("perl")
        .args(["-e", listens])
        .arg(&socket)
        .spawn()
        .expect("it starts");
    until("it listens", || {
        socket.exists() && UnixStream::connect(&socket).is_ok()
    });

    let folder = world.agent_folder();
    fs::create_dir_all(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("a mode");
    // By another name for the same socket.
    fs::rename(&socket, folder.join("agent.sock")).expect("the folders are on one disk");
    let said = world.run(&["agent", "status"]);
    let _ = held.kill();
    let _ = held.wait();
    assert_ne!(said.code, Some(0), "{}", said.stdout);
    said.says("held by user 65534");
}

#[test]
fn a_callers_umask_opens_no_file_of_the_agents() {
    let world = World::new();
    apply_after(&world, "umask 000").code(0);
    let folder = world.agent_folder();
    let mut open = Vec::new();
    for entry in fs::read_dir(&folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (name, meta) = (entry.file_name(), entry.metadata().expect("it is there"));
        // Services of any user read their images.
        let is_read_by_all = ["rootfs", "files"].iter().any(|all| name == *all);
        if !is_read_by_all && meta.permissions().mode() & 0o077 != 0 {
            open.push((name, meta.permissions().mode() & 0o777));
        }
    }
    assert_eq!(open, []);
    let mode = fs::metadata(&folder).expect("there").permissions().mode();
    assert_eq!(mode & 0o066, 0, "{mode:o}");
}
