//! A text as it reads once its escapes are undone, with the way back to the text itself. Line ends
//! are left out of every view: a value may be broken by them anywhere.

use std::ops::Range;

/// How often escapes may lie in escapes: JSON in a JSON text in a URL.
const DEPTH: usize = 3;

/// Bytes, and where each comes from.
pub(super) struct View {
    pub bytes: Vec<u8>,
    /// For each byte, the part of the text that stands for it.
    pub(super) from: Vec<Range<u32>>,
    /// Where the text ends.
    pub(super) end: usize,
    /// Whether the text ends in the middle of an escape, which stands for something yet.
    pub ends_in_escape: bool,
}

impl View {
    /// The text as it is.
    fn plain(text: &[u8]) -> Self {
        let mut view = Self::empty(text.len(), text.len());
        for (at, byte) in text.iter().enumerate() {
            let at = index(at);
            view.push(&[*byte], at..at + 1);
        }
        view
    }

    /// Bytes with the places in the text that stand for them.
    pub fn of(bytes: Vec<(u8, Range<usize>)>) -> Self {
        let end = bytes.last().map_or(0, |(_, place)| place.end);
        let mut view = Self::empty(bytes.len(), end);
        for (byte, place) in bytes {
            view.push(&[byte], index(place.start)..index(place.end));
        }
        view
    }

    pub(super) fn empty(length: usize, end: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(length),
            from: Vec::with_capacity(length),
            end,
            ends_in_escape: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], from: Range<u32>) {
        for byte in bytes.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
            self.bytes.push(*byte);
            self.from.push(from.clone());
        }
    }

    /// The part of the text that these bytes of the view stand for. The end of an escape that the
    /// text cuts off belongs to what is before it.
    pub fn source(&self, range: Range<usize>) -> Range<usize> {
        let (first, last) = (&self.from[range.start], &self.from[range.end - 1]);
        let end = if range.end == self.bytes.len() {
            self.end
        } else {
            last.end as usize
        };
        first.start as usize..end
    }

    /// Whether a byte and the one after it are without a line end between them in the text.
    pub fn are_neighbours(&self, at: usize) -> bool {
        self.from
            .get(at + 1)
            .is_some_and(|next| next.start <= self.from[at].end)
    }

    /// The same with one kind of escapes undone; none when it has none.
    fn undone(&self, escape: Escape) -> Option<Self> {
        if !self.bytes.contains(&escape.sign()) {
            return None;
        }
        let mut view = Self::empty(self.bytes.len(), self.end);
        view.ends_in_escape = self.ends_in_escape;
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            if escape.is_cut_off(rest) {
                view.ends_in_escape = true;
                break;
            }
            let (bytes, length) = escape.read(rest);
            let from = self.from[at].start..self.from[at + length - 1].end;
            view.push(&bytes, from);
            at += length;
        }
        (view.bytes != self.bytes).then_some(view)
    }
}

/// Texts are no larger than a few megabytes; past 4 GiB nothing is found any more.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Every view of a text: as it is, and with escapes undone, of one kind after the other.
pub(super) fn all(text: &[u8]) -> Vec<View> {
    let mut views = vec![View::plain(text)];
    let mut last = 0..1;
    for _ in 0..DEPTH {
        let undone: Vec<View> = views[last.clone()]
            .iter()
            .flat_map(|view| {
                let undone = ESCAPES.iter().filter_map(|escape| view.undone(*escape));
                undone.chain(view.decoded())
            })
            .collect();
        last = views.len()..views.len() + undone.len();
        for view in undone {
            if views.iter().all(|other| other.bytes != view.bytes) {
                views.push(view);
            } else {
                last.end -= 1;
            }
        }
    }
    views
}

const ESCAPES: [Escape; 6] = [
    Escape::Backslash,
    Escape::Backtick,
    Escape::Dollar,
    Escape::Percent,
    Escape::Form,
    Escape::Entity,
];

/// The longest escape: two of `\u1234`.
const LONGEST: usize = 12;

/// A way to write a character by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// Of JSON, programming languages and shells.
    Backslash,
    /// Of PowerShell.
    Backtick,
    /// Of Compose files and Makefiles: `$$` is one.
    Dollar,
    /// Of URLs.
    Percent,
    /// Of forms: a blank is `+`, the rest as in URLs.
    Form,
    /// Of HTML and XML.
    Entity,
}

impl Escape {
    const fn sign(self) -> u8 {
        match self {
            Self::Backslash => b'\\',
            Self::Backtick => b'`',
            Self::Dollar => b'$',
            Self::Percent => b'%',
            Self::Form => b'+',
            Self::Entity => b'&',
        }
    }

    /// Whether these bytes are the beginning of an escape, and the rest of it is not there.
    fn is_cut_off(self, bytes: &[u8]) -> bool {
        if bytes.len() > LONGEST || !matches!(bytes[0], b'\\' | b'`' | b'$' | b'%' | b'&') {
            return false;
        }

        let mut rest = bytes[1..].iter();
        match (self, bytes[0]) {
            (Self::Backslash, b'\\') => match rest.next() {
                None => true,
                Some(b'x') => bytes.len() < 4 && rest.all(|byte| is_digit(*byte)),
                Some(b'u' | b'U') => {
                    self.read(bytes).1 == 1
                        && rest.all(|byte| is_digit(*byte) || b"{\\u".contains(byte))
                }
                Some(_) => false,
            },
            (Self::Percent | Self::Form, b'%') => {
                bytes.len() < 3 && rest.all(|byte| is_digit(*byte))
            }
            (Self::Backtick, b'`') | (Self::Dollar, b'$') => rest.next().is_none(),
            (Self::Entity, b'&') => rest.all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#'),
            _ => false,
        }
    }

    /// What the beginning of these bytes stands for, and how many bytes that takes.
    fn read(self, bytes: &[u8]) -> (Vec<u8>, usize) {
        let read = match (self, bytes[0]) {
            (Self::Backslash, b'\\') => backslash(bytes),
            (Self::Backtick, b'`') => backtick(bytes),
            (Self::Dollar, b'$') => bytes.starts_with(b"$$").then(|| (vec![b'$'], 2)),
            (Self::Percent | Self::Form, b'%') => percent(bytes),
            (Self::Form, b'+') => Some((vec![b' '], 1)),
            (Self::Entity, b'&') => entity(bytes),
            _ => None,
        };
        read.unwrap_or_else(|| (vec![bytes[0]], 1))
    }
}

fn percent(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let byte = number(bytes.get(1..3)?, 16)?;
    Some((vec![u8::try_from(byte).ok()?], 3))
}

fn backslash(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let one = |byte: u8| Some((vec![byte], 2));
    match *bytes.get(1)? {
        b'n' => one(b'\n'),
        b'r' => one(b'\r'),
        b't' => one(b'\t'),
        b'b' => one(8),
        b'f' => one(12),
        b'a' => one(7),
        b'v' => one(11),
        b'e' | b'E' => one(27),
        b'0'..=b'7' => octal(bytes),
        b'x' => in_braces(bytes).or_else(|| {
            let byte = number(bytes.get(2..4)?, 16)?;
            Some((vec![u8::try_from(byte).ok()?], 4))
        }),
        b'u' => in_braces(bytes).or_else(|| utf16(bytes)),
        b'U' => character(number(bytes.get(2..10)?, 16)?, 10),
        other => one(other),
    }
}

fn backtick(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let byte = match *bytes.get(1)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'0' => 0,
        b'a' => 7,
        b'b' => 8,
        b'e' => 27,
        b'f' => 12,
        b'v' => 11,
        other => other,
    };
    Some((vec![byte], 2))
}

fn octal(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let digits = bytes[1..]
        .iter()
        .take(3)
        .take_while(|byte| matches!(byte, b'0'..=b'7'))
        .count();
    let byte = number(&bytes[1..=digits], 8)?;
    Some((vec![u8::try_from(byte & 0xff).ok()?], digits + 1))
}

/// `\u{1f511}`, `\x{e9}`
fn in_braces(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let digits = bytes.get(2..)?.strip_prefix(b"{")?;
    let length = digits.iter().take(7).position(|byte| *byte == b'}')?;
    character(number(&digits[..length], 16)?, length + 4)
}

/// `\u00e9`, or two of them for a character past the first 65,536.
fn utf16(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let unit = |at: usize| number(bytes.get(at..at + 4)?, 16);
    let first = unit(2)?;
    if !(0xd800..0xdc00).contains(&first) {
        return character(first, 6);
    }
    if bytes.get(6..8) != Some(b"\\u") {
        return None;
    }
    let second = unit(8)?.checked_sub(0xdc00)?;
    character(0x10000 + ((first - 0xd800) << 10) + second, 12)
}

/// `&quot;`, `&#34;`, `&#x22;`
fn entity(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let end = bytes.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = &bytes[1..end];
    let code = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => named(name)?.into(),
    };
    character(code, end + 1)
}

const fn named(name: &[u8]) -> Option<char> {
    Some(match name {
        b"quot" => '"',
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"apos" => '\'',
        b"nbsp" => '\u{a0}',
        b"sol" => '/',
        b"bsol" => '\\',
        b"equals" => '=',
        b"plus" => '+',
        b"grave" => '`',
        b"NewLine" => '\n',
        b"Tab" => '\t',
        _ => return None,
    })
}

fn character(code: u32, length: usize) -> Option<(Vec<u8>, usize)> {
    let text = char::from_u32(code)?.to_string();
    Some((text.into_bytes(), length))
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_digits = text.chars().all(|digit| digit.is_digit(radix));
    is_digits
        .then(|| u32::from_str_radix(text, radix).ok())
        .flatten()
}
