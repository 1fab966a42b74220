//! A client's connection, and what hyper does not watch of it: heads that do not come,
//! responses that are not taken, clients that have gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::agent::router::connection::activity::Activity;
use crate::agent::router::connection::client_stream::ClientStream;
use crate::agent::router::connection::head_watch::HeadWatch;
use crate::agent::router::connection::pace::{Pace, PaceVerdict};
use crate::agent::router::connection::wait::Wait;
use crate::model::limits::Limits;

/// The connection.
pub struct Wire {
    stream: ClientStream,
    activity: Arc<Activity>,
    heads: HeadWatch,
    taking: Wait,
    written: u64,
    /// How much of what TLS had kept was known to be sent.
    sent: u64,
    /// An interim response of which some was written.
    interim: Bytes,
    end: End,
    /// How long a client that has finished sending may take nothing.
    patience: Duration,
}

/// Whether the client has finished sending, while its request is being served.
enum End {
    /// Not that anybody has seen.
    Open,
    /// There is more to be read, and nobody reads it now.
    MoreToRead,
    /// It has. It may have gone, or it waits for its answer: TCP does not tell.
    Finished {
        /// How many bytes had been written when this was last looked at.
        written: u64,
        look_at: Pin<Box<Sleep>>,
    },
}

impl Wire {
    /// A connection that was just accepted.
    pub fn new(stream: ClientStream, limits: &Limits, activity: Arc<Activity>) -> Self {
        let heads = HeadWatch::new(limits.header_timeout.get(), Arc::clone(&activity));
        Self {
            stream,
            activity,
            heads,
            taking: Wait::new(Pace::taking(limits), None),
            written: 0,
            sent: 0,
            interim: Bytes::new(),
            end: End::Open,
            patience: limits.response_timeout.get(),
        }
    }

    /// What a write came to: so many bytes, or none while the client takes nothing.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = polled else {
            ready!(self.taking.poll_too_slow(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        let bytes = written?;
        self.written += bytes as u64;
        Poll::Ready(match self.taking.moved(bytes) {
            PaceVerdict::Fine => Ok(bytes),
            PaceVerdict::TooSlow => Err(io::ErrorKind::TimedOut.into()),
        })
    }

    /// What a flush came to. In the clear there is nothing to flush; TLS keeps some of what was
    /// written, and a client that does not take that is as slow as any other.
    fn flushed(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let Some(sent) = self.stream.sent() else {
            return polled;
        };
        let bytes = usize::try_from(sent - self.sent).unwrap_or(usize::MAX);
        self.sent = sent;
        if bytes > 0 && self.taking.moved(bytes) == PaceVerdict::TooSlow {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if polled.is_pending() {
            ready!(self.taking.poll_too_slow(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }

    /// Writes what is left of an interim response: nothing comes in between.
    fn poll_rest_of_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(context, &self.interim);
            let bytes = ready!(self.wrote(context, polled))?;
            self.interim.advance(bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the interim responses that wait, now that hyper has nothing to write: they belong to
    /// the request that is being served, whose response waits for them.
    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.interim.write_by(context.waker());
        loop {
            ready!(self.poll_rest_of_interim(context))?;
            match self.activity.interim.next() {
                Some(bytes) => self.interim = bytes,
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Looks whether the client has gone while its request is being served. hyper does not: a
    /// client may finish sending and wait for its answer, and one that has gone looks the same.
    /// Such a client is served as long as it takes bytes.
    fn look_for_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_served = self.heads.is_http_1() && !self.activity.is_idle();
        if !is_served || self.activity.has_left_http() {
            self.end = End::Open;
            return Ok(());
        }

        if matches!(self.end, End::Open) {
            self.end = self.peek(context)?;
        }
        let End::Finished { written, look_at } = &mut self.end else {
            return Ok(());
        };

        while look_at.as_mut().poll(context).is_ready() {
            if *written == self.written {
                return Err(io::ErrorKind::TimedOut.into());
            }
            *written = self.written;
            look_at.as_mut().reset(Instant::now() + self.patience);
        }
        Ok(())
    }

    fn finished(&self) -> End {
        End::Finished {
            written: self.written,
            look_at: Box::pin(tokio::time::sleep(self.patience)),
        }
    }

    fn peek(&self, context: &mut Context<'_>) -> io::Result<End> {
        let tcp = self.stream.tcp();
        let Poll::Ready(ready) = tcp.poll_read_ready(context) else {
            return Ok(End::Open);
        };
        ready?;
        let mut byte = [0];
        let peeked = tcp.poll_peek(context, &mut ReadBuf::new(&mut byte));
        Ok(match peeked {
            Poll::Pending => End::Open,
            Poll::Ready(Ok(0)) => self.finished(),
            // TLS says good-bye in bytes of its own, which nobody reads now.
            Poll::Ready(Ok(_)) if self.stream.sent().is_some() && is_half_closed(tcp) => {
                self.finished()
            }
            Poll::Ready(Ok(_)) => End::MoreToRead,
            Poll::Ready(Err(error)) => return Err(error),
        })
    }
}

/// Whether the other end has finished sending, whatever is still to be read.
fn is_half_closed(stream: &TcpStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec::default();
    matches!(poll(&mut asked, Some(&now)), Ok(1..)) && !asked[0].revents().is_empty()
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            ready!(self.heads.poll_overdue(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.end = End::Open;
        self.heads.came(&mut buffer.filled_mut()[before..]);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest_of_interim(context))?;
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look_for_end(context)?;
        if self.heads.is_http_1() {
            ready!(self.poll_interim(context))?;
        }
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.flushed(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest_of_interim(context))?;
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
