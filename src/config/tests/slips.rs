//! Slips of the finger: each is told once, at the key that is wrong.

use super::{GOOD, faults};

fn one(shipit: &str, staging: &str) -> String {
    let found = faults(shipit, staging);
    assert_eq!(found.len(), 1, "{staging}: {found:#?}");
    found[0].clone()
}

#[test]
fn a_key_of_an_item_of_a_list_is_shown_where_it_stands() {
    for (text, wanted) in [
        (
            "promotion:\n  before:\n    - http: {path: /a}\n    - http: {pth: /b}\n",
            "4:14: promotion.before.1.http.pth: unknown key `pth` | did you mean `path`?",
        ),
        (
            "promotion:\n  before:\n    - run:\n        command: [a]\n        timout: 3s\n",
            "5:9: promotion.before.0.run.timout: unknown key `timout` | did you mean `timeout`?",
        ),
        (
            "windows:\n  - on: mon\n    form: \"10:00\"\n    to: \"11:00\"\n",
            "3:5: windows.0.form: unknown key `form` | did you mean `from`?",
        ),
        (
            "promotion:\n  after:\n    - htp: {path: /a}\n",
            "3:7: promotion.after.0: unknown value `htp` | did you mean `http`?",
        ),
    ] {
        let found = one(GOOD, text);
        assert!(found.contains(wanted), "{text}: {found}");
    }
}

#[test]
fn what_may_be_written_in_short_says_what_is_wrong_with_its_long_form() {
    for (text, wanted) in [
        (
            "services: {web: {build: {run: {shel: a}}}}",
            "1:32: services.web.build.run.shel: unknown key `shel` | did you mean `shell`?",
        ),
        (
            "services: {web: {build: {run: 3}}}",
            "services.web.build.run: this is the number 3, and a command: a text, a list, or a map",
        ),
        (
            "promotion: {before: [{run: {timeout: 3s}}]}",
            "promotion.before.0.run: the key `command` is missing",
        ),
        (
            "promotion: {before: [{run: {command: [a], timeout: 3}}]}",
            "promotion.before.0.run.timeout: this is the number 3",
        ),
    ] {
        let found = one(GOOD, text);
        assert!(found.contains(wanted), "{text}: {found}");
    }
    let cluster = "registry: {kind: oci, endpoint: localhost}\ncluster: {kind: kubernetes}\n\
                   traffic: {kind: service}\n";
    let text = format!("{cluster}services: {{web: {{manifests: {{kustomise: deploy}}}}}}");
    let found = one(GOOD, &text);
    assert!(
        found.contains(
            "services.web.manifests.kustomise: unknown key `kustomise` | did you mean `kustomize`?"
        ),
        "{found}"
    );
}

#[test]
fn a_kind_that_is_misspelt_is_the_one_fault() {
    let found = one(&GOOD.replace("kind: pack", "kid: pack"), "");
    assert!(
        found.contains(
            "shipit.yaml:5:13: services.web.build.kid: unknown key `kid` | did you mean `kind`?"
        ),
        "{found}"
    );
    for text in [
        "cluster: {kid: host, runtime: process}",
        "registry: {knd: layout}",
        "traffic: {kind_: embedded, address: 127.0.0.1}",
    ] {
        let found = one(GOOD, text);
        assert!(found.ends_with("| did you mean `kind`?"), "{text}: {found}");
    }
}

#[test]
fn a_service_that_is_misspelt_in_an_environment_is_the_one_fault() {
    let wanted = "services.wbe: there is no such service, and nothing says which image a new one \
                  runs | did you mean `web`?";
    for text in [
        "services: {wbe: {replicas: 2}}",
        "services: {wbe: {port: 8080}}",
        "services: {wbe: {health: {path: /up}, replicas: 0}}",
    ] {
        let found = one(GOOD, text);
        assert!(found.contains(wanted), "{text}: {found}");
    }
    let found = one(GOOD, "services: {worker: {replicas: 2}}");
    assert!(
        found.contains("services.worker: nothing says which image it runs"),
        "{found}"
    );
}
