//! `JUnit`: a suite for the rules, one for the steps, one for what else went wrong. The elements
//! and attributes are those of the schema that Jenkins' plugin names.

use std::fmt::Write as _;

use crate::model::verdict::{Ruling, Verdict};
use crate::output::reports::{Report, StepResult};
use crate::output::visible::is_visible;

/// The most characters of a text in it.
const MOST_TEXT: usize = 8_000;

struct Case {
    class: &'static str,
    name: String,
    millis: u64,
    /// What kind of failure, in short, and all of it.
    failure: Option<(&'static str, String, String)>,
}

pub(super) fn text(report: &Report) -> String {
    let rules: Vec<Case> = report.verdicts.iter().map(rule).collect();
    let steps: Vec<Case> = report.steps.iter().map(step).collect();
    let mut other: Vec<Case> = report
        .problems
        .iter()
        .map(|problem| Case {
            class: "shipit",
            name: problem.place.as_ref().map_or_else(
                || report.title.clone(),
                |place| format!("{}:{}:{}", place.file, place.line, place.column),
            ),
            millis: 0,
            failure: Some(failed("failed", &problem.message, problem.help.as_deref())),
        })
        .collect();
    if rules.is_empty() && steps.is_empty() && other.is_empty() {
        // A file without a case is a fault to Jenkins.
        other.push(Case {
            class: "shipit",
            name: report.title.clone(),
            millis: 0,
            failure: None,
        });
    }

    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for (name, cases) in [("rules", rules), ("steps", steps), ("shipit", other)] {
        if !cases.is_empty() {
            suite(&mut text, name, &cases);
        }
    }
    text.push_str("</testsuites>\n");
    text
}

fn rule(verdict: &Verdict) -> Case {
    let mut name = verdict.rule.clone();
    let commit = verdict.commit.as_deref().map(short);
    for part in [verdict.branch.as_deref(), commit].into_iter().flatten() {
        let _ = write!(name, " {part}");
    }
    let kind = match verdict.ruling {
        Ruling::Passed => None,
        Ruling::Undecided => Some("undecided"),
        Ruling::Refused => Some("refused"),
    };
    Case {
        class: "rules",
        name,
        millis: 0,
        failure: kind.map(|kind| failed(kind, &verdict.reason, verdict.help.as_deref())),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

fn step(step: &StepResult) -> Case {
    Case {
        class: "steps",
        name: format!("{}: {}", step.address, step.title),
        millis: step.millis.unwrap_or_default(),
        failure: step.failure.as_ref().map(|why| failed("failed", why, None)),
    }
}

fn failed(kind: &'static str, reason: &str, help: Option<&str>) -> (&'static str, String, String) {
    let first = reason.lines().next().unwrap_or_default().to_owned();
    let all = help.map_or_else(|| reason.to_owned(), |help| format!("{reason}\n{help}"));
    (kind, first, all)
}

fn suite(text: &mut String, name: &str, cases: &[Case]) {
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let millis: u64 = cases.iter().map(|case| case.millis).sum();
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"0\" time=\"{}\">",
        cases.len(),
        seconds(millis)
    );
    for case in cases {
        let _ = write!(
            text,
            "    <testcase classname=\"shipit.{}\" name=\"{}\" time=\"{}\"",
            case.class,
            escaped(&case.name),
            seconds(case.millis)
        );
        match &case.failure {
            None => text.push_str("/>\n"),
            Some((kind, first, all)) => {
                let _ = writeln!(
                    text,
                    ">\n      <failure type=\"{kind}\" message=\"{}\">{}</failure>\n    \
                     </testcase>",
                    escaped(first),
                    escaped(all)
                );
            }
        }
    }
    text.push_str("  </testsuite>\n");
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// A text in XML. What XML has no place for is shown by its number, and the end of what is too long
/// is left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (number, c) in text.chars().enumerate() {
        if number == MOST_TEXT {
            out.push('…');
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if !is_visible(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
