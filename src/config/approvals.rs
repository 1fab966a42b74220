//! What approvers and approvals must hold besides their types: that as many people as are wanted
//! can give them.

use std::collections::BTreeMap;

use crate::config::findings::Findings;
use crate::config::schema::{ApprovalsConfig, Approvers, approvers};
use crate::config::suggest::suggest;
use crate::model::approval::{ApprovalRule, Approver};

/// The most approvers.
const MOST: usize = 500;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 64;

/// What is wrong with them.
pub(super) fn check(
    findings: &mut Findings<'_>,
    given: &Approvers,
    approvals: Option<&ApprovalsConfig>,
) {
    if given.len() > MOST {
        let message = format!("there are {} approvers, of {MOST} at the most", given.len());
        findings.add(
            &["approvers"],
            message,
            "take out those who approve nothing",
        );
        return;
    }
    let approvers = approvers(given);
    for approver in &approvers {
        one(findings, given, approver);
    }
    keys(findings, &approvers);
    if let Some(approvals) = approvals {
        if approvals
            .within
            .is_some_and(|within| within.get().is_zero())
        {
            findings.add(
                &["approvals", "within"],
                "no approval is as young as that",
                "write how old one may be, as `within: 24h`",
            );
        }
        wanted(findings, &approvers, &approvals.rule());
    }
}

fn one(findings: &mut Findings<'_>, given: &Approvers, approver: &Approver) {
    let at = ["approvers", &approver.name];
    let names = std::iter::once(&approver.name).chain(&approver.groups);
    for name in names.filter(|name| !is_name(name)) {
        let message = format!("`{name}` is no name");
        let help = format!(
            "write one of letters, digits, `-`, `_`, `.` and `@`, of {LONGEST_NAME} bytes at the \
             most"
        );
        findings.add(&at, message, help);
    }
    if approver.keys.is_empty() {
        let help = "write `keys: [ssh-ed25519 AAAA…]`, the line of a .pub file";
        findings.add(
            &["approvers", &approver.name, "keys"],
            "there is no key",
            help,
        );
    }
    for group in &approver.groups {
        if given.contains_key(group) {
            let message = format!("{group} is the name of an approver, and cannot be a group, too");
            findings.add(
                &["approvers", &approver.name, "groups"],
                message,
                "give the group another name",
            );
        }
    }
}

/// What can be printed in a list of names and be told apart.
fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_part)
}

/// A key that two people have would let one of them sign for both.
fn keys(findings: &mut Findings<'_>, approvers: &[Approver]) {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for approver in approvers {
        for key in &approver.keys {
            let fingerprint = key.fingerprint();
            match owners.insert(fingerprint.clone(), &approver.name) {
                Some(owner) if owner != approver.name => findings.add(
                    &["approvers", &approver.name],
                    format!("the key {fingerprint} is {owner}'s, too"),
                    "a key is one person's: take it out of one of them",
                ),
                _ => {}
            }
        }
    }
}

fn wanted(findings: &mut Findings<'_>, approvers: &[Approver], rule: &ApprovalRule) {
    if approvers.is_empty() {
        let help = "write `approvers: {NAME: ssh-ed25519 AAAA…}` into shipit.yaml";
        findings.add(
            &["approvals"],
            "there are no approvers who could give them",
            help,
        );
        return;
    }
    let mut known: Vec<&str> = Vec::new();
    for approver in approvers {
        known.push(&approver.name);
        known.extend(approver.groups.iter().map(String::as_str));
    }
    known.sort_unstable();
    known.dedup();
    let mut is_known = true;
    for (index, name) in rule.by.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            is_known = false;
            let help = suggest(name, &known, "approvers and groups");
            let path = ["approvals", "by", &index.to_string()];
            findings.add(&path, format!("there is no approver or group {name}"), help);
        }
    }
    if !is_known {
        return;
    }

    let eligible: Vec<&Approver> = approvers.iter().filter(|one| rule.takes(one)).collect();
    if rule.count > eligible.len() {
        let message = format!(
            "{} people must approve, and {} can",
            rule.count,
            eligible.len()
        );
        let help = "want fewer, or add approvers in shipit.yaml";
        findings.add(&["approvals", "count"], message, help);
    }
    for approver in eligible {
        if rule.not_author && approver.emails.is_empty() {
            let message = format!(
                "nobody can tell which commits are {}'s: `email` is missing at approvers.{}",
                approver.name, approver.name
            );
            let help = "write `email: [ADDRESS]` with the addresses of their commits";
            findings.add(&["approvals", "not_author"], message, help);
        }
    }
}
