//! What is wrong with a `server.yaml`, and where.

use std::fs;

use super::*;

const GOOD: &str = "\
version: 1
data: /var/lib/shipit/serve
listen:
  web: {address: \"127.0.0.1:8443\"}
  socket: {path: /run/shipit/serve.sock, users: [git]}
projects:
  storefront:
    source: {url: \"ssh://git@git.example.com/shop.git\"}
    receivers:
      gitea: {kind: gitea, secrets: [{file: /etc/shipit/hook}]}
    environments:
      staging: {on: {branch: staging}}
      production: {on: {tag: \"v*\"}, then: plan}
    may: {secrets: [\"env:SHOP_*\"], registries: [layout], clusters: [host]}
";

fn faults(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("server.yaml");
    fs::write(&path, text).expect("written");
    match load_server(&path) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let shown = |fault: &crate::config::ConfigProblem| {
                format!("{}:{}: {}", fault.line, fault.column, fault.message)
            };
            error.faults.iter().map(shown).collect()
        }
    }
}

#[test]
fn a_good_one_is_read() {
    assert_eq!(faults(GOOD), [""; 0]);
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_its_place() {
    let wrong = GOOD
        .replace("kind: gitea", "kind: gitae")
        .replace("users: [git]", "user: [git]")
        .replace("then: plan", "then: deploy");
    let found = faults(&wrong);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("5:42: listen.socket.user: unknown key"),
        "{found:#?}"
    );
    assert!(found[1].contains("unknown value `gitae`"), "{found:#?}");
    assert!(found[2].contains("unknown value `deploy`"), "{found:#?}");
}

#[test]
fn what_the_types_cannot_say_is_checked() {
    for (from, to, words) in [
        ("version: 1", "version: 2", "version 1"),
        (
            "projects:",
            "dashboard: {session: 31d}\nprojects:",
            "to stay signed in",
        ),
        (
            "projects:",
            "dashboard: {session: 10m}\nprojects:",
            "not within `session`",
        ),
        (
            "listen:\n  web: {address: \"127.0.0.1:8443\"}\n",
            "dashboard: {}\nlisten:\n",
            "no listener for its pages",
        ),
        ("data: /var", "data: var", "relative"),
        (
            "secrets: [{file: /etc/shipit/hook}]",
            "secrets: []",
            "there is no secret",
        ),
        (
            "{file: /etc/shipit/hook}",
            "{file: a, env: B}",
            "one source",
        ),
        ("on: {branch: staging}", "on: {}", "deployed on nothing"),
        (
            "on: {branch: staging}",
            "on: {image: {repository: a}}",
            "no files of its own",
        ),
        ("url: \"ssh:", "url: \"ext::ssh:", "no URL"),
        ("may: {", "may: all #{", "says nothing"),
        (
            "    may: {",
            "    pipeline: /etc/shipit/node.json\n    may: {",
            "is `never`",
        ),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let found = faults(&text);
        assert!(
            found.len() == 1 && found[0].contains(words),
            "{to}: {found:#?}"
        );
    }
}

#[test]
fn tokens_are_typed_into_no_page_that_goes_in_the_clear() {
    let with = |address: &str, more: &str| {
        let text = GOOD
            .replace("127.0.0.1:8443\"", address)
            .replace("projects:", &format!("{more}dashboard: {{}}\nprojects:"));
        faults(&text)
    };
    let refused = with("0.0.0.0:8443\"", "");
    assert!(
        refused.len() == 1 && refused[0].contains("in the clear"),
        "{refused:#?}"
    );
    let tls = "0.0.0.0:8443\", tls: {certificate: /a, key: /b}";
    let public = "public_url: https://ship.example.com\n";
    for (address, more) in [
        (tls, ""),
        ("0.0.0.0:8443\"", public),
        ("127.0.0.1:8443\"", ""),
        ("[::1]:8443\"", ""),
    ] {
        assert_eq!(with(address, more), [""; 0], "{address} {more}");
    }
}

#[test]
fn nothing_is_allowed_that_nobody_has_allowed() {
    let text = GOOD.replace(
        "    may: {secrets: [\"env:SHOP_*\"], registries: [layout], clusters: [host]}\n",
        "",
    );
    let found = faults(&text);
    assert!(
        found.len() == 1 && found[0].contains("`may` is missing"),
        "{found:#?}"
    );
}
