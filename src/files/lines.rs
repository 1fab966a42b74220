//! Lines of what comes piece by piece.

/// The longest line that is passed on, in characters.
const LONGEST: usize = 8 << 10;

/// Makes lines of bytes that come piece by piece. Of a line that has no end, or is longer than a
/// line may be, it keeps its beginning alone.
#[derive(Debug)]
pub struct Splitter {
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    longest: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_longest(LONGEST)
    }
}

impl Splitter {
    /// For lines of so many characters at the most.
    #[must_use]
    pub const fn with_longest(longest: usize) -> Self {
        Self {
            rest: Vec::new(),
            longest,
        }
    }

    /// The lines that end in this piece.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // As many bytes as the longest line may have.
            let room = (4 * self.longest).saturating_sub(self.rest.len());
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            self.rest.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < part.len() {
                lines.push(self.line());
            }
        }
        lines
    }

    /// The last line, when it has no end.
    pub fn finish(&mut self) -> Option<String> {
        (!self.rest.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.rest);
        let line = text.strip_suffix('\r').unwrap_or(&text);
        let line = line.chars().take(self.longest).collect();
        self.rest.clear();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_without_an_end_its_beginning_alone_is_kept() {
        let mut lines = Splitter::default();
        for _ in 0..100 {
            assert_eq!(lines.push(&vec![b'x'; 64 << 10]), Vec::<String>::new());
            assert!(lines.rest.len() <= 4 * LONGEST);
        }
        assert_eq!(
            lines.push(b"y\r\nz\r\nhalf"),
            ["x".repeat(LONGEST), "z".to_owned()]
        );
        assert_eq!(lines.finish().as_deref(), Some("half"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_is_as_long_as_it_may_be() {
        let mut lines = Splitter::with_longest(3);
        assert_eq!(lines.push("äöüß\nab".as_bytes()), ["äöü"]);
        assert_eq!(lines.push(b"\n\n"), ["ab", ""]);
    }
}
