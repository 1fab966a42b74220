//! A path as it is recorded with what is sealed.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A path, which need not be a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(pub PathBuf);

/// As a path's own order, a folder right before all that is in it, and much quicker.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (own, others) = (
            self.0.as_os_str().as_bytes(),
            other.0.as_os_str().as_bytes(),
        );
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        own.iter().map(rank).cmp(others.iter().map(rank))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.as_os_str().as_bytes().escape_ascii().to_string())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = unescape(text.as_bytes());
        let bytes = bytes.ok_or_else(|| serde::de::Error::custom("no escaped path"))?;
        Ok(Self(OsString::from_vec(bytes).into()))
    }
}

/// What `escape_ascii` made.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.iter().copied();
    while let Some(byte) = left.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }

        bytes.push(match left.next()? {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let digits = [left.next()?, left.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}
