//! The line of a field in a document, by the path that a server has for it.

use granit_parser::{Event, Parser, Span, StrInput};

use super::{DEPTH, parser};

/// Of every value in a document the path, with the line that it begins in.
type Lines = Vec<(String, usize)>;

/// The line of a field, or of the nearest thing above it, in the document that begins in a line;
/// none for a text that cannot be read. `field`: `.spec.containers[name="web"].image`.
pub(in crate::desired) fn line_of(text: &str, document: usize, field: &str) -> Option<usize> {
    let mut reader = Reader {
        parser: parser(text),
    };
    loop {
        let (event, span) = reader.next()?;
        if !is_value(&event) {
            continue;
        }
        let line = span.start.line();
        let (lines, _) = reader.value(event, 0)?;
        if line == document {
            return nearest(&lines, field);
        }
    }
}

/// The line of the longest path that the field is at or below.
fn nearest(lines: &Lines, field: &str) -> Option<usize> {
    let is_above = |path: &str| {
        let rest = field.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let above = lines.iter().filter(|(path, _)| is_above(path));
    above
        .max_by_key(|(path, _)| path.len())
        .map(|(_, line)| *line)
}

const fn is_value(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_)
    )
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    /// The next event; none at the end, and where the text cannot be read.
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        self.parser.next_event()?.ok()
    }

    /// The lines of what is in a value, and its text where it has one.
    fn value(&mut self, event: Event<'a>, depth: usize) -> Option<(Lines, Option<String>)> {
        if depth > DEPTH {
            return None;
        }
        match event {
            Event::Scalar(text, ..) => Some((Vec::new(), Some(text.into_owned()))),
            Event::SequenceStart(..) => Some((self.sequence(depth)?, None)),
            Event::MappingStart(..) => Some((self.mapping(depth)?.0, None)),
            _ => Some((Vec::new(), None)),
        }
    }

    /// The lines of a map, and what it says as its name.
    fn mapping(&mut self, depth: usize) -> Option<(Lines, Option<String>)> {
        let (mut lines, mut name) = (Vec::new(), None);
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Some((lines, name));
            }
            if !is_value(&event) {
                continue;
            }
            let key = self.value(event, depth + 1)?.1.unwrap_or_default();
            let (event, _) = self.next()?;
            let (below, text) = self.value(event, depth + 1)?;
            if key == "name" {
                name = text;
            }
            lines.push((format!(".{key}"), span.start.line()));
            lines.extend(
                below
                    .into_iter()
                    .map(|(path, line)| (format!(".{key}{path}"), line)),
            );
        }
    }

    /// The lines of a list: its items by their name, or by their number.
    fn sequence(&mut self, depth: usize) -> Option<Lines> {
        let mut lines = Vec::new();
        for number in 0.. {
            let (event, span) = self.next()?;
            let (below, name) = match event {
                Event::SequenceEnd => break,
                Event::MappingStart(..) => self.mapping(depth + 1)?,
                other => (self.value(other, depth + 1)?.0, None),
            };
            let item = match name {
                Some(name) => format!("[name=\"{name}\"]"),
                None => format!("[{number}]"),
            };
            lines.push((item.clone(), span.start.line()));
            lines.extend(
                below
                    .into_iter()
                    .map(|(path, line)| (format!("{item}{path}"), line)),
            );
        }
        Some(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
    example.com/on: yes
spec:
  replica: 2
  template:
    spec:
      containers:
        - image: a
          name: sidecar
        - name: web
          args: [a, b]
          imagePullPolice: Always
";

    #[test]
    fn a_field_is_found_by_the_path_that_the_server_has_for_it() {
        let line = |field: &str| line_of(TEXT, 5, field);
        assert_eq!(line(".spec.replica"), Some(12));
        let container = ".spec.template.spec.containers[name=\"web\"]";
        assert_eq!(line(&format!("{container}.imagePullPolice")), Some(20));
        assert_eq!(line(&format!("{container}.args[1]")), Some(19));
        assert_eq!(line(".metadata.annotations.example.com/on"), Some(10));
        // What is not there is where the thing above it is.
        assert_eq!(
            line(&format!("{container}.ports[containerPort=80]")),
            Some(18)
        );
        assert_eq!(line(".apiVersion"), Some(5));
        assert_eq!(line_of(TEXT, 1, ".metadata.name"), Some(3));
        assert_eq!(line_of(TEXT, 2, ".spec"), None);
        assert_eq!(line_of("a: [", 1, ".a"), None);
    }
}
