//! A time in the past, as people write one.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::model::Period;
use crate::output::{Exit, Failure};

/// Since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Since {
    /// So long ago.
    Ago(Period),
    /// Since this moment.
    At(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text, &Zoned::now())
    }
}

impl Since {
    /// The moment.
    ///
    /// # Errors
    /// It is still to come.
    pub fn begins(&self) -> Result<Timestamp, Failure> {
        let now = Timestamp::now();
        let begins = match self {
            // What is longer ago than any time is as good as the first one.
            Self::Ago(period) => now.checked_sub(period.get()).unwrap_or(Timestamp::MIN),
            Self::At(moment) => *moment,
        };
        if begins > now {
            return Err(Failure::say(
                Exit::Usage,
                format!("--since {begins:.0} is still to come"),
                "a time without a zone is one of this machine's; write `Z` behind one of UTC",
            ));
        }
        Ok(begins)
    }
}

/// A time of the day. `10` alone is more likely a duration whose unit is missing.
fn time(text: &str) -> Option<Time> {
    text.parse().ok().filter(|_| text.contains(':'))
}

/// A time without a date is today's, one without a zone is of this machine's.
fn read(text: &str, now: &Zoned) -> Result<Since, String> {
    if let Ok(period) = text.parse() {
        return Ok(Since::Ago(period));
    }
    if let Ok(moment) = text.parse() {
        return Ok(Since::At(moment));
    }

    let civil = text.parse::<DateTime>().ok();
    let civil = civil.or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(Time::midnight())));
    let civil = civil.or_else(|| Some(now.date().to_datetime(time(text)?)));
    let zone: &TimeZone = now.time_zone();
    let moment = civil.and_then(|civil| zone.to_timestamp(civil).ok());
    moment.map(Since::At).ok_or_else(|| {
        "it is neither a duration, as `10m`, nor a time, as `2026-11-27T10:30:00Z` or `10:30`"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_people_write_it() {
        let now: Zoned = "2026-11-27T12:00:00+02:00[+02:00]".parse().expect("a time");
        let at = |text: &str| Since::At(text.parse().expect("a time"));
        let cases = [
            ("10m", Since::Ago(Period::from_secs(600))),
            ("1h 30m", Since::Ago(Period::from_secs(5400))),
            ("2026-11-27T10:30:00Z", at("2026-11-27T10:30:00Z")),
            ("2026-11-27T10:30:00+02:00", at("2026-11-27T08:30:00Z")),
            ("2026-11-27 10:30", at("2026-11-27T08:30:00Z")),
            ("2026-11-26", at("2026-11-25T22:00:00Z")),
            ("10:30", at("2026-11-27T08:30:00Z")),
            ("10:30:15", at("2026-11-27T08:30:15Z")),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(text, &now), Ok(wanted), "{text}");
        }
        for text in ["", "10", "yesterday", "25:00", "2026-13-01", "-5m"] {
            assert!(read(text, &now).is_err(), "{text}");
        }
    }
}
