//! How many requests an instance is given at a time; more wait for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The way in to one instance.
#[derive(Debug, Default)]
pub struct Gate {
    inside: AtomicUsize,
    waiting: AtomicUsize,
    room: Notify,
}

impl Gate {
    /// Goes in when fewer than `limit` are inside, or waits for that as long as there is time. As
    /// many may wait as may be inside. False when there was no room; else [`Gate::leave`] has to be
    /// called.
    pub async fn enter(&self, limit: usize, until: Instant) -> bool {
        if self.waiting.load(Ordering::SeqCst) == 0 && self.try_enter(limit) {
            return true;
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.position >= limit {
            return false;
        }
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if self.try_enter(limit) {
                return true;
            }
            if tokio::time::timeout_at(until, room).await.is_err() {
                return false;
            }
        }
    }

    fn try_enter(&self, limit: usize) -> bool {
        let more = |inside| (inside < limit).then_some(inside + 1);
        self.inside
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    /// Goes out.
    pub fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.room.notify_one();
        }
    }
}

/// One that waits.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    position: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        let position = count.fetch_add(1, Ordering::SeqCst);
        Self { count, position }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_and_goes_in_when_somebody_leaves() {
        let gate = Arc::new(Gate::default());
        assert!(gate.enter(1, later()).await);
        let next = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(1, later()).await }
        });
        tokio::task::yield_now().await;
        assert!(!gate.enter(1, later()).await, "as many wait as may");
        gate.leave();
        assert!(next.await.unwrap());
        assert!(
            !gate.enter(1, Instant::now()).await,
            "nobody left: the time is over"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_more_are_inside_and_everybody_comes_in() {
        let (gate, inside) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
            all.spawn(async move {
                for _ in 0..500 {
                    while !gate.enter(3, later()).await {
                        tokio::task::yield_now().await;
                    }
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    gate.leave();
                }
            });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
    }
}
