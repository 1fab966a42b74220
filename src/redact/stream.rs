//! Lines that come one by one. One that may be the beginning of a value is kept back until the next
//! one decides.

use std::ops::Range;

use crate::redact::Redactor;
use crate::redact::lines::mask;

/// How much of what was let go is looked at again: a few characters, each of them in escapes of
/// escapes.
const BEFORE: usize = 96;

/// The lines of one writer, in their order. Lines of several writers need a stream each.
#[derive(Debug)]
pub struct LineStream {
    redactor: Redactor,
    /// What is kept back.
    held: Vec<String>,
    /// The last characters that were let go: a value may begin in them, by fewer characters than
    /// are worth keeping back.
    before: String,
}

impl LineStream {
    pub(super) const fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            held: Vec::new(),
            before: String::new(),
        }
    }

    /// Takes a line, and gives the ones that can be shown now.
    pub fn push(&mut self, line: String) -> Vec<String> {
        self.held.push(line);
        self.release(Upto::Open)
    }

    /// Gives what is still kept back: no more lines come.
    pub fn finish(&mut self) -> Vec<String> {
        let rest = self.release(Upto::End);
        self.before.clear();
        rest
    }

    fn release(&mut self, upto: Upto) -> Vec<String> {
        let Some(search) = self.redactor.search() else {
            return std::mem::take(&mut self.held);
        };
        let text = [std::slice::from_ref(&self.before), &self.held]
            .concat()
            .join("\n");
        let found = search.find(text.as_bytes());

        let open = match upto {
            Upto::Open => found.open.unwrap_or(text.len()),
            Upto::End => text.len(),
        };
        let at = self.before.len() + 1;
        let count = releasable(&self.held, at, open, &found.hidden);
        let lines: Vec<&str> = self.held[..count].iter().map(String::as_str).collect();
        let shown = mask(&search, &lines, at, &found.hidden);

        self.let_go(count);
        shown
    }

    fn let_go(&mut self, count: usize) {
        for line in self.held.drain(..count) {
            self.before.push_str(&line);
        }
        let last = self.before.char_indices().rev().nth(BEFORE - 1);
        self.before.drain(..last.map_or(0, |(at, _)| at));
    }
}

#[derive(Clone, Copy)]
enum Upto {
    /// The line with the beginning of what may be a value.
    Open,
    /// The last line.
    End,
}

/// How many of the lines end before `open` and have no part of a value whose rest is in a line that
/// has to stay. The first begins at `at`.
fn releasable(lines: &[String], at: usize, mut open: usize, hidden: &[Range<usize>]) -> usize {
    loop {
        let (count, end) = whole_lines(lines, at, open);
        match hidden
            .iter()
            .find(|range| range.start < end && range.end > end)
        {
            Some(range) if count > 0 => open = range.start,
            _ => return count,
        }
    }
}

/// How many of the lines end before `open`, and where the last of them ends.
fn whole_lines(lines: &[String], at: usize, open: usize) -> (usize, usize) {
    let (mut count, mut end) = (0, at.saturating_sub(1));
    for line in lines {
        let next = end + 1 + line.len();
        if next > open {
            break;
        }
        (count, end) = (count + 1, next);
    }
    (count, end)
}
