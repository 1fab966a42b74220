//! How two environments compare, as a person reads it.

use crate::model::comparison::{Comparison, Difference, Part};
use crate::output::paint::{BOLD, CHANGED, DIM};
use crate::output::{Line, Page};

/// The comparison for a person.
#[must_use]
pub fn human(comparison: &Comparison) -> Page {
    let (left, right) = (&comparison.left, &comparison.right);
    let title = format!("{}: {left} and {right}", comparison.project);
    let mut page = Page::of(Line::default().paint(BOLD, title));
    for part in [Part::Live, Part::Configuration, Part::Secrets] {
        let of_part = |one: &&Difference| one.part == part;
        let found: Vec<&Difference> = comparison.differences.iter().filter(of_part).collect();
        if found.is_empty() {
            continue;
        }
        page.blank();
        page.line(format!("  {}", part.word()));
        for one in found {
            page.extend(difference(one, (left.as_str(), right.as_str())));
        }
    }

    if !comparison.allowed.is_empty() {
        page.blank();
        page.line("  as they may (`may_differ`)");
        for one in &comparison.allowed {
            page.line(Line::from("  ").paint(DIM, format!("= {}", one.field)));
        }
    }

    page.blank();
    for note in comparison.unknown.iter().chain(&comparison.notes) {
        page.line(Line::note(note));
    }
    if !comparison.unknown.is_empty() || !comparison.notes.is_empty() {
        page.blank();
    }
    page.line(summary(comparison));
    page
}

/// The same for a comment: what comes from outside is in a fence.
#[must_use]
pub fn markdown(comparison: &Comparison) -> Page {
    let (left, right) = (&comparison.left, &comparison.right);
    let mut page = Page::of(format!("### {}: {left} and {right}", comparison.project));
    page.blank();
    page.line(summary(comparison));
    page.blank();
    page.extend(human(comparison).fenced());
    page
}

fn summary(comparison: &Comparison) -> String {
    let (left, right) = (&comparison.left, &comparison.right);
    let fields = |count: usize| match count {
        1 => "1 field".to_owned(),
        count => format!("{count} fields"),
    };
    let allowed = match comparison.allowed.len() {
        0 => String::new(),
        count => format!(", {} as they may", fields(count)),
    };
    match comparison.differences.len() {
        0 if !comparison.unknown.is_empty() => format!(
            "{left} and {right} are not known to be alike: {} could not be compared{allowed}.",
            fields(comparison.unknown.len())
        ),
        0 => format!(
            "{left} and {right} are alike: {} compared{allowed}.",
            fields(comparison.compared)
        ),
        count => format!(
            "{left} and {right} differ in {}{allowed}. `may_differ` names what may.",
            fields(count)
        ),
    }
}

fn difference(one: &Difference, names: (&str, &str)) -> impl Iterator<Item = Line> {
    let width = names.0.len().max(names.1.len());
    let side = |name: &str, value: &Option<String>| {
        let value = value.as_deref().unwrap_or("(nothing)");
        Line::from(format!("      {name:width$}  ")).text(value)
    };
    [
        Line::from("  ").paint(CHANGED, format!("~ {}", one.field)),
        side(names.0, &one.left),
        side(names.1, &one.right),
    ]
    .into_iter()
}
