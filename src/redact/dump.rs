//! Bytes that programs write as numbers, one by one: the dumps of `xxd`, `hexdump -C` and `od`,
//! with an offset before each line and the same as text behind it, and arrays of decimal numbers.
//!
//! A view of a dump has the bytes that are dumped. What stands between two dumps is one byte that
//! no value has.

use std::ops::Range;

use crate::redact::SHORTEST;
use crate::redact::view::View;

/// Between two dumps.
const APART: u8 = 0;

/// The most bytes of a line of a dump.
const WIDEST: usize = 256;

/// A byte of a dump, and where it is written.
struct Cell {
    byte: u8,
    number: Range<usize>,
    /// The same as a character, in the last column.
    sign: Option<Range<usize>>,
}

/// What is dumped in a text.
pub(super) fn views(text: &[u8]) -> Vec<View> {
    let mut numbers = Dump::default();
    let mut signs = Dump::default();
    let mut at = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let bare = line.strip_suffix(b"\r").unwrap_or(line);
        match cells(bare) {
            Some(cells) => {
                for cell in cells {
                    numbers.push(cell.byte, &cell.number, at);
                    if let Some(sign) = cell.sign {
                        signs.push(cell.byte, &sign, at);
                    }
                }
            }
            None if bare.is_empty() => {}
            None => {
                numbers.part(at);
                signs.part(at);
            }
        }
        at += line.len() + 1;
    }

    let all = [numbers.view(), signs.view(), decimals(text).view()];
    all.into_iter().flatten().collect()
}

/// Bytes with their places.
#[derive(Default)]
struct Dump(Vec<(u8, Range<usize>)>);

impl Dump {
    fn push(&mut self, byte: u8, range: &Range<usize>, at: usize) {
        self.0.push((byte, at + range.start..at + range.end));
    }

    fn part(&mut self, at: usize) {
        if self.0.last().is_some_and(|(byte, _)| *byte != APART) {
            self.0.push((APART, at..at));
        }
    }

    fn view(self) -> Option<View> {
        (self.0.len() >= SHORTEST).then(|| View::of(self.0))
    }
}

/// The cells of a line of a dump; none when it is none.
fn cells(line: &[u8]) -> Option<Vec<Cell>> {
    let mut words = words(line);
    let (start, end) = loop {
        let word = words.next()?;
        let digits = line[word.clone()]
            .strip_suffix(b":")
            .unwrap_or(&line[word.clone()]);
        if (4..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit) {
            break (word.start, word.end);
        }
    };
    // What stands before an offset is a logger's; it is not behind what is dumped.
    (start <= 64).then(|| characters(line, end).or_else(|| pairs(line, end)))?
}

/// The words of a line, between blanks.
fn words(line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    line.split(u8::is_ascii_whitespace)
        .map(move |word| {
            let range = at..at + word.len();
            at = range.end + 1;
            range
        })
        .filter(|range| !range.is_empty())
}

/// As `od -c` writes them: each in four columns.
fn characters(line: &[u8], from: usize) -> Option<Vec<Cell>> {
    let cells = line[from..].chunks(4).enumerate().map(|(number, cell)| {
        let start = from + number * 4;
        let text = cell.trim_ascii_start();
        let byte = match text {
            [] if cell.len() == 4 => b' ',
            [byte] => *byte,
            [b'\\', b'n'] => b'\n',
            [b'\\', b't'] => b'\t',
            [b'\\', b'r'] => b'\r',
            [b'\\', b'0'] => 0,
            [b'\\', b'a'] => 7,
            [b'\\', b'b'] => 8,
            [b'\\', b'v'] => 11,
            [b'\\', b'f'] => 12,
            [_, _, _] => octal(text)?,
            _ => return None,
        };
        let end = start + cell.len();
        Some(Cell {
            byte,
            number: end - text.len().max(1)..end,
            sign: None,
        })
    });
    let cells: Option<Vec<Cell>> = cells.collect();
    cells.filter(|cells| !cells.is_empty())
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

/// As `xxd` and `hexdump -C` write them: groups of pairs of digits, then the same as text.
fn pairs(line: &[u8], from: usize) -> Option<Vec<Cell>> {
    let mut cells = Vec::new();
    // The text may look as if it were a group itself: how many groups there are, its length says.
    let mut with_text = None;
    for word in words(&line[from..]) {
        let word = from + word.start..from + word.end;
        let digits = &line[word.clone()];
        let is_group = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
        if !is_group || cells.len() >= WIDEST {
            break;
        }
        for at in word.clone().step_by(2) {
            let pair = std::str::from_utf8(&line[at..at + 2]).ok()?;
            cells.push(Cell {
                byte: u8::from_str_radix(pair, 16).ok()?,
                number: at..at + 2,
                sign: None,
            });
        }
        if let Some(first) = text_column(line, word.end, cells.len()) {
            with_text = Some((cells.len(), first));
        }
    }

    if let Some((count, first)) = with_text {
        cells.truncate(count);
        for (number, cell) in cells.iter_mut().enumerate() {
            cell.sign = Some(first + number..first + number + 1);
        }
    }
    (!cells.is_empty()).then_some(cells)
}

/// Where the last column begins, if it has so many characters: `  text`, or `  |text|`.
fn text_column(line: &[u8], from: usize, count: usize) -> Option<usize> {
    let bars = line.strip_suffix(b"|").map_or(0, |_| 1);
    let first = line.len().checked_sub(count + bars)?;
    let before = line.get(from..first.checked_sub(bars)?)?;
    let is_apart = before.len() >= 2 && before.iter().all(|byte| *byte == b' ');
    let has_bars = bars == 0 || line[first - 1] == b'|';
    (is_apart && has_bars).then_some(first)
}

/// Numbers of one byte that follow each other, between blanks or commas: `[104 117]`, `[104, 117]`.
fn decimals(text: &[u8]) -> Dump {
    let mut dump = Dump::default();
    let mut run: Vec<(u8, Range<usize>)> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => at += 1,
            b'0'..=b'9' | b'-' => {
                let end = at
                    + 1
                    + text[at + 1..]
                        .iter()
                        .take_while(|byte| byte.is_ascii_digit())
                        .count();
                match decimal(&text[at..end]) {
                    Some(byte) => run.push((byte, at..end)),
                    None => settle(&mut dump, &mut run, end),
                }
                at = end;
            }
            _ => {
                at += 1;
                settle(&mut dump, &mut run, at);
            }
        }
    }
    // What the text's end cuts off may go on.
    if run.len() >= SHORTEST {
        dump.0.append(&mut run);
    }
    dump
}

/// A byte, or one that Java writes with a sign.
fn decimal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    match text.strip_prefix('-') {
        None => text.parse().ok(),
        Some(_) => text.parse::<i8>().ok().map(i8::cast_unsigned),
    }
}

/// A run has ended; a short one is no text.
fn settle(dump: &mut Dump, run: &mut Vec<(u8, Range<usize>)>, at: usize) {
    if run.len() >= SHORTEST {
        dump.0.append(run);
    }
    run.clear();
    if at > 0 {
        dump.part(at);
    }
}
