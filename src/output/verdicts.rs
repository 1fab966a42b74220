//! What rules say: for a person, for a comment on a change request, and as a failure.

use std::fmt;

use miette::Diagnostic;

use crate::model::source::short;
use crate::model::verdict::{Ruling, Verdict, against};
use crate::output::paint::{BOLD, CHANGED, DIM, GONE, NEW};
use crate::output::{Exit, Failure, Line, Page};

/// All verdicts, those against it first.
#[must_use]
pub fn page(verdicts: &[Verdict]) -> Page {
    let mut sorted: Vec<&Verdict> = verdicts.iter().collect();
    sorted.sort_by_key(|verdict| std::cmp::Reverse(verdict.ruling));
    let mut page = Page::new();
    for verdict in sorted {
        let (style, sign) = match verdict.ruling {
            Ruling::Passed => (NEW, "✓"),
            Ruling::Undecided => (CHANGED, "?"),
            Ruling::Refused => (GONE, "✗"),
        };
        let line = Line::from("  ").paint(style, sign).text(" ");
        page.line(
            line.paint(BOLD, &verdict.rule)
                .text(format!("  {}", verdict.reason)),
        );
        if let Some(help) = &verdict.help {
            page.line(Line::from("      ").paint(DIM, help));
        }
    }
    page
}

/// All verdicts at the end of a plan; nothing without any.
#[must_use]
pub fn section(verdicts: &[Verdict]) -> Page {
    let mut section = Page::new();
    if !verdicts.is_empty() {
        section.blank();
        section.line(Line::from("  ").paint(BOLD, "rules"));
        section.extend(page(verdicts));
        section.blank();
        section.line(summary(verdicts));
    }
    section
}

/// All verdicts for a comment. What comes from outside is in a fence, where nothing of it is
/// markup.
#[must_use]
pub fn markdown(title: &str, verdicts: &[Verdict]) -> Page {
    let mut page = Page::of(format!("### {title}"));
    page.blank();
    page.line(summary(verdicts));
    if !verdicts.is_empty() {
        page.blank();
        page.extend(self::page(verdicts).fenced());
    }
    page
}

/// How many say what.
#[must_use]
pub fn summary(verdicts: &[Verdict]) -> String {
    let count = |ruling| {
        let all = verdicts.iter();
        all.filter(|verdict| verdict.ruling == ruling).count()
    };
    format!(
        "Rules: {} refused, {} undecided, {} passed.",
        count(Ruling::Refused),
        count(Ruling::Undecided),
        count(Ruling::Passed)
    )
}

/// How a command ends that rules are against.
#[must_use]
pub fn failure(verdicts: &[Verdict]) -> Failure {
    let against = against(verdicts);
    let ruled: Vec<Ruled> = against.into_iter().map(Ruled).collect();
    match <[Ruled; 1]>::try_from(ruled) {
        Ok([one]) => Failure::new(Exit::Refused, one),
        Err(many) => Failure::new(Exit::Refused, AllRuled(many)),
    }
}

/// The verdicts that a failure is made of; none where it is another one.
#[must_use]
pub fn of(failure: &Failure) -> Option<Vec<Verdict>> {
    let one = failure.report.downcast_ref::<Ruled>();
    let many = failure.report.downcast_ref::<AllRuled>();
    let many = many.map(|all| all.0.iter().map(|ruled| ruled.0.clone()).collect());
    one.map(|ruled| vec![ruled.0.clone()]).or(many)
}

/// One verdict as an error.
#[derive(Debug)]
struct Ruled(Verdict);

impl fmt::Display for Ruled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)
    }
}

impl std::error::Error for Ruled {}

impl Diagnostic for Ruled {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let rule = &self.0.rule;
        let place = self
            .0
            .place
            .as_ref()
            .map(|place| format!(" ({}:{}:{})", place.file, place.line, place.column));
        let place = place.unwrap_or_default();
        let commit = self
            .0
            .commit
            .as_deref()
            .map(|commit| format!("; git show {}", short(commit)));
        let help = self.0.help.clone().unwrap_or_default();
        let commit = commit.unwrap_or_default();
        Some(Box::new(format!("{help}\nrule: {rule}{place}{commit}")))
    }
}

/// Several of them.
#[derive(Debug)]
struct AllRuled(Vec<Ruled>);

impl fmt::Display for AllRuled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules are against it", self.0.len())
    }
}

impl std::error::Error for AllRuled {}

impl Diagnostic for AllRuled {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let each = self.0.iter().map(|ruled| ruled as &dyn Diagnostic);
        Some(Box::new(each))
    }
}
