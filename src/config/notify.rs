//! What the keys of `notify` must hold together.

use std::collections::BTreeSet;

use crate::config::de::listed;
use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::named;
use crate::config::schema::{EmailConfig, EmailTls, EnvEntry, EnvironmentConfig, NotifyConfig};
use crate::model::{endpoint, is_loopback};

/// The keys of which exactly one says who is told.
const KINDS: [&str; 4] = ["slack", "webhook", "email", "teams"];

/// Checks all who are told.
pub(super) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
    for (name, notify) in &environment.notify {
        let name = name.as_str();
        one_kind(findings, name, notify);
        secrets(findings, environment, name, notify);
        slack(findings, name, notify);
        webhook(findings, name, notify);
        if let Some(email) = &notify.email {
            by_email(findings, name, email);
        }
        if notify.on.as_ref().is_some_and(BTreeSet::is_empty) {
            let message = "it would be told nothing";
            findings.add(&["notify", name, "on"], message, TAKE_OUT);
        }
    }
}

/// Whether the environments are there that are named.
pub(super) fn environments(findings: &mut Findings<'_>, base: &EnvironmentConfig, names: &[&str]) {
    for (name, notify) in &base.notify {
        let asked = notify.environments.iter().flatten();
        named::environments(findings, &["notify", name.as_str(), "in"], asked, names);
    }
}

fn one_kind(findings: &mut Findings<'_>, name: &str, notify: &NotifyConfig) {
    let given = [
        notify.slack.is_some(),
        notify.webhook.is_some(),
        notify.email.is_some(),
        notify.teams.is_some(),
    ];
    let given = KINDS.into_iter().zip(given);
    let given: Vec<&str> = given.filter_map(|(kind, is)| is.then_some(kind)).collect();
    let (found, help) = match given.as_slice() {
        [_] => return,
        [] => ("there is none".to_owned(), "write `slack`, for one"),
        several => (format!("there are {}", listed(several)), "keep one of them"),
    };
    let message = format!("one of {} is needed here, and {found}", listed(&KINDS));
    findings.add(&["notify", name], message, help);
}

/// Whether the secrets are there, and this process can read them.
fn secrets(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    notify: &NotifyConfig,
) {
    for (key, secret) in notify.secrets() {
        let at = [&["notify", name], key].concat();
        named::secret(findings, environment, &at, secret);
    }
}

fn slack(findings: &mut Findings<'_>, name: &str, notify: &NotifyConfig) {
    let Some(slack) = &notify.slack else { return };
    let at = ["notify", name, "slack"];
    match (&slack.token, &slack.webhook) {
        (Some(_), Some(_)) => {
            let message = "`token` and `webhook` are both given";
            findings.add(&at, message, "keep one of them");
        }
        (None, None) => {
            let help = "add `token: {secret: slack}` and `channel`, or `webhook: {secret: slack}`";
            findings.add(&at, "nothing says how to come in", help);
        }
        (Some(_), None) if slack.channel.as_ref().is_none_or(String::is_empty) => {
            let message = "a bot can be in many channels, and none is named";
            findings.add(&at, message, "add `channel: C0123456789`");
        }
        (None, Some(_)) => {
            let message = "an incoming webhook has its channel already";
            findings.refuse(&at, &["channel", "api"], message);
        }
        (Some(_), None) => {}
    }
    if let Some(api) = &slack.api {
        address(findings, &["notify", name, "slack", "api"], api);
    }
}

fn webhook(findings: &mut Findings<'_>, name: &str, notify: &NotifyConfig) {
    if let Some(EnvEntry::Text(url)) = notify.webhook.as_ref().map(|it| &it.url) {
        address(findings, &["notify", name, "webhook", "url"], &url.0);
    }
}

pub(super) fn address(findings: &mut Findings<'_>, at: &[&str], text: &str) {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme == "https" && endpoint::problem(host).is_none() {
        return;
    }
    if scheme == "http" && is_loopback(host) {
        return;
    }
    findings.add(
        at,
        "this is no address to send something to",
        "write it as `https://example.com/hook`; `http` is for this machine alone",
    );
}

fn by_email(findings: &mut Findings<'_>, name: &str, email: &EmailConfig) {
    let at = |key: &'static str| ["notify", name, "email", key];
    if let Some(problem) = endpoint::problem(&email.server) {
        findings.add(&at("server"), problem, "write `server: smtp.example.com`");
    }
    if email.tls == EmailTls::None && !is_loopback(&email.server) {
        findings.add(
            &at("tls"),
            "without TLS all of it would be readable on its way",
            "write `starttls` or `implicit`",
        );
    }
    if email.to.is_empty() {
        findings.add(
            &at("to"),
            "there is nobody",
            "write `to: [ops@example.com]`",
        );
    }
    let addresses = email.to.iter().map(|to| ("to", to));
    for (key, address) in addresses.chain([("from", &email.from)]) {
        if !is_mailbox(address) {
            let message = format!("`{address}` is no address");
            findings.add(&at(key), message, "write it as `Ops <ops@example.com>`");
        }
    }
    match (&email.user, &email.password) {
        (Some(_), None) => {
            let help = "add `password: {secret: smtp}`";
            findings.add(&at("user"), "there is no password for it", help);
        }
        (None, Some(_)) => {
            findings.add(&at("password"), "there is no user for it", "add `user`");
        }
        _ => {}
    }
}

/// Whether a text looks like an address, alone or behind a name.
fn is_mailbox(text: &str) -> bool {
    let inside = text.trim().strip_suffix('>');
    let address = match inside.and_then(|text| text.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text.trim(),
    };
    let is_part = |part: &str| {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "<>,;:\"".contains(c);
        !part.is_empty() && !part.contains(is_odd)
    };
    let parts = address.rsplit_once('@');
    let is_plain = !text.contains(char::is_control);
    is_plain && parts.is_some_and(|(user, host)| is_part(user) && is_part(host))
}
