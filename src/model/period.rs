//! A length of time with its unit: `500ms`, `1s`, `10m`, `7d`.

use std::collections::BTreeSet;
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

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// The longest that is written: what is longer cannot be added to a clock's time everywhere.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

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
        let refused = |reason: String| PeriodError {
            text: text.to_owned(),
            reason,
        };
        if let Some(reason) = ambiguous(text) {
            return Err(refused(reason));
        }
        match humantime::parse_duration(text) {
            Ok(duration) if duration > LONGEST => {
                Err(refused("a hundred years are the most".to_owned()))
            }
            Ok(duration) => Ok(Self(duration)),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

/// What a text says that may well mean something else than it is taken for; none when it is clear.
fn ambiguous(text: &str) -> Option<String> {
    let mut units = BTreeSet::new();
    let words = text.split(|letter: char| !letter.is_alphabetic());
    for unit in words.filter(|unit| !unit.is_empty()) {
        if unit == "M" || unit == "y" {
            return Some(format!("`{unit}` is a month or a year, or a slip"));
        }
        // `1h 1hour` has the same unit twice.
        if let Ok(one) = humantime::parse_duration(&format!("1{unit}"))
            && !units.insert(one)
        {
            return Some(format!("`{unit}` is in it twice"));
        }
    }
    None
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
        let (days, rest) = (self.0.as_secs() / DAY, self.0.as_secs() % DAY);
        let rest = Duration::new(rest, self.0.subsec_nanos());
        // Days are all the same length, months and years are not.
        let days = match days {
            0 => return f.pad(&humantime::format_duration(rest).to_string()),
            1 => "1day".to_owned(),
            _ => format!("{days}days"),
        };
        if rest.is_zero() {
            return f.pad(&days);
        }
        f.pad(&format!("{days} {}", humantime::format_duration(rest)))
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
        for millis in [0, 1, 999, 1_000, 61_000, 90_061_001, 31_536_000_000] {
            let period = Period::from_millis(millis);
            assert_eq!(period.to_string().parse(), Ok(period));
        }
        let days = |days: u64| Period::from_secs(days * DAY).to_string();
        assert_eq!((days(1), days(400)), ("1day".into(), "400days".into()));
        // As it was written before.
        let old = "1month 14days".parse::<Period>();
        assert_eq!(old.map(|old| old.get().as_secs() / DAY), Ok(44));
    }

    #[test]
    fn what_no_clock_can_count_and_what_may_mean_something_else_is_refused() {
        let refused = |text: &str| text.parse::<Period>().map_err(|error| error.reason);
        for long in ["999999999h", "18446744073709551615s", "36501d"] {
            let reason = refused(long).expect_err(long);
            assert!(reason.contains("hundred years"), "{long}: {reason}");
        }
        assert_eq!(refused("36500d"), Ok(Period::from_secs(36_500 * DAY)));
        for (text, word) in [
            ("1M", "month"),
            ("2y", "year"),
            ("1h1h", "twice"),
            ("1h 2hours", "twice"),
        ] {
            let reason = refused(text).expect_err(text);
            assert!(reason.contains(word), "{text}: {reason}");
        }
        assert_eq!(refused("1h 1m"), Ok(Period::from_secs(3660)));
    }
}
