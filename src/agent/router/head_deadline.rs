//! A connection whose client must send each request's head in time, and may be idle for longer between them.
//!
//! hyper has one deadline for both: with ten seconds for a head, a load balancer that keeps idle connections for
//! a minute would send requests into connections that are just being closed. Nor does hyper have any before it
//! knows the protocol: a client that stops within HTTP/2's preface would keep its place forever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's requests, counted by who serves them.
#[derive(Debug, Default)]
pub struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Activity {
    /// A request's head has come.
    pub fn begin(self: &Arc<Self>) -> Request {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(self))
    }

    /// What comes from now on is no HTTP: it counts as a request that never ends.
    pub fn leave_http(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.begun() == self.ended.load(Ordering::Relaxed)
    }
}

/// A request that is being served, until this is dropped.
#[derive(Debug)]
pub struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream with a deadline for each request's head.
pub struct HeadDeadline<S> {
    stream: S,
    within: Duration,
    activity: Arc<Activity>,
    phase: Phase,
}

enum Phase {
    /// So many bytes of HTTP/2's preface have come, and nothing else.
    Preface(usize, Pin<Box<Sleep>>),
    /// HTTP/1: a head has begun to come, or none.
    Http1(Option<Head>),
    /// HTTP/2 asks by pings whether the client is there.
    Http2,
}

/// A head on its way.
struct Head {
    deadline: Pin<Box<Sleep>>,
    /// How many requests had begun when its first bytes came: with one more, it has come.
    before: u64,
}

impl<S> HeadDeadline<S> {
    /// The stream, with this much time for each head; for the first one it counts from now.
    pub fn new(stream: S, within: Duration, activity: Arc<Activity>) -> Self {
        let phase = Phase::Preface(0, Box::pin(tokio::time::sleep(within)));
        Self {
            stream,
            within,
            activity,
            phase,
        }
    }

    fn came(&mut self, bytes: &[u8]) {
        let begun = self.activity.begun();
        let phase = std::mem::replace(&mut self.phase, Phase::Http2);
        self.phase = match phase {
            Phase::Preface(seen, deadline) => preface(seen, bytes, deadline),
            Phase::Http1(Some(head)) if head.before == begun => Phase::Http1(Some(head)),
            Phase::Http1(_) if self.activity.is_idle() => {
                let deadline = Box::pin(tokio::time::sleep(self.within));
                Phase::Http1(Some(Head {
                    deadline,
                    before: begun,
                }))
            }
            Phase::Http1(_) => Phase::Http1(None),
            Phase::Http2 => Phase::Http2,
        };
    }

    /// Ready when a head is overdue.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::Preface(_, deadline) => deadline.as_mut().poll(context),
            Phase::Http1(Some(head)) if head.before == self.activity.begun() => {
                head.deadline.as_mut().poll(context)
            }
            Phase::Http1(_) | Phase::Http2 => Poll::Pending,
        }
    }
}

/// What the connection is after these first bytes.
fn preface(seen: usize, bytes: &[u8], deadline: Pin<Box<Sleep>>) -> Phase {
    let rest = &PREFACE[seen..];
    let length = bytes.len().min(rest.len());
    if bytes[..length] != rest[..length] {
        return Phase::Http1(Some(Head {
            deadline,
            before: 0,
        }));
    }
    if length == rest.len() {
        Phase::Http2
    } else {
        Phase::Preface(seen + length, deadline)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            ready!(self.poll_overdue(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.came(&buffer.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
