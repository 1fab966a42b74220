//! When a task runs by itself: the five fields of cron, as Kubernetes reads them, and a time zone.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::model::task::{TaskExit, TaskProgram};
use crate::model::{Period, ReleaseNumber, ServiceName, Slot, TaskName};

/// How long after its time a task still begins, where nobody could begin it: an agent was down, or
/// a run changed the environment. What is later is missed, and begins at its next time.
pub const LATEST: SignedDuration = SignedDuration::from_mins(10);

/// The five fields of cron: minute, hour, day of the month, month, day of the week.
#[derive(
    Debug,
    Clone,
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
#[schemars(with = "String", example = &"0 3 * * *", example = &"*/15 * * * MON-FRI")]
pub struct CronTimes(String);

/// Why a text says no times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no schedule: {reason} (write five fields, as `0 3 * * *`)")]
pub struct CronError {
    text: String,
    reason: String,
}

/// The fields by their names.
const FIELDS: [&str; 5] = [
    "minute",
    "hour",
    "day of the month",
    "month",
    "day of the week",
];

impl CronTimes {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn cron(&self) -> Option<Cron> {
        parsed(&self.0).ok()
    }
}

impl FromStr for CronTimes {
    type Err = CronError;
    fn from_str(text: &str) -> Result<Self, CronError> {
        let refused = |reason: String| CronError {
            text: text.to_owned(),
            reason,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [.., week] = fields[..] else {
            return Err(refused("it is empty".to_owned()));
        };
        if text.starts_with('@') {
            return Err(refused("a name stands for no fields here".to_owned()));
        }
        if fields.len() != FIELDS.len() {
            return Err(refused(format!("it has {} fields", fields.len())));
        }

        for (index, (name, field)) in FIELDS.iter().zip(&fields).enumerate() {
            field_fault(index, field)
                .map_or(Ok(()), Err)
                .map_err(|reason| refused(format!("the {name} `{field}` {reason}")))?;
        }
        if week.split([',', '-', '/']).any(|part| part == "7") {
            let reason = "the day of the week `7` is not known to Kubernetes: Sunday is 0";
            return Err(refused(reason.to_owned()));
        }

        let times = Self(fields.join(" "));
        let never = || refused("no day is like that, so it never runs".to_owned());
        let anywhen = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let cron = times.cron().ok_or_else(never)?;
        cron.find_next_occurrence(&anywhen, false)
            .map_err(|_| never())?;
        Ok(times)
    }
}

/// What is wrong with one field; none when nothing is. Only what cron and Kubernetes both take.
fn field_fault(index: usize, field: &str) -> Option<String> {
    let has_names = index >= 3;
    let is_known = |letter: char| {
        letter.is_ascii_digit()
            || matches!(letter, '*' | ',' | '-' | '/')
            || (has_names && letter.is_ascii_alphabetic())
    };
    if let Some(letter) = field.chars().find(|letter| !is_known(*letter)) {
        return Some(format!("has `{letter}` in it"));
    }
    if field.split([',', '-', '/']).any(str::is_empty) {
        return Some("has nothing where a number belongs".to_owned());
    }
    let mut words = field.split([',', '-', '/', '*']);
    let is_word = |word: &&str| word.contains(|letter: char| letter.is_ascii_alphabetic());
    if let Some(word) = words.find(|word| is_word(word) && word.len() != 3) {
        return Some(format!(
            "has `{word}` in it, which is no name of three letters"
        ));
    }

    let mut alone = ["*"; 5];
    alone[index] = field;
    // The library counts in all fields; which one it means is known here.
    let fault = parsed(&alone.join(" ")).err()?;
    let text = fault.to_string();
    let bounds = ["0 to 59", "0 to 23", "1 to 31", "1 to 12", "0 to 6"][index];
    Some(if text.contains("out of bounds") {
        format!("is out of its bounds: it is {bounds}")
    } else {
        format!("cannot be read: {}", text.trim_end_matches('.'))
    })
}

fn parsed(text: &str) -> Result<Cron, croner::errors::CronError> {
    let builder = CronParser::builder().seconds(Seconds::Disallowed);
    builder.year(Year::Disallowed).build().parse(text)
}

impl TryFrom<String> for CronTimes {
    type Error = CronError;
    fn try_from(text: String) -> Result<Self, CronError> {
        text.parse()
    }
}

impl From<CronTimes> for String {
    fn from(times: CronTimes) -> Self {
        times.0
    }
}

impl fmt::Display for CronTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A time zone by its name in the IANA database, as `Europe/Berlin`.
#[derive(
    Debug,
    Clone,
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
#[schemars(with = "String", example = &"Europe/Berlin")]
pub struct ZoneName(String);

/// Why a text names no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone `{0}` (write its name as in the IANA database: `Europe/Berlin`)")]
pub struct ZoneError(String);

impl ZoneName {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneName {
    type Err = ZoneError;
    fn from_str(text: &str) -> Result<Self, ZoneError> {
        // `Local` would be another one on each machine, and Kubernetes has none.
        if text.eq_ignore_ascii_case("local") || TimeZone::get(text).is_err() {
            return Err(ZoneError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ZoneName {
    type Error = ZoneError;
    fn try_from(text: String) -> Result<Self, ZoneError> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(zone: ZoneName) -> Self {
        zone.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// When a task runs by itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    /// The times.
    pub at: CronTimes,
    /// Where they are meant; UTC without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<ZoneName>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.timezone {
            Some(zone) => write!(f, "{} {zone}", self.at),
            None => write!(f, "{} UTC", self.at),
        }
    }
}

impl Schedule {
    /// The first time after a moment; none when there is none that can be told.
    #[must_use]
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let next = self
            .at
            .cron()?
            .find_next_occurrence(&self.zoned(moment)?, false);
        next.ok().map(|it| it.timestamp())
    }

    /// The last time that is after a moment and not after another one: what is due by then. Of
    /// several only the last one counts.
    #[must_use]
    pub fn due(&self, after: Timestamp, by: Timestamp) -> Option<Timestamp> {
        let last = self
            .at
            .cron()?
            .find_previous_occurrence(&self.zoned(by)?, true);
        let last = last.ok()?.timestamp();
        (last > after).then_some(last)
    }

    fn zoned(&self, moment: Timestamp) -> Option<Zoned> {
        let zone = match &self.timezone {
            None => TimeZone::UTC,
            Some(zone) => TimeZone::get(&zone.0).ok()?,
        };
        Some(moment.to_zoned(zone))
    }
}

/// A task that runs by itself at its times, as an engine has it with the service whose image it
/// runs in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScheduledTask {
    /// When.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// What.
    #[serde(flatten)]
    pub program: TaskProgram,
    /// How long it may take.
    pub timeout: Period,
    /// For a container of Docker's: the network that it is in, where that is not its service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// A task that runs by itself, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScheduleFacts {
    /// Which task.
    pub task: TaskName,
    /// The service whose image it runs in.
    pub service: ServiceName,
    /// When it runs.
    pub schedule: Schedule,
    /// The next time; none when nobody will begin it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// What is known of its earlier times, the last one first.
    pub runs: Vec<ScheduledRun>,
}

/// One time of a task that runs by itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScheduledRun {
    /// The time that it was due.
    pub due: Timestamp,
    /// The slot that was live, with its release.
    pub slot: Slot,
    /// The release; none where an engine does not know it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// When it began; none when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When it ended; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ScheduledOutcome>,
    /// The last lines of its output, without values of secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// What became of a time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledOutcome {
    /// It ran, and ended like this.
    Ended(TaskExit),
    /// It could not be begun.
    NotBegun(String),
    /// It was passed over.
    Skipped(SkipReason),
}

/// Why a time was passed over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// An earlier run was still going on, begun for this time; or by hand, where there is none.
    StillRuns(Option<Timestamp>),
    /// Nobody could begin it within [`LATEST`].
    Missed,
}

impl ScheduledOutcome {
    /// Whether nothing is wrong with it.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ended(exit) if exit.is_ok())
    }
}

impl fmt::Display for ScheduledOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(exit) if exit.is_ok() => f.write_str("done"),
            Self::Ended(exit) => write!(f, "failed: {exit}"),
            Self::NotBegun(reason) => write!(f, "failed: it could not be begun: {reason}"),
            Self::Skipped(SkipReason::StillRuns(Some(due))) => {
                write!(f, "skipped: the run of {due:.0} was still going on")
            }
            Self::Skipped(SkipReason::StillRuns(None)) => {
                f.write_str("skipped: a run by hand was still going on")
            }
            Self::Skipped(SkipReason::Missed) => {
                f.write_str("missed: nobody could begin it at its time")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let refused = text.parse::<CronTimes>();
        refused.expect_err(text).to_string()
    }

    fn schedule(at: &str, zone: Option<&str>) -> Schedule {
        Schedule {
            at: at.parse().expect("times"),
            timezone: zone.map(|zone| zone.parse().expect("a zone")),
        }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn only_what_cron_and_kubernetes_both_read_is_taken() {
        for text in [
            "0 3 * * *",
            "*/15 0-6 1,15 JAN-mar MON-FRI",
            "59 23 31 12 6",
            " 0  3 * * * ",
            "0-30/10 * * * *",
        ] {
            assert!(text.parse::<CronTimes>().is_ok(), "{text}");
        }
        assert_eq!(
            " 0  3 * * * ".parse::<CronTimes>().expect("times").as_str(),
            "0 3 * * *"
        );

        let said = refusal("61 * * * *");
        assert!(
            said.contains("the minute `61` is out of its bounds: it is 0 to 59"),
            "{said}"
        );
        assert!(refusal("0 24 * * *").contains("the hour `24`"));
        assert!(refusal("0 0 0 * *").contains("the day of the month `0`"));
        assert!(refusal("0 0 * 13 *").contains("the month `13`"));
        assert!(refusal("0 0 * * 7").contains("Sunday is 0"));
        assert!(refusal("0 0 * * 8").contains("the day of the week `8`"));
        assert!(refusal("* * * *").contains("it has 4 fields"));
        assert!(refusal("0 * * * * *").contains("it has 6 fields"));
        assert!(refusal("").contains("it is empty"));
        assert!(refusal("@daily").contains("a name"));
        assert!(refusal("0 0 31 2 *").contains("never runs"));
        for text in [
            "0 0 L * *",
            "0 0 15W * *",
            "0 0 ? * *",
            "0 0 * * 5#3",
            "0 0 * * +1",
            "1,,2 * * * *",
            "*/ * * * *",
            "5- * * * *",
            "0 0 * * MONDAY",
            "0 JAN * * *",
            "-1 * * * *",
            "0 0 * * *;rm",
            "1.5 * * * *",
            "*/0 * * * *",
            "30-10 * * * *",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn both_kinds_of_days_count_as_in_kubernetes() {
        // Either of them, unless one is a star.
        let either = schedule("0 0 13 * FRI", None);
        let next = either.next_after(time("2026-01-01T00:00:00Z"));
        assert_eq!(next, Some(time("2026-01-02T00:00:00Z")));
        let one = schedule("0 0 13 * *", None);
        assert_eq!(
            one.next_after(time("2026-01-01T00:00:00Z")),
            Some(time("2026-01-13T00:00:00Z"))
        );
    }

    #[test]
    fn a_time_is_of_its_zone_and_of_utc_without_one() {
        let noon = time("2026-07-01T12:00:00Z");
        let berlin = schedule("0 3 * * *", Some("Europe/Berlin"));
        assert_eq!(berlin.next_after(noon), Some(time("2026-07-02T01:00:00Z")));
        assert_eq!(
            schedule("0 3 * * *", None).next_after(noon),
            Some(time("2026-07-02T03:00:00Z"))
        );
        assert_eq!(berlin.to_string(), "0 3 * * * Europe/Berlin");
        assert!("Mars/Base".parse::<ZoneName>().is_err());
        assert!("local".parse::<ZoneName>().is_err());
    }

    #[test]
    fn an_hour_that_comes_twice_is_one_time() {
        // 2026-10-25: 03:00 summer time is 02:00 again.
        let berlin = schedule("30 2 * * *", Some("Europe/Berlin"));
        let first = berlin
            .next_after(time("2026-10-24T12:00:00Z"))
            .expect("a time");
        let second = berlin.next_after(first).expect("a time");
        assert!(
            second.duration_since(first) > SignedDuration::from_hours(20),
            "{first} {second}"
        );
    }

    #[test]
    fn only_the_last_of_several_times_is_due() {
        let each = schedule("* * * * *", None);
        let at = time("2026-01-01T00:05:00Z");
        assert_eq!(each.due(time("2026-01-01T00:00:00Z"), at), Some(at));
        assert_eq!(each.due(at, at), None, "it was decided on");
        assert_eq!(each.due(at, time("2026-01-01T00:05:59Z")), None);
        let later = time("2026-01-01T00:06:00.5Z");
        assert_eq!(each.due(at, later), Some(time("2026-01-01T00:06:00Z")));
    }
}
