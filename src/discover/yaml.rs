//! YAML that is written with comments beside what they are about.
//!
//! What is read back is what was written: everything that is not plain beyond doubt is quoted, and
//! no text can end its line, its quotes or its comment.

use std::fmt::Write as _;

/// The longest list that stands in its key's line.
const LINE: usize = 80;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Yaml {
    /// A text.
    Text(String),
    /// What is no text: a number, `true`.
    Plain(String),
    /// Texts in a row.
    List(Vec<String>),
    /// Keys with their values.
    Map(Map),
}

/// Keys with their values, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    comments: Vec<String>,
    key: String,
    value: Yaml,
}

/// What stands without quotes: a number or a flag.
pub(super) struct Number(String);

impl From<u16> for Number {
    fn from(number: u16) -> Self {
        Self(number.to_string())
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self(number.to_string())
    }
}

impl From<bool> for Number {
    fn from(flag: bool) -> Self {
        Self(flag.to_string())
    }
}

impl Map {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, key: impl Into<String>, value: Yaml) {
        self.add_with(key, value, Vec::new());
    }

    /// Adds a key below comments.
    pub fn add_with(&mut self, key: impl Into<String>, value: Yaml, comments: Vec<String>) {
        self.0.push(Entry {
            comments,
            key: key.into(),
            value,
        });
    }

    pub fn text(&mut self, key: &str, text: impl Into<String>) {
        self.add(key, Yaml::Text(text.into()));
    }

    /// Adds a text that may not be there.
    pub fn option(&mut self, key: &str, text: Option<impl Into<String>>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub fn number(&mut self, key: &str, number: impl Into<Number>) {
        let number: Number = number.into();
        self.add(key, Yaml::Plain(number.0));
    }

    /// Adds a list that has something in it.
    pub fn list(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.add(key, Yaml::List(texts.to_vec()));
        }
    }

    /// Adds a map that has something in it.
    pub fn map(&mut self, key: &str, map: Self) {
        if !map.is_empty() {
            self.add(key, Yaml::Map(map));
        }
    }

    /// As a document.
    pub fn document(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        for entry in &self.0 {
            for comment in &entry.comments {
                let _ = writeln!(text, "{indent}# {comment}");
            }
            let key = scalar(&entry.key);
            let _ = write!(text, "{indent}{key}:");
            match &entry.value {
                Yaml::Text(value) => {
                    let _ = writeln!(text, " {}", scalar(value));
                }
                Yaml::Plain(value) => {
                    let _ = writeln!(text, " {value}");
                }
                Yaml::List(items) => list(text, &indent, items),
                Yaml::Map(map) if map.is_empty() => text.push_str(" {}\n"),
                Yaml::Map(map) => {
                    text.push('\n');
                    map.write(text, depth + 1);
                }
            }
        }
    }
}

fn list(text: &mut String, indent: &str, items: &[String]) {
    let quoted: Vec<String> = items.iter().map(|item| scalar(item)).collect();
    let line = quoted.join(", ");
    if line.chars().count() <= LINE {
        let _ = writeln!(text, " [{line}]");
        return;
    }
    text.push('\n');
    for item in quoted {
        let _ = writeln!(text, "{indent}  - {item}");
    }
}

/// A text as a scalar that is read back as this text.
fn scalar(text: &str) -> String {
    if is_word(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for sign in text.chars() {
        match sign {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if is_plain(sign) => quoted.push(sign),
            _ => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(sign));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a text needs no quotes: no other type, no sign that means anything.
fn is_word(text: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity",
    ];
    let begins = text.starts_with(|sign: char| sign.is_ascii_alphabetic() || "/_".contains(sign));
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "_./-".contains(sign);
    begins && text.chars().all(is_plain) && !OTHERS.contains(&text.to_lowercase().as_str())
}

/// Whether a character shows itself, and nothing else: it ends no line and turns no text around.
pub(super) fn is_plain(sign: char) -> bool {
    let is_odd = matches!(sign,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
        | '\u{e0000}'..='\u{e0fff}');
    !sign.is_control() && !is_odd
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_written(
            pairs in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..6),
            items in proptest::collection::vec(any::<String>(), 1..6),
        ) {
            let mut map = Map::new();
            for (key, value) in &pairs {
                map.text(key, value.clone());
            }
            let mut whole = Map::new();
            whole.add("map", Yaml::Map(map));
            whole.list("list", &items);
            let text = whole.document();
            let read: Value = serde_saphyr::from_str(&text).expect(&text);
            prop_assert_eq!(read, json!({"map": pairs, "list": items}), "{}", text);
        }
    }

    #[test]
    fn words_that_mean_something_are_quoted() {
        for odd in [
            "", "true", "No", "~", "1", "0x1f", "1e3", "- a", "a: b", "a #b", "<<", "=", ".5",
        ] {
            assert!(scalar(odd).starts_with('"'), "{odd}");
        }
        for plain in ["web", "/data", "a.b-c_d/e"] {
            assert_eq!(scalar(plain), plain);
        }
    }
}
