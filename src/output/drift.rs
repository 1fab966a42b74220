//! What moved in an environment, as a person reads it.

use crate::model::drift::{DriftReport, Moved, MovedField, Movement};
use crate::output::paint::{BOLD, CHANGED, DIM, GONE, NEW};
use crate::output::{Line, Page};

/// What moved, for a person.
#[must_use]
pub fn human(report: &DriftReport) -> Page {
    let mut page = Page::of(
        Line::default().paint(BOLD, format!("{} → {}", report.project, report.environment)),
    );
    for moved in &report.moved {
        page.blank();
        page.extend(one(moved));
    }

    page.blank();
    for note in &report.notes {
        page.line(Line::note(note));
    }
    if !report.notes.is_empty() {
        page.blank();
    }
    page.line(summary(report));
    page
}

/// The same for a comment: what comes from outside is in a fence.
#[must_use]
pub fn markdown(report: &DriftReport) -> Page {
    let mut page = Page::of(format!(
        "### Drift: {} → {}",
        report.project, report.environment
    ));
    page.blank();
    page.line(summary(report));
    if report.has_moved() || !report.notes.is_empty() {
        page.blank();
        page.extend(human(report).fenced());
    }
    page
}

fn summary(report: &DriftReport) -> String {
    let things = |count: usize| match count {
        1 => "1 thing".to_owned(),
        count => format!("{count} things"),
    };
    match report.moved.len() {
        0 => format!("Nothing moved: {} looked at.", things(report.looked_at)),
        count => format!(
            "{} moved, of {} looked at. `shipit plan` shows what apply would do about it.",
            things(count),
            report.looked_at
        ),
    }
}

fn one(moved: &Moved) -> impl Iterator<Item = Line> {
    let (style, sign, word) = match moved.what {
        Movement::Changed => (CHANGED, "~", ""),
        Movement::Gone => (GONE, "-", "is not there"),
        Movement::Added => (NEW, "+", "is there"),
    };
    let said = [word, &moved.about];
    let said: Vec<&str> = said.into_iter().filter(|text| !text.is_empty()).collect();
    let mut first = Line::from("  ").paint(style, format!("{sign} {}", moved.address));
    if !said.is_empty() {
        first = first.text(format!("  {}", said.join(": ")));
    }
    std::iter::once(first).chain(moved.fields.iter().flat_map(field))
}

fn field(field: &MovedField) -> impl Iterator<Item = Line> {
    let at = field.at.map(|at| format!("{at:.0}"));
    let who: Vec<String> = field.by.iter().cloned().chain(at).collect();
    let mut first = Line::from(format!("      {}", field.field));
    if !who.is_empty() {
        first = first.paint(DIM, format!("  ({})", who.join(", ")));
    }
    let side = |style, word, value: &Option<String>| {
        let value = value.as_deref().unwrap_or("(nothing)");
        Line::from("        ").paint(style, format!("{word} {value}"))
    };
    [
        first,
        side(GONE, "was", &field.was),
        side(NEW, "is ", &field.is),
    ]
    .into_iter()
}
