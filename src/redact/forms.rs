//! The forms of a value that are other bytes than its own: what is looked for.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::redact::SHORTEST;

/// One thing that is looked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern {
    pub bytes: Vec<u8>,
    pub kind: Kind,
}

/// How a pattern was made of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It is the whole of it.
    Whole,
    /// It is base64, without the characters at its ends that other bytes have a part in.
    Base64,
}

/// Whether it is looked for at all.
pub(super) fn is_long_enough(text: &str) -> bool {
    text.chars().nth(SHORTEST - 1).is_some()
}

/// Everything that is looked for because of this value: the value, each of its lines, and their
/// other forms.
pub(super) fn patterns(value: &str) -> BTreeSet<Pattern> {
    let lines = value.lines().map(str::trim);
    let parts: BTreeSet<&str> = [value, value.trim()].into_iter().chain(lines).collect();

    parts
        .into_iter()
        .filter(|part| is_long_enough(part))
        .flat_map(of_part)
        .collect()
}

fn of_part(part: &str) -> Vec<Pattern> {
    let whole = quoted(part)
        .into_iter()
        .chain(hex(part))
        .map(|text| Pattern {
            bytes: unbroken(text.as_bytes()),
            kind: Kind::Whole,
        });
    let latin = latin(part).map(|bytes| Pattern {
        bytes: unbroken(&bytes),
        kind: Kind::Whole,
    });
    let [little, big] = wide(part);
    let texts = [part.as_bytes().to_vec(), little, big];
    let base64 = texts.into_iter().flat_map(|text| base64(&text));
    let base64 = base64.map(|text| Pattern {
        bytes: text.into_bytes(),
        kind: Kind::Base64,
    });

    whole
        .chain(latin)
        .chain(base64)
        .filter(|pattern| pattern.bytes.len() >= SHORTEST)
        .collect()
}

/// The value as it is, and as it stands between quotes: of a shell, of YAML and SQL, of CSV.
/// Escapes by a backslash are undone in the text; a quote that a shell leaves and enters again
/// stays threefold then.
fn quoted(part: &str) -> Vec<String> {
    let mut all = vec![part.to_owned()];
    if part.contains('\'') {
        all.extend([r"'\''", r#"'"'"'"#, "'''", "''"].map(|quote| part.replace('\'', quote)));
    }
    if part.contains('"') {
        all.extend(["\"\"", r#""'"'""#].map(|quote| part.replace('"', quote)));
    }
    all
}

/// What stands between the bytes of a dump: of a fingerprint, of `hexdump`, of a program's array.
const BETWEEN: [&str; 6] = ["", ":", " ", "-", ", 0x", ",0x"];

/// The value's bytes as hexadecimal digits.
fn hex(part: &str) -> Vec<String> {
    let bytes: Vec<String> = part.bytes().map(|byte| format!("{byte:02x}")).collect();
    let apart = BETWEEN.iter().map(|between| bytes.join(between));
    // `xxd` writes them in pairs, and the value may begin in the middle of one.
    let pairs = (0..2).map(|first| {
        let (head, tail) = bytes.split_at(first.min(bytes.len()));
        let pairs = tail.chunks(2).map(<[String]>::concat);
        let all: Vec<String> = head.iter().cloned().chain(pairs).collect();
        all.join(" ")
    });
    let lower: Vec<String> = apart.chain(pairs).collect();
    // A prefix of an array stays as it is.
    let upper = lower
        .iter()
        .map(|text| text.to_uppercase().replace("0X", "0x"));
    upper.chain(lower.iter().cloned()).collect()
}

/// The value as Python shows it where all is ASCII (`\xe9`), its escapes undone: what fits into a
/// byte is one. None where that is the value itself.
fn latin(part: &str) -> Option<Vec<u8>> {
    let is_other = |sign: char| ('\u{80}'..='\u{ff}').contains(&sign);
    let bytes = |sign: char| match u8::try_from(u32::from(sign)) {
        Ok(byte) => vec![byte],
        Err(_) => sign.to_string().into_bytes(),
    };
    part.contains(is_other)
        .then(|| part.chars().flat_map(bytes).collect())
}

/// The value in UTF-16, from the low byte of each unit and from the high one: what a PowerShell
/// puts into base64.
fn wide(part: &str) -> [Vec<u8>; 2] {
    let units = || part.encode_utf16();
    [
        units().flat_map(u16::to_le_bytes).collect(),
        units().flat_map(u16::to_be_bytes).collect(),
    ]
}

/// The value in the middle of something larger, at each of the three places where it can begin;
/// without the characters that its neighbours have bits in.
fn base64(bytes: &[u8]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);

        let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for alphabet in [&STANDARD, &URL_SAFE] {
            all.insert(alphabet.encode(&padded)[first..end].to_owned());
        }
    }
    all
}

/// Without line ends: a text may be broken anywhere.
pub(super) fn unbroken(bytes: &[u8]) -> Vec<u8> {
    let breaks = |byte: &u8| matches!(byte, b'\n' | b'\r');
    bytes.iter().copied().filter(|byte| !breaks(byte)).collect()
}
