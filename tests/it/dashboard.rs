//! The pages of the front doors, as a browser asks for them: who is let in, who may what, what is
//! refused, and what a page holds when there is very much of everything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use jiff::Timestamp;
use shipit::driver::queue::sqlite::SqliteQueue;
use shipit::jobs::{Happening, happen};
use shipit::model::delivery::{Delivery, Verdict};
use shipit::model::job::{JobKind, JobNumber, JobRequest, Lane, Requester, Via};
use shipit::ops::doors::wiring::RULES;
use shipit::port::Queue as _;

use crate::serve::Server;
use crate::support::{PATIENCE, until};

/// A server with pages, before it is started.
pub(crate) fn with_pages(dashboard: &str) -> Server {
    let server = Server::new();
    replace(
        &server,
        "projects:\n",
        &format!("dashboard: {dashboard}\nprojects:\n"),
    );
    server.push_aside();
    server
}

fn replace(server: &Server, from: &str, to: &str) {
    let path = server.path().join("server.yaml");
    let text = fs::read_to_string(&path).expect("a configuration");
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replacen(from, to, 1)).expect("written");
}

/// Has each job wait until a file is there, which is returned.
pub(crate) fn held_up(server: &Server) -> PathBuf {
    let (go, pipeline) = (server.path().join("go"), server.path().join("wait.json"));
    let wait = format!(
        "echo waiting; until [ -e {} ]; do sleep 0.05; done",
        go.display()
    );
    let text = serde_json::json!([{"step": "wait for it", "commands": [wait]}]);
    fs::write(&pipeline, text.to_string()).expect("written");
    let may = "    may: everything";
    replace(
        server,
        may,
        &format!("    pipeline: {}\n{may}", pipeline.display()),
    );
    go
}

/// A token of a client that may this.
pub(crate) fn token(server: &Server, name: &str, may: &str, within: &str) -> String {
    let said = server.run(&["token", "issue", name, "--may", may, "--in", within]);
    said.code(0).stdout.trim().to_owned()
}

/// An answer.
#[derive(Debug)]
struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The word that the page's forms have in them.
    fn form(&self) -> String {
        let (_, rest) = self
            .body
            .split_once(r#"name="form" value=""#)
            .unwrap_or_else(|| panic!("no form in {}", self.body));
        rest.split('"').next().expect("a value").to_owned()
    }

    fn has(&self, text: &str) -> bool {
        self.body.contains(text)
    }
}

/// A browser without a script.
struct Browser {
    address: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn of(server: &Server) -> Self {
        Self {
            address: server.address(),
            cookies: BTreeMap::new(),
        }
    }

    /// One that is signed in.
    fn signed_in(server: &Server, token: &str) -> Self {
        let mut browser = Self::of(server);
        let page = browser.sign_in(token);
        assert_eq!(
            (page.status, page.header("location")),
            (303, "/"),
            "{page:?}"
        );
        browser
    }

    fn sign_in(&mut self, token: &str) -> Page {
        let form = self.get("/login").form();
        self.post(
            "/login",
            &[("form", &form), ("token", token), ("next", "/")],
        )
    }

    fn open(&self, head: &str, body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let pairs = self.cookies.iter();
        let cookies = pairs.map(|(name, value)| format!("{name}={value}"));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        let head = format!(
            "{head}host: {}\r\ncookie: {cookies}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body.as_bytes()).expect("sent");
        BufReader::new(stream)
    }

    fn ask(&mut self, head: &str, body: &str) -> Page {
        let mut bytes = Vec::new();
        self.open(head, body)
            .read_to_end(&mut bytes)
            .expect("an answer");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (_, cookie) in headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, rest) = cookie.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a pair");
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let mut page = Page {
            status: status.expect("a status"),
            headers,
            body: body.to_owned(),
        };
        if page.header("transfer-encoding") == "chunked" {
            page.body = joined(body);
        }
        page
    }

    fn get(&mut self, path: &str) -> Page {
        self.ask(&format!("GET {path} HTTP/1.1\r\n"), "")
    }

    fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let origin = format!("origin: http://{}\r\n", self.address);
        self.post_with(path, &origin, fields)
    }

    fn post_with(&mut self, path: &str, lines: &str, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let form = "content-type: application/x-www-form-urlencoded\r\n";
        self.ask(&format!("POST {path} HTTP/1.1\r\n{lines}{form}"), &body)
    }

    /// Posts what a form of the page has.
    fn submit(&mut self, page: &str, to: &str) -> Page {
        let form = self.get(page).form();
        self.post(to, &[("form", &form)])
    }
}

/// The pieces of a body in one.
fn joined(body: &str) -> String {
    let (mut text, mut rest) = (String::new(), body);
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        text.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    text
}

const PAGES: [&str; 9] = [
    "/",
    "/jobs",
    "/jobs/1",
    "/jobs/1/log",
    "/deliveries",
    "/p/shop/staging",
    "/nowhere",
    "/events",
    "/jobs/1/events",
];

#[test]
fn nobody_sees_a_page_without_signing_in() {
    let mut server = with_pages("{}");
    server.start();
    server.run(&["trigger", "shop"]).code(0);
    let mut browser = Browser::of(&server);
    for path in PAGES {
        let page = browser.get(path);
        assert!([303, 401].contains(&page.status), "{path}: {page:?}");
        assert!(
            !page.has("staging") && !page.has("refs/"),
            "{path}: {page:?}"
        );
    }
    assert_eq!(
        browser.get("/jobs/1").header("location"),
        "/login?next=%2Fjobs%2F1"
    );
    for path in [
        "/jobs/1/cancel",
        "/jobs/1/retry",
        "/p/shop/staging/deploy",
        "/logout",
    ] {
        assert_eq!(browser.post(path, &[("form", "")]).status, 401, "{path}");
    }
    assert_eq!(server.jobs().len(), 1);
    // A cookie that somebody made up is none.
    browser.cookies.insert("shipit".to_owned(), "A".repeat(43));
    assert_eq!(browser.get("/").status, 303);
    // Hooks and what a proxy asks are as they were.
    assert_eq!(browser.get("/healthz").body, "ok\n");
    assert_eq!(browser.post("/trigger/shop/staging", &[]).status, 401);
}

#[test]
fn there_are_no_pages_that_nobody_asked_for() {
    let mut server = Server::new();
    server.start();
    let mut browser = Browser::of(&server);
    for path in ["/", "/login", "/jobs", "/assets/style.css"] {
        let page = browser.get(path);
        assert_eq!(
            (page.status, page.header("content-type")),
            (404, "application/json")
        );
    }
}

#[test]
fn a_token_signs_in_and_every_answer_is_guarded() {
    let mut server = with_pages("{}");
    server.start();
    let token = token(&server, "kim", "view", "shop/*");
    let mut browser = Browser::of(&server);
    let page = browser.sign_in("shipit_none");
    assert!(
        page.status == 403 && page.has("no token of this server"),
        "{page:?}"
    );
    assert!(!page.has("shipit_none"));

    let page = browser.sign_in(&token);
    let cookie = page.header("set-cookie").to_owned();
    for part in [
        "shipit=",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        "Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    for path in PAGES.into_iter().filter(|path| !path.ends_with("events")) {
        let page = browser.get(path);
        let policy = page.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let guarded = [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
        ];
        for (name, value) in guarded {
            assert_eq!(page.header(name), value, "{path}");
        }
    }
    let style = browser.get("/").body;
    let (_, style) = style
        .split_once(r#"rel="stylesheet" href=""#)
        .expect("a style");
    let style = browser.get(style.split('"').next().expect("a path"));
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.header("cache-control").contains("immutable"));

    let before = browser.cookies.clone();
    assert_eq!(browser.submit("/", "/logout").header("location"), "/login");
    assert!(!browser.cookies.contains_key("shipit"));
    browser.cookies = before;
    assert_eq!(browser.get("/").status, 303);
    // The token is in no log.
    let log = fs::read_to_string(server.path().join("serve.log")).expect("a log");
    assert!(
        log.contains("somebody signed in") && !log.contains(&token[7..]),
        "{log}"
    );
}

#[test]
fn who_guesses_is_slowed_down_and_nobody_is_signed_in_without_the_form_of_the_page() {
    let mut server = with_pages("{}");
    server.start();
    let token = token(&server, "kim", "view", "shop/*");
    let mut browser = Browser::of(&server);
    let form = browser.get("/login").form();
    let fields = [("form", form.as_str()), ("token", token.as_str())];
    for lines in [
        "",
        "origin: https://evil.example.com\r\n",
        "origin: null\r\n",
    ] {
        let page = browser.post_with("/login", lines, &fields);
        assert_eq!((page.status, browser.cookies.len()), (403, 1), "{lines}");
    }
    let mut other = Browser::of(&server);
    assert_eq!(other.post("/login", &fields).status, 403);

    for _ in 0..10 {
        assert_eq!(browser.sign_in("shipit_guess").status, 403);
    }
    let page = browser.sign_in(&token);
    assert!(page.status == 429 && page.has("too many tries"), "{page:?}");
}

#[test]
fn somebody_is_led_back_to_where_they_wanted_and_nowhere_else() {
    let mut server = with_pages("{}");
    server.start();
    let token = token(&server, "kim", "view", "shop/*");
    for (next, led) in [
        ("/jobs?before=3", "/jobs?before=3"),
        ("//evil.example.com", "/"),
        ("https://evil.example.com", "/"),
        ("/\\evil.example.com", "/"),
        ("/a\r\nset-cookie: a=b", "/"),
    ] {
        let mut browser = Browser::of(&server);
        let form = browser.get("/login").form();
        let page = browser.post(
            "/login",
            &[("form", &form), ("token", &token), ("next", next)],
        );
        assert_eq!(page.header("location"), led);
    }
    // Whoever comes from another site is asked again by a page of this one, cookie and all.
    let mut browser = Browser::of(&server);
    let cross =
        "GET /jobs/1 HTTP/1.1\r\nsec-fetch-site: cross-site\r\nsec-fetch-dest: document\r\n";
    let page = browser.ask(cross, "");
    assert!(
        page.status == 200 && page.has(r#"content="0;url=/jobs/1""#),
        "{page:?}"
    );
}

#[test]
fn a_session_ends_with_its_time_and_with_its_token() {
    let mut server = with_pages("{session: 2s, idle: 2s}");
    server.start();
    let kim = token(&server, "kim", "view", "shop/*");
    let mut browser = Browser::signed_in(&server, &kim);
    until("it is over", || browser.get("/").status == 303);

    let mut browser = Browser::signed_in(&server, &kim);
    server.run(&["token", "revoke", "kim"]).code(0);
    assert_eq!(browser.get("/").status, 303);
    assert_eq!(browser.sign_in(&kim).status, 403);
}

#[test]
fn each_token_may_what_it_was_given_and_sees_nothing_else() {
    let mut server = with_pages("{}");
    let go = held_up(&server);
    server.start();
    let mut viewer = Browser::signed_in(&server, &token(&server, "v", "view", "shop/*"));
    let mut deployer = Browser::signed_in(&server, &token(&server, "d", "view,deploy", "shop/*"));
    let mut stopper = Browser::signed_in(&server, &token(&server, "c", "view,cancel", "shop/*"));
    let mut other = Browser::signed_in(&server, &token(&server, "o", "view,deploy,cancel", "x/*"));
    let mut blind = Browser::signed_in(&server, &token(&server, "b", "deploy", "shop/*"));

    let deploy = "/p/shop/staging/deploy";
    assert!(!viewer.get("/p/shop/staging").has(deploy));
    assert_eq!(viewer.submit("/", deploy).status, 403);
    assert_eq!(stopper.submit("/", deploy).status, 403);
    assert_eq!(other.submit("/", deploy).status, 403);
    assert!(server.jobs().is_empty());
    assert!(deployer.get("/p/shop/staging").has(deploy));
    let form = deployer.get("/").form();
    let page = deployer.post(deploy, &[("form", &form), ("ref", "other")]);
    assert!(
        page.status == 409 && page.has("is not deployed on refs/heads/other"),
        "{page:?}"
    );
    let page = deployer.submit("/", deploy);
    assert_eq!((page.status, page.header("location")), (303, "/jobs/1"));
    until("it runs", || viewer.get("/jobs/1").has("wait for it"));

    // What may be looked at, and what is not there for who may not.
    for browser in [&mut other, &mut blind] {
        for path in [
            "/jobs/1",
            "/jobs/1/log",
            "/jobs/1/events",
            "/p/shop/staging",
        ] {
            assert_eq!(browser.get(path).status, 404, "{path}");
        }
        for path in ["/", "/jobs", "/deliveries", "/jobs?lane=shop/staging"] {
            let page = browser.get(path);
            assert!(
                page.status == 200 && !page.has("/jobs/1"),
                "{path}: {page:?}"
            );
        }
        assert_eq!(browser.submit("/", "/jobs/1/cancel").status, 404);
    }
    for path in ["/", "/jobs", "/deliveries"] {
        assert!(viewer.get(path).has("/jobs/1"), "{path}");
    }

    let cancel = "/jobs/1/cancel";
    assert!(!viewer.get("/jobs/1").has(cancel) && stopper.get("/jobs/1").has(cancel));
    assert_eq!(viewer.submit("/", cancel).status, 403);
    assert_eq!(deployer.submit("/", cancel).status, 403);
    assert_eq!(server.jobs()[0]["state"], "running");
    assert_eq!(stopper.submit("/jobs/1", cancel).status, 303);
    until("it is over", || server.jobs()[0]["state"] == "ended");
    assert_eq!(server.jobs()[0]["cancelled_by"], "c");

    let retry = "/jobs/1/retry";
    assert!(!viewer.get("/jobs/1").has(retry) && deployer.get("/jobs/1").has(retry));
    assert_eq!(stopper.submit("/", retry).status, 403);
    fs::write(go, "").expect("written");
    assert_eq!(
        deployer.submit("/jobs/1", retry).header("location"),
        "/jobs/2"
    );
    server.run(&["jobs", "wait", "2"]).code(0);
    let page = viewer.get("/jobs/2");
    for text in [
        "succeeded",
        "wait for it",
        "Live slot",
        "#1",
        "d by its token",
        "v1",
    ] {
        assert!(page.has(text), "{text}: {}", page.body);
    }
    assert!(viewer.get("/").has("Release 1"));
}

#[test]
fn a_form_from_elsewhere_does_nothing() {
    let mut server = with_pages("{}");
    server.start();
    let mut kim = Browser::signed_in(&server, &token(&server, "kim", "view,deploy", "shop/*"));
    let mut sam = Browser::signed_in(&server, &token(&server, "sam", "view,deploy", "shop/*"));
    let (own, of_sam) = (kim.get("/").form(), sam.get("/").form());
    let here = format!("origin: http://{}\r\n", kim.address);
    let deploy = "/p/shop/staging/deploy";
    let cross = format!("{here}sec-fetch-site: cross-site\r\n");
    for (lines, form) in [
        (here.as_str(), ""),
        (here.as_str(), "AAAA"),
        (here.as_str(), of_sam.as_str()),
        ("", own.as_str()),
        ("origin: null\r\n", own.as_str()),
        ("origin: https://evil.example.com\r\n", own.as_str()),
        (cross.as_str(), own.as_str()),
    ] {
        let page = kim.post_with(deploy, lines, &[("form", form)]);
        assert!(
            page.status == 403 && page.has("Nothing was done"),
            "{lines} {form}: {page:?}"
        );
        assert_eq!(
            kim.post_with("/logout", lines, &[("form", form)]).status,
            403
        );
    }
    // Nothing is done by following a link.
    assert_eq!(kim.get(deploy).status, 404);
    assert_eq!(kim.get("/logout").status, 404);
    let large = "x".repeat(9 << 10);
    assert_eq!(
        kim.post(deploy, &[("form", &own), ("ref", &large)]).status,
        413
    );
    assert!(server.jobs().is_empty());
    assert_eq!(kim.post(deploy, &[("form", &own)]).status, 303);
}

#[test]
fn a_page_shows_what_a_job_writes_while_it_runs() {
    let mut server = with_pages("{}");
    let go = held_up(&server);
    server.start();
    let kim = token(&server, "kim", "view", "shop/*");
    let mut browser = Browser::signed_in(&server, &kim);
    server.run(&["trigger", "shop", "--detach"]).code(0);
    until("it runs", || browser.get("/jobs/1").has("wait for it"));

    let page = browser.get("/jobs/1");
    let (_, events) = page.body.split_once("data-events=\"").expect("events");
    let events = events
        .split('"')
        .next()
        .expect("a path")
        .replace("&amp;", "&");
    // Without a script the page comes again by itself.
    assert!(page.has(r#"<noscript><meta http-equiv="refresh" content="5;url=/jobs/1?auto=1">"#));
    let mut stream = browser.open(&format!("GET {events}&from=0 HTTP/1.1\r\n"), "");
    let mut next = |wanted: &str| {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            let read = stream.read_line(&mut line).expect("it goes on");
            assert!(read > 0, "it ended before {wanted}");
        }
        line
    };
    next("text/event-stream");
    next("event: log");
    assert!(next("data:").contains("job 1, attempt 1"));
    next("event: steps");
    assert!(next("data:").contains("wait for it"));
    fs::write(go, "").expect("written");
    next("event: changed");
    assert_eq!(server.jobs()[0]["ending"], "succeeded");

    // Where a browser was, it goes on.
    let log = browser.get("/jobs/1/log").body;
    let from = log.find("checked out").expect("a line");
    let again = format!("GET {events} HTTP/1.1\r\nlast-event-id: {from}\r\n");
    let mut text = String::new();
    browser
        .open(&again, "")
        .read_to_string(&mut text)
        .expect("it ends");
    assert!(text.contains("data: \"checked out"), "{text}");

    // A stream ends with the token.
    let mut stream = browser.open("GET /events HTTP/1.1\r\n", "");
    server.run(&["token", "revoke", "kim"]).code(0);
    stream.read_to_end(&mut Vec::new()).expect("it ends");
}

#[test]
fn what_was_ignored_says_why() {
    let mut server = with_pages("{}");
    server.start();
    let mut browser = Browser::signed_in(&server, &token(&server, "kim", "view", "shop/*"));
    let body = r#"{"ref":"refs/heads/other","after":"aa00000000000000000000000000000000000000","pusher":{"login":"<b>kim"}}"#;
    let (status, _) = server.post(
        "/hooks/shop/gitea",
        &crate::serve::signed("push", "<i>1", body),
        body.as_bytes(),
    );
    assert_eq!(status, 200);
    let page = browser.get("/deliveries");
    assert!(page.has("ignored") && page.has("no environment is deployed on refs/heads/other"));
    assert!(page.has("&lt;i&gt;1") && !page.has("<i>"), "{}", page.body);
}

fn request(commit: String) -> JobRequest {
    JobRequest {
        lane: Lane {
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
        },
        kind: JobKind::Apply,
        reference: "refs/heads/staging".to_owned(),
        commit: Some(commit),
        by: Requester {
            name: "kim".to_owned(),
            via: Via::GitHook,
        },
        retry_of: None,
    }
}

#[tokio::test]
async fn a_thousand_jobs_are_pages_and_a_large_log_is_cut() {
    const COUNT: usize = 1_000;
    const LARGE: usize = 16 << 20;
    let mut server = with_pages("{}");
    let data = server.path().join("data");
    fs::create_dir_all(data.join("jobs/7")).expect("folders");
    {
        let queue = SqliteQueue::open(&data.join("queue.db"), RULES).expect("a queue");
        let delivery = Delivery {
            door: "shop/git".to_owned(),
            key: "a".to_owned(),
            received: Timestamp::now(),
            event: "push".to_owned(),
            size: 0,
            sha256: String::new(),
            verdict: Verdict::Accepted,
        };
        let requests = (0..COUNT).map(|number| request(format!("{number:040}")));
        queue
            .accept(delivery, requests.collect())
            .await
            .expect("stored");
        let cancelled = Happening::CancelAsked {
            by: "kim".to_owned(),
        };
        let last = JobNumber(COUNT as u64);
        let change = Box::new(move |job: &_| happen(job, cancelled, Timestamp::now()).ok());
        queue.update(last, change).await.expect("stored");
    }
    let mut log = String::with_capacity(LARGE + 100);
    while log.len() < LARGE {
        let _ = writeln!(log, "line {} <b>of</b> a log", log.len());
    }
    fs::write(data.join("jobs/7/log"), &log).expect("written");
    server.start();

    let mut browser = Browser::signed_in(&server, &token(&server, "kim", "view", "shop/*"));
    let (mut seen, mut path, mut pages) = (0, "/jobs".to_owned(), 0);
    loop {
        let page = browser.get(&path);
        assert!(page.body.len() < 200_000, "{}", page.body.len());
        seen += page.body.matches("class=\"row\"").count();
        pages += 1;
        let Some((_, next)) = page.body.split_once(r#"rel="next" href=""#) else {
            break;
        };
        path = next.split('"').next().expect("a path").to_owned();
    }
    assert_eq!((seen, pages), (COUNT, COUNT / 50));
    for path in ["/", "/p/shop/staging", "/deliveries"] {
        assert!(browser.get(path).body.len() < 300_000, "{path}");
    }

    let page = browser.get("/jobs/7");
    assert!(page.body.len() < 1 << 20, "{}", page.body.len());
    assert!(page.has("The first 15 MiB are left out") && !page.has("<b>of"));
    let last = log
        .lines()
        .next_back()
        .expect("a line")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    assert!(page.has(&last));
    let whole = browser.get("/jobs/7/log");
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    assert!(whole.body == log, "{} of {}", whole.body.len(), log.len());
    assert_eq!(browser.get("/jobs/1001").status, 404);
}
