//! What CI servers show by themselves: files in their own formats, made of what a command found.
//! Each is a function from a [`Report`] to a text.

mod codequality;
mod gitlab;
mod junit;
mod sarif;
mod summary;
#[cfg(test)]
mod tests;
mod workflow;

use std::borrow::Cow;
use std::path::{Component, Path};

use crate::model::outcome::Outcome;
use crate::model::plan::Plan;
use crate::model::test_report::{TestCase, TestReport};
use crate::model::verdict::{RulePlace, Ruling, Verdict};
use crate::output::Failure;

pub use summary::{COMMENT, SUMMARY, bounded};
pub use workflow::annotations;

/// What a command found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The command, and what it was about: `check staging → production`.
    pub title: String,
    /// What the rules say.
    pub verdicts: Vec<Verdict>,
    /// The plan; none where none was made.
    pub plan: Option<Plan>,
    /// The steps that were carried out.
    pub steps: Vec<StepResult>,
    /// What the tests of tasks say, by the address of each.
    pub tests: Vec<(String, TestReport)>,
    /// How a run ended; none where nothing was carried out.
    pub outcome: Option<Outcome>,
    /// What else keeps the command from being done.
    pub problems: Vec<Problem>,
}

/// A step that was carried out.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// What it acted on.
    pub address: String,
    /// What it does, in words.
    pub title: String,
    /// How long it took, in milliseconds; none where that is not known.
    pub millis: Option<u64>,
    /// Why it failed, with what helps to understand it; none where it did not.
    pub failure: Option<String>,
}

/// Something that is wrong, by itself.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Where in a file.
    pub place: Option<RulePlace>,
}

/// A format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `JUnit`, as Jenkins and GitLab read it: a case for each rule and step.
    Junit,
    /// How much a plan changes, for GitLab's merge requests.
    Gitlab,
    /// What is wrong, beside its line in GitLab's merge requests.
    CodeQuality,
    /// SARIF 2.1.0: what is wrong, with its place.
    Sarif,
    /// For a comment on a change request.
    Markdown,
}

impl Kind {
    /// All of them, by the word that asks for each.
    pub const ALL: [(&'static str, Self); 5] = [
        ("junit", Self::Junit),
        ("gitlab", Self::Gitlab),
        ("codequality", Self::CodeQuality),
        ("sarif", Self::Sarif),
        ("markdown", Self::Markdown),
    ];
}

impl Report {
    /// Adds why a command failed. What the rules said already is not said again.
    pub fn failed(&mut self, failure: &Failure) {
        let shown = failure.report.as_ref();
        let found = problems(shown);
        if let Some(ruled) = crate::output::verdicts::of(failure) {
            if self.verdicts.is_empty() {
                self.verdicts = ruled;
            }
            return;
        }
        self.problems.extend(found);
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, kind: Kind) -> String {
        match kind {
            Kind::Junit => junit::text(self),
            Kind::Gitlab => gitlab::text(self),
            Kind::CodeQuality => codequality::text(self),
            Kind::Sarif => sarif::text(self),
            Kind::Markdown => summary::text(self, COMMENT),
        }
    }

    /// Markdown for a place that takes so many bytes.
    #[must_use]
    pub fn markdown(&self, most: usize) -> String {
        summary::text(self, most)
    }

    /// What is against it, with the rule's key where there is one.
    fn faults(&self) -> impl Iterator<Item = Fault<'_>> {
        let ruled = self.verdicts.iter().filter(|verdict| !verdict.is_passed());
        let ruled = ruled.map(|verdict| Fault {
            rule: &verdict.rule,
            is_certain: verdict.ruling == Ruling::Refused,
            message: verdict.reason.as_str().into(),
            help: verdict.help.as_deref(),
            place: verdict.place.clone(),
        });
        let problems = self.problems.iter().map(|problem| Fault {
            rule: if problem.place.is_some() {
                "configuration"
            } else {
                "shipit"
            },
            is_certain: true,
            message: problem.message.as_str().into(),
            help: problem.help.as_deref(),
            place: problem.place.clone(),
        });
        let tests = self.tests.iter().flat_map(|(_, tests)| tests.failures());
        ruled.chain(problems).chain(tests.filter_map(failing))
    }
}

/// A test that failed, with its place where the report has one of the project.
fn failing(case: &TestCase) -> Option<Fault<'_>> {
    let (message, _) = case.result.failure()?;
    let file = case.file.clone().filter(|file| {
        let mut parts = Path::new(file).components();
        parts.all(|part| matches!(part, Component::Normal(_)))
    });
    let line = case.line.and_then(|line| usize::try_from(line).ok());
    Some(Fault {
        rule: "tests",
        is_certain: true,
        message: format!("{}: {message}", case.full_name()).into(),
        help: None,
        place: file.map(|file| RulePlace {
            file,
            line: line.unwrap_or(1),
            column: 1,
        }),
    })
}

/// One thing that is against it.
struct Fault<'a> {
    rule: &'a str,
    is_certain: bool,
    message: Cow<'a, str>,
    help: Option<&'a str>,
    place: Option<RulePlace>,
}

/// What a failure says, one by one where there are several things.
fn problems(from: &dyn miette::Diagnostic) -> Vec<Problem> {
    let related: Vec<Problem> = from.related().into_iter().flatten().map(problem).collect();
    if related.is_empty() {
        return vec![problem(from)];
    }
    related
}

fn problem(from: &dyn miette::Diagnostic) -> Problem {
    let label = from.labels().and_then(|mut labels| labels.next());
    let place = from.source_code().zip(label).and_then(|(source, label)| {
        let span = source.read_span(label.inner(), 0, 0).ok()?;
        Some(RulePlace {
            file: span.name()?.to_owned(),
            line: span.line() + 1,
            column: span.column() + 1,
        })
    });
    let message = from.to_string();
    let prefix = place
        .as_ref()
        .map(|place: &RulePlace| format!("{}:{}:{}: ", place.file, place.line, place.column));
    let without = prefix.and_then(|prefix| message.strip_prefix(&prefix));
    Problem {
        message: without.unwrap_or(&message).to_owned(),
        help: from.help().map(|help| help.to_string()),
        place,
    }
}
