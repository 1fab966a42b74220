//! Approvers and approvals that nobody could give.

use super::{GOOD, faults, project};
use crate::config::rules_of;

const KIM: &str = include_str!("../../model/sshsig/signed/ed25519.pub");
const LEE: &str = include_str!("../../model/sshsig/signed/ecdsa256.pub");

/// A project with these approvers.
fn with(approvers: &str) -> String {
    format!("{GOOD}approvers:\n{approvers}\n")
}

fn two() -> String {
    with(&format!(
        "  kim: {}\n  lee: {{keys: [{}], email: [lee@x.org], groups: [leads]}}",
        KIM.trim(),
        LEE.trim()
    ))
}

#[test]
fn an_approver_is_a_key_or_what_is_known_of_somebody() {
    let overlay = "approvals: {count: 2, by: [leads, kim], within: 24h}\n";
    let project = project(&two(), overlay).expect("valid");
    let staging = project.environments.values().next().expect("one");
    let rule = staging.approvals.as_ref().expect("approvals").rule();
    assert_eq!(rule.wants(), "2 approvals of leads or kim");
    let approvers = crate::config::schema::approvers(&staging.approvers);
    let names: Vec<&str> = approvers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["kim", "lee"]);
    assert!(approvers.iter().all(|one| rule.takes(one)));
    assert!(approvers[0].emails.is_empty() && approvers[1].emails.contains("lee@x.org"));
}

#[test]
fn what_nobody_could_give_is_said_with_its_place() {
    let kim = KIM.trim();
    let of = |shipit: &str, staging: &str| faults(shipit, staging).join("\n");
    let (approvals, count) = (
        "environments/staging.yaml:1:20: approvals.count: ",
        "approvals: {count: ",
    );
    for (said, says) in [
        (
            of(&two(), &format!("{count}3}}\n")),
            format!("{approvals}3 people must approve, and 2 can").as_str(),
        ),
        (of(&two(), &format!("{count}0}}\n")), approvals),
        (
            of(&two(), "approvals: {by: [leeds]}\n"),
            "there is no approver or group leeds | did you mean `leads`?",
        ),
        (
            of(&two(), "approvals: {not_author: true}\n"),
            "`email` is missing at approvers.kim",
        ),
        (
            of(GOOD, "approvals: {}\n"),
            "there are no approvers who could give them",
        ),
        (
            of(&two(), "approvers: {}\n"),
            "approvers: this is for all environments",
        ),
        (
            of(&with(&format!("  kim: {kim}\n  eve: {kim}")), ""),
            "is eve's, too",
        ),
        (
            of(
                &with(&format!("  kim: {{keys: [{kim}], groups: [kim]}}")),
                "",
            ),
            "cannot be a group, too",
        ),
        (
            of(&with(&format!("  kim, lee: {kim}")), ""),
            "`kim, lee` is no name",
        ),
        (of(&with("  kim: {keys: []}"), ""), "there is no key"),
        (
            of(&with("  kim: ssh-ed25519 AAAA"), ""),
            "approvers.kim: this key cannot be read: it is cut off",
        ),
        (of(&with("  kim: {key: x}"), ""), "did you mean `keys`?"),
    ] {
        assert!(said.contains(says), "{says} is not in: {said}");
    }
}

#[test]
fn a_branch_says_who_approves_in_the_file_of_the_project_alone() {
    let project = two();
    let overlay = format!(
        "approvals: {{count: 1}}\napprovers: {{eve: {}}}\n",
        KIM.trim()
    );
    let rules = rules_of(("shipit.yaml", &project), Some(("over.yaml", &overlay)));
    let rules = rules.expect("rules");
    let names: Vec<&String> = rules.approvers.keys().collect();
    assert_eq!(names, ["kim", "lee"]);
    assert_eq!(rules.places["approvals"].file, "over.yaml");
    let faulty = rules_of(
        ("shipit.yaml", &project),
        Some(("o", "approvals: {count: 9}\n")),
    );
    assert!(faulty.is_err());
}
