//! What is wrong as GitLab's `artifacts:reports:codequality` reads it, which shows each beside its
//! line in a merge request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::ContentHash;
use crate::output::reports::{Fault, Report};
use crate::output::visible;

/// The most entries of a report.
const MOST: usize = 5_000;

/// The most characters of a description.
const MOST_TEXT: usize = 2_000;

pub(super) fn text(report: &Report) -> String {
    let mut seen = BTreeMap::new();
    let faults = report.faults().take(MOST);
    let entries: Vec<Value> = faults.map(|fault| entry(&fault, &mut seen)).collect();
    let text = serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n";
    visible::json(&text).into_owned()
}

fn entry(fault: &Fault<'_>, seen: &mut BTreeMap<String, usize>) -> Value {
    let description = match fault.help {
        Some(help) => format!("{}; {help}", fault.message),
        None => fault.message.to_string(),
    };
    let description: String = description.chars().take(MOST_TEXT).collect();
    // An entry without a place is not read.
    let (file, line) = fault.place.as_ref().map_or(("shipit.yaml", 1), |place| {
        (place.file.as_str(), place.line.max(1))
    });

    // GitLab compares two branches by fingerprints, and of two that are equal shows one. A line
    // that moved is not a new fault, so it is counted and not named.
    let what = format!("{}\n{file}\n{}", fault.rule, fault.message);
    let times = seen.entry(what.clone()).or_default();
    let fingerprint = ContentHash::of(format!("{what}\n{times}").as_bytes());
    *times += 1;

    json!({
        "description": description,
        "check_name": fault.rule,
        "fingerprint": fingerprint.to_string(),
        "severity": if fault.is_certain { "critical" } else { "minor" },
        "location": {"path": file, "lines": {"begin": line}},
    })
}
