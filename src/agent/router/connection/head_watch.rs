//! How the bytes of a client begin: which protocol it speaks, and whether each request's head comes
//! in time.
//!
//! hyper has one deadline for a head and for the time between two: with ten seconds for a head, a
//! load balancer that keeps idle connections for a minute would send requests into connections that
//! are just being closed. Nor does hyper have any before it knows the protocol: a client that stops
//! within HTTP/2's preface would keep its place forever.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::agent::router::connection::activity::Activity;
use crate::agent::router::connection::line_ends::LineEnds;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes from a client.
pub struct HeadWatch {
    within: Duration,
    activity: Arc<Activity>,
    phase: Phase,
}

enum Phase {
    /// So many bytes of HTTP/2's preface have come, and nothing else.
    Preface(usize, Pin<Box<Sleep>>),
    /// HTTP/1: a head has begun to come, or none.
    Http1(Option<Head>, LineEnds),
    /// HTTP/2 asks by pings whether the client is there.
    Http2,
}

/// A head on its way.
struct Head {
    deadline: Pin<Box<Sleep>>,
    /// How many requests had begun when its first bytes came: with one more, it has come.
    before: u64,
}

impl HeadWatch {
    /// This much time for each head; for the first one it counts from now.
    pub fn new(within: Duration, activity: Arc<Activity>) -> Self {
        let phase = Phase::Preface(0, Box::pin(tokio::time::sleep(within)));
        Self {
            within,
            activity,
            phase,
        }
    }

    /// Whether this is a connection of HTTP/1, as far as is known.
    pub const fn is_http_1(&self) -> bool {
        matches!(self.phase, Phase::Http1(..))
    }

    /// Looks at what has come, and spoils what hyper must not take for a head.
    pub fn came(&mut self, bytes: &mut [u8]) {
        let begun = self.activity.begun();
        let phase = std::mem::replace(&mut self.phase, Phase::Http2);
        self.phase = match phase {
            Phase::Preface(seen, deadline) => preface(seen, bytes, deadline),
            Phase::Http1(Some(head), ends) if head.before == begun => {
                Phase::Http1(Some(head), ends)
            }
            Phase::Http1(_, ends) if self.activity.is_idle() => {
                let deadline = Box::pin(tokio::time::sleep(self.within));
                let before = begun;
                Phase::Http1(Some(Head { deadline, before }), ends)
            }
            Phase::Http1(_, ends) => Phase::Http1(None, ends),
            Phase::Http2 => Phase::Http2,
        };

        if let Phase::Http1(_, ends) = &mut self.phase
            && !self.activity.has_left_http()
        {
            ends.check(bytes, self.activity.answered());
            if let Some(request) = ends.lost() {
                self.activity.end_with(request);
            }
        }
    }

    /// Ready when a head is overdue.
    pub fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::Preface(_, deadline) => deadline.as_mut().poll(context),
            Phase::Http1(Some(head), _) if head.before == self.activity.begun() => {
                head.deadline.as_mut().poll(context)
            }
            Phase::Http1(..) | Phase::Http2 => Poll::Pending,
        }
    }
}

/// What the connection is after these first bytes.
fn preface(seen: usize, bytes: &[u8], deadline: Pin<Box<Sleep>>) -> Phase {
    let rest = &PREFACE[seen..];
    let length = bytes.len().min(rest.len());
    if bytes[..length] != rest[..length] {
        let head = Head {
            deadline,
            before: 0,
        };
        return Phase::Http1(Some(head), LineEnds::after(&PREFACE[..seen]));
    }
    if length == rest.len() {
        Phase::Http2
    } else {
        Phase::Preface(seen + length, deadline)
    }
}
