//! One side of a tunnel: whether it has sent anything, and whether it has finished sending.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What is seen of a side.
#[derive(Debug, Default)]
pub struct Side {
    reads: AtomicU64,
    /// Told when it has been read to its end.
    pub ended: Notify,
}

impl Side {
    /// How often something has come from it.
    pub fn came(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

/// Both sides of a tunnel.
#[derive(Debug, Default)]
pub struct Watch {
    /// The client's.
    pub client: Side,
    /// The instance's.
    pub instance: Side,
}

impl Watch {
    /// Waits until nothing has come from either side for so long.
    pub async fn silence(&self, idle: Duration) {
        let came = || self.client.came() + self.instance.came();
        let mut before = came();
        loop {
            tokio::time::sleep(idle).await;
            if came() == before {
                return;
            }
            before = came();
        }
    }
}

/// The side's stream.
pub struct Watched<'a, S> {
    stream: S,
    side: &'a Side,
}

impl<'a, S> Watched<'a, S> {
    /// Watched here.
    pub const fn new(stream: S, side: &'a Side) -> Self {
        Self { stream, side }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            self.side.ended.notify_one();
        } else {
            self.side.reads.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
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
}
