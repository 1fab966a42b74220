//! Markdown that fits into a place: whole sections only, and what was left out is said.

use crate::output::reports::Report;
use crate::output::{Line, Page, outcome, plan, verdicts};
use std::fmt::Write as _;

/// What a comment on a change request takes, in bytes.
pub const COMMENT: usize = 64 << 10;

/// What the summary of a GitHub step takes, in bytes.
pub const SUMMARY: usize = 1 << 20;

/// What is kept free for saying what was left out.
const ROOM: usize = 200;

pub(super) fn text(report: &Report, most: usize) -> String {
    bounded(&sections(report), most)
}

/// The most tests of a task that are named.
const MOST_TESTS: usize = 100;

/// The sections, each with its name.
fn sections(report: &Report) -> Vec<(&'static str, String)> {
    let mut sections = Vec::new();
    if !report.problems.is_empty() {
        let mut page = Page::of(format!("### {}", report.title));
        page.blank();
        let mut inside = Page::new();
        for problem in &report.problems {
            let place = problem
                .place
                .as_ref()
                .map(|place| format!("{}:{}:{}: ", place.file, place.line, place.column));
            inside.line(format!("{}{}", place.unwrap_or_default(), problem.message));
            inside.extend(problem.help.as_ref().map(|help| format!("  {help}").into()));
        }
        page.extend(inside.fenced());
        sections.push(("what is wrong", page.plain()));
    }
    if !report.verdicts.is_empty() {
        let page = verdicts::markdown(&format!("Rules: {}", report.title), &report.verdicts);
        sections.push(("the rules", page.plain()));
    }
    if !report.tests.is_empty() {
        sections.push(("the tests", tests(report).plain()));
    }
    if let Some(ended) = &report.outcome {
        let mut page = Page::of(format!("### {}", report.title));
        page.blank();
        page.extend(outcome::human(ended).fenced());
        sections.push(("how it ended", page.plain()));
    }
    sections.extend(
        report
            .plan
            .as_ref()
            .map(|made| ("the plan", plan::markdown(made).plain())),
    );
    sections
}

/// How many tests there were, and which failed.
fn tests(report: &Report) -> Page {
    let mut page = Page::of("### Tests");
    page.blank();
    let mut inside = Page::new();
    for (address, tests) in &report.tests {
        let counts = tests.summary().counts();
        inside.line(format!("{address}: {counts}"));
        let failures = tests.failures().take(MOST_TESTS);
        inside.extend(failures.filter_map(|case| {
            let (message, _) = case.result.failure()?;
            Some(Line::from("  ✗ ").quote(format!("{}: {message}", case.full_name())))
        }));
        let problems = tests.problems.iter();
        inside.extend(problems.map(|problem| Line::from("  ").quote(problem)));
    }
    page.extend(inside.fenced());
    page
}

/// As many whole sections as fit, and the names of the others.
#[must_use]
pub fn bounded(sections: &[(&'static str, String)], most: usize) -> String {
    let whole: usize = sections.iter().map(|(_, text)| text.len() + 1).sum();
    let room = if whole <= most {
        most
    } else {
        most.saturating_sub(ROOM)
    };
    let (mut text, mut left_out) = (String::new(), Vec::new());
    for (name, section) in sections {
        if text.len() + section.len() + 1 > room {
            left_out.push(*name);
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(section);
    }
    if !left_out.is_empty() {
        let _ = write!(
            text,
            "\nLeft out, as it does not fit here: {}.\n",
            left_out.join(", ")
        );
    }
    text
}
