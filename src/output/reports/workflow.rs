//! GitHub's commands in a log, which it shows beside the lines that they are about.

use crate::output::reports::Report;

/// The most of them: GitHub shows ten of a kind for each step.
const MOST: usize = 10;

/// A command for each thing that is wrong. `prefix` leads from the repository to the project's
/// folder, with a slash at its end where it is another one.
#[must_use]
pub fn annotations(report: &Report, prefix: &str) -> Vec<String> {
    let faults = report.faults().take(MOST);
    faults
        .map(|fault| {
            let level = if fault.is_certain { "error" } else { "warning" };
            let place = fault.place.as_ref().map(|place| {
                format!(
                    "file={},line={},col={},",
                    property(&format!("{prefix}{}", place.file)),
                    place.line,
                    place.column
                )
            });
            let message = match fault.help {
                Some(help) => format!("{}\n{help}", fault.message),
                None => fault.message.to_string(),
            };
            format!(
                "::{level} {}title={}::{}",
                place.unwrap_or_default(),
                property(fault.rule),
                value(&message)
            )
        })
        .collect()
}

/// The text behind a command.
fn value(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The text of one of its properties.
fn property(text: &str) -> String {
    value(text).replace(':', "%3A").replace(',', "%2C")
}
