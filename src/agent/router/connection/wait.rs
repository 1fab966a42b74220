//! A wait for a client, which ends when the client is too slow. While nobody waits it costs
//! nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use crate::agent::router::connection::pace::{Pace, PaceVerdict};

/// Whether a client is waited for, and how it does.
#[derive(Debug)]
pub struct Wait {
    pace: Pace,
    /// The time in which all must be done.
    until: Option<Instant>,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    /// For a client of this pace.
    pub const fn new(pace: Pace, until: Option<Instant>) -> Self {
        Self {
            pace,
            until,
            since: None,
            timer: None,
        }
    }

    /// Nothing moves, and it is the client's turn. Ready when it is too slow; else the task is
    /// woken when it has to be looked at again.
    pub fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let since = *self.since.get_or_insert_with(Instant::now);
            let look_at = [self.pace.look_at(since), self.until];
            let Some(look_at) = look_at.into_iter().flatten().min() else {
                return Poll::Pending;
            };

            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(look_at)));
            if timer.deadline() != look_at {
                timer.as_mut().reset(look_at);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if self.moved(0) == PaceVerdict::TooSlow {
                return Poll::Ready(());
            }
            self.since = Some(Instant::now());
        }
    }

    /// Bytes moved, or it is not the client's turn any more.
    pub fn moved(&mut self, bytes: usize) -> PaceVerdict {
        let Some(since) = self.since.take() else {
            return PaceVerdict::Fine;
        };
        let now = Instant::now();
        if self.until.is_some_and(|until| now >= until) {
            return PaceVerdict::TooSlow;
        }
        self.pace.moved(now - since, bytes as u64)
    }
}
