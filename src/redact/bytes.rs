//! Bytes that come piece by piece, of which nobody says that they are lines: the output of a
//! program at a terminal.

use std::ops::Range;

use crate::redact::Redactor;

/// What stands in place of each byte of a value.
const BLOT: u8 = b'*';

/// How much is held back of what may be a value that is cut off.
const MOST: usize = 64 << 10;

/// Hides values in bytes that come piece by piece, as many bytes in place of each.
#[derive(Debug, Clone)]
pub struct ByteStream {
    redactor: Redactor,
    held: Vec<u8>,
}

impl ByteStream {
    pub(super) const fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            held: Vec::new(),
        }
    }

    /// Adds a piece; gives what can be shown by now. What may be the beginning of a value is held
    /// back.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let Some(found) = self.redactor.find(&self.held) else {
            return self.rest();
        };

        let shown = found.open.unwrap_or(self.held.len());
        if self.held.len() - shown > MOST {
            return self.rest();
        }
        // What is held back stays as it came: it may be a part of a longer value.
        let (hidden, _): (Vec<_>, Vec<_>) = found
            .hidden
            .into_iter()
            .partition(|range| range.start < shown);
        self.blot(hidden);
        let rest = self.held.split_off(shown);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether something is held back.
    #[must_use]
    pub const fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is held back: nothing came that made a value of it.
    pub fn rest(&mut self) -> Vec<u8> {
        if let Some(found) = self.redactor.find(&self.held) {
            self.blot(found.hidden);
        }
        std::mem::take(&mut self.held)
    }

    fn blot(&mut self, hidden: Vec<Range<usize>>) {
        for range in hidden {
            let part = self.held[range].iter_mut();
            part.filter(|byte| !matches!(byte, b'\n' | b'\r'))
                .for_each(|byte| *byte = BLOT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::SecretValue;

    #[test]
    fn a_value_that_comes_in_two_pieces_is_hidden() {
        let redactor = Redactor::default();
        redactor.remember(&SecretValue::new("hunter2secret".to_owned()));
        let mut bytes = redactor.bytes();
        assert_eq!(bytes.push(b"DB=hunter2"), b"DB=");
        assert!(bytes.holds());
        assert_eq!(bytes.push(b"secret\nPS1=$ "), b"*************\nPS1=$ ");
        assert_eq!(bytes.push(b"hunter2"), b"");
        assert_eq!(
            bytes.rest(),
            b"hunter2",
            "a person who types waits for an echo"
        );
        assert_eq!(bytes.push(&[0, 255, 7]), [0, 255, 7]);
    }

    #[test]
    fn of_a_value_that_begins_with_another_nothing_is_shown() {
        let redactor = Redactor::default();
        for value in ["hunter2secret", "hunter2secretlonger"] {
            redactor.remember(&SecretValue::new(value.to_owned()));
        }
        let mut bytes = redactor.bytes();
        assert_eq!(bytes.push(b"DB=hunter2secret"), b"DB=");
        assert_eq!(bytes.push(b"longer\n"), b"*******************\n");
        assert_eq!(bytes.push(b"hunter2secret"), b"");
        assert_eq!(bytes.rest(), b"*************");
    }
}
