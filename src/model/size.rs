//! A number of bytes with its unit: `512KiB`, `10MiB`, `1GB`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes. In files it always carries a unit.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", example = &"10MiB", example = &"512KiB")]
pub struct ByteSize(u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a size: write a whole number and a unit (B, kB, MB, GB, KiB, MiB, GiB), as \
     `10MiB`"
)]
pub struct SizeError(String);

/// Largest first, so that showing picks the largest unit that divides evenly.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// From a number of bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// From mebibytes.
    #[must_use]
    pub const fn from_mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let refused = || SizeError(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refused())?;
        let unit = unit.trim_start();
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(refused)?;
        number.checked_mul(*factor).map(Self).ok_or_else(refused)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = SizeError;
    fn try_from(text: String) -> Result<Self, SizeError> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: &u64| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| fits(factor))
            .unwrap_or(&("B", 1));
        f.pad(&format!("{}{unit}", self.0 / factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_and_reads_back() {
        assert_eq!("10MiB".parse(), Ok(ByteSize::from_mib(10)));
        assert_eq!("10 MiB".parse(), Ok(ByteSize::from_mib(10)));
        for bytes in [0, 1, 1_000, 1_024, 1_500, 5 << 20, 3 << 30] {
            let size = ByteSize::from_bytes(bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[test]
    fn no_unit_a_wrong_unit_and_too_much_are_refused() {
        for bad in ["10", "MiB", "10mb", "-1B", "99999999999GiB", "1.5MiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
