//! Values that a text's end cuts in two: the rest may come in the next line, or may have been cut
//! off for good.

use std::collections::HashMap;
use std::ops::Range;

use aho_corasick::AhoCorasick;

use crate::redact::SHORTEST;
use crate::redact::search::automaton;
use crate::redact::view::View;

/// So much of a value is hidden at an end of a line even when the rest of it is not there.
pub(super) const CUT: usize = 8;

/// The patterns by how they begin and how they end.
pub(super) struct Ends {
    patterns: Vec<Vec<u8>>,
    longest: usize,
    open: Parts,
    /// One byte less than `open`: the next one is behind an escape that is not whole.
    escaping: Parts,
    heads: Parts,
    tails: Parts,
}

/// Parts of patterns of one length, and which patterns have them.
struct Parts {
    search: AhoCorasick,
    of: Vec<Vec<usize>>,
}

impl Parts {
    fn new<'a>(
        patterns: &'a [Vec<u8>],
        part: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
    ) -> Option<Self> {
        let mut known: HashMap<&[u8], usize> = HashMap::new();
        let (mut parts, mut of): (Vec<&[u8]>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
        for (number, pattern) in patterns.iter().enumerate() {
            let Some(part) = part(pattern) else { continue };
            let at = *known.entry(part).or_insert_with(|| {
                parts.push(part);
                of.push(Vec::new());
                parts.len() - 1
            });
            of[at].push(number);
        }
        let search = automaton(&parts)?;
        Some(Self { search, of })
    }

    /// Where in these bytes a part is, in order, and which patterns have it.
    fn find(&self, bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, &[usize])> {
        self.search.find_overlapping_iter(bytes).map(|found| {
            (
                found.range(),
                self.of[found.pattern().as_usize()].as_slice(),
            )
        })
    }
}

impl Ends {
    /// None when there are more patterns than memory has room for.
    pub fn new(patterns: Vec<Vec<u8>>) -> Option<Self> {
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let open = Parts::new(&patterns, |pattern| pattern.get(..SHORTEST))?;
        let escaping = Parts::new(&patterns, |pattern| pattern.get(..SHORTEST - 1))?;
        let longer = |pattern: &[u8]| pattern.len() > CUT;
        let heads = Parts::new(&patterns, |pattern| {
            pattern.get(..CUT).filter(|_| longer(pattern))
        })?;
        let tails = Parts::new(&patterns, |pattern| {
            pattern
                .get(pattern.len() - CUT.min(pattern.len())..)
                .filter(|_| longer(pattern))
        })?;

        Some(Self {
            patterns,
            longest,
            open,
            escaping,
            heads,
            tails,
        })
    }

    /// Where the beginning of a pattern is that goes on past the end; the first such place.
    pub fn open(&self, view: &View) -> Option<usize> {
        let begun = if view.ends_in_escape {
            &self.escaping
        } else {
            &self.open
        };
        self.unfinished(begun, &view.bytes)
    }

    /// A pattern by its number.
    pub fn pattern(&self, number: usize) -> &[u8] {
        &self.patterns[number]
    }

    /// Where the beginnings of patterns are that go on past the end of a line, and of which ones.
    pub fn begun(&self, line: &[u8]) -> Vec<(usize, usize)> {
        let before = line.len() - line.len().min(self.longest);
        let parts = self.open.find(&line[before..]);
        let each = parts.flat_map(|(found, of)| {
            let at = before + found.start;
            of.iter().map(move |number| (at, *number))
        });
        each.filter(|(at, number)| {
            let (pattern, rest) = (&self.patterns[*number], &line[*at..]);
            pattern.len() > rest.len() && pattern.starts_with(rest)
        })
        .collect()
    }

    /// The long parts of patterns that the beginning and the end cut off.
    pub fn cut(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let at_end = self
            .unfinished(&self.heads, bytes)
            .map(|at| at..bytes.len());

        let first = &bytes[..bytes.len().min(self.longest)];
        let at_beginning = self
            .tails
            .find(first)
            .filter(|(found, of)| {
                let rest = &bytes[..found.end];
                of.iter()
                    .any(|number| self.patterns[*number].ends_with(rest))
            })
            .map(|(found, _)| 0..found.end)
            .last();

        at_beginning.into_iter().chain(at_end).collect()
    }

    fn unfinished(&self, parts: &Parts, bytes: &[u8]) -> Option<usize> {
        let before = bytes.len() - bytes.len().min(self.longest);
        let is_begun = |at: usize, of: &[usize]| {
            let rest = &bytes[at..];
            of.iter().any(|number| {
                let pattern = &self.patterns[*number];
                pattern.len() > rest.len() && pattern.starts_with(rest)
            })
        };
        parts
            .find(&bytes[before..])
            .map(|(found, of)| (before + found.start, of))
            .find(|(at, of)| is_begun(*at, of))
            .map(|(at, _)| at)
    }
}
