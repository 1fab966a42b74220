//! SARIF 2.1.0: what is wrong, each with the place where the rule or the fault is written.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::output::reports::{Fault, Report};
use crate::output::visible;

/// The most results: GitHub shows no more.
const MOST: usize = 5_000;

/// The most characters of a message.
const MOST_TEXT: usize = 2_000;

pub(super) fn text(report: &Report) -> String {
    let faults: Vec<Fault<'_>> = report.faults().take(MOST).collect();
    let rules: BTreeSet<&str> = faults.iter().map(|fault| fault.rule).collect();
    let rules: Vec<&str> = rules.into_iter().collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "shipit",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| json!({"id": rule})).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": faults.iter().map(|fault| result(fault, &rules)).collect::<Vec<_>>(),
        }],
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
    visible::json(&text).into_owned()
}

fn result(fault: &Fault<'_>, rules: &[&str]) -> Value {
    let message = match fault.help {
        Some(help) => format!("{}\n{help}", fault.message),
        None => fault.message.to_string(),
    };
    let message: String = message.chars().take(MOST_TEXT).collect();
    let message = unlinked(message);
    // A result without a place is shown nowhere.
    let (file, line, column) = fault.place.as_ref().map_or(("shipit.yaml", 1, 1), |place| {
        (place.file.as_str(), place.line.max(1), place.column.max(1))
    });
    json!({
        "ruleId": fault.rule,
        "ruleIndex": rules.iter().position(|rule| *rule == fault.rule),
        "level": if fault.is_certain { "error" } else { "warning" },
        "message": {"text": message},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(file)},
            "region": {"startLine": line, "startColumn": column},
        }}],
    })
}

/// A text in which no link is: `[a](b)` would be one.
fn unlinked(text: String) -> String {
    if text.contains("](") {
        text.replace('[', r"\[").replace(']', r"\]")
    } else {
        text
    }
}

/// A path as a relative reference: what has a meaning in one is written by its number.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}
