//! Whether live traffic may be touched at a time: it is in a window, and in no freeze. Time is a
//! value here.
//!
//! Both are read off the clock on the wall: on the day on which it is set forward, a window of the
//! hour that is skipped does not happen, and on the one on which it is set back, a window of the
//! hour that comes twice happens twice.

use jiff::civil::{DateTime, Time};
use jiff::{Timestamp, ToSpan as _};

use crate::model::verdict::Verdict;
use crate::model::window::{ClockTime, DayOrTime, Freeze, Window};

/// What the windows and freezes say of a time; nothing where there are none.
#[must_use]
pub fn may_touch(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    if !windows.is_empty() {
        verdicts.push(in_a_window(windows, now));
    }
    for (index, freeze) in freezes.iter().enumerate() {
        if is_frozen(freeze, now) {
            let reason = format!(
                "live traffic is not touched from {} to {} ({}): {}",
                freeze.from, freeze.to, freeze.zone, freeze.why
            );
            let help = "wait until it is over, or give --outside-window REASON, which is recorded";
            verdicts.push(Verdict::refused(format!("freezes.{index}"), reason, help));
        }
    }
    if !freezes.is_empty()
        && verdicts
            .iter()
            .all(|verdict| !verdict.rule.starts_with("freezes"))
    {
        verdicts.push(Verdict::passed("freezes", "no freeze is on"));
    }
    verdicts
}

fn in_a_window(windows: &[Window], now: Timestamp) -> Verdict {
    let open = windows.iter().position(|window| is_open(window, now));
    if let Some(index) = open {
        let window = &windows[index];
        let reason = format!("{now:.0} is in the window {}", shown(window));
        return Verdict::passed(format!("windows.{index}"), reason);
    }
    let all: Vec<String> = windows.iter().map(shown).collect();
    let clocks: Vec<String> = windows
        .iter()
        .map(|window| {
            let here = now.to_zoned(window.zone.rules().clone());
            format!("{} in {}", here.strftime("%a %H:%M"), window.zone)
        })
        .collect();
    let clock = clocks.first().cloned().unwrap_or_default();
    let reason = format!(
        "live traffic is touched {} only, and it is {clock}",
        all.join(" and ")
    );
    let help = "wait for a window, or give --outside-window REASON, which is recorded";
    Verdict::refused("windows", reason, help)
}

fn shown(window: &Window) -> String {
    format!(
        "{} {}–{} ({})",
        window.on, window.from, window.to, window.zone
    )
}

/// Whether the clock of a window's zone is in it. One over midnight is of the day on which it
/// began.
fn is_open(window: &Window, now: Timestamp) -> bool {
    let here = now.to_zoned(window.zone.rules().clone()).datetime();
    let begins = |on: DateTime| window.on.has(on.date().weekday());
    let (ClockTime::At(from), time) = (window.from, here.time()) else {
        // It begins at the end of a day, which is the beginning of the next.
        let yesterday = here.checked_sub(1.day()).unwrap_or(here);
        return begins(yesterday) && is_before(here.time(), window.to);
    };
    if is_within_a_day(from, window.to) {
        return begins(here) && time >= from && is_before(time, window.to);
    }
    let yesterday = here.checked_sub(1.day()).unwrap_or(here);
    begins(here) && time >= from || begins(yesterday) && is_before(time, window.to)
}

fn is_within_a_day(from: Time, to: ClockTime) -> bool {
    match to {
        ClockTime::Midnight => true,
        ClockTime::At(to) => from < to,
    }
}

fn is_before(time: Time, to: ClockTime) -> bool {
    match to {
        ClockTime::Midnight => true,
        ClockTime::At(to) => time < to,
    }
}

fn is_frozen(freeze: &Freeze, now: Timestamp) -> bool {
    let here = now.to_zoned(freeze.zone.rules().clone()).datetime();
    let begun = match freeze.from {
        DayOrTime::Day(day) => here.date() >= day,
        DayOrTime::Time(time) => here >= time,
    };
    let over = match freeze.to {
        DayOrTime::Day(day) => here.date() > day,
        DayOrTime::Time(time) => here >= time,
    };
    begun && !over
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(on: &str, from: &str, to: &str, zone: &str) -> Window {
        Window {
            on: on.parse().expect("days"),
            from: from.parse().expect("a time"),
            to: to.parse().expect("a time"),
            zone: zone.parse().expect("a zone"),
        }
    }

    fn open(window: &Window, now: &str) -> bool {
        is_open(window, now.parse().expect("a time"))
    }

    #[test]
    fn a_window_is_read_off_the_clock_of_its_zone() {
        let office = window("mon-thu", "09:00", "16:00", "Europe/Berlin");
        for (now, wanted) in [
            // A Monday, in winter one hour ahead of UTC.
            ("2026-11-23T07:59:59Z", false),
            ("2026-11-23T08:00:00Z", true),
            ("2026-11-23T14:59:59Z", true),
            ("2026-11-23T15:00:00Z", false),
            // In summer two.
            ("2026-07-06T07:00:00Z", true),
            ("2026-07-06T14:00:00Z", false),
            // A Friday, and a Sunday.
            ("2026-11-27T10:00:00Z", false),
            ("2026-11-29T10:00:00Z", false),
        ] {
            assert_eq!(open(&office, now), wanted, "{now}");
        }
        // The day is the zone's own.
        let early = window("mon", "00:00", "24:00", "Asia/Tokyo");
        assert!(open(&early, "2026-11-22T15:00:00Z"));
        assert!(!open(&early, "2026-11-23T15:00:00Z"));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let night = window("fri", "22:00", "04:00", "UTC");
        for (now, wanted) in [
            ("2026-11-27T21:59:00Z", false),
            ("2026-11-27T22:00:00Z", true),
            ("2026-11-28T03:59:00Z", true),
            ("2026-11-28T04:00:00Z", false),
            ("2026-11-28T22:30:00Z", false),
            ("2026-11-27T02:00:00Z", false),
        ] {
            assert_eq!(open(&night, now), wanted, "{now}");
        }
        let week_end = window("sat-mon", "10:00", "10:00", "UTC");
        assert!(open(&week_end, "2026-11-28T10:00:00Z"));
        assert!(open(&week_end, "2026-12-01T09:59:00Z"));
        assert!(!open(&week_end, "2026-12-01T10:00:00Z"));
        let late = window("sun", "24:00", "02:00", "UTC");
        assert!(open(&late, "2026-11-30T01:00:00Z"));
        assert!(!open(&late, "2026-11-29T01:00:00Z"));
    }

    #[test]
    fn a_clock_that_is_set_skips_a_window_or_has_it_twice() {
        let short = window("sun", "02:00", "03:00", "Europe/Berlin");
        // It goes from 02:00 to 03:00 at 01:00 UTC.
        for now in [
            "2026-03-29T00:59:59Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z",
        ] {
            assert!(!open(&short, now), "{now}");
        }
        // It goes from 03:00 back to 02:00 at 01:00 UTC.
        for now in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(open(&short, now), "{now}");
        }
        assert!(!open(&short, "2026-10-25T02:00:00Z"));
        let night = window("sat", "22:00", "06:00", "Europe/Berlin");
        for now in [
            "2026-03-28T21:00:00Z",
            "2026-03-29T03:59:00Z",
            "2026-10-25T04:59:00Z",
        ] {
            assert!(open(&night, now), "{now}");
        }
        assert!(!open(&night, "2026-03-29T04:00:00Z"));
        assert!(!open(&night, "2026-10-25T05:00:00Z"));
    }

    #[test]
    fn a_freeze_has_its_last_day_and_is_stronger_than_a_window() {
        let freeze = |from: &str, to: &str| Freeze {
            from: from.parse().expect("a day"),
            to: to.parse().expect("a day"),
            why: "christmas".to_owned(),
            zone: "Europe/Berlin".parse().expect("a zone"),
        };
        let days = freeze("2026-12-20", "2027-01-02");
        let hours = freeze("2026-12-20T18:00", "2026-12-21T06:00");
        for (freeze, now, wanted) in [
            (&days, "2026-12-19T22:59:59Z", false),
            (&days, "2026-12-19T23:00:00Z", true),
            (&days, "2027-01-02T22:59:59Z", true),
            (&days, "2027-01-02T23:00:00Z", false),
            (&hours, "2026-12-20T17:00:00Z", true),
            (&hours, "2026-12-21T05:00:00Z", false),
        ] {
            let now = now.parse().expect("a time");
            assert_eq!(is_frozen(freeze, now), wanted, "{now}");
        }
        let always = window("mon-sun", "00:00", "24:00", "UTC");
        let now = "2026-12-24T12:00:00Z".parse().expect("a time");
        let verdicts = may_touch(&[always], &[days], now);
        let said: Vec<(&str, bool)> = verdicts
            .iter()
            .map(|verdict| (verdict.rule.as_str(), verdict.is_passed()))
            .collect();
        assert_eq!(said, [("windows.0", true), ("freezes.0", false)]);
        assert!(verdicts[1].reason.contains("christmas"), "{verdicts:?}");
    }

    #[test]
    fn what_is_no_time_is_said() {
        assert!("mon-tus".parse::<crate::model::window::Days>().is_err());
        assert!("".parse::<crate::model::window::Days>().is_err());
        for text in ["9:00", "25:00", "09:60", "0900", "24:01", " 09:00"] {
            assert!(text.parse::<ClockTime>().is_err(), "{text}");
        }
        assert!(
            "Europe/Berln"
                .parse::<crate::model::window::Zone>()
                .is_err()
        );
        assert!(
            "../../etc/passwd"
                .parse::<crate::model::window::Zone>()
                .is_err()
        );
        for text in [
            "2026-13-01",
            "2026-12-20T25:00",
            "2026-12-20T18:00Z",
            "christmas",
            "",
        ] {
            assert!(text.parse::<DayOrTime>().is_err(), "{text}");
        }
    }
}
