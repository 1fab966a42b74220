//! The pages in a real Chromium, driven by its own driver: somebody signs in, watches a job, and
//! has it run again; what strangers wrote runs nowhere; and all of it works without a script.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::dashboard::{held_up, token, with_pages};
use crate::serve::{Server, signed};
use crate::support::{PATIENCE, free_port, has, until};

/// What a stranger writes wherever there is room.
const PAYLOAD: &str = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>";

/// A browser with one window.
struct Chromium {
    driver: Child,
    port: u16,
    session: String,
    server: String,
    _folder: tempfile::TempDir,
}

impl Chromium {
    fn open(server: &Server) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("TMPDIR", folder.path())
            .env("HOME", folder.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            server: server.address(),
            _folder: folder,
        };
        until("the driver answers", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            "unhandledPromptBehavior": "ignore"
        }}});
        let made = browser.ask("POST", "/session", &wanted);
        let session = made["sessionId"].as_str();
        session
            .unwrap_or_else(|| panic!("{made}"))
            .clone_into(&mut browser.session);
        browser
    }

    /// What the driver answers. It closes a connection without a word now and then, while a page
    /// goes away.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut asked = (0..3).filter_map(|_| self.ask_once(method, path, body));
        asked.next().expect("the driver answers")
    }

    fn ask_once(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let body = if method == "GET" || method == "DELETE" {
            String::new()
        } else {
            body.to_string()
        };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the driver");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .expect("sent");
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if answer.read_line(&mut line).expect("a head") == 0 {
                return None;
            }
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        // The driver keeps the connection, whatever it is told.
        let mut body = vec![0; length];
        answer.read_exact(&mut body).expect("a body");
        let mut answer: Value = serde_json::from_slice(&body).expect("JSON");
        Some(answer["value"].take())
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    fn go(&self, path: &str) {
        let said = self.call(
            "/url",
            &json!({"url": format!("http://{}{path}", self.server)}),
        );
        assert!(said.is_null(), "{said}");
    }

    /// What a line of script gives, run from outside of the page.
    fn value(&self, script: &str) -> Value {
        let script = format!("return {script}");
        self.call("/execute/sync", &json!({"script": script, "args": []}))
    }

    fn element(&self, selector: &str) -> String {
        let found = self.call(
            "/element",
            &json!({"using": "css selector", "value": selector}),
        );
        let id = found
            .as_object()
            .and_then(|found| found.values().next()?.as_str());
        id.unwrap_or_else(|| panic!("{selector}: {found}"))
            .to_owned()
    }

    /// Clicks an element; once more where the page has renewed itself in between.
    fn click(&self, selector: &str) {
        until("it is clicked", || {
            let path = format!("/element/{}/click", self.element(selector));
            let said = self.call(&path, &json!({}));
            assert!(
                said.is_null() || said["error"] == "stale element reference",
                "{said}"
            );
            said.is_null()
        });
    }

    fn write(&self, selector: &str, text: &str) {
        let path = format!("/element/{}/value", self.element(selector));
        let said = self.call(&path, &json!({"text": text}));
        assert!(said.is_null(), "{said}");
    }

    fn command(&self, name: &str, parameters: &Value) {
        self.call(
            "/goog/cdp/execute",
            &json!({"cmd": name, "params": parameters}),
        );
    }

    fn path(&self) -> String {
        self.value("location.pathname")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn text(&self, selector: &str) -> String {
        let script = format!("(document.querySelector({selector:?}) || {{}}).textContent");
        self.value(&script).as_str().unwrap_or_default().to_owned()
    }

    fn sign_in(&self, token: &str) {
        self.go("/login");
        self.write("#token", token);
        self.click("form button");
        until("it is signed in", || self.path() == "/");
    }

    /// That nothing of what strangers wrote did anything.
    fn is_quiet(&self) {
        let alert = self.ask(
            "GET",
            &format!("/session/{}/alert/text", self.session),
            &json!({}),
        );
        assert_eq!(alert["error"], "no such alert");
        let strange =
            "document.querySelectorAll('img[src=x], script:not([src]), [onerror]').length";
        assert_eq!(self.value(strange), 0);
        let said = self.call("/se/log", &json!({"type": "browser"}));
        let said = said.as_array().expect("a log");
        let faults = said.iter().filter(|one| one["level"] == "SEVERE");
        let faults: Vec<&Value> = faults.collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }

    /// That a page is no wider than its window, whatever that is; a picture of it where somebody
    /// wants to look.
    fn fits(&self, name: &str) {
        for (size, width, height) in [
            ("phone", 390, 844),
            ("tablet", 820, 1180),
            ("wide", 1440, 900),
        ] {
            let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1,
                "mobile": size == "phone"});
            self.command("Emulation.setDeviceMetricsOverride", &metrics);
            let over = self.value("document.documentElement.scrollWidth - innerWidth");
            assert!(
                over.as_i64().is_some_and(|over| over <= 0),
                "{name} at {size}: {over}"
            );
            let Some(folder) = std::env::var_os("SHIPIT_TEST_PICTURES") else {
                continue;
            };
            for scheme in ["light", "dark"] {
                let features = json!({"features": [{"name": "prefers-color-scheme",
                    "value": scheme}]});
                self.command("Emulation.setEmulatedMedia", &features);
                let taken = self.ask(
                    "GET",
                    &format!("/session/{}/screenshot", self.session),
                    &json!({}),
                );
                let picture = BASE64_STANDARD.decode(taken.as_str().expect("text"));
                let path = Path::new(&folder).join(format!("{name}-{size}-{scheme}.png"));
                fs::write(path, picture.expect("a picture")).expect("written");
            }
        }
        self.command("Emulation.clearDeviceMetricsOverride", &json!({}));
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        // The browser with its driver, if it is still there.
        let group = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.driver.wait();
    }
}

/// A server of which strangers have written everything that they may.
fn with_strangers() -> (Server, std::path::PathBuf) {
    let mut server = with_pages("{}");
    let go = held_up(&server);
    let pipeline = server.path().join("wait.json");
    let text = fs::read_to_string(&pipeline).expect("a pipeline");
    let said = text.replace("echo waiting", "echo \\\"$SAID\\\"");
    let mut steps: Value = serde_json::from_str(&said).expect("JSON");
    steps = json!({"parameters": {"SAID": PAYLOAD}, "steps": steps});
    fs::write(&pipeline, steps.to_string()).expect("written");
    server
        .world
        .git(&["commit", "--quiet", "--allow-empty", "-m", PAYLOAD]);
    server.push_aside();
    server.start();
    let body = r#"{"ref":"refs/heads/other","after":"aa00000000000000000000000000000000000000"}"#;
    let headers = signed("push", PAYLOAD, body);
    assert_eq!(
        server
            .post("/hooks/shop/gitea", &headers, body.as_bytes())
            .0,
        200
    );
    server.run(&["trigger", "shop", "--detach"]).code(0);
    (server, go)
}

#[test]
fn somebody_watches_a_job_in_a_browser_and_nothing_of_strangers_runs() {
    if !has("chromedriver") || !has("chromium") {
        return;
    }
    let (server, go) = with_strangers();
    let token = token(&server, "kim", "view,deploy,cancel", "shop/*");
    let browser = Chromium::open(&server);
    browser.go("/");
    assert_eq!(browser.path(), "/login");
    browser.fits("login");
    browser.sign_in(&token);

    browser.click("a.row");
    until("the log is there", || {
        browser.text("#log").contains("onerror")
    });
    until("the step is there", || {
        browser.text("#steps").contains("wait for it")
    });
    until("its commit is there", || {
        browser.text("dl").contains("onerror")
    });
    browser.fits("running");
    browser.click("summary");
    browser.fits("cancel");
    // The page follows by itself.
    fs::write(&go, "").expect("written");
    until("it is over", || browser.text("h1").contains("succeeded"));
    browser.is_quiet();
    browser.fits("over");
    for (path, name) in [
        ("/", "environments"),
        ("/p/shop/staging", "environment"),
        ("/jobs", "jobs"),
        ("/deliveries", "deliveries"),
        ("/nowhere", "nothing"),
    ] {
        browser.go(path);
        browser.fits(name);
        let is_there = path != "/nowhere";
        assert!(!is_there || !browser.text("main").is_empty());
        if is_there {
            browser.is_quiet();
        }
    }

    browser.go("/jobs/1");
    browser.click(".actions button");
    until("there is another job", || browser.path() == "/jobs/2");
    server.run(&["jobs", "wait", "2"]).code(0);
    browser.click(".who button");
    until("it is signed out", || browser.path() == "/login");
    browser.go("/jobs/1");
    assert_eq!(browser.path(), "/login");
}

#[test]
fn everything_works_without_a_script() {
    if !has("chromedriver") || !has("chromium") {
        return;
    }
    let (server, go) = with_strangers();
    let token = token(&server, "kim", "view,deploy,cancel", "shop/*");
    let browser = Chromium::open(&server);
    browser.command(
        "Emulation.setScriptExecutionDisabled",
        &json!({"value": true}),
    );
    browser.sign_in(&token);
    browser.click("a.row");
    until("the page has come again", || {
        browser.text("#log").contains("onerror")
    });
    browser.click("summary");
    browser.click(".ask form button");
    until("it is over", || browser.text("h1").contains("cancelled"));
    fs::write(&go, "").expect("written");
    browser.click(".actions button");
    until("it is run again", || browser.path() == "/jobs/2");
    until("it is done", || browser.text("h1").contains("succeeded"));
}
