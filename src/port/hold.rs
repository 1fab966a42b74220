//! Whether a run still has its lock: asked before each effect, and answered from a clock of this
//! machine.
//!
//! A lock is renewed in the background. A renewal can be relied on for a few seconds; a run that
//! finds its last one older (it was stopped, the machine slept, the store did not answer) has it
//! renewed before it acts, and does not act when the lock has gone to another run meanwhile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Another run has the lock: this one must do nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another run has the lock")]
pub struct LockLost;

/// A held lock, as those see it who act under it.
#[derive(Clone)]
pub struct Hold(Arc<Inner>);

struct Inner {
    /// How long a renewal can be relied on; none for who acts under no lock of its own.
    fresh: Option<Duration>,
    clock: fn() -> Duration,
    /// When the last renewal that succeeded was asked for.
    renewed: watch::Sender<Duration>,
    /// Wakes who renews.
    wanted: Notify,
    lost: CancellationToken,
}

impl Hold {
    /// A lock that was asked for at this time of [`clock`], and taken. A renewal can be relied on
    /// for `fresh`.
    #[must_use]
    pub fn new(fresh: Duration, asked: Duration) -> Self {
        Self::on(clock, Some(fresh), asked)
    }

    /// For who acts under no lock of its own: the agent, whose clients hold it.
    #[must_use]
    pub fn none() -> Self {
        Self::on(clock, None, Duration::ZERO)
    }

    fn on(clock: fn() -> Duration, fresh: Option<Duration>, asked: Duration) -> Self {
        Self(Arc::new(Inner {
            fresh,
            clock,
            renewed: watch::Sender::new(asked),
            wanted: Notify::new(),
            lost: CancellationToken::new(),
        }))
    }

    /// Asked before each effect. Waits for a renewal when the last one is too old to be relied on.
    ///
    /// # Errors
    /// The lock is lost.
    pub async fn confirmed(&self) -> Result<(), LockLost> {
        let mut renewed = self.0.renewed.subscribe();
        loop {
            if self.0.lost.is_cancelled() {
                return Err(LockLost);
            }
            if self.is_fresh(*renewed.borrow_and_update()) {
                return Ok(());
            }
            self.0.wanted.notify_one();
            tokio::select! {
                biased;
                () = self.0.lost.cancelled() => return Err(LockLost),
                _ = renewed.changed() => {}
            }
        }
    }

    fn is_fresh(&self, renewed: Duration) -> bool {
        let Some(fresh) = self.0.fresh else {
            return true;
        };
        (self.0.clock)().saturating_sub(renewed) <= fresh
    }

    /// Is cancelled when the lock is lost.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.0.lost.clone()
    }

    /// The lock was renewed: it was asked for at this time of [`clock`].
    pub fn renew(&self, asked: Duration) {
        self.0.renewed.send_replace(asked);
    }

    /// The lock is lost, and stays so.
    pub fn lose(&self) {
        self.0.lost.cancel();
    }

    /// How long ago the last renewal was asked for that succeeded.
    #[must_use]
    pub fn age(&self) -> Duration {
        (self.0.clock)().saturating_sub(*self.0.renewed.borrow())
    }

    /// Waits until somebody wants a renewal before it is due.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.lost.is_cancelled() {
            "Hold(lost)"
        } else {
            "Hold"
        })
    }
}

/// A clock that only goes forward, and that goes on while the machine sleeps.
#[must_use]
pub fn clock() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const FRESH: Duration = Duration::from_secs(6);

    /// A clock that the test moves: each test has its own.
    macro_rules! own_clock {
        ($name:ident) => {
            static $name: AtomicU64 = AtomicU64::new(0);
        };
    }

    #[tokio::test]
    async fn a_fresh_renewal_is_relied_on_and_a_lost_lock_is_never() {
        own_clock!(NOW);
        let hold = Hold::on(
            || Duration::from_secs(NOW.load(Ordering::Relaxed)),
            Some(FRESH),
            Duration::ZERO,
        );
        NOW.store(6, Ordering::Relaxed);
        assert_eq!(hold.confirmed().await, Ok(()));
        hold.lose();
        assert_eq!(hold.confirmed().await, Err(LockLost));
    }

    #[tokio::test]
    async fn after_a_long_pause_nothing_is_done_before_the_lock_is_renewed() {
        own_clock!(NOW);
        let hold = Hold::on(
            || Duration::from_secs(NOW.load(Ordering::Relaxed)),
            Some(FRESH),
            Duration::ZERO,
        );
        NOW.store(3_600, Ordering::Relaxed);
        let other = hold.clone();
        let mut waiting = tokio::spawn(async move { other.confirmed().await });
        hold.wanted().await;
        tokio::select! {
            biased;
            acted = &mut waiting => panic!("acted on an old renewal: {acted:?}"),
            () = tokio::task::yield_now() => {}
        }
        // A renewal that was asked for before the pause says nothing about now.
        hold.renew(Duration::from_secs(3_500));
        hold.wanted().await;
        hold.renew(Duration::from_hours(1));
        assert_eq!(waiting.await.expect("it ends"), Ok(()));
    }

    #[tokio::test]
    async fn after_a_long_pause_a_lock_that_went_to_another_is_lost() {
        own_clock!(NOW);
        let hold = Hold::on(
            || Duration::from_secs(NOW.load(Ordering::Relaxed)),
            Some(FRESH),
            Duration::ZERO,
        );
        NOW.store(60, Ordering::Relaxed);
        let other = hold.clone();
        let waiting = tokio::spawn(async move { other.confirmed().await });
        hold.wanted().await;
        hold.lose();
        assert_eq!(waiting.await.expect("it ends"), Err(LockLost));
    }

    #[tokio::test]
    async fn who_acts_under_no_lock_is_never_kept_waiting() {
        assert_eq!(Hold::none().confirmed().await, Ok(()));
    }
}
