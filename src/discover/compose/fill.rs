//! `${NAME}` and its forms.

use std::collections::BTreeSet;

use serde_json::Value;

/// What stands where nothing is known.
const UNKNOWN: &str = "change-me";

/// A text in which what has a default is filled in.
pub(super) struct Filled {
    pub text: String,
    /// The names of what has none.
    pub missing: Vec<String>,
}

/// Fills a text in: `${NAME:-default}` and `${NAME-default}` become the default, `$$` a dollar, and
/// what has no default is missing.
pub(super) fn fill(text: &str) -> Filled {
    let (mut filled, mut missing) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            filled.push('$');
            rest = after;
        } else if let Some((inside, after)) = braced(rest) {
            let (name, default) = parts(inside);
            match default {
                Some(default) => filled.push_str(default),
                None => missing.push(name.to_owned()),
            }
            rest = after;
        } else {
            let end = rest.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            if name.is_empty() {
                filled.push('$');
            } else {
                missing.push(name.to_owned());
            }
            rest = after;
        }
    }
    filled.push_str(rest);
    Filled {
        text: filled,
        missing,
    }
}

/// What is between braces, and what comes behind.
fn braced(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('{')?;
    let mut depth = 1_usize;
    for (at, sign) in inside.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&inside[..at], &inside[at + 1..]));
        }
    }
    None
}

/// A name, and its default.
fn parts(inside: &str) -> (&str, Option<&str>) {
    let end = inside.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
    let (name, rest) = inside.split_at(end.unwrap_or(inside.len()));
    let default = rest.strip_prefix(":-").or_else(|| rest.strip_prefix('-'));
    (name, default.filter(|default| !default.contains('$')))
}

/// Fills all texts of a tree in, but what is below some keys of it. What is missing becomes a word
/// that stands out.
pub(super) fn fill_all(value: &mut Value, missing: &mut BTreeSet<String>, but: &[&str]) {
    match value {
        Value::String(text) => {
            let mut filled = fill(text);
            if filled.missing.is_empty() {
                *text = filled.text;
                return;
            }
            if filled.text.is_empty() || filled.text.ends_with([':', '/']) {
                filled.text.push_str(UNKNOWN);
            }
            *text = filled.text;
            missing.extend(filled.missing);
        }
        Value::Array(items) => {
            for item in items {
                fill_all(item, missing, &[]);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                if !but.contains(&key.as_str()) {
                    fill_all(value, missing, &[]);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in_and_what_has_none_is_named() {
        let of = |text: &str| {
            let filled = fill(text);
            (filled.text, filled.missing.join(","))
        };
        let pair = |text: &str, missing: &str| (text.to_owned(), missing.to_owned());
        assert_eq!(of("a$$b"), pair("a$b", ""));
        assert_eq!(of("${A:-x}/${B-y}/$C"), pair("x/y/", "C"));
        assert_eq!(of("${A:?needed}${B:-${C}}"), pair("", "A,B"));
        assert_eq!(of("${A"), pair("${A", ""));
        assert_eq!(of("5$"), pair("5$", ""));
    }
}
