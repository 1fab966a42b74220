//! The streams of an HTTP/2 connection, each a task of its own, and the slowest that a client may
//! take one's response.
//!
//! A client decides how much of each response is sent to it. One that lets a stream stand still
//! keeps the instance's connection behind it, and the other streams go on, so that nobody would
//! notice on the connection.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::Executor;

use crate::agent::router::connection::pace::{Pace, PaceVerdict};
use crate::agent::router::connection::wait::Wait;

tokio::task_local! {
    static TURN: Arc<Turn>;
}

/// Whose turn it is on a stream, once there is a response.
#[derive(Debug, Default)]
pub struct Turn {
    is_clients: AtomicBool,
    handed: AtomicU64,
}

impl Turn {
    /// The one of the stream whose task this is; none on HTTP/1.
    pub fn of_this_stream() -> Option<Arc<Self>> {
        TURN.try_with(Arc::clone).ok()
    }

    /// The client can have these bytes; nothing more is asked for before it has taken them.
    pub fn client(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Ordering::Relaxed);
        self.is_clients.store(true, Ordering::Relaxed);
    }

    /// The instance has nothing yet.
    pub fn instance(&self) {
        self.is_clients.store(false, Ordering::Relaxed);
    }
}

/// Starts streams.
#[derive(Debug, Clone)]
pub struct Streams {
    pace: Pace,
}

impl Streams {
    /// Whose client takes responses at this pace.
    pub const fn new(pace: Pace) -> Self {
        Self { pace }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let wait = Wait::new(self.pace.clone(), None);
        tokio::spawn(run(stream, wait));
    }
}

/// Runs a stream to its end, or drops it, which resets it.
async fn run(stream: impl Future<Output = ()>, mut wait: Wait) {
    let turn = Arc::new(Turn::default());
    let mut stream = pin!(TURN.scope(Arc::clone(&turn), stream));
    let mut seen = 0;
    poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        poll_too_slow(&turn, &mut seen, &mut wait, context)
    })
    .await;
}

fn poll_too_slow(
    turn: &Turn,
    seen: &mut u64,
    wait: &mut Wait,
    context: &mut Context<'_>,
) -> Poll<()> {
    let handed = turn.handed.load(Ordering::Relaxed);
    let moved = usize::try_from(handed - std::mem::replace(seen, handed)).unwrap_or(usize::MAX);
    let is_clients = turn.is_clients.load(Ordering::Relaxed);
    if (moved > 0 || !is_clients) && wait.moved(moved) == PaceVerdict::TooSlow {
        return Poll::Ready(());
    }
    if is_clients {
        wait.poll_too_slow(context)
    } else {
        Poll::Pending
    }
}
