//! Whether a change names its ticket.

use regex::Regex;

use crate::model::source::Commit;
use crate::model::ticket::{TicketPlace, TicketRule};
use crate::model::verdict::Verdict;
use crate::policy::{bounded, shown};

/// The key of the rule.
const KEY: &str = "ticket";

/// Whether the branch, or else each commit that is no merge, names a ticket. Each commit comes with
/// its whole message.
#[must_use]
pub fn has_ticket(
    rule: &TicketRule,
    branch: Option<&str>,
    commits: &[(Commit, String)],
) -> Vec<Verdict> {
    let Ok(pattern) = Regex::new(&rule.pattern) else {
        let reason = "the ticket's pattern cannot be read";
        return vec![Verdict::undecided(
            KEY,
            reason,
            "write a regular expression",
        )];
    };
    let looks = |place| rule.places.contains(&place);
    let found = branch
        .filter(|_| looks(TicketPlace::Branch))
        .and_then(|branch| pattern.find(branch));
    if let Some(ticket) = found {
        let reason = format!("the branch names {}", ticket.as_str());
        return vec![Verdict::passed(KEY, reason)];
    }

    let wanted = &rule.pattern;
    if !looks(TicketPlace::Commits) {
        let branch = branch.unwrap_or("of which none is known");
        let reason = format!("the branch {branch} names no ticket (`{wanted}`)");
        let help = "rename the branch, so that it has the ticket in its name";
        return vec![Verdict::refused(KEY, reason, help)];
    }
    let own = commits
        .iter()
        .filter(|(commit, _)| commit.parents.len() < 2);
    let without: Vec<Verdict> = own
        .clone()
        .filter(|(_, message)| !pattern.is_match(message))
        .map(|(commit, _)| {
            let reason = format!("{} names no ticket (`{wanted}`)", shown(commit));
            let help = if looks(TicketPlace::Branch) {
                "name it in the commit's message, or in the branch's name"
            } else {
                "name it in the commit's message (`git commit --amend`, `git rebase --interactive`)"
            };
            Verdict::refused(KEY, reason, help).at(&commit.id)
        })
        .collect();
    if without.is_empty() {
        let reason = format!("each of {} commits names a ticket", own.count());
        return vec![Verdict::passed(KEY, reason)];
    }
    bounded(without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_in_the_branch_or_in_every_commit() {
        use TicketPlace::{Branch, Commits};
        let rule = |places: &[TicketPlace]| TicketRule {
            pattern: "[A-Z]+-[0-9]+".to_owned(),
            places: places.to_vec(),
        };
        let commit = |message: &str, parents: usize| {
            let commit = Commit {
                id: "a".repeat(40),
                parents: vec![String::new(); parents],
                subject: message.to_owned(),
                author: "kim".to_owned(),
            };
            (commit, message.to_owned())
        };
        let commits = [
            commit("ABC-1 cart", 1),
            commit("cart\n\nRefs: ABC-2", 1),
            commit("merged", 2),
        ];
        let without = [commit("cart", 1), commit("ABC-1", 1), commit("more", 1)];
        let count = |rule: &TicketRule, branch, commits: &[(Commit, String)]| {
            let verdicts = has_ticket(rule, branch, commits);
            verdicts
                .iter()
                .filter(|verdict| !verdict.is_passed())
                .count()
        };
        assert_eq!(count(&rule(&[Branch]), Some("feature/ABC-1"), &without), 0);
        assert_eq!(count(&rule(&[Branch]), Some("feature/cart"), &commits), 1);
        assert_eq!(count(&rule(&[Branch]), None, &commits), 1);
        assert_eq!(count(&rule(&[Commits]), Some("feature/ABC-1"), &without), 2);
        assert_eq!(count(&rule(&[Branch, Commits]), Some("ABC-1"), &without), 0);
        assert_eq!(count(&rule(&[Branch, Commits]), Some("cart"), &commits), 0);
        assert_eq!(count(&rule(&[Commits]), None, &[]), 0);
    }
}
