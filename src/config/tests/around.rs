//! What is called and who is told around a run: what is wrong with their keys is said at each.

use super::{GOOD, faults, project};

const SECRETS: &str = "secrets: {key: {file: key}}\n";

fn are_refused(cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        let said = faults(GOOD, &format!("{SECRETS}{line}\n")).join("\n");
        assert!(said.contains(expected), "{line}: {said}");
    }
}

#[test]
fn who_is_told_has_one_kind_and_all_that_it_needs() {
    let cases = [
        ("notify: {a: {on: [done]}}", "one of `slack`"),
        (
            "notify: {a: {teams: {webhook: {secret: kye}}}}",
            "notify.a.teams.webhook: there is no secret kye",
        ),
        (
            "notify: {a: {teams: {webhook: {secret: key}}, webhook: {url: \"https://a.example\", \
             secret: {secret: key}}}}",
            "keep one of them",
        ),
        (
            "notify: {a: {slack: {token: {secret: key}}}}",
            "notify.a.slack: a bot can be in many channels",
        ),
        (
            "notify: {a: {slack: {webhook: {secret: key}, channel: C1}}}",
            "notify.a.slack.channel: an incoming webhook has its channel already",
        ),
        (
            "notify: {a: {slack: {}}}",
            "notify.a.slack: nothing says how to come in",
        ),
        (
            "notify: {a: {webhook: {url: \"http://a.example\", secret: {secret: key}}}}",
            "notify.a.webhook.url: this is no address to send something to",
        ),
        (
            "notify: {a: {email: {server: mail.example.com, tls: none, from: a@b.example, to: \
             [c@d.example]}}}",
            "notify.a.email.tls: without TLS all of it would be readable",
        ),
        (
            "notify: {a: {email: {server: mail.example.com, from: \"a@b.example\\nBcc: \
             x@y.example\", to: []}}}",
            "notify.a.email.from: `a@b.example",
        ),
        (
            "notify: {a: {email: {server: mail.example.com, user: ship, from: a@b.example, to: \
             []}}}",
            "notify.a.email.to: there is nobody",
        ),
        (
            "notify: {a: {email: {server: mail.example.com, user: ship, from: a@b.example, to: \
             [c@d.example]}}}",
            "notify.a.email.user: there is no password for it",
        ),
        (
            "notify: {a: {teams: {webhook: {secret: key}}, on: [tested]}}",
            "tested",
        ),
        (
            "notify: {a: {teams: {webhook: {secret: key}}, on: [test]}}",
            "test",
        ),
    ];
    are_refused(&cases);
    let said = faults(
        &format!(
            "{GOOD}{SECRETS}notify: {{a: {{teams: {{webhook: {{secret: key}}}}, in: [stagign]}}}}\n"
        ),
        "",
    );
    let said = said.join("\n");
    assert!(
        said.contains("there is no environments/stagign.yaml"),
        "{said}"
    );
}

#[test]
fn a_hook_has_one_point_and_one_call() {
    let cases = [
        ("hooks: {a: {run: [b]}}", "hooks.a: nothing says when"),
        (
            "hooks: {a: {before: build, after: build, run: [b]}}",
            "hooks.a.after: `before` and `after` are both given",
        ),
        ("hooks: {a: {before: build}}", "hooks.a: nothing says what"),
        (
            "hooks: {a: {before: build, run: []}}",
            "hooks.a.run: there is no command",
        ),
        (
            "hooks: {a: {before: build, http: {url: \"ftp://b\", secret: {secret: key}}}}",
            "hooks.a.http.url: this is no address",
        ),
        (
            "hooks: {a: {before: build, http: {url: \"https://b.example\", secret: {secret: key}}, \
             pass: [X]}}",
            "hooks.a.pass: a server has no variables",
        ),
        (
            "hooks: {a: {before: build, run: [b], env: {SHIPIT_RELEASE: x}}}",
            "hooks.a.env: `SHIPIT_RELEASE` is one that shipit sets",
        ),
        (
            "hooks: {a: {before: build, run: [b], pass: [\"AWS_*\"]}}",
            "hooks.a.pass: `AWS_*` is no name of a variable",
        ),
        (
            "hooks: {a: {before: build, run: [b], env: {X: {secret: kye}}}}",
            "hooks.a.env.X: there is no secret kye",
        ),
        (
            "hooks: {a: {before: rollback, run: [b], on_failure: stop}}",
            "hooks.a.on_failure: a rollback is never held up",
        ),
        (
            "hooks: {a: {before: build, run: [b], timeout: 0s}}",
            "hooks.a.timeout: no time at all",
        ),
        ("hooks: {a: {before: swich, run: [b]}}", "swich"),
    ];
    are_refused(&cases);
}

#[test]
fn what_is_whole_is_taken() {
    let overlay = format!(
        "{SECRETS}notify:\n  a: {{slack: {{channel: C1, token: {{secret: key}}}}, on: [started, \
         done]}}\n  b: {{email: {{server: \"mail.example.com:25\", from: \"Ship <a@b.example>\", \
         to: [c@d.example]}}}}\nhooks:\n  c: {{before: switch, run: bin/c now, env: {{X: {{secret: \
         key}}}}, pass: [Y]}}\n"
    );
    let project = project(GOOD, &overlay).expect("it is whole");
    let environment = project.environments.values().next().expect("one");
    assert_eq!(environment.notify.len(), 2);
    let hook = environment.hooks.values().next().expect("one");
    assert_eq!(hook.run.as_ref().expect("a command").0, ["bin/c", "now"]);
}
