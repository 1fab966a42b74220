//! The slowest that a client may be.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::limits::Limits;

/// Measures one direction of one client, over stretches of the time in which it alone is waited
/// for.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Bytes a second; 0 is as slow as it likes.
    rate: u64,
    over: Duration,
    waited: Duration,
    bytes: u64,
}

/// Whether a client is fast enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaceVerdict {
    /// It is, so far.
    Fine,
    /// It is not.
    TooSlow,
}

impl Pace {
    /// Of a client that sends a body.
    pub fn sending(limits: &Limits) -> Self {
        Self::new(limits.min_rate.bytes(), limits.min_rate_over.get())
    }

    /// Of a client that takes a response.
    pub fn taking(limits: &Limits) -> Self {
        Self::new(
            limits.min_rate.bytes(),
            limits.min_rate_over.get().saturating_mul(2),
        )
    }

    const fn new(rate: u64, over: Duration) -> Self {
        Self {
            rate,
            over,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// The client was waited for, and then these bytes moved.
    pub fn moved(&mut self, waited: Duration, bytes: u64) -> PaceVerdict {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.rate == 0 || self.waited < self.over {
            return PaceVerdict::Fine;
        }
        let least = u128::from(self.rate) * self.waited.as_millis() / 1000;
        let enough = u128::from(self.bytes) >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if enough {
            PaceVerdict::Fine
        } else {
            PaceVerdict::TooSlow
        }
    }

    /// When a client that is waited for since then has to be looked at; never when it may be as
    /// slow as it likes.
    pub fn look_at(&self, since: Instant) -> Option<Instant> {
        (self.rate > 0).then(|| since + self.over.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(100, 10 * SECOND)
    }

    #[test]
    fn a_client_that_drips_is_too_slow_when_the_time_is_over() {
        let mut pace = pace();
        let verdicts: Vec<_> = (0..4).map(|_| pace.moved(3 * SECOND, 1)).collect();
        assert_eq!(verdicts[..3], [PaceVerdict::Fine; 3]);
        assert_eq!(verdicts[3], PaceVerdict::TooSlow);
    }

    #[test]
    fn what_came_fast_is_no_credit_for_later() {
        let mut pace = pace();
        assert_eq!(pace.moved(10 * SECOND, 1 << 30), PaceVerdict::Fine);
        assert_eq!(pace.moved(10 * SECOND, 999), PaceVerdict::TooSlow);
    }

    #[test]
    fn a_client_at_the_rate_and_one_without_a_rate_are_fine() {
        let mut pace = pace();
        assert!((0..50).all(|_| pace.moved(SECOND, 100) == PaceVerdict::Fine));
        let mut any = Pace::new(0, SECOND);
        assert_eq!(any.moved(1000 * SECOND, 0), PaceVerdict::Fine);
        assert_eq!(any.look_at(Instant::now()), None);
    }

    #[test]
    fn it_is_looked_at_when_the_rest_of_the_time_is_over() {
        let (mut pace, now) = (pace(), Instant::now());
        pace.moved(4 * SECOND, 1);
        assert_eq!(pace.look_at(now), Some(now + 6 * SECOND));
    }
}
