//! The fields that SSH is made of (RFC 4251, section 5): each says first how long it is.

/// Reads fields from the front.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| "it is cut off".to_owned())?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, String> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub fn number(&mut self) -> Result<u32, String> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub fn string(&mut self) -> Result<&'a [u8], String> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// A string that names something. Names are of visible ASCII.
    pub fn text(&mut self) -> Result<String, String> {
        let bytes = self.string()?;
        let is_name = bytes.len() <= 100 && bytes.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(bytes).ok().filter(|_| is_name);
        text.map(str::to_owned)
            .ok_or_else(|| "a name in it is none".to_owned())
    }

    /// A whole number above nothing, without the zeros in front.
    pub fn integer(&mut self) -> Result<&'a [u8], String> {
        let bytes = self.string()?;
        match bytes {
            // A leading zero keeps the number from being a negative one, and is there for nothing
            // else.
            [0, rest @ ..] if rest.first().is_some_and(|first| first & 0x80 != 0) => Ok(rest),
            [first, ..] if *first != 0 && first & 0x80 == 0 => Ok(bytes),
            _ => Err("a number in it is none".to_owned()),
        }
    }

    /// That nothing is left.
    pub fn end(&self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err("something is behind its end".to_owned())
    }
}

/// Writes a field behind others.
pub(super) fn put(to: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(field);
}

/// A number with zeros in front, so many bytes long.
pub(super) fn left_padded(number: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let missing = length
        .checked_sub(number.len())
        .ok_or_else(|| "a number in it is too large".to_owned())?;
    let mut padded = vec![0; missing];
    padded.extend_from_slice(number);
    Ok(padded)
}
