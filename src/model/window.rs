//! When live traffic may be touched, and when not.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time in the week in which live traffic may be touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days on which it begins: `mon-thu`, `sat, sun`.
    pub on: Days,
    /// When it begins, by the clock of its zone: `09:00`.
    pub from: ClockTime,
    /// When it is over; one that is not after its beginning is of the next day.
    pub to: ClockTime,
    /// The zone of the clock, by its name in the IANA database: `Europe/Berlin`. UTC without it.
    #[serde(default)]
    pub zone: Zone,
}

/// A time in which live traffic is not touched, whatever the windows say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The first day, or a time of it: `2026-12-20`, `2026-12-20T18:00`.
    pub from: DayOrTime,
    /// The last day, which is a part of it, or a time at which it is over.
    pub to: DayOrTime,
    /// Why, for whoever is held up.
    pub why: String,
    /// The zone of both. UTC without it.
    #[serde(default)]
    pub zone: Zone,
}

/// What a person gives as the reason for touching live traffic all the same, and that is recorded.
pub type OutsideWindow = Option<String>;

/// A type that is written as a text.
macro_rules! as_text {
    ($name:ident, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "description": $description})
            }
        }
    };
}

/// Days of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Days {
    text: String,
    days: Vec<Weekday>,
}

as_text!(Days, "Days of the week: `mon-thu`, `sat, sun`.");

impl Days {
    /// Whether a day is one of them.
    #[must_use]
    pub fn has(&self, day: Weekday) -> bool {
        self.days.contains(&day)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const WEEK: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl std::str::FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            let found = WEEK.iter().position(|(day, _)| *day == name);
            found.ok_or_else(|| {
                format!(
                    "`{name}` is no day: write `mon`, `tue`, `wed`, `thu`, `fri`, `sat` or \
                         `sun`, as `mon-thu` or `sat, sun`"
                )
            })
        };
        let mut days = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            // `fri-mon` goes over the end of the week.
            let count = (last + 7 - first) % 7;
            days.extend((0..=count).map(|more| WEEK[(first + more) % 7].1));
        }
        Ok(Self {
            text: text.to_owned(),
            days,
        })
    }
}

/// A time of the day. `24:00` is its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockTime {
    /// This time.
    At(Time),
    /// The end of the day.
    Midnight,
}

as_text!(ClockTime, "A time of the day, by the clock: `09:00`.");

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "{}", time.strftime("%H:%M")),
            Self::Midnight => f.write_str("24:00"),
        }
    }
}

impl std::str::FromStr for ClockTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "24:00" {
            return Ok(Self::Midnight);
        }
        let time = Time::strptime("%H:%M", text).ok();
        let time = time.filter(|_| text.len() == 5);
        time.map(Self::At)
            .ok_or_else(|| format!("`{text}` is no time of the day: write it as `09:00`"))
    }
}

/// A zone whose rules are known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

as_text!(
    Zone,
    "A zone by its name in the IANA database: `Europe/Berlin`."
);

impl Zone {
    /// Its rules.
    #[must_use]
    pub const fn rules(&self) -> &TimeZone {
        &self.0
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl std::str::FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        TimeZone::get(text).map(Self).map_err(|_| {
            format!("`{text}` is no zone of the IANA database: write one as `Europe/Berlin`")
        })
    }
}

/// A day, or a time of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayOrTime {
    /// A whole day.
    Day(Date),
    /// A time.
    Time(DateTime),
}

as_text!(
    DayOrTime,
    "A day, or a time of one: `2026-12-20`, `2026-12-20T18:00`."
);

impl fmt::Display for DayOrTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "{day}"),
            Self::Time(time) => write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M")),
        }
    }
}

impl std::str::FromStr for DayOrTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no day and no time: write `2026-12-20` or `2026-12-20T18:00`");
        if text.contains(['T', ' ', 't']) {
            // One with a zone of its own would be another time than it says.
            let is_plain = !text.ends_with(['Z', 'z']) && !text.contains(['+', '[']);
            let time = text.parse().ok().filter(|_| is_plain);
            return time.map(Self::Time).ok_or_else(wrong);
        }
        text.parse().map(Self::Day).map_err(|_| wrong())
    }
}
