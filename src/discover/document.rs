//! Reading foreign YAML within bounds, and taking values out of it whatever form they have.

use std::collections::BTreeMap;

use serde::de::DeserializeSeed as _;
use serde_json::{Map, Value};

use crate::discover::written::{Words, Written};

/// The largest file that is read, in bytes.
const LARGEST: usize = 1 << 20;

/// Why there is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from}: {reason}")]
pub struct DiscoverError {
    /// What was read.
    pub from: String,
    /// What is wrong with it, with line and column where it is no YAML.
    pub reason: String,
    /// What to do.
    pub help: String,
}

impl DiscoverError {
    pub(super) fn new(from: &str, reason: impl Into<String>, help: impl Into<String>) -> Self {
        let (reason, help) = (reason.into(), help.into());
        Self {
            from: from.to_owned(),
            reason,
            help,
        }
    }
}

/// Reads one YAML document: anchors and merge keys are followed, within a budget. Numbers stand as
/// the texts that were written.
///
/// # Errors
/// It is no YAML, not a map, or too much of it.
pub(super) fn read(
    from: &str,
    text: &str,
    words: Words,
) -> Result<Map<String, Value>, DiscoverError> {
    if text.len() > LARGEST {
        let reason = format!("it has {} bytes, and {LARGEST} are the most", text.len());
        return Err(DiscoverError::new(from, reason, "give a smaller file"));
    }

    let typed: Value = serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| unreadable(from, &error))?;
    let written = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |it| {
        Written(&typed, words).deserialize(it)
    });
    match written.map_err(|error| unreadable(from, &error))? {
        Value::Object(map) => Ok(map),
        _ => Err(DiscoverError::new(
            from,
            "it is not a map of keys",
            "give a Compose file, a Kamal `deploy.yml` or a Copilot `manifest.yml`",
        )),
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 50_000,
            max_aliases: 1_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
        },
    }
}

fn unreadable(from: &str, error: &serde_saphyr::Error) -> DiscoverError {
    let reason = match error.location() {
        // What stands there may be a secret.
        Some(at) => format!(
            "it cannot be read: line {}, column {}",
            at.line(),
            at.column()
        ),
        None => "it cannot be read".to_owned(),
    };
    let help = "look at it with the tool that it is for; `docker compose config` prints a Compose \
                file with everything filled in";
    DiscoverError::new(from, reason, help)
}

/// A scalar as a text; none of a list, a map or nothing.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text of a map's key.
pub(super) fn text_at(value: &Value, key: &str) -> Option<String> {
    text(value.get(key)?)
}

/// A whole number, also where it stands as a text.
pub(super) fn number(value: &Value) -> Option<u64> {
    text(value)?.trim().parse().ok()
}

/// The texts of a list; of one scalar, that one.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

/// The items of a list; none of anything else.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of a map in the order of their keys; none of anything else.
pub(super) fn entries(value: Option<&Value>) -> BTreeMap<&String, &Value> {
    let map = value.and_then(Value::as_object);
    map.into_iter().flatten().collect()
}

/// Pairs that stand as a map, or as a list of `NAME=value`. A name without a value has none.
pub(super) fn pairs(value: Option<&Value>) -> Vec<(String, Option<String>)> {
    match value {
        Some(Value::Object(map)) => {
            let pairs = map.iter();
            pairs
                .map(|(name, value)| (name.clone(), text(value)))
                .collect()
        }
        Some(list @ Value::Array(_)) => texts(list)
            .into_iter()
            .map(|line| match line.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (line, None),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The words of a command that stands as a list, or as a text that a shell would split.
pub(super) fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(line) => split(line),
        other => texts(other),
    }
}

/// Splits a line as a shell does: at blanks, with quotes and backslashes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut has_word) = (String::new(), None, false);
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match (quote, sign) {
            (None, '\'' | '"') => (quote, has_word) = (Some(sign), true),
            (Some(open), _) if open == sign => quote = None,
            (None | Some('"'), '\\') => {
                word.extend(signs.next());
                has_word = true;
            }
            (None, _) if sign.is_whitespace() => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            _ => {
                word.push(sign);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_does() {
        let of = |line: &str| split(line);
        assert_eq!(
            of("a  'b c' \"d\\\"e\" f\\ g ''"),
            ["a", "b c", "d\"e", "f g", ""]
        );
        assert_eq!(of("  "), Vec::<String>::new());
    }

    #[test]
    fn anchors_and_merges_are_followed_and_bombs_are_not() {
        let merged =
            read("f", "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n", Words::Texts).expect("read");
        assert_eq!(merged["y"], serde_json::json!({"a": "1", "b": "3"}));

        let written = "{a: 022, b: 1.50, c: on, d: True, e: 0x1F, f: ~, g: '1', h: [1_000]}";
        assert_eq!(
            Value::Object(read("f", written, Words::Texts).expect("read")),
            serde_json::json!({"a": "022", "b": "1.50", "c": "on", "d": true, "e": "0x1F",
                "f": null, "g": "1", "h": ["1_000"]})
        );

        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let item = format!("*a{}", level - 1);
            let items = vec![item; 10].join(", ");
            let _ = writeln!(bomb, "a{level}: &a{level} [{items}]");
        }
        read("f", &bomb, Words::Texts).expect_err("refused");
        read("f", &"x: y\n".repeat(1 << 19), Words::Texts).expect_err("too large");
        read("f", "- a\n", Words::Texts).expect_err("no map");
        read("f", "a: [", Words::Texts).expect_err("no YAML");
    }
}
