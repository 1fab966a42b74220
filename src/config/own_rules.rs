//! What a project's own rules, windows and tickets must hold besides their types: that expressions
//! are such, and that nothing is asked that cannot be.

use crate::config::findings::Findings;
use crate::config::schema::PolicyConfig;
use crate::model::ticket::TicketRule;
use crate::model::window::{DayOrTime, Freeze};
use crate::policy::own::compile;

/// The most rules of one list.
const MOST: usize = 100;

/// What is wrong with them.
pub(super) fn check(
    findings: &mut Findings<'_>,
    policy: &[PolicyConfig],
    freezes: &[Freeze],
    ticket: Option<&TicketRule>,
) {
    if policy.len() > MOST {
        let message = format!("there are {} rules, of {MOST} at the most", policy.len());
        findings.add(
            &["policy"],
            message,
            "make a program of some, and name it by `run`",
        );
    }
    for (index, rule) in policy.iter().take(MOST).enumerate() {
        own(findings, &index.to_string(), rule);
    }
    for (index, freeze) in freezes.iter().enumerate() {
        if is_backwards(freeze) {
            let message = format!("it would be over ({}) before it begins", freeze.to);
            let path = ["freezes", &index.to_string(), "to"];
            findings.add(&path, message, "write a later day");
        }
    }
    if let Some(ticket) = ticket {
        if let Err(error) = regex::Regex::new(&ticket.pattern) {
            let last = error.to_string();
            let last = last.lines().last().unwrap_or_default().trim().to_owned();
            let help = "write one as `[A-Z]+-[0-9]+`";
            findings.add(
                &["ticket", "pattern"],
                format!("this is no regular expression: {last}"),
                help,
            );
        }
        if ticket.places.is_empty() {
            findings.add(
                &["ticket", "in"],
                "there is no place to look at",
                "write `[branch, commits]`",
            );
        }
    }
}

fn own(findings: &mut Findings<'_>, index: &str, rule: &PolicyConfig) {
    let at = ["policy", index];
    match (&rule.must, &rule.run) {
        (None, None) | (Some(_), Some(_)) => {
            let message = "a rule is an expression (`must`) or a program (`run`), one of them";
            findings.add(
                &at,
                message,
                "write `must: EXPRESSION` or `run: [PROGRAM, ARGUMENT]`",
            );
            return;
        }
        (None, Some(command)) => {
            if command.first().is_none_or(String::is_empty) {
                findings.add(
                    &["policy", index, "run"],
                    "there is no program",
                    "write `run: [conftest, test, \"-\"]`",
                );
            }
            for (key, given) in [("when", &rule.when), ("help", &rule.help)] {
                if given.is_some() {
                    let help = "take the key out; the program says so itself";
                    findings.add(&["policy", index, key], "this is for an expression", help);
                }
            }
            return;
        }
        (Some(_), None) => {}
    }
    if rule.name.as_ref().is_none_or(|name| name.trim().is_empty()) {
        let help = "write `name:`, as `nothing is deleted in production`";
        findings.add(&at, "a rule has a name, for whoever it refuses", help);
    }
    for (key, text) in [("when", &rule.when), ("must", &rule.must)] {
        let fault = text.as_ref().and_then(|text| compile(text).err());
        if let Some(fault) = fault {
            let place = (fault.line, fault.column);
            findings.add_inside(&["policy", index, key], place, fault.message, fault.help);
        }
    }
}

fn is_backwards(freeze: &Freeze) -> bool {
    match (freeze.from, freeze.to) {
        (DayOrTime::Day(from), DayOrTime::Day(to)) => to < from,
        (DayOrTime::Time(from), DayOrTime::Time(to)) => to <= from,
        (DayOrTime::Day(from), DayOrTime::Time(to)) => to.date() < from,
        (DayOrTime::Time(from), DayOrTime::Day(to)) => to < from.date(),
    }
}
