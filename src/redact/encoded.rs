//! Texts that stand in base64 in another text: a login in a document in a Secret, the claims of a
//! token. What is a value in them may be escaped, or in base64 once more.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::redact::view::View;

/// The fewest characters that are taken for base64 of a text: less has no document in it.
const SHORTEST_RUN: usize = 16;

/// The most characters that are decoded at once.
const MOST: usize = 64 << 10;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

impl View {
    /// The same with each text that stands in base64 decoded; none when there is none.
    pub fn decoded(&self) -> Option<Self> {
        let first = self.first_run()?;
        let mut view = Self::empty(self.bytes.len(), self.end);
        view.ends_in_escape = self.ends_in_escape;
        for place in 0..first {
            view.push(&self.bytes[place..=place], self.from[place].clone());
        }
        let mut at = first;
        while at < self.bytes.len() {
            let (length, text) = self.run(at);
            let Some(text) = text else {
                for place in at..at + length.max(1) {
                    view.push(&self.bytes[place..=place], self.from[place].clone());
                }
                at += length.max(1);
                continue;
            };

            for (number, byte) in text.iter().enumerate() {
                let (first, last) = (at + number * 8 / 6, at + (number * 8 + 7) / 6);
                let from = self.from[first].start..self.from[last].end;
                view.push(&[*byte], from);
            }
            at += length;
            // The last characters may be a part of what comes yet.
            view.ends_in_escape |= at == self.bytes.len();
        }
        Some(view)
    }

    /// Where the first text in base64 begins. Most lines have none, and are not copied.
    fn first_run(&self) -> Option<usize> {
        let mut at = 0;
        while at < self.bytes.len() {
            let (length, text) = self.run(at);
            if text.is_some() {
                return Some(at);
            }
            at += length.max(1);
        }
        None
    }

    /// How many characters of base64 begin here, and what they stand for, if that is a text. They
    /// may go on in the next line, or something else begins there.
    fn run(&self, at: usize) -> (usize, Option<Vec<u8>>) {
        let rest = &self.bytes[at..];
        let line = self.line(at).min(MOST);
        // Nothing is looked at again and again where many lines are base64 of no text.
        let begins = rest.get(..SHORTEST_RUN);
        let begins = begins.filter(|run| run.iter().all(|byte| is_base64(*byte)));
        let begins = begins.and_then(decode);
        if begins.is_none() {
            return (line, None);
        }

        let run = rest.iter().take(MOST);
        let length = run.take_while(|byte| is_base64(**byte)).count();
        match decode(&rest[..length]) {
            Some(text) => (length, Some(text)),
            None => (line, decode(&rest[..line])),
        }
    }

    /// How many characters of base64 begin here and are in one line.
    fn line(&self, at: usize) -> usize {
        let mut end = at;
        while end < self.bytes.len() && is_base64(self.bytes[end]) {
            end += 1;
            if !self.are_neighbours(end - 1) {
                break;
            }
        }
        end - at
    }
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// What the characters stand for, if that is a text; without what they have only a part of.
fn decode(run: &[u8]) -> Option<Vec<u8>> {
    if run.len() < SHORTEST_RUN {
        return None;
    }
    let whole = &run[..run.len() - usize::from(run.len() % 4 == 1)];
    let plain = whole.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    });
    let plain: Vec<u8> = plain.collect();
    // Most words are no base64, and the first characters say so.
    let beginning = STANDARD.decode(&plain[..SHORTEST_RUN]).ok()?;
    if !is_text(&beginning) {
        return None;
    }
    let bytes = STANDARD.decode(&plain).ok()?;
    is_text(&bytes).then_some(bytes)
}

/// Whether bytes are a text, which may be cut off in the middle of a character.
fn is_text(bytes: &[u8]) -> bool {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    whole
        .bytes()
        .all(|byte| byte >= b' ' || matches!(byte, b'\n' | b'\r' | b'\t'))
}
