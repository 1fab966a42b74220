//! nginx in front of the slots, and etcd for those who route by it: the real ones.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::http::Load;
use crate::support::{PATIENCE, World};

/// A world whose live traffic nginx takes; none without nginx.
struct Front {
    world: World,
    nginx: Child,
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("SHIPIT_TEST_REAL").is_none(), "{program} is not there");
    if !found {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: {program} is not there");
        }
    }
    found
}

/// A port that nobody has now.
fn free() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

impl Front {
    fn new() -> Option<Self> {
        if !is_there("nginx") {
            return None;
        }
        let mut world = World::new();
        let folder = world.path().join("nginx");
        std::fs::create_dir_all(&folder).expect("a folder");
        let at = folder.display().to_string();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = kinds.map(|kind| format!("{kind}_temp_path {at}/{kind};")).join(" ");
        let text = format!(
            "daemon off; worker_processes 2; pid {at}/pid; error_log {at}/error.log;\nevents {{ worker_connections 1024; }}\n\
             http {{ access_log off; {temporary} include {at}/*.site; }}\n"
        );
        world.put("nginx/nginx.conf", &text);
        let nginx = Command::new("nginx")
            .args(["-c", &format!("{at}/nginx.conf"), "-e", &format!("{at}/error.log")])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        until("nginx runs", || folder.join("pid").exists());
        let (live, blue, green) = (world.live_address(), free(), free());
        let address = live.split(':').next().expect("an address").to_owned();
        world.staging = vec![
            // What nginx loses by itself is counted here, and is no reason to go back.
            "promotion: {mode: auto, probe: {rate: 0, linger: 50ms}}".to_owned(),
            format!(
                "traffic: {{kind: nginx, address: {address}, listeners: {{web: {{live: 8080, preview: 8081, blue: {blue}, green: {green}}}}}, \
                 nginx: {{config: \"{at}/{{{{ service }}}}.site\", command: [nginx, -c, {at}/nginx.conf, -e, {at}/error.log]}}}}"
            ),
        ];
        Some(Self { world, nginx })
    }

    fn site(&self) -> PathBuf {
        self.world.path().join("nginx/web.site")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.world.path().join("nginx/pid")) {
            let _ = Command::new("kill").args(["-QUIT", pid.trim()]).status();
        }
        let _ = self.nginx.wait();
    }
}

#[test]
fn promotions_through_nginx_under_load() {
    let Some(front) = Front::new() else { return };
    let world = &front.world;
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    world.message("v2");
    world.apply().code(0);
    assert_eq!(world.get(), "v2");
    let load = Load::start(&world.live_address(), 16, 500);
    for turn in 0..20 {
        let slot = if turn % 2 == 0 { "blue" } else { "green" };
        world.run(&["promote", slot, "--env", "staging", "--auto-approve"]).code(0);
        assert_eq!(world.get(), if slot == "blue" { "v1" } else { "v2" });
    }
    let seen = load.stop();
    // nginx closes idle kept connections when it is reloaded, and a request that is on its way then is lost: that is
    // nginx's own. What is more than that would be ours.
    eprintln!("20 promotions through nginx: {} of {} requests failed", seen.failures.len(), seen.requests);
    assert!(seen.requests > 500, "the load was on: {}", seen.requests);
    assert!(
        seen.failures.len() as u64 * 50 < seen.requests,
        "{:?}",
        seen.failures.iter().take(5).collect::<Vec<_>>()
    );
    world.run(&["destroy", "--env", "staging", "--auto-approve"]).code(0);
    assert!(!front.site().exists(), "the file went with the listeners");
}

#[test]
fn a_configuration_that_nginx_refuses_changes_nothing() {
    let Some(mut front) = Front::new() else { return };
    front.world.apply().code(0);
    let before = std::fs::read_to_string(front.site()).expect("a file");
    front.world.put("broken.conf", "server { listen {{ listen }}; no_such_directive {{ slot }}; }\n");
    let broken = front.world.staging[1].replace("nginx: {config", "nginx: {template: broken.conf, config");
    let good = std::mem::replace(&mut front.world.staging[1], broken);
    front.world.apply().code(1).says("no_such_directive");
    assert_eq!(std::fs::read_to_string(front.site()).expect("a file"), before);
    assert_eq!(front.world.get(), "v1");
    // A template of one's own that nginx takes.
    front.world.put("own.conf", "server { listen {{ listen }}; location / { {% if upstream %}proxy_pass http://{{ upstream }};{% endif %} } }\n");
    front.world.staging[1] = good.replace("nginx: {config", "nginx: {template: own.conf, config");
    front.world.apply().code(0);
    until("nginx has it", || front.world.get() == "v1");
}

#[test]
fn what_a_killed_agent_left_half_done_is_put_right_by_the_next() {
    let Some(front) = Front::new() else { return };
    let world = &front.world;
    world.apply().code(0);
    world.message("v2");
    world.apply().code(0);
    let live = std::fs::read_to_string(front.site()).expect("a file");
    world.run(&["promote", "blue", "--env", "staging", "--auto-approve"]).code(0);
    let right = std::fs::read_to_string(front.site()).expect("a file");
    assert_ne!(live, right);
    // The agent dies after nginx was led to green, and before that was written down.
    let pid = world.agent_pid().expect("an agent").to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill starts").success());
    std::fs::write(front.site(), live).expect("written");
    world.run(&["status", "--env", "staging"]).code(0);
    assert_eq!(std::fs::read_to_string(front.site()).expect("a file"), right);
    until("nginx leads where the record says", || world.get() == "v1");
}

#[test]
fn etcd_is_told_which_slot_is_live() {
    let Some(mut front) = Front::new() else { return };
    if !is_there("etcd") {
        return;
    }
    let (client, peer) = (free(), free());
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    let data = front.world.path().join("etcd");
    let mut etcd = Command::new("etcd")
        .args(["--data-dir", &data.display().to_string(), "--unsafe-no-fsync", "--log-level", "error"])
        .args(["--listen-client-urls", &at(client), "--advertise-client-urls", &at(client)])
        .args(["--listen-peer-urls", &at(peer), "--initial-advertise-peer-urls", &at(peer)])
        .args(["--initial-cluster", &format!("default={}", at(peer))])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd starts");
    let publish = format!(", publish: {{etcd: [\"{}\"], key: \"/{{{{ project }}}}/live\"}}}}", at(client));
    let line = front.world.staging[1].strip_suffix('}').expect("a map").to_owned();
    front.world.staging[1] = line + &publish;
    let key = || -> Option<String> {
        // `/shop/live`
        let body = r#"{"key": "L3Nob3AvbGl2ZQ=="}"#;
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--data", body, &format!("{}/v3/kv/range", at(client))])
            .output()
            .expect("curl starts");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let value = answer["kvs"][0]["value"].as_str()?;
        match value {
            "Ymx1ZQ==" => Some("blue".to_owned()),
            "Z3JlZW4=" => Some("green".to_owned()),
            "b2Zm" => Some("off".to_owned()),
            other => Some(other.to_owned()),
        }
    };
    front.world.apply().code(0);
    assert_eq!(key().as_deref(), Some("blue"));
    front.world.message("v2");
    front.world.apply().code(0);
    assert_eq!(key().as_deref(), Some("green"));
    // Those who route by the key would go on as before: then so does everybody else.
    let _ = etcd.kill();
    let _ = etcd.wait();
    front
        .world
        .run(&["promote", "blue", "--env", "staging", "--auto-approve"])
        .code(3)
        .says("could not be written");
    until("nginx leads where it did", || front.world.get() == "v2");
}
