//! Idle connections to one instance, the last used on top.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;

use crate::agent::router::request::upload::Upload;

/// The sending half of a connection to an instance.
pub type Sender = SendRequest<Upload>;

/// How many connections are kept for later.
const MOST: usize = 256;
/// How long a connection is kept without use.
const KEEP: Duration = Duration::from_secs(30);
/// How long a connection may have been idle for a request that must not be sent twice. An instance
/// closes idle connections after some seconds (2 in gunicorn, 5 in Node.js); within this time it
/// does not.
const RECENT: Duration = Duration::from_secs(1);

/// Which pooled connections a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Any: it is sent again when the connection turns out to be dead.
    Any,
    /// Only one that was just used: when it dies, nobody knows whether the request was processed.
    Recent,
    /// None.
    Never,
}

impl Reuse {
    const fn longest_idle(self) -> Duration {
        match self {
            Self::Any => KEEP,
            Self::Recent => RECENT,
            Self::Never => Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

/// Idle connections to one instance.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    /// The connection that was used last, if it is alive and was used recently enough.
    pub fn take(&self, reuse: Reuse) -> Option<Sender> {
        if reuse == Reuse::Never {
            return None;
        }
        let mut idle = self.idle();
        while let Some(last) = idle.pop() {
            if !last.sender.is_ready() {
                continue;
            }
            if last.since.elapsed() <= reuse.longest_idle() {
                return Some(last.sender);
            }
            if reuse == Reuse::Recent {
                idle.push(last);
                return None;
            }
        }
        None
    }

    /// Keeps a connection for later, and drops what was kept too long.
    pub fn put(&self, sender: Sender) {
        let mut idle = self.idle();
        let old = idle
            .iter()
            .take_while(|kept| kept.since.elapsed() > KEEP)
            .count();
        let excess = (idle.len() + 1).saturating_sub(MOST);
        idle.drain(..old.max(excess));
        idle.push(Idle {
            sender,
            since: Instant::now(),
        });
    }

    /// Drops all.
    pub fn clear(&self) {
        self.idle().clear();
    }

    /// A panic elsewhere leaves the list whole: each change to it is one call.
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;

    use super::*;

    /// A connection that nobody answers on, and the task that keeps it alive.
    async fn connection() -> (Sender, tokio::task::JoinSet<()>) {
        let (near, far) = tokio::io::duplex(64);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
            .await
            .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let _far = far;
            drop(connection.await);
        });
        sender.ready().await.unwrap();
        (sender, tasks)
    }

    /// A pool with one connection that was used this long ago.
    async fn idle_for(age: Duration) -> (Pool, tokio::task::JoinSet<()>) {
        let (pool, (sender, tasks)) = (Pool::default(), connection().await);
        pool.idle().push(Idle {
            sender,
            since: Instant::now().checked_sub(age).unwrap(),
        });
        (pool, tasks)
    }

    #[tokio::test]
    async fn a_request_that_must_not_be_sent_twice_takes_only_a_connection_that_was_just_used() {
        let (pool, _tasks) = idle_for(Duration::from_secs(3)).await;
        assert!(pool.take(Reuse::Recent).is_none());
        assert!(
            pool.take(Reuse::Any).is_some(),
            "it is still there for others"
        );
        let (pool, _tasks) = idle_for(Duration::ZERO).await;
        assert!(pool.take(Reuse::Never).is_none());
        assert!(pool.take(Reuse::Recent).is_some());
    }

    #[tokio::test]
    async fn what_was_kept_too_long_or_is_dead_is_dropped() {
        let (pool, _tasks) = idle_for(KEEP + Duration::from_secs(1)).await;
        let (young, _young_tasks) = connection().await;
        pool.put(young);
        assert_eq!(pool.idle().len(), 1);
        let (pool, mut tasks) = idle_for(Duration::ZERO).await;
        tasks.shutdown().await;
        assert!(pool.take(Reuse::Any).is_none());
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_kept() {
        let (pool, mut alive) = (Pool::default(), Vec::new());
        for _ in 0..=MOST {
            let (sender, tasks) = connection().await;
            pool.put(sender);
            alive.push(tasks);
        }
        assert_eq!(pool.idle().len(), MOST);
    }
}
