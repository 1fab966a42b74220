//! Whole texts as people read them, compared with their snapshots. `CONTRIBUTING.md` says how one
//! that changed is reviewed.

mod failures;
mod looks;
mod outcomes;
mod plans;
mod rehearsals;
mod tables;

use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::config::load;
use crate::model::state::State;
use crate::output::{Failure, report};
use crate::plan::tests::images::plan as named;
use crate::plan::tests::tasks::tasks;
use crate::plan::tests::{Places, Wanted, World, data, object, replaced};
use crate::plan::{abort, apply, destroy, promote, rollback};
use crate::redact::Redactor;

/// Compares a text with its snapshot. Hashes change with every type that is in them, and say
/// nothing to a reader.
fn is_as_before(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter("[0-9a-f]{64}", "HASH");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Texts one below the other, each below its title.
fn one_below_the_other(texts: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let titled = texts
        .into_iter()
        .map(|(title, text)| format!("## {title}\n{text}"));
    titled.collect::<Vec<_>>().join("\n")
}

/// An error as it is printed where there is no terminal.
fn printed(failure: &Failure) -> String {
    let shown = report::shown(&failure.report, &Redactor::default());
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    let handler = handler.with_width(100).with_wrap_lines(false);

    let mut text = String::new();
    let rendered = handler.render_report(&mut text, shown.as_ref());
    rendered.expect("a text takes everything");
    text
}
