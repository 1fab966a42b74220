//! Finding values in a text.

use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::redact::chain;
use crate::redact::cut::Ends;
use crate::redact::dump;
use crate::redact::forms::{Kind, Pattern, patterns};
use crate::redact::view::{self, View};

/// What finds the values.
pub(super) enum Search {
    /// All their patterns.
    Patterns(Box<Patterns>),
    /// There are more patterns than memory has room for: whatever there is may be a value.
    Everything,
}

/// All the patterns of all the values.
pub(super) struct Patterns {
    whole: AhoCorasick,
    kinds: Vec<Kind>,
    ends: Ends,
}

/// What was found in a text. Ranges are bytes of the text, in order, and do not touch each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where values are.
    pub hidden: Vec<Range<usize>>,
    /// Where something begins that the text's end cuts off, and that may be a value.
    pub open: Option<usize>,
}

impl Search {
    /// For these values.
    pub fn new(values: &BTreeSet<String>) -> Self {
        Patterns::new(values).map_or(Self::Everything, |found| Self::Patterns(Box::new(found)))
    }

    /// Looks through a text.
    pub fn find(&self, text: &[u8]) -> Match {
        match self {
            Self::Patterns(patterns) => patterns.find(text),
            Self::Everything => Match {
                hidden: all_of(text),
                open: None,
            },
        }
    }

    /// The beginning and the end of a line that may have been cut out of something longer, where
    /// they are a long part of a value.
    pub fn cut_off(&self, line: &[u8]) -> Vec<Range<usize>> {
        match self {
            Self::Patterns(patterns) => patterns.cut_off(line),
            Self::Everything => all_of(line),
        }
    }
}

fn all_of(text: &[u8]) -> Vec<Range<usize>> {
    let whole = 0..text.len();
    std::iter::once(whole)
        .filter(|whole| !whole.is_empty())
        .collect()
}

impl Patterns {
    fn new(values: &BTreeSet<String>) -> Option<Self> {
        let all: BTreeSet<Pattern> = values.iter().flat_map(|value| patterns(value)).collect();
        let (bytes, kinds): (Vec<Vec<u8>>, Vec<Kind>) = all
            .into_iter()
            .map(|pattern| (pattern.bytes, pattern.kind))
            .unzip();
        let whole = automaton(&bytes)?;
        let ends = Ends::new(bytes)?;
        Some(Self { whole, kinds, ends })
    }

    fn find(&self, text: &[u8]) -> Match {
        let mut views = view::all(text);
        views.extend(dump::views(text));
        let found = views.iter().flat_map(|view| self.found_in(view));
        let mut hidden: Vec<Range<usize>> = found.collect();
        let open = views.iter().filter_map(|view| {
            let at = self.ends.open(view)?;
            Some(view.source(at..view.bytes.len()).start)
        });

        let chained = chain::find(&self.ends, text);
        hidden.extend(chained.hidden);
        Match {
            open: open.chain(chained.open).min(),
            hidden: joined(hidden),
        }
    }

    fn cut_off(&self, line: &[u8]) -> Vec<Range<usize>> {
        let mut cut = Vec::new();
        for view in view::all(line) {
            let parts = self.ends.cut(&view.bytes);
            cut.extend(parts.into_iter().map(|part| view.source(part)));
        }
        joined(cut)
    }

    fn found_in(&self, view: &View) -> Vec<Range<usize>> {
        let found = self.whole.find_overlapping_iter(&view.bytes);
        found
            .map(|found| {
                let range = match self.kinds[found.pattern().as_usize()] {
                    Kind::Whole => found.range(),
                    Kind::Base64 => widened(view, found.range()),
                };
                view.source(range)
            })
            .collect()
    }
}

/// What finds these patterns; none when there are more than memory has room for.
///
/// A value may have many thousand times the same character, as a key that was padded. To make a
/// table of transitions (a DFA) takes time by the square of its length then.
pub(super) fn automaton<P: AsRef<[u8]>>(patterns: &[P]) -> Option<AhoCorasick> {
    let mut builder = AhoCorasick::builder();
    builder.kind(Some(AhoCorasickKind::ContiguousNFA));
    builder.build(patterns).ok()
}

/// With the characters that have bits of the value and of its neighbours, and the padding.
fn widened(view: &View, found: Range<usize>) -> Range<usize> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    let Range { mut start, mut end } = found;
    if start > 0 && is_base64(view.bytes[start - 1]) && view.are_neighbours(start - 1) {
        start -= 1;
    }
    let follows = |at: usize| view.are_neighbours(at - 1).then(|| view.bytes[at]);
    if follows(end).is_some_and(is_base64) {
        end += 1;
    }
    while follows(end) == Some(b'=') {
        end += 1;
    }
    start..end
}

/// In order, with what overlaps or touches as one.
pub(super) fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}
