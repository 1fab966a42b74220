//! Fields that change, each with what it was and what it will be.

use crate::model::plan::Change;
use crate::output::Line;
use crate::output::paint::{DIM, GONE, NEW};

/// The fields, for a person.
pub(super) fn fields(changes: &[Change]) -> impl Iterator<Item = Line> {
    changes.iter().flat_map(|change| {
        let line = Line::from(format!("      {}", change.field));
        let field = match &change.origin {
            Some(origin) => line.paint(DIM, format!("  ({origin})")),
            None => line,
        };
        let side = |style, sign, value: &String| {
            Line::from("        ").paint(style, format!("{sign} {value}"))
        };
        let before = change.before.as_ref().map(|value| side(GONE, '-', value));
        let after = change.after.as_ref().map(|value| side(NEW, '+', value));
        std::iter::once(field).chain(before).chain(after)
    })
}
