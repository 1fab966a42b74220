//! YAML as kubectl reads it: version 1.1 in what its scalars mean, so that a manifest is here what
//! it is there.
//!
//! kubectl reads through `sigs.k8s.io/yaml` and the second version of go-yaml: `0400` is octal,
//! `yes` is true, and a key that is a number or a boolean becomes a text. The one difference is
//! meant: a key that is written twice in one map is refused, and kubectl takes the last.

mod field_line;
mod scalar;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use serde_json::{Map, Value};

pub(super) use field_line::line_of;
use scalar::{Resolved, Tagged, key, resolve};

/// A file of manifests may be long; it is bounded all the same.
const DEPTH: usize = 128;
const DOCUMENTS: usize = 20_000;

/// What all files of an environment may become together, read once for each slot. A value takes
/// about a kilobyte by the time that its object is planned.
const NODES: usize = 600_000;
/// And bytes of text in them.
const BYTES: usize = 64 << 20;

/// How many of those may come from aliases: a few letters each, and as many values as they like.
const ALIAS_NODES: usize = 100_000;
/// And bytes of text.
const ALIAS_BYTES: usize = 16 << 20;

/// What is left of that.
#[derive(Debug)]
pub(in crate::desired) struct Budget {
    written: Cell<Size>,
    aliases: Cell<Size>,
}

/// How many values there are, and how many bytes of text they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    const fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            nodes: self.nodes.checked_sub(other.nodes)?,
            bytes: self.bytes.checked_sub(other.bytes)?,
        })
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            written: Cell::new(Size {
                nodes: NODES,
                bytes: BYTES,
            }),
            aliases: Cell::new(Size {
                nodes: ALIAS_NODES,
                bytes: ALIAS_BYTES,
            }),
        }
    }
}

impl Budget {
    fn take(&self, size: Size) -> Result<(), String> {
        let left = self.written.get().minus(size).ok_or_else(|| {
            let mebibytes = BYTES >> 20;
            format!(
                "all manifests of the environment together have more than {NODES} values, or \
                 {mebibytes} MiB of text"
            )
        })?;
        self.written.set(left);
        Ok(())
    }

    /// Takes what is there once more.
    fn take_again(&self, size: Size) -> Result<(), String> {
        let left = self.aliases.get().minus(size).ok_or_else(|| {
            let mebibytes = ALIAS_BYTES >> 20;
            format!(
                "anchors and aliases make more than {ALIAS_NODES} values, or {mebibytes} MiB of \
                 text, of all manifests of the environment together"
            )
        })?;
        self.aliases.set(left);
        self.take(size)
    }
}

/// Why a text is not what kubectl could read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) struct YamlFault {
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for YamlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// A document, and the line on which its content begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub line: usize,
    pub value: Value,
}

/// A parser that reads over comments: those that it tells of have a bound of their own.
fn parser(text: &str) -> Parser<'_, StrInput<'_>> {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    Parser::new_from_str_with_options(text, options)
}

/// Reads all documents of a text, as far as the budget goes.
pub(super) fn documents(text: &str, budget: &Budget) -> Result<Vec<Document>, YamlFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        parser: parser(text),
        anchors: HashMap::new(),
        budget,
    };

    let mut all = Vec::new();
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::DocumentStart(..) => reader.anchors.clear(),
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            other => {
                if all.len() == DOCUMENTS {
                    return Err(fault(&span, format!("more than {DOCUMENTS} documents")));
                }
                let line = span.start.line();
                let value = reader.node(other, &span, 0)?.value;
                all.push(Document { line, value });
            }
        }
    }

    Ok(all)
}

/// Whether an event is a part of a document, and not a comment or a remark about one.
fn is_content(event: &Event<'_>) -> bool {
    let is_frame = matches!(
        event,
        Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd
    );
    is_frame || event.is_node()
}

fn fault(span: &Span, reason: impl Into<String>) -> YamlFault {
    YamlFault {
        line: span.start.line(),
        reason: reason.into(),
    }
}

/// A node, and how many nodes it and what is in it are.
#[derive(Clone)]
struct Node {
    value: Value,
    /// As a key of a map; none for what can be no key.
    key: Option<String>,
    /// Whether it is the plain `<<`, which takes in the keys of other maps.
    is_merge: bool,
    size: Size,
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    budget: &'a Budget,
}

impl<'a> Reader<'a> {
    /// The next event that is content.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, YamlFault> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(YamlFault {
                        line: error.marker().line(),
                        reason: error.info(),
                    });
                }
                Some(Ok(event)) if is_content(&event.0) => return Ok(Some(event)),
                Some(Ok(_)) => {}
            }
        }
    }

    fn inner(&mut self, around: &Span) -> Result<(Event<'a>, Span), YamlFault> {
        let next = self.next()?;
        next.ok_or_else(|| fault(around, "it ends in the middle"))
    }

    /// Counts one value with the text that it has itself.
    fn count(&self, bytes: usize, span: &Span) -> Result<Size, YamlFault> {
        let size = Size { nodes: 1, bytes };
        let taken = self.budget.take(size);
        taken.map(|()| size).map_err(|reason| fault(span, reason))
    }

    /// Counts what is there once more.
    fn count_again(&self, size: Size, span: &Span) -> Result<(), YamlFault> {
        let taken = self.budget.take_again(size);
        taken.map_err(|reason| fault(span, reason))
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, YamlFault> {
        if depth > DEPTH {
            return Err(fault(span, format!("nested more than {DEPTH} deep")));
        }

        let (anchor, node) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                let size = self.count(text.len(), span)?;
                let tag = Tagged::from(tag.as_deref());
                let is_plain = style == ScalarStyle::Plain;
                let resolved =
                    resolve(&text, is_plain, tag).map_err(|reason| fault(span, reason))?;
                let node = Node {
                    key: key(&text, &resolved),
                    is_merge: is_plain && resolved == Resolved::Text("<<".to_owned()),
                    value: resolved.value().map_err(|reason| fault(span, reason))?,
                    size,
                };
                (anchor, node)
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(span, depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(span, depth)?),
            _ => return Err(fault(span, "there is no value")),
        };

        if anchor != 0 {
            self.count_again(node.size, span)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<Node, YamlFault> {
        let node = self.anchors.get(&id);
        let node = node.ok_or_else(|| fault(span, "it refers to itself"))?;
        self.count_again(node.size, span)?;
        Ok(Node {
            is_merge: false,
            ..node.clone()
        })
    }

    fn sequence(&mut self, span: &Span, depth: usize) -> Result<Node, YamlFault> {
        let (mut items, mut size) = (Vec::new(), self.count(0, span)?);
        loop {
            let (event, place) = self.inner(span)?;
            if event == Event::SequenceEnd {
                break;
            }
            let node = self.node(event, &place, depth + 1)?;
            size = size.plus(node.size);
            items.push(node.value);
        }
        Ok(Node {
            value: Value::Array(items),
            key: None,
            is_merge: false,
            size,
        })
    }

    fn mapping(&mut self, span: &Span, depth: usize) -> Result<Node, YamlFault> {
        let (mut map, mut size) = (Map::new(), self.count(0, span)?);
        let mut written = BTreeSet::new();
        loop {
            let (event, place) = self.inner(span)?;
            if event == Event::MappingEnd {
                break;
            }
            let name = self.node(event, &place, depth + 1)?;
            let (event, inside) = self.inner(span)?;
            let node = self.node(event, &inside, depth + 1)?;
            size = size.plus(name.size).plus(node.size);
            if name.is_merge {
                merge(&mut map, node.value, &inside)?;
                continue;
            }
            let key = name.key.ok_or_else(|| {
                let what = &name.value;
                fault(&place, format!("`{what}` cannot be the key of a map"))
            })?;
            if !written.insert(key.clone()) {
                return Err(fault(&place, format!("the key `{key}` is written twice")));
            }
            map.insert(key, node.value);
        }

        Ok(Node {
            value: Value::Object(map),
            key: None,
            is_merge: false,
            size,
        })
    }
}

/// Takes the keys of other maps into one, over what is in it already; of several maps the first one
/// counts.
fn merge(into: &mut Map<String, Value>, from: Value, span: &Span) -> Result<(), YamlFault> {
    match from {
        Value::Object(map) => into.extend(map),
        Value::Array(items) if items.iter().all(Value::is_object) => {
            for item in items.into_iter().rev() {
                merge(into, item, span)?;
            }
        }
        _ => return Err(fault(span, "`<<` takes a map, or a list of maps")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        let mut all = documents(text, &Budget::default()).expect(text);
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0).value
    }

    fn refused(text: &str) -> String {
        documents(text, &Budget::default())
            .expect_err(text)
            .to_string()
    }

    #[test]
    fn any_number_of_comments_may_stand_before_a_value() {
        let text = format!("data:\n{}  key: a\n", "  # old: value\n".repeat(500));
        assert_eq!(one(&text), json!({"data": {"key": "a"}}));
    }

    #[test]
    fn keys_are_texts_as_they_are_written() {
        let text = "on: 1\n2: b\n0x10: c\n1.5: d\n'<<': e\n~x: f\n";
        let wanted = json!({"on": 1, "2": "b", "0x10": "c", "1.5": "d", "<<": "e", "~x": "f"});
        assert_eq!(one(text), wanted);
        assert!(refused("a: 1\nb: 2\na: 3\n").contains("line 3: the key `a` is written twice"));
        let words = "y: '1'\nn: '2'\non: '3'\nNO: '4'\ntrue: yes\n";
        let wanted = json!({"y": "1", "n": "2", "on": "3", "NO": "4", "true": true});
        assert_eq!(one(words), wanted);
        assert!(refused("y: 1\n'y': 2\n").contains("line 2: the key `y` is written twice"));
        assert!(refused("~: 1\n").contains("cannot be the key"));
        assert!(refused("{[a]: 1}").contains("cannot be the key"));
    }

    #[test]
    fn a_merge_takes_in_what_another_map_has() {
        let text = "a: &a {x: 1, z: 2}\nb: {<<: *a, z: 3}\nc: {<<: [{x: 5}, *a]}\n";
        let all = one(text);
        assert_eq!(all["b"], json!({"x": 1, "z": 3}));
        assert_eq!(all["c"], json!({"x": 5, "z": 2}));
        assert!(refused("<<: 1\n").contains("takes a map"));
    }

    #[test]
    fn documents_end_where_a_line_begins_with_their_mark() {
        let text = "# first\na: 1 # one\n# last\n";
        assert_eq!(one(text), json!({"a": 1}));
        let text = "\u{feff}a: |\n  ---\n  b\n---\n# nothing\n---\nc: '---'\r\nd: |\r\n  e\r\n  \
                    f\r\n...\n";
        let all = documents(text, &Budget::default()).expect("yaml");
        let values: Vec<&Value> = all.iter().map(|document| &document.value).collect();
        assert_eq!(
            values,
            [
                &json!({"a": "---\nb\n"}),
                &Value::Null,
                &json!({"c": "---", "d": "e\nf\n"})
            ]
        );
        assert_eq!(all[2].line, 7);
        assert!(!refused("a:\n\tb: c\n").is_empty(), "a tab indents nothing");
    }

    #[test]
    fn what_would_never_end_is_refused() {
        let mut bomb = "a0: &a0 [x, x]\n".to_owned();
        for level in 1..30 {
            let before = level - 1;
            let _ = writeln!(bomb, "a{level}: &a{level} [*a{before}, *a{before}]");
        }
        assert!(refused(&bomb).contains("more than"));
        assert!(!refused(&"[".repeat(1000)).is_empty());
        assert!(refused("a: &a [*a]").contains("itself"));
    }

    /// Lists of eight, each of the one before.
    fn bomb(levels: usize) -> String {
        let mut text = "l0: &l0 [x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..levels {
            let before = vec![format!("*l{}", level - 1); 8].join(", ");
            let _ = writeln!(text, "l{level}: &l{level} [{before}]");
        }
        text
    }

    #[test]
    fn what_aliases_make_is_counted_over_all_files() {
        let budget = Budget::default();
        documents(&bomb(4), &budget).expect("a few thousand values");
        let files = (0..100).find_map(|_| documents(&bomb(4), &budget).err());
        let fault = files.expect("half a million values");
        assert!(fault.reason.contains("anchors and aliases"), "{fault}");
        assert!(refused(&bomb(6)).contains("anchors and aliases"));
    }

    #[test]
    fn what_aliases_repeat_is_counted_in_bytes_too() {
        let text = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1 << 20),
            "*a, ".repeat(20)
        );
        assert!(refused(&text).contains("MiB of text"));
        // Anchors in each other are kept once for each.
        let deep: Vec<String> = (0..100).map(|level| format!("&a{level} [")).collect();
        let deep = deep.concat();
        let text = format!("{deep}{}{}", "x, ".repeat(2000), "]".repeat(100));
        assert!(refused(&text).contains("anchors and aliases"));
    }

    #[test]
    fn a_long_file_is_taken_and_an_endless_one_is_not() {
        let line = "- {name: a, value: b}\n";
        let long = line.repeat(50_000);
        assert_eq!(one(&long).as_array().map(Vec::len), Some(50_000));
        assert!(refused(&line.repeat(150_000)).contains("600000 values"));
    }
}
