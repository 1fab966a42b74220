//! When a request to a server is sent again: pauses that grow and differ, or what the server says
//! itself, and an end of both.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::port::pause;

/// How often a request is sent.
pub(in crate::driver) const TRIES: u32 = 4;
/// How often a request is sent to a server that says each time when to come back.
const MOST_TRIES: u32 = 60;
/// The shortest pause.
const SHORTEST: Duration = Duration::from_millis(100);

/// When to come back (RFC 9110, 10.2.3): so many seconds from now, or at a time.
pub(in crate::driver) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    let left = SystemTime::from(at).duration_since(now);
    Some(left.unwrap_or_default())
}

/// Counts how often something was tried, and how long it was waited for.
#[derive(Debug)]
pub(in crate::driver) struct Attempts {
    failed: u32,
    waited: Duration,
    patience: Duration,
}

impl Attempts {
    /// `patience`: how long a server is waited for that says when to come back, all pauses
    /// together.
    pub const fn within(patience: Duration) -> Self {
        Self {
            failed: 0,
            waited: Duration::ZERO,
            patience,
        }
    }

    /// How long to wait before the next attempt at what may get better; none when there is no sense
    /// in another. `told`: when to come back, as the server says.
    pub fn next(&mut self, told: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        let Some(wait) = told else {
            return (self.failed < TRIES).then(|| backoff(self.failed));
        };
        // Not all who were told the same come back at once.
        let pause = wait + pause::between(SHORTEST, SHORTEST * 2);
        self.waited = self.waited.saturating_add(pause);
        (self.waited <= self.patience && self.failed < MOST_TRIES).then_some(pause)
    }

    /// What was tried has come further: the failures before that do not count.
    pub const fn progress(&mut self) {
        self.failed = 0;
    }
}

/// Doubles with each attempt, each anywhere between half of it and all.
fn backoff(attempt: u32) -> Duration {
    let full = SHORTEST * (2 << attempt.min(6));
    pause::between(full / 2, full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_back_is_read_in_both_of_its_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers, now)
        };
        assert_eq!(after("120"), Some(Duration::from_mins(2)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(after(date), Some(Duration::from_secs(77)));
        assert_eq!(after("Sun, 06 Nov 1994 07:00:00 GMT"), Some(Duration::ZERO));
        for nothing in ["", "soon", "-1", "99999999999999"] {
            assert_eq!(after(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn pauses_grow_and_differ_and_have_an_end() {
        let all = || -> Vec<Duration> {
            let mut attempts = Attempts::within(Duration::ZERO);
            std::iter::from_fn(|| attempts.next(None)).collect()
        };
        let several: Vec<Vec<Duration>> = std::iter::repeat_with(all).take(20).collect();
        assert!(
            several.iter().all(|pauses| pauses.len() == 3),
            "{several:?}"
        );
        assert!(several.iter().any(|pauses| *pauses != several[0]));
        let (first, last) = (several[0][0], several[0][2]);
        assert!(last > first, "{first:?}, {last:?}");
    }

    #[test]
    fn who_is_told_to_come_back_past_the_patience_does_not_wait() {
        let mut attempts = Attempts::within(Duration::from_secs(5));
        let pause = attempts.next(Some(Duration::from_secs(2)));
        assert!(pause.is_some_and(|pause| pause > Duration::from_secs(2)));
        assert_eq!(attempts.next(Some(Duration::from_secs(3))), None);
    }
}
