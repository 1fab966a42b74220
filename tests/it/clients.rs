//! Commands of other machines: certificates, tokens, and who may not.

use std::process::Command;

use serde_json::Value;

use crate::serve::Server;
use crate::support::{Said, shipit};

/// A server with a push in its repository, that knows a client with a certificate.
fn with_client(within: &str) -> Server {
    let mut server = Server::new();
    server.push_aside();
    server.start();
    server
        .run(&[
            "client", "issue", "jenkins", "--in", within, "--out", "jenkins",
        ])
        .code(0);
    server
}

/// A command on another machine, as far as it knows nothing but a folder of a client's.
fn elsewhere(server: &Server, arguments: &[&str], identity: &str) -> Said {
    let url = format!("https://localhost:{}", server.remote_port);
    let mut command = Command::new(shipit());
    command
        .args(arguments)
        .args(["--server", &url, "--identity", identity])
        .current_dir(server.path())
        .env("NO_COLOR", "1");
    Said::from(&command.output().expect("shipit starts"))
}

#[test]
fn a_client_deploys_from_elsewhere_with_the_exit_codes_of_apply() {
    let server = with_client("shop/*");
    let trigger = ["trigger", "shop", "--env", "staging"];
    elsewhere(&server, &trigger, "jenkins")
        .code(0)
        .says("job 1 succeeded");
    assert_eq!(server.world.get(), "v1");
    let jobs = server.jobs();
    assert_eq!(
        (&jobs[0]["by"]["name"], &jobs[0]["by"]["door"]),
        (&"jenkins".into(), &"client".into())
    );

    elsewhere(&server, &["jobs", "list"], "jenkins")
        .code(0)
        .says("jenkins by its certificate");
    elsewhere(&server, &["jobs", "logs", "1"], "jenkins")
        .code(0)
        .says("checked out");
    elsewhere(&server, &["jobs", "retry", "1"], "jenkins")
        .code(0)
        .says("job 2 succeeded");
    elsewhere(&server, &["trigger", "shop", "--ref", "other"], "jenkins")
        .code(1)
        .says("is not deployed on");
    // It was given `view` and `deploy`.
    elsewhere(&server, &["jobs", "cancel", "2"], "jenkins")
        .code(1)
        .says("the client jenkins may not cancel");
}

#[test]
fn a_client_may_nothing_elsewhere_than_where_it_may() {
    let server = with_client("shop/production");
    elsewhere(&server, &["trigger", "shop", "--env", "staging"], "jenkins")
        .code(1)
        .says("the client jenkins may not deploy in shop/staging");
    server.run(&["trigger", "shop"]).code(0);
    elsewhere(&server, &["jobs", "list"], "jenkins")
        .code(0)
        .says("There are no jobs");
    elsewhere(&server, &["jobs", "show", "1"], "jenkins")
        .code(1)
        .says("may not view in shop/staging");
    elsewhere(&server, &["deliveries", "list"], "jenkins").code(64);
}

#[test]
fn a_revoked_client_is_none_from_its_next_call_on() {
    let server = with_client("shop/*");
    elsewhere(&server, &["jobs", "list"], "jenkins").code(0);
    server.run(&["client", "revoke", "jenkins"]).code(0);
    elsewhere(&server, &["trigger", "shop"], "jenkins")
        .code(1)
        .says("the client jenkins is revoked");
    elsewhere(&server, &["jobs", "list"], "jenkins")
        .code(1)
        .says("is revoked");
    server.run(&["client", "list"]).code(0).says("revoked");
    server
        .run(&[
            "client", "issue", "jenkins", "--in", "shop/*", "--out", "again",
        ])
        .code(1)
        .says("there is a client jenkins");
    assert!(server.jobs().is_empty());
}

#[test]
fn a_certificate_of_another_authority_and_another_name_are_refused_in_words() {
    let (server, other) = (with_client("shop/*"), with_client("shop/*"));
    // The server is not who the client takes it for.
    let theirs = other.path().join("jenkins").display().to_string();
    elsewhere(&server, &["jobs", "list"], &theirs)
        .code(1)
        .says("cannot be asked")
        .says("certificate");

    // It is, and does not know the client.
    let mixed = server.path().join("mixed");
    std::fs::create_dir(&mixed).expect("a folder");
    for (from, name) in [
        (&other, "client.crt"),
        (&other, "client.key"),
        (&server, "authority.crt"),
    ] {
        std::fs::copy(from.path().join("jenkins").join(name), mixed.join(name)).expect("copied");
    }
    elsewhere(&server, &["jobs", "list"], "mixed")
        .code(1)
        .says("shipit client issue");

    let url = format!("https://127.0.0.2:{}", server.remote_port);
    let mut command = Command::new(shipit());
    command
        .args(["jobs", "list", "--server", &url, "--identity", "jenkins"])
        .current_dir(server.path());
    Said::from(&command.output().expect("shipit starts"))
        .code(1)
        .says("cannot be asked");
    assert!(server.jobs().is_empty());
}

#[test]
fn a_token_triggers_where_it_may_and_nothing_else_does() {
    let mut server = Server::new();
    server.push_aside();
    server.start();
    let said = server
        .run(&["token", "issue", "ci", "--in", "shop/staging"])
        .code(0);
    let token = said.stdout.trim().to_owned();
    let bearer = format!("authorization: Bearer {token}\r\n");

    let (status, text) = server.post("/trigger/shop/staging", &bearer, b"");
    assert_eq!(status, 202, "{text}");
    let answer: Value = serde_json::from_str(&text).expect("a document");
    assert_eq!(answer["jobs"][0]["number"], 1);
    server.run(&["jobs", "wait", "1"]).code(0);
    assert_eq!(server.world.get(), "v1");
    assert_eq!(server.jobs()[0]["by"]["name"], "ci");

    for (path, headers, body, expected) in [
        ("/trigger/shop/production", bearer.as_str(), "", 403),
        ("/trigger/shop/staging", "", "", 401),
        (
            "/trigger/shop/staging",
            "authorization: Bearer shipit_x\r\n",
            "",
            401,
        ),
        (
            "/trigger/shop/staging",
            bearer.as_str(),
            r#"{"ref": "other"}"#,
            409,
        ),
        (
            "/trigger/shop/staging",
            bearer.as_str(),
            r#"{"reff": "x"}"#,
            400,
        ),
    ] {
        let (status, text) = server.post(path, headers, body.as_bytes());
        assert_eq!(status, expected, "{path} {body}: {text}");
    }
    // Whoever reads the server's files cannot use it.
    let kept =
        std::fs::read_to_string(server.path().join("data/clients/ci.json")).expect("it is there");
    assert!(!kept.contains(&token));

    server.run(&["token", "revoke", "ci"]).code(0);
    assert_eq!(server.post("/trigger/shop/staging", &bearer, b"").0, 403);
    assert_eq!(server.jobs().len(), 1);
}
