//! `JUnit`: a suite for the rules, one for the steps, one for what else went wrong. The elements
//! and attributes are those of the schema that Jenkins' plugin names.

use std::fmt::Write as _;

use crate::model::test_report::{TestCase, TestResult, TestSuite};
use crate::model::verdict::{Ruling, Verdict};
use crate::output::reports::{Report, StepResult};
use crate::output::visible::is_visible;

/// The most characters of a text in it.
const MOST_TEXT: usize = 8_000;

struct Case {
    class: String,
    name: String,
    millis: u64,
    result: Result,
}

enum Result {
    Passed,
    Skipped,
    /// By which element, what kind of failure in short, its first line, and all of it.
    Failed(&'static str, &'static str, String, String),
}

pub(super) fn text(report: &Report) -> String {
    let rules: Vec<Case> = report.verdicts.iter().map(rule).collect();
    let steps: Vec<Case> = report.steps.iter().map(step).collect();
    let mut other: Vec<Case> = report
        .problems
        .iter()
        .map(|problem| Case {
            class: "shipit.shipit".to_owned(),
            name: problem.place.as_ref().map_or_else(
                || report.title.clone(),
                |place| format!("{}:{}:{}", place.file, place.line, place.column),
            ),
            millis: 0,
            result: failed("failed", &problem.message, problem.help.as_deref()),
        })
        .collect();
    if rules.is_empty() && steps.is_empty() && other.is_empty() {
        // A file without a case is a fault to Jenkins.
        other.push(Case {
            class: "shipit.shipit".to_owned(),
            name: report.title.clone(),
            millis: 0,
            result: Result::Passed,
        });
    }

    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for (name, cases) in [("rules", rules), ("steps", steps), ("shipit", other)] {
        if !cases.is_empty() {
            suite(&mut text, name, &cases);
        }
    }
    for (address, tests) in &report.tests {
        for own in &tests.suites {
            let cases: Vec<Case> = own.cases.iter().map(|it| test(own, it)).collect();
            suite(&mut text, &format!("{address}: {}", own.name), &cases);
        }
    }
    text.push_str("</testsuites>\n");
    text
}

/// A case of a task's own tests.
fn test(suite: &TestSuite, case: &TestCase) -> Case {
    let class = if case.class.is_empty() {
        &suite.name
    } else {
        &case.class
    };
    let (element, said) = match &case.result {
        TestResult::Passed => (None, Result::Passed),
        TestResult::Skipped => (None, Result::Skipped),
        TestResult::Failed { .. } => (Some("failure"), Result::Passed),
        TestResult::Error { .. } => (Some("error"), Result::Passed),
    };
    let failure = element.zip(case.result.failure());
    Case {
        class: class.clone(),
        name: case.name.clone(),
        millis: case.millis.unwrap_or_default(),
        result: failure.map_or(said, |(element, (message, text))| {
            Result::Failed(element, "failed", message.to_owned(), text.to_owned())
        }),
    }
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
    let against = |kind| failed(kind, &verdict.reason, verdict.help.as_deref());
    Case {
        class: "shipit.rules".to_owned(),
        name,
        millis: 0,
        result: kind.map_or(Result::Passed, against),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

fn step(step: &StepResult) -> Case {
    let failure = step.failure.as_ref();
    Case {
        class: "shipit.steps".to_owned(),
        name: format!("{}: {}", step.address, step.title),
        millis: step.millis.unwrap_or_default(),
        result: failure.map_or(Result::Passed, |why| failed("failed", why, None)),
    }
}

fn failed(kind: &'static str, reason: &str, help: Option<&str>) -> Result {
    let first = reason.lines().next().unwrap_or_default().to_owned();
    let all = help.map_or_else(|| reason.to_owned(), |help| format!("{reason}\n{help}"));
    Result::Failed("failure", kind, first, all)
}

/// How many cases were reported with an element.
fn count(cases: &[Case], wanted: &str) -> usize {
    let elements = cases.iter().filter_map(|case| match &case.result {
        Result::Passed => None,
        Result::Skipped => Some("skipped"),
        Result::Failed(element, ..) => Some(*element),
    });
    elements.filter(|element| *element == wanted).count()
}

fn suite(text: &mut String, name: &str, cases: &[Case]) {
    let millis: u64 = cases.iter().map(|case| case.millis).sum();
    let _ = writeln!(
        text,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" \
         time=\"{}\">",
        escaped(name),
        cases.len(),
        count(cases, "failure"),
        count(cases, "error"),
        count(cases, "skipped"),
        seconds(millis)
    );
    for case in cases {
        let _ = write!(
            text,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
            escaped(&case.class),
            escaped(&case.name),
            seconds(case.millis)
        );
        match &case.result {
            Result::Passed => text.push_str("/>\n"),
            Result::Skipped => text.push_str(">\n      <skipped/>\n    </testcase>\n"),
            Result::Failed(element, kind, first, all) => {
                let _ = writeln!(
                    text,
                    ">\n      <{element} type=\"{kind}\" message=\"{}\">{}</{element}>\n    \
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
