//! A document as fields, and what differs between two of them, for a reader.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use similar::{Algorithm, capture_diff_slices};

use crate::model::plan::Change;

/// Texts by the path of their field: `spec.ports[http].port`.
pub type Fields = BTreeMap<String, String>;

/// Up to how many lines two texts are compared line by line.
const LINES: usize = 2000;

/// Puts every scalar of a document below `path` by its path. Items of a list that have names are
/// known by them.
pub fn flatten(path: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::Null => {}
        Value::Object(map) if map.is_empty() => {
            fields.insert(path.to_owned(), "{}".to_owned());
        }
        Value::Object(map) => {
            for (key, value) in map {
                let key = if key.contains('.') {
                    format!("[{key}]")
                } else {
                    format!(".{key}")
                };
                flatten(&format!("{path}{key}"), value, fields);
            }
        }
        Value::Array(items) if items.is_empty() => {
            fields.insert(path.to_owned(), "[]".to_owned());
        }
        Value::Array(items) => list(path, items, fields),
        Value::String(text) => {
            fields.insert(path.to_owned(), text.clone());
        }
        other => {
            fields.insert(path.to_owned(), other.to_string());
        }
    }
}

fn list(path: &str, items: &[Value], fields: &mut Fields) {
    let mut order = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let name = item.get("name").and_then(Value::as_str);
        order.extend(name);
        let name = name.map_or_else(|| index.to_string(), str::to_owned);
        flatten(&format!("{path}[{name}]"), item, fields);
    }

    // Items that are known by their names may still change places.
    if order.len() > 1 {
        fields.insert(format!("{path}[order]"), order.join(", "));
    }
}

/// The fields in which `after` differs from `before`, in order of their names.
#[must_use]
pub fn changes(before: &Fields, after: &Fields) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    differs
        .flat_map(|name| change(name, before.get(name), after.get(name)))
        .collect()
}

/// What differs in one field. Of texts of several lines it is the lines that differ, and not the
/// whole of them.
#[must_use]
pub fn change(name: &str, before: Option<&String>, after: Option<&String>) -> Vec<Change> {
    let by_line = match (before, after) {
        (Some(before), Some(after)) => lines(name, before, after),
        _ => Vec::new(),
    };
    if !by_line.is_empty() {
        return by_line;
    }
    vec![Change {
        field: name.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
        origin: None,
        by: None,
    }]
}

/// Each line that differs; none where the texts are no lines, or too many.
fn lines(name: &str, before: &str, after: &str) -> Vec<Change> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let longest = old.len().max(new.len());
    if !(2..=LINES).contains(&longest) {
        return Vec::new();
    }

    let mut changes = Vec::new();
    for difference in capture_diff_slices(Algorithm::Myers, &old, &new) {
        let (tag, was, will) = difference.as_tag_tuple();
        if tag == similar::DiffTag::Equal {
            continue;
        }
        for offset in 0..was.len().max(will.len()) {
            let (from, to) = (was.start + offset, will.start + offset);
            let before = (from < was.end).then(|| old[from].to_owned());
            let after = (to < will.end).then(|| new[to].to_owned());
            let line = if after.is_some() { to } else { from } + 1;
            changes.push(Change {
                field: format!("{name} line {line}"),
                before,
                after,
                origin: None,
                by: None,
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: &Value) -> Fields {
        let mut fields = Fields::new();
        flatten("spec", value, &mut fields);
        fields
    }

    #[test]
    fn every_scalar_has_a_path_of_its_own() {
        let fields = of(&json!({"a": [1, {"name": "x", "b": true}], "c.d": "e", "none": null}));
        let expected = [
            ("spec.a[0]", "1"),
            ("spec.a[x].b", "true"),
            ("spec.a[x].name", "x"),
            ("spec[c.d]", "e"),
        ];
        let found: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn of_a_long_text_only_the_lines_that_differ_are_told() {
        let before = of(&json!({"text": "one\ntwo\nthree\n"}));
        let after = of(&json!({"text": "one\n2\nthree\nfour\n"}));
        let said: Vec<_> = changes(&before, &after)
            .into_iter()
            .map(|change| (change.field, change.before, change.after))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            said,
            [
                ("spec.text line 2".to_owned(), text("two"), text("2")),
                ("spec.text line 4".to_owned(), None, text("four")),
            ]
        );
    }

    #[test]
    fn texts_that_only_end_otherwise_differ_as_a_whole() {
        let (before, after) = (of(&json!("a\nb\n")), of(&json!("a\nb")));
        assert_eq!(changes(&before, &after).len(), 1);
    }
}
