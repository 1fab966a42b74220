//! What keeps the values of secrets out of everything that leaves a run: the terminal, events, the
//! journal, the bundle of a failure, errors, and the logs of services as they are read. Start with
//! [`Redactor`].
//!
//! The values come from the source of secrets, which has each remembered that it reads; what leaves
//! goes through [`Redactor::text`], [`Redactor::lines`] or a [`LineStream`]. Uses `model` only.
//!
//! A value is looked for in every form that programs write one in. Forms that change its bytes
//! (base64, hex, quotes) are patterns of their own (`forms`); escapes, of which each program
//! chooses its own, are undone in the text (`view`), so that no list of them can be too short.

mod bytes;
mod chain;
mod cut;
mod dump;
mod encoded;
mod forms;
mod lines;
mod search;
mod stream;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::secret::SecretValue;
use search::Search;

pub use bytes::ByteStream;
pub use search::Match;
pub use stream::LineStream;

/// What stands where a value stood.
pub const MASK: &str = "***";

/// The fewest characters of a value that is hidden: less than that is part of too many other words.
pub const SHORTEST: usize = 4;

/// The values that must not leave, and what finds them. Cheap to clone: all clones know the same
/// values.
#[derive(Clone, Default)]
pub struct Redactor(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    values: BTreeSet<String>,
    /// Made when it is first needed: values come one by one, and it is large.
    search: Option<Arc<Search>>,
}

/// Whether a value can be hidden in what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// It can.
    Yes,
    /// It is shorter than [`SHORTEST`].
    TooShort,
}

impl Hidden {
    /// What holds for this value.
    #[must_use]
    pub fn of(value: &SecretValue) -> Self {
        if forms::is_long_enough(value.expose().trim()) {
            Self::Yes
        } else {
            Self::TooShort
        }
    }
}

impl Redactor {
    /// Hides this value from now on.
    pub fn remember(&self, value: &SecretValue) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Hidden::of(value) == Hidden::Yes && known.values.insert(value.expose().to_owned()) {
            known.search = None;
        }
    }

    /// The text without any value; its lines stay lines.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let Some(search) = self.search() else {
            return text.to_owned();
        };
        let lines: Vec<&str> = text.split('\n').collect();
        lines::redact(&search, &lines).join("\n")
    }

    /// Lines that follow each other, without any value: one that goes on in the next line is found.
    #[must_use]
    pub fn lines(&self, lines: Vec<String>) -> Vec<String> {
        match self.search() {
            None => lines,
            Some(search) => {
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                lines::redact(&search, &lines)
            }
        }
    }

    /// The document without any value. It stays a document: only texts in it change.
    #[must_use]
    pub fn json(&self, document: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match document {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(all) if all.iter().all(Value::is_string) => {
                let lines = all.iter().filter_map(Value::as_str).map(str::to_owned);
                let lines = self.lines(lines.collect());
                Value::Array(lines.into_iter().map(Value::String).collect())
            }
            Value::Array(all) => Value::Array(all.into_iter().map(|one| self.json(one)).collect()),
            Value::Object(fields) => {
                let fields = fields.into_iter();
                let fields = fields.map(|(key, value)| (self.text(&key), self.json(value)));
                Value::Object(fields.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => document,
        }
    }

    /// Where values are in these bytes; none when no value is known.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<Match> {
        Some(self.search()?.find(bytes))
    }

    /// For lines that come one by one.
    #[must_use]
    pub fn stream(&self) -> LineStream {
        LineStream::new(self.clone())
    }

    /// For bytes that come piece by piece.
    #[must_use]
    pub fn bytes(&self) -> ByteStream {
        ByteStream::new(self.clone())
    }

    /// What finds the values; none when there are none.
    fn search(&self) -> Option<Arc<Search>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.values.is_empty() {
            return None;
        }
        if known.search.is_none() {
            known.search = Some(Arc::new(Search::new(&known.values)));
        }
        known.search.clone()
    }
}

/// The values themselves are never shown.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Redactor({} values)", known.values.len())
    }
}
