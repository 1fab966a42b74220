//! nginx in front of the slots, and etcd for those who route by it: the real ones.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::http::{self, Load};
use crate::support::{World, free_port, has, is_written, tls, until};

/// A world whose live traffic nginx takes; none without nginx.
pub struct Front {
    pub world: World,
    nginx: Child,
}

impl Front {
    pub fn new() -> Option<Self> {
        if !has("nginx") {
            return None;
        }
        let mut world = World::new();
        let folder = world.path().join("nginx");
        std::fs::create_dir_all(&folder).expect("a folder");
        let at = folder.display().to_string();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = kinds
            .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
            .join(" ");
        let text = format!(
            "daemon off; worker_processes 2; pid {at}/pid; error_log {at}/error.log;\nevents {{ worker_connections 1024; }}\n\
             http {{ access_log off; {temporary} include {at}/*.site; }}\n"
        );
        world.put("nginx/nginx.conf", &text);
        let nginx = Command::new("nginx")
            .args([
                "-c",
                &format!("{at}/nginx.conf"),
                "-e",
                &format!("{at}/error.log"),
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        until("nginx runs", || is_written(&folder.join("pid")));
        let (live, blue, green) = (world.live_address(), free_port(), free_port());
        let address = live.split(':').next().expect("an address").to_owned();
        world.staging = vec![
            "promotion: {mode: auto, probe: {linger: 50ms}}".to_owned(),
            format!(
                "traffic: {{kind: nginx, address: {address}, listeners: {{web: {{live: 8080, preview: 8081, blue: {blue}, green: {green}}}}}, \
                 nginx: {{config: \"{at}/{{{{ service }}}}.site\", command: [nginx, -c, {at}/nginx.conf, -e, {at}/error.log]}}}}"
            ),
        ];
        Some(Self { world, nginx })
    }

    /// Puts this nginx in the place of the one that an example says.
    pub fn instead_of_the_machines(&self, production: &str) -> String {
        let address = self.world.live_address().replace(":8080", "");
        let (blue, green) = (free_port(), free_port());
        let at = self.world.path().join("nginx").display().to_string();
        production
            .replace("address: 0.0.0.0", &format!("address: {address}"))
            .replace(
                "live: 80, preview: 8091, blue: 9001, green: 9002",
                &format!("live: 8080, preview: 8081, blue: {blue}, green: {green}"),
            )
            .replace(
                "config: \"/etc/nginx/conf.d/{{ project }}-{{ service }}.conf\"",
                &format!(
                    "config: \"{at}/{{{{ service }}}}.site\", command: [nginx, -c, {at}/nginx.conf, -e, {at}/error.log]"
                ),
            )
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
        world
            .run(&["promote", slot, "--env", "staging", "--auto-approve"])
            .code(0);
        assert_eq!(world.get(), if slot == "blue" { "v1" } else { "v2" });
    }
    let seen = load.stop();
    // nginx closes idle kept connections when it is reloaded, and a request that is on its way then
    // is lost to whoever does not send it again, as this load. What is more than that would be ours.
    eprintln!(
        "20 promotions through nginx: {} of {} requests failed",
        seen.failures.len(),
        seen.requests
    );
    assert!(seen.requests > 500, "the load was on: {}", seen.requests);
    assert!(
        seen.failures.len() as u64 * 50 < seen.requests,
        "{:?}",
        seen.failures.iter().take(5).collect::<Vec<_>>()
    );
    world
        .run(&["destroy", "--env", "staging", "--auto-approve"])
        .code(0);
    assert!(!front.site().exists(), "the file went with the listeners");
}

#[test]
fn a_configuration_that_nginx_refuses_changes_nothing() {
    let Some(mut front) = Front::new() else {
        return;
    };
    front.world.apply().code(0);
    let before = std::fs::read_to_string(front.site()).expect("a file");
    front.world.put(
        "broken.conf",
        "server { listen {{ listen }}; no_such_directive {{ slot }}; }\n",
    );
    let broken =
        front.world.staging[1].replace("nginx: {config", "nginx: {template: broken.conf, config");
    let good = std::mem::replace(&mut front.world.staging[1], broken);
    front.world.apply().code(1).says("no_such_directive");
    assert_eq!(
        std::fs::read_to_string(front.site()).expect("a file"),
        before
    );
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
    world
        .run(&["promote", "blue", "--env", "staging", "--auto-approve"])
        .code(0);
    let right = std::fs::read_to_string(front.site()).expect("a file");
    assert_ne!(live, right);
    // The agent dies after nginx was led to green, and before that was recorded.
    let pid = world.agent_pid().expect("an agent").to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid])
            .status()
            .expect("kill starts")
            .success()
    );
    std::fs::write(front.site(), live).expect("written");
    world.run(&["status", "--env", "staging"]).code(0);
    assert_eq!(
        std::fs::read_to_string(front.site()).expect("a file"),
        right
    );
    until("nginx leads where the record says", || world.get() == "v1");
}

#[test]
fn nginx_tells_a_service_what_the_embedded_router_would() {
    let Some(mut front) = Front::new() else {
        return;
    };
    front.world.apply().code(0);
    let live = front.world.live_address();
    let claims = "host: shop.test\r\nx-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\nx-real-ip: 9.9.9.9\r\n\
                  forwarded: for=9.9.9.9\r\ntrue-client-ip: 9.9.9.9\r\nx_forwarded_for: 9.9.9.9\r\n\
                  x-original-url: /9.9.9.9\r\nssl-client-verify: 9.9.9.9\r\nupgrade: h2c\r\n";
    let told = http::get_with(&live, "/headers", claims).expect("an answer");
    assert_eq!(told.status, 200, "{}", told.body);
    assert!(!told.body.contains("9.9.9.9"), "{}", told.body);
    assert!(!told.body.contains("h2c"), "{}", told.body);
    assert!(
        told.body.contains("x-forwarded-proto: http\n"),
        "{}",
        told.body
    );

    // Where the slot is told, the agent alone knows.
    assert_eq!(
        http::get(&live, "/.shipit/slot").expect("an answer").status,
        404
    );

    let trusting = front.world.staging[1].replace(
        "{kind: nginx",
        "{kind: nginx, trusted_proxies: [127.0.0.0/8]",
    );
    front.world.staging[1] = trusting.replace(
        "nginx: {config",
        "nginx: {server_names: [shop.test], config",
    );
    front.world.apply().code(0);
    until("nginx trusts this machine", || {
        let told = http::get_with(&live, "/headers", claims).expect("an answer");
        told.body.contains("x-forwarded-for: 9.9.9.9, 127.")
    });
    let told = http::get_with(&live, "/headers", claims).expect("an answer");
    assert!(
        told.body.contains("x-forwarded-proto: https\n"),
        "{}",
        told.body
    );
    assert!(told.body.contains("x-real-ip: 9.9.9.9\n"), "{}", told.body);
    assert!(!told.body.contains("true-client-ip"), "{}", told.body);
    let other = http::get_with(&live, "/headers", "host: other.test\r\n").expect("an answer");
    assert_eq!(other.status, 421);
}

/// An etcd of one member.
pub struct Etcd {
    process: Child,
    pub url: String,
    curl: Vec<String>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Etcd {
    pub fn start(world: &World, tls: Option<&tls::Certificate>) -> Self {
        let (client, peer) = (free_port(), free_port());
        let url = format!(
            "{}://127.0.0.1:{client}",
            if tls.is_some() { "https" } else { "http" }
        );
        let peer = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new("etcd");
        command
            .args([
                "--data-dir",
                &world.path().join("etcd").display().to_string(),
            ])
            .args(["--unsafe-no-fsync", "--log-level", "error"])
            .args([
                "--listen-client-urls",
                &url,
                "--advertise-client-urls",
                &url,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut curl = vec!["--silent".to_owned(), "--show-error".to_owned()];
        if let Some(tls) = tls {
            command
                .arg("--cert-file")
                .arg(&tls.chain)
                .arg("--key-file")
                .arg(&tls.key);
            curl.extend(["--cacert".to_owned(), tls.authority.display().to_string()]);
        }
        let etcd = Self {
            process: command.spawn().expect("etcd starts"),
            url,
            curl,
        };
        until("etcd answers", || etcd.ask("/health", None, "{}").is_some());
        etcd
    }

    /// What a request to its gateway is answered with.
    fn ask(&self, path: &str, token: Option<&str>, body: &str) -> Option<serde_json::Value> {
        let mut curl = Command::new("curl");
        curl.args(&self.curl);
        if path != "/health" {
            curl.args(["--data", body]);
        }
        if let Some(token) = token {
            curl.args(["--header", &format!("authorization: {token}")]);
        }
        let output = curl
            .arg(format!("{}{path}", self.url))
            .output()
            .expect("curl starts");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The value of `/shop/live`.
    pub fn live(&self, token: Option<&str>) -> Option<String> {
        let answer = self.ask("/v3/kv/range", token, r#"{"key": "L3Nob3AvbGl2ZQ=="}"#)?;
        let word = match answer["kvs"][0]["value"].as_str()? {
            "Ymx1ZQ==" => "blue",
            "Z3JlZW4=" => "green",
            "b2Zm" => "off",
            other => other,
        };
        Some(word.to_owned())
    }
}

/// What `traffic.publish` says besides the members.
fn publish(front: &mut Front, etcd: &Etcd, more: &str) {
    let line = front.world.staging[1]
        .split(", publish:")
        .next()
        .expect("a line")
        .trim_end_matches('}')
        .to_owned();
    let key = "key: \"/{{ project }}/live\"";
    // One brace for nginx, one for traffic, as it was.
    front.world.staging[1] = format!(
        "{line}}}, publish: {{etcd: [\"{}\"], {key}{more}}}}}",
        etcd.url
    );
}

#[test]
fn etcd_is_told_which_slot_is_live() {
    let Some(mut front) = Front::new() else {
        return;
    };
    if !has("etcd") {
        return;
    }
    let mut etcd = Etcd::start(&front.world, None);
    publish(&mut front, &etcd, "");
    front.world.apply().code(0);
    assert_eq!(etcd.live(None).as_deref(), Some("blue"));
    front.world.message("v2");
    front.world.apply().code(0);
    assert_eq!(etcd.live(None).as_deref(), Some("green"));
    // Those who route by the key would go on as before: then so does everybody else.
    let _ = etcd.process.kill();
    let _ = etcd.process.wait();
    front
        .world
        .run(&["promote", "blue", "--env", "staging", "--auto-approve"])
        .code(3)
        .says("could not be written");
    until("nginx leads where it did", || front.world.get() == "v2");
}

#[test]
fn what_somebody_changed_in_front_is_drift_and_the_next_apply_puts_it_right() {
    let Some(mut front) = Front::new() else {
        return;
    };
    if !has("etcd") {
        return;
    }
    let mut etcd = Etcd::start(&front.world, None);
    publish(&mut front, &etcd, "");
    let world = &front.world;
    world.apply().code(0);
    world
        .run(&["drift", "staging"])
        .code(0)
        .says("Nothing moved");

    // A line of nginx's file, and the key.
    let ours = std::fs::read_to_string(front.site()).expect("the file");
    std::fs::write(front.site(), format!("# kim was here\n{ours}")).expect("written");
    etcd.ask(
        "/v3/kv/put",
        None,
        r#"{"key": "L3Nob3AvbGl2ZQ==", "value": "Z3JlZW4="}"#,
    );
    assert_eq!(etcd.live(None).as_deref(), Some("green"));
    let said = world.run(&["drift", "staging", "--output", "json"]).code(2);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let moved = document["moved"].as_array().expect("a list");
    assert_eq!(moved.len(), 1, "{document:#}");
    assert_eq!(moved[0]["address"], "route.web");
    let fields = moved[0]["fields"].as_array().expect("a list");
    assert_eq!(fields.len(), 2, "{document:#}");
    assert_eq!(fields[0]["field"], front.site().display().to_string());
    assert_eq!(fields[0]["is"], "another text from line 1 on");
    assert!(fields[0]["at"].is_string(), "{document:#}");
    assert_eq!(
        (&fields[1]["field"], &fields[1]["was"], &fields[1]["is"]),
        (&"/shop/live".into(), &"blue".into(), &"green".into())
    );
    assert!(!said.stdout.contains("kim was here"), "no text of the file");
    let refresh = ["plan", "--refresh-only", "--env", "staging"];
    world.run(&refresh).code(0).says("/shop/live");

    world
        .run(&["plan", "--env", "staging", "--detailed-exitcode"])
        .code(2)
        .says("as shipit wrote it");
    world.apply().code(0);
    assert_eq!(
        std::fs::read_to_string(front.site()).expect("the file"),
        ours
    );
    assert_eq!(etcd.live(None).as_deref(), Some("blue"));
    world
        .run(&["drift", "staging"])
        .code(0)
        .says("Nothing moved");

    // A file that is gone, too; and what cannot be asked is not said to be as it was.
    std::fs::remove_file(front.site()).expect("removed");
    world.run(&["drift", "staging"]).code(2).says("web.site");
    world.apply().code(0);
    assert_eq!(world.get(), "v1");
    let _ = etcd.process.kill();
    let _ = etcd.process.wait();
    world
        .run(&["drift", "staging"])
        .code(1)
        .says("/shop/live could not be read")
        .says_not("moved");
    world.run(&["status", "--env", "staging"]).code(0);
}

#[test]
fn an_etcd_with_tls_asks_for_a_user_and_a_password() {
    let Some(mut front) = Front::new() else {
        return;
    };
    if !has("etcd") || !has("openssl") {
        return;
    }
    let certificate = tls::certificate(&front.world);
    let etcd = Etcd::start(&front.world, Some(&certificate));
    // The user may write the key and nothing else.
    let calls = [
        ("user/add", r#"{"name": "root", "password": "r00t"}"#),
        ("user/grant", r#"{"user": "root", "role": "root"}"#),
        ("role/add", r#"{"name": "live"}"#),
        (
            "role/grant",
            r#"{"name": "live", "perm": {"permType": "WRITE", "key": "L3Nob3AvbGl2ZQ=="}}"#,
        ),
        ("user/add", r#"{"name": "shipit", "password": "letmein"}"#),
        ("user/grant", r#"{"user": "shipit", "role": "live"}"#),
        ("enable", "{}"),
    ];
    for (call, body) in calls {
        let answer = etcd
            .ask(&format!("/v3/auth/{call}"), None, body)
            .expect("an answer");
        assert!(answer["error"].is_null(), "{call}: {answer}");
    }
    let root = etcd.ask(
        "/v3/auth/authenticate",
        None,
        r#"{"name": "root", "password": "r00t"}"#,
    );
    let root = root.expect("an answer")["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    front.world.put("etcd-password", "wrong\n");
    let file = front.world.file("etcd-password");
    let login = format!(
        ", ca: {}, user: shipit, password_file: {}",
        certificate.authority.display(),
        file.display()
    );
    publish(&mut front, &etcd, &login);
    front
        .world
        .apply()
        .code(1)
        .says("/shop/live could not be written")
        .says("authentication failed");
    front.world.put("etcd-password", "letmein\n");
    front.world.apply().code(0);
    assert_eq!(etcd.live(Some(&root)).as_deref(), Some("blue"));
    // Without the authority it is nobody's certificate.
    publish(&mut front, &etcd, &login.replace("ca: /", "ca: /no/"));
    front.world.message("v2");
    front
        .world
        .apply()
        .code(1)
        .says("/shop/live could not be written")
        .says("No such file");
    let mut grep = Command::new("grep");
    grep.args(["-rl", "--exclude-dir=etcd", "letmein"])
        .arg(front.world.path());
    let found = grep.output().expect("grep starts").stdout;
    assert_eq!(
        String::from_utf8_lossy(&found).trim(),
        file.display().to_string(),
        "only the file has it"
    );
}
