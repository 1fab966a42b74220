//! A length of time with its unit: `500ms`, `1s`, `10m`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time. In files it always carries a unit; `30` alone is refused.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", example = &"500ms", example = &"10m", example = &"7d")]
pub struct Period(Duration);

/// Why a text is not a period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a duration: {reason} (write it with a unit, as `500ms`, `30s`, `10m`, `7d`)"
)]
pub struct PeriodError {
    text: String,
    reason: String,
}

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// From whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whole milliseconds, the most that fits.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Period {
    type Err = PeriodError;
    fn from_str(text: &str) -> Result<Self, PeriodError> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| PeriodError {
                text: text.to_owned(),
                reason: error.to_string(),
            })
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;
    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.0).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_unit() {
        assert_eq!("1m 30s".parse(), Ok(Period::from_secs(90)));
        assert_eq!("500ms".parse(), Ok(Period::from_millis(500)));
        let error = "30".parse::<Period>().expect_err("no unit");
        assert!(error.to_string().contains("with a unit"), "{error}");
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        for millis in [0, 1, 999, 1_000, 61_000, 90_061_001] {
            let period = Period::from_millis(millis);
            assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
