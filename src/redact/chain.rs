//! Values that go on in the next line behind something that is no part of them: an indentation, as
//! in a block of YAML, or what a logger puts before each line.

use std::ops::Range;

use crate::redact::SHORTEST;
use crate::redact::cut::{CUT, Ends};

/// How much may stand before a value's rest in the next line.
const BEFORE: usize = 64;

/// How many values are followed from line to line at once: of more, most are the same in several
/// forms.
const MOST: usize = 256;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Chained {
    pub hidden: Vec<Range<usize>>,
    /// Where the first one begins that the text's end cuts off.
    pub open: Option<usize>,
}

/// A value whose first parts were found, each at the end of its line.
#[derive(Debug, Clone)]
struct Chain {
    pattern: usize,
    parts: Vec<Range<usize>>,
    /// How many of its bytes are in them.
    done: usize,
    /// Where in its line the last part begins.
    column: usize,
}

/// How a chain goes on in a line.
enum Next {
    /// To the line's end, and on.
    On(Chain),
    Whole(Chain),
    Broken,
}

/// Looks through the lines of a text.
pub(super) fn find(ends: &Ends, text: &[u8]) -> Chained {
    let mut found = Chained::default();
    let mut live: Vec<Chain> = Vec::new();
    let mut at = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let bare = line.strip_suffix(b"\r").unwrap_or(line);
        let mut next = Vec::new();
        for chain in live {
            match chain.next(ends, bare, at) {
                Next::On(chain) => next.push(chain),
                Next::Whole(chain) => found.hidden.extend(chain.parts),
                Next::Broken => found.hidden.extend(chain.long_parts()),
            }
        }

        let begun = ends.begun(bare).into_iter();
        next.extend(begun.map(|(column, pattern)| Chain {
            pattern,
            parts: std::iter::once(at + column..at + bare.len()).collect(),
            done: bare.len() - column,
            column,
        }));
        next.truncate(MOST);
        live = next;
        at += line.len() + 1;
    }

    found.open = live.iter().map(|chain| chain.parts[0].start).min();
    let cut = live.iter().flat_map(Chain::long_parts);
    found.hidden.extend(cut);
    found
}

impl Chain {
    fn next(&self, ends: &Ends, line: &[u8], at: usize) -> Next {
        let rest = &ends.pattern(self.pattern)[self.done..];
        for column in 0..=line.len().min(BEFORE) {
            let tail = &line[column..];
            let is_whole = tail.starts_with(rest);
            if !is_whole && (tail.is_empty() || !rest.starts_with(tail)) {
                continue;
            }
            let length = tail.len().min(rest.len());
            if length < SHORTEST && !self.is_expected(line, column) {
                continue;
            }

            let mut chain = self.clone();
            chain.parts.push(at + column..at + column + length);
            chain.done += length;
            chain.column = column;
            return if is_whole {
                Next::Whole(chain)
            } else {
                Next::On(chain)
            };
        }
        Next::Broken
    }

    /// Whether a few bytes there are more than a coincidence.
    fn is_expected(&self, line: &[u8], column: usize) -> bool {
        column == self.column || line[..column].iter().all(u8::is_ascii_whitespace)
    }

    /// Its parts, when it went on once and has enough of a value.
    fn long_parts(&self) -> Vec<Range<usize>> {
        if self.parts.len() > 1 && self.done >= CUT {
            self.parts.clone()
        } else {
            Vec::new()
        }
    }
}
