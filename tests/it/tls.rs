//! TLS at the agent's own router: what real clients see of it, and that nothing is lost with it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::http::{Load, Speaks, Version};
use crate::support::tls::{Authority, Certificate, VALID, issued, place, replace};
use crate::support::{Said, World, finish, signal, until};

/// A project whose router speaks TLS.
struct Site {
    world: World,
    authority: Authority,
    certificate: Certificate,
    ip: String,
}

impl Site {
    /// With a certificate for `shop.test` and the router's address.
    fn new(more: &str) -> Self {
        Self::with(more, "")
    }

    /// The same with more lines below `tls`.
    fn with(more: &str, more_tls: &str) -> Self {
        let mut world = World::new();
        let ip = world.live_address().replace(":8080", "");
        let authority = Authority::new("the authority of the site");
        let certificate = authority.issue(&world, "site", &["shop.test", &ip], VALID);
        world.staging.push(format!(
            "traffic:\n  address: {ip}\n  limits: {{drain: 5s, hold: 5s}}\n{more}  \
             tls:\n    certificate: {}\n    key: {}\n{more_tls}",
            certificate.chain.display(),
            certificate.key.display()
        ));
        Self {
            world,
            authority,
            certificate,
            ip,
        }
    }

    /// Whose release `v1` is live.
    fn live() -> Self {
        let site = Self::new("");
        site.world.apply().code(0).says("https://");
        assert_eq!(site.get(), "v1");
        site
    }

    /// curl, to `shop.test` at this port.
    fn curl(&self, port: u16, arguments: &[&str]) -> Said {
        let curl = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(&self.certificate.authority)
            .args(["--resolve", &format!("shop.test:{port}:{}", self.ip)])
            .args(arguments)
            .output();
        Said::from(&curl.expect("curl starts"))
    }

    /// The body of `/` on the live listener.
    fn get(&self) -> String {
        self.curl(8080, &["https://shop.test:8080/"]).code(0).stdout
    }

    /// What `openssl s_client` says of the live listener.
    fn s_client(&self, arguments: &[&str]) -> Said {
        let connect = format!("{}:8080", self.ip);
        let said = Command::new("openssl")
            .args(["s_client", "-connect", &connect, "-CAfile"])
            .arg(&self.certificate.authority)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        Said::from(&said.expect("openssl starts"))
    }

    /// The certificates that the status has.
    fn certificates(&self) -> serde_json::Value {
        self.world.status()["facts"]["certificates"]["web"].clone()
    }

    fn load(&self, version: Version) -> Load {
        let speaks = Speaks::Https(version, self.certificate.authority.clone());
        Load::speaking(speaks, &self.world.live_address(), 8, 200)
    }
}

#[test]
fn curl_is_served_by_http_1_and_http_2_and_the_service_is_told_that_it_was_https() {
    let site = Site::live();
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let url = "https://shop.test:8080/headers";
        let said = site.curl(8080, &[flag, "--write-out", "\n%{http_version}", url]);
        let said = said.code(0).says("x-forwarded-proto: https").stdout;
        assert_eq!(said.lines().last(), Some(version));
    }
    let lie = [
        "--header",
        "X-Forwarded-Proto: http",
        "https://shop.test:8080/headers",
    ];
    site.curl(8080, &lie)
        .code(0)
        .says("x-forwarded-proto: https");

    // What says where it answers says how, and what nobody can know by its name is trusted by its
    // certificate.
    let status = site.world.run(&["status", "--env", "staging"]).code(0);
    status.says(&format!("https://{}:8080", site.ip));
    let open = site
        .world
        .run(&["open", "--env", "staging", "--print"])
        .code(0);
    open.says(&format!("https://{}:8080", site.ip));
    let shown = &site.certificates()[0];
    assert_eq!(shown["names"][0], "shop.test");
    assert!(!shown.to_string().contains("PRIVATE"), "{shown}");
}

#[test]
fn the_preview_listener_speaks_tls_as_the_live_one() {
    let mut site = Site::live();
    let checks = "before: [{http: {path: /, contains: v2}}], after: [{http: {path: /}}]";
    site.world.staging[0] = format!("promotion: {{mode: manual, {checks}}}");
    site.world.message("v2");
    site.world.apply().code(0);
    let preview = site.curl(8081, &["https://shop.test:8081/"]).code(0);
    assert_eq!((preview.stdout.as_str(), site.get().as_str()), ("v2", "v1"));
    let promote = ["promote", "green", "--env", "staging", "--auto-approve"];
    site.world.run(&promote).code(0).says("0 of ");
    assert_eq!(site.get(), "v2");
}

#[test]
fn openssl_gets_the_chain_by_tls_1_2_and_1_3_and_nothing_older() {
    let site = Site::live();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = site.s_client(&[flag, "-verify_return_error", "-showcerts", "-alpn", "h2"]);
        let said = said.code(0).says(version).says("ALPN protocol: h2");
        let chain = said.says("Verify return code: 0").stdout;
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "{chain}");
    }
    let old = site.s_client(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert_ne!(old.code, Some(0), "{old:?}");
}

#[test]
fn promotions_under_load_lose_no_request_in_tls() {
    let site = Site::live();
    site.world.message("v2");
    site.world.apply().code(0);
    let loads = [Version::Http1, Version::Http2].map(|version| site.load(version));
    for turn in 0..6 {
        let slot = ["blue", "green"][turn % 2];
        let promote = ["promote", slot, "--env", "staging", "--auto-approve"];
        site.world.run(&promote).code(0).says("0 of ");
    }
    for load in loads {
        load.stop().has_lost_none_of(100);
    }
}

#[test]
fn a_certificate_is_read_again_without_a_lost_request_and_a_broken_one_is_told() {
    let site = Site::live();
    let loads = [Version::Http1, Version::Http2].map(|version| site.load(version));
    let before = site.certificates()[0]["fingerprint"].clone();
    let old = fs::read_to_string(&site.certificate.chain).expect("a chain");

    // The key of another certificate: as it is in the middle of a renewal that then stops.
    let other = issued(&site.world, "other", &["shop.test"], VALID);
    let other_key = fs::read_to_string(&other.key).expect("a key");
    place(&site.certificate.key, &other_key);
    until("the trouble is told", || {
        site.certificates()[0]["problem"].is_string()
    });
    let told = site.certificates()[0].clone();
    let problem = told["problem"].as_str().expect("a text");
    assert!(problem.contains("is not the key of"), "{problem}");
    assert_eq!(told["fingerprint"], before, "the one before is in use");
    let status = site.world.run(&["status", "--env", "staging"]).code(0);
    status.says("is not the key of");
    assert_eq!(site.get(), "v1");

    // What expired long ago is no better.
    let late = issued(&site.world, "late", &["shop.test"], (2001, 2002));
    replace(&site.certificate, &late);
    until("it has expired", || {
        site.certificates()[0]["problem"]
            .to_string()
            .contains("expired")
    });

    replace(&site.certificate, &other);
    until("the new one is shown", || {
        let shown = site.certificates()[0].clone();
        shown["fingerprint"] != before && shown["problem"].is_null()
    });
    let shown = site.s_client(&["-showcerts"]).stdout;
    let old = old.lines().nth(1).expect("a line");
    assert!(!shown.contains(old), "{shown}");
    for load in loads {
        assert!(load.count() > 0);
        // Connections that were there go on, and nothing of theirs is lost; a new one would not
        // know the new authority.
        let seen = load.stop();
        assert!(seen.failures.is_empty(), "{:?}", seen.failures.first());
    }
}

#[test]
fn a_release_is_verified_although_the_certificate_is_renewed_meanwhile() {
    let site = Site::live();
    let before = site.certificates()[0]["fingerprint"].clone();
    site.world.message("v2");
    let apply = site.world.start_apply();
    let renewed = site
        .authority
        .issue(&site.world, "renewed", &["shop.test"], VALID);
    replace(&site.certificate, &renewed);
    finish(apply).code(0).says("0 of ");
    assert_eq!(site.get(), "v2");
    until("it is shown", || {
        site.certificates()[0]["fingerprint"] != before
    });
}

#[test]
fn plain_http_is_sent_on_with_all_it_asked_for_and_told_where_tls_is_spoken() {
    let site = Site::with(
        "  listeners: {web: {live: 8080, redirect: 8079}}\n",
        "    hsts: 180d\n",
    );
    site.world.apply().code(0);
    let plain = "http://shop.test:8079/echo?a=b%20c&d";
    let resolve = format!("shop.test:8079:{}", site.ip);
    let said = site
        .curl(8080, &["--include", "--resolve", &resolve, plain])
        .code(0);
    let said = said.says("HTTP/1.1 308 Permanent Redirect");
    said.says("cache-control: no-store")
        .says("location: https://shop.test:8080/echo?a=b%20c&d");

    // A body goes along, for 308 keeps the method.
    let follow = [
        "--location",
        "--resolve",
        &resolve,
        "--data",
        "some words",
        plain,
    ];
    let said = site.curl(8080, &follow).code(0);
    assert_eq!(said.stdout, "some words");

    let live = site
        .curl(8080, &["--include", "https://shop.test:8080/"])
        .code(0);
    live.says("strict-transport-security: max-age=15552000");
    let wrong = site
        .curl(8080, &["--include", "http://shop.test:8080/"])
        .code(0);
    wrong.says("400 Bad Request").says("This port speaks HTTPS");
}

#[test]
fn an_agent_that_is_killed_speaks_tls_again_and_without_its_key_nothing() {
    let site = Site::live();
    let kill = || {
        let pid = site.world.agent_pid().expect("an agent");
        signal(pid, Signal::KILL);
        until("it is gone", || {
            TcpStream::connect(site.world.live_address()).is_err()
        });
    };
    kill();
    site.world.run(&["status", "--env", "staging"]).code(0);
    until("it listens", || {
        TcpStream::connect(site.world.live_address()).is_ok()
    });
    assert_eq!(site.get(), "v1");

    let away = site.certificate.key.with_extension("away");
    fs::rename(&site.certificate.key, &away).expect("it moves");
    kill();
    let status = site.world.run(&["status", "--env", "staging"]).code(0);
    status.says("site.key").says("nothing listens");
    assert!(
        TcpStream::connect(site.world.live_address()).is_err(),
        "nothing listens"
    );
    fs::rename(&away, &site.certificate.key).expect("it moves back");
    until("it listens again", || {
        TcpStream::connect(site.world.live_address()).is_ok()
    });
    assert_eq!(site.get(), "v1");
}

#[test]
fn handshakes_that_do_not_come_to_an_end_hold_nobody_up() {
    let mut site = Site::new("");
    let limits = "hold: 5s, header_timeout: 5s}";
    site.world.staging[1] = site.world.staging[1].replace("hold: 5s}", limits);
    assert!(site.world.staging[1].contains(limits));
    site.world.apply().code(0);
    let address = site.world.live_address();
    let hello: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252];
    let opened = (0..300).map(|number| {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let said = [&b""[..], hello, b"\x16", b"\x16\x03\x03\x00\x05hello"][number % 4];
        stream.write_all(said).expect("it is sent");
        stream
    });
    let opened: Vec<TcpStream> = opened.collect();
    assert_eq!(site.get(), "v1");
    for mut stream in opened {
        // Each is closed by the router, which waits for none of them for ever.
        stream
            .set_read_timeout(Some(crate::support::PATIENCE))
            .expect("a time");
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
    assert_eq!(site.get(), "v1");
}

#[test]
fn a_host_is_shown_the_certificate_that_is_for_it_and_others_the_first() {
    let mut site = Site::new("");
    let other = issued(&site.world, "other", &["*.other.test"], VALID);
    let others = format!(
        "    others: [{{certificate: {}, key: {}}}]\n",
        other.chain.display(),
        other.key.display()
    );
    site.world.staging[1].push_str(&others);
    site.world.apply().code(0);
    let subject = |host: &[&str]| {
        let said = site.s_client(host).stdout;
        let first = said
            .split("BEGIN CERTIFICATE-----\n")
            .nth(1)
            .expect("a certificate");
        first.lines().next().expect("a line").to_owned()
    };
    let line = |path: &Path| {
        let text = fs::read_to_string(path).expect("a chain");
        text.lines().nth(1).expect("a line").to_owned()
    };
    let (first, second) = (line(&site.certificate.chain), line(&other.chain));
    // The beginnings of all certificates are alike but for their numbers.
    assert_ne!(first, second);
    assert_eq!(subject(&["-servername", "a.other.test"]), second);
    assert_eq!(subject(&["-servername", "shop.test"]), first);
    assert_eq!(subject(&["-servername", "elsewhere.test"]), first);
    assert_eq!(subject(&["-noservername"]), first);
}

/// Old clients know RSA alone.
#[test]
fn a_client_is_shown_the_certificate_whose_kind_of_key_it_knows() {
    let mut site = Site::new("");
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
        ])
        .args(["-keyout", "rsa.key", "-out", "rsa.pem", "-subj", "/CN=rsa"])
        .args(["-addext", "subjectAltName=DNS:shop.test"])
        .current_dir(site.world.path())
        .output()
        .expect("openssl starts");
    Said::from(&made).code(0);
    let (chain, key) = (site.world.file("rsa.pem"), site.world.file("rsa.key"));
    let others = format!(
        "    others: [{{certificate: {}, key: {}}}]\n",
        chain.display(),
        key.display()
    );
    site.world.staging[1].push_str(&others);
    site.world.apply().code(0);

    let host = ["-servername", "shop.test"];
    site.s_client(&host).says("a:PKEY: id-ecPublicKey");
    let old = [&host[..], &["-sigalgs", "RSA-PSS+SHA256"]].concat();
    site.s_client(&old).says("a:PKEY: rsaEncryption");
}

#[test]
fn a_connection_kept_from_before_tls_ends_with_its_next_request() {
    let mut site = Site::new("");
    let secured = site.world.staging[1].clone();
    let (plain, _) = secured.split_once("  tls:").expect("it has TLS");
    site.world.staging[1] = plain.to_owned();
    site.world.apply().code(0);
    let mut kept = TcpStream::connect(format!("{}:8080", site.ip)).expect("it listens");
    let ask = |kept: &mut TcpStream| {
        kept.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n")
            .expect("asked");
    };
    ask(&mut kept);
    let mut answer = [0; 4096];
    let read = kept.read(&mut answer).expect("an answer");
    let first = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(first.starts_with("http/1.1 200"), "{first}");
    assert!(!first.contains("connection: close"), "{first}");

    site.world.staging[1] = secured;
    site.world.apply().code(0);
    assert_eq!(site.get(), "v1");
    ask(&mut kept);
    let mut last = String::new();
    kept.read_to_string(&mut last).expect("it ends");
    assert_eq!(
        last.to_lowercase().matches("connection: close").count(),
        1,
        "{last}"
    );
}

#[test]
fn a_certificate_that_clients_would_refuse_is_refused_and_the_key_is_in_no_word() {
    let site = Site::new("");
    let refused = |says: &str| {
        let said = site.world.apply();
        assert_ne!(said.code, Some(0), "{said:?}");
        let said = said.says(says).says("site.");
        said.says_not("PRIVATE").says_not("BEGIN");
    };
    let good = site
        .authority
        .issue(&site.world, "good", &["shop.test"], VALID);
    for (years, says) in [((2001, 2002), "expired"), ((2998, 2999), "begins at")] {
        let other = site
            .authority
            .issue(&site.world, "other", &["shop.test"], years);
        replace(&site.certificate, &other);
        refused(says);
    }
    replace(
        &site.certificate,
        &site.authority.issue(&site.world, "none", &[], VALID),
    );
    refused("names no host");
    replace(&site.certificate, &good);
    place(
        &site.certificate.key,
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE",
    );
    refused("no private key");
    place(
        &site.certificate.key,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    refused("is encrypted with a passphrase");
    let other = issued(&site.world, "other", &["shop.test"], VALID);
    place(
        &site.certificate.key,
        &fs::read_to_string(&other.key).expect("a key"),
    );
    refused("is not the key of");

    replace(&site.certificate, &good);
    let doctor = site.world.run(&["doctor", "--env", "staging"]);
    doctor.says("the certificate of web can be used: shop.test until 2999-01-01");
    let plan = site.world.run(&["plan", "--env", "staging"]).code(0);
    plan.says("certificate of web: shop.test until 2999-01-01");
    site.world.apply().code(0);
    assert_eq!(site.get(), "v1");

    let key = fs::read_to_string(&good.key).expect("a key");
    let line = key.lines().nth(1).expect("a line");
    for folder in ["state", "a"] {
        assert_nowhere(&site.world.file(folder), line);
    }
}

/// No file below a folder has this text.
fn assert_nowhere(folder: &Path, text: &str) {
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .filter_map(Result::ok)
    {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        if kind.is_dir() {
            assert_nowhere(&path, text);
        } else if kind.is_file() {
            let content = fs::read(&path).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            assert!(!content.contains(text), "{}", path.display());
        }
    }
}
