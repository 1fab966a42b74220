//! YAML as a tree in which every key and every value knows its file, line and column.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Options, Spanned};

use crate::config::explained;
use crate::config::problem::{Position, Problem};

/// The largest file that is read.
pub(super) const FILE_LIMIT: u64 = 1 << 20;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub at: Position,
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// With its digits as they were written.
    Integer(i64, String),
    /// With its digits as they were written: `1.30` is another version than `1.3`.
    Float(f64, String),
    String(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub at: Position,
    pub name: String,
}

impl Node {
    /// An empty map, for a file without anything in it.
    pub const fn empty(file: usize) -> Self {
        Self {
            at: Position {
                file,
                line: 1,
                column: 1,
            },
            value: Value::Map(Vec::new()),
        }
    }

    /// The entry of a map.
    pub fn get(&self, name: &str) -> Option<&(Key, Self)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name),
            _ => None,
        }
    }

    /// The node that a name leads to: of a map's entry, or of an item of a list by its number.
    pub fn step(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(_) => self.get(name).map(|(_, node)| node),
            Value::List(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The node that a path leads to.
    pub fn node_at(&self, path: &[String]) -> Option<&Self> {
        let mut steps = path.iter();
        steps.try_fold(self, |node, name| node.step(name))
    }

    /// The deepest node on a path that is there.
    pub fn find(&self, path: &[String]) -> Position {
        let Some((first, rest)) = path.split_first() else {
            return self.at;
        };

        match &self.value {
            Value::Map(_) => self.get(first).map_or(self.at, |(key, node)| {
                if rest.is_empty() && matches!(node.value, Value::Map(_)) {
                    key.at
                } else {
                    node.find(rest)
                }
            }),
            Value::List(items) => {
                let item = first
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index));
                item.map_or(self.at, |item| item.find(rest))
            }
            _ => self.at,
        }
    }

    /// Lays another tree over this one: maps merge, everything else is replaced, and `null` takes
    /// away.
    pub fn merge(self, over: Self) -> Self {
        let (Value::Map(under), Value::Map(entries)) = (self.value, &over.value) else {
            return over;
        };
        let mut merged: Vec<Option<(Key, Self)>> = under.into_iter().map(Some).collect();
        let places = merged.iter().flatten().enumerate();
        let places: HashMap<String, usize> = places
            .map(|(index, (key, _))| (key.name.clone(), index))
            .collect();
        for (key, node) in entries {
            match (places.get(&key.name), &node.value) {
                (Some(index), Value::Null) => merged[*index] = None,
                (Some(index), _) => {
                    let old = merged[*index].take();
                    let node = node.clone();
                    let node = match old {
                        Some((_, old)) => old.merge(node),
                        None => node,
                    };
                    merged[*index] = Some((key.clone(), node));
                }
                (None, _) => merged.push(Some((key.clone(), node.clone()))),
            }
        }

        Self {
            at: over.at,
            value: Value::Map(merged.into_iter().flatten().collect()),
        }
    }

    /// Gives the key that a path ends with another name; true when it was there, and no other key
    /// of its map has that name.
    pub fn rename(&mut self, path: &[String], to: &str) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let Some(Self {
            value: Value::Map(entries),
            ..
        }) = self.at_mut(parents)
        else {
            return false;
        };
        if entries.iter().any(|(key, _)| key.name == to) {
            return false;
        }
        let found = entries.iter_mut().find(|(key, _)| key.name == *last);
        found.map(|(key, _)| to.clone_into(&mut key.name)).is_some()
    }

    /// The tree with the keys at these paths called otherwise.
    pub fn with_keys(&self, names: &[(Vec<String>, String)]) -> Self {
        let mut tree = self.clone();
        for (path, name) in names {
            tree.rename(path, name);
        }
        tree
    }

    fn at_mut(&mut self, path: &[String]) -> Option<&mut Self> {
        let mut node = self;
        for name in path {
            node = match &mut node.value {
                Value::Map(entries) => {
                    let found = entries.iter_mut().find(|(key, _)| key.name == *name);
                    found.map(|(_, node)| node)?
                }
                Value::List(items) => items.get_mut(name.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Takes out the node at a path; true when it was there.
    pub fn prune(&mut self, path: &[String]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let Some(node) = self.at_mut(parents) else {
            return false;
        };

        match &mut node.value {
            Value::Map(entries) => {
                let before = entries.len();
                entries.retain(|(key, _)| key.name != *last);
                entries.len() < before
            }
            Value::List(items) => match last.parse::<usize>() {
                Ok(index) if index < items.len() => {
                    items.remove(index);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// Reads a file's text. Aliases, depth and size are bounded, so that a small file cannot become a
/// large one.
pub(super) fn parse(text: &str, file: usize) -> Result<Node, Problem> {
    let start = Position {
        file,
        line: 1,
        column: 1,
    };

    if text.len() as u64 > FILE_LIMIT {
        return Err(Problem::new(
            start,
            format!(
                "the file has {} bytes; {FILE_LIMIT} is the most",
                text.len()
            ),
        ));
    }

    if text.trim().is_empty() {
        return Ok(Node::empty(file));
    }
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| explained::unreadable(&error, text, file))?;
    let mut written = Written::new(text);
    let node = convert(raw, file, &mut written);
    // A comment alone says as much as an empty file.
    if matches!(node.value, Value::Null) {
        return Ok(Node::empty(file));
    }
    Ok(node)
}

fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
        // As many as anybody writes: what is only read over needs no bound but the file's.
        emit_comments: false,
        // What they would stand for is not known here, and the text below them would count.
        reject_unsupported_tags: true,
        // `12e4567` may be a text, which is read as it is written.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 50_000,
            max_aliases: 100,
            max_documents: 1,
        },
        // Each may stand for as much as it likes.
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
        },
    }
}

/// What serde-saphyr gives, before it has its file.
enum Raw {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Raw, E> {
        i64::try_from(value)
            .map(Raw::Integer)
            .map_err(|_| E::custom("this number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn place<T>(spanned: &Spanned<T>, file: usize) -> Position {
    at(spanned.referenced, file)
}

fn at(location: serde_saphyr::Location, file: usize) -> Position {
    let number = |number: u64| usize::try_from(number).unwrap_or(1).max(1);
    Position {
        file,
        line: number(location.line()),
        column: number(location.column()),
    }
}

/// A file's text, to be looked into at growing places: a line may be as long as the file.
struct Written<'a> {
    lines: Vec<&'a str>,
    /// The last place that was looked at: its line, its column, and what stands from there on.
    at: (usize, usize, &'a str),
}

impl<'a> Written<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            lines: text.lines().collect(),
            at: (0, 0, ""),
        }
    }

    /// A number as it was written.
    fn number(&mut self, at: Position) -> String {
        let (line, column, rest) = match self.at {
            here if here.0 == at.line && here.1 <= at.column => here,
            _ => {
                let line = self.lines.get(at.line.saturating_sub(1));
                (at.line, 1, line.copied().unwrap_or_default())
            }
        };
        let ahead = at.column.saturating_sub(column);
        let skipped = rest
            .char_indices()
            .nth(ahead)
            .map_or(rest.len(), |(byte, _)| byte);
        let rest = &rest[skipped..];
        self.at = (line, at.column, rest);
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_'))
            .collect()
    }
}

fn convert(raw: Spanned<Raw>, file: usize, written: &mut Written<'_>) -> Node {
    // What an alias stands for is written at its anchor.
    let text_at = at(raw.defined, file);
    let at = place(&raw, file);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Integer(value) => Value::Integer(value, written.number(text_at)),
        Raw::Float(value) => Value::Float(value, written.number(text_at)),
        Raw::String(value) => Value::String(value),
        Raw::List(items) => Value::List(
            items
                .into_iter()
                .map(|item| convert(item, file, written))
                .collect(),
        ),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, node)| {
                    (
                        Key {
                            at: place(&key, file),
                            name: key.value,
                        },
                        convert(node, file, written),
                    )
                })
                .collect(),
        ),
    };
    Node { at, value }
}
