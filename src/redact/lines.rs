//! Lines that follow each other, without the values that are in them.

use std::ops::Range;

use crate::redact::MASK;
use crate::redact::search::{Search, joined};

/// The lines with every value hidden. There are as many as before.
pub(super) fn redact(search: &Search, lines: &[&str]) -> Vec<String> {
    let found = search.find(lines.join("\n").as_bytes());
    mask(search, lines, 0, &found.hidden)
}

/// The lines with these ranges hidden, and what is cut off at their ends. `at` is where the first
/// one begins in the text that the ranges are of.
pub(super) fn mask(
    search: &Search,
    lines: &[&str],
    mut at: usize,
    hidden: &[Range<usize>],
) -> Vec<String> {
    let mut all = Vec::with_capacity(lines.len());
    for line in lines {
        let end = at + line.len();
        let first = hidden.partition_point(|range| range.end <= at);
        let here = hidden[first..].iter().take_while(|range| range.start < end);

        let mut ranges: Vec<Range<usize>> = here
            .map(|range| range.start.max(at) - at..range.end.min(end) - at)
            .collect();
        ranges.extend(search.cut_off(line.as_bytes()));

        all.push(without(line, &joined(ranges)));
        at = end + 1;
    }
    all
}

/// The line with something else in place of these parts.
fn without(line: &str, parts: &[Range<usize>]) -> String {
    let mut text = String::with_capacity(line.len());
    let mut at = 0;
    for part in parts {
        let (start, end) = (
            line.floor_char_boundary(part.start),
            line.ceil_char_boundary(part.end),
        );
        text.push_str(&line[at..start.max(at)]);
        text.push_str(MASK);
        at = end;
    }
    text.push_str(&line[at.min(line.len())..]);
    text
}
