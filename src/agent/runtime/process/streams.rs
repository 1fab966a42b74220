//! A process of this machine that somebody looks on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio_util::io::ReaderStream;

use crate::agent::launch::{self, Group, Start, Streams};
use crate::agent::runtime::attached::{Attach, Attached, Control};
use crate::agent::trouble::Trouble;
use crate::port::engine::{CommandOutput, WindowSize};

/// What a program is told of its terminal where nothing else is.
pub(in crate::agent::runtime) const TERMINAL: &str = "xterm-256color";

/// Starts a program, with pipes or a terminal. `end`: what ends it, and all that it started, when
/// nobody looks on any more.
pub(in crate::agent::runtime) async fn attach(
    mut start: Start,
    attach: &Attach,
    end: Signal,
) -> Result<Attached, Trouble> {
    let Some(size) = attach.terminal else {
        return piped(launch::with_pipes(start, attach.reads).await?, end);
    };
    let told = start.env.entry("TERM".to_owned());
    told.or_insert_with(|| TERMINAL.to_owned());
    at_terminal(launch::at_terminal(start, size).await?, end)
}

fn piped(streams: Streams, end: Signal) -> Result<Attached, Trouble> {
    let Streams {
        mut child,
        group,
        input,
        ..
    } = streams;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = out.map(|out| pieces(out, CommandOutput::Out));
    let err = err.map(|err| pieces(err, CommandOutput::Err));
    let input = input.map(pipe::Sender::from_owned_fd).transpose()?;
    Ok(Attached {
        input: input.map(|input| Box::new(input) as Box<dyn AsyncWrite + Send + Unpin>),
        output: stream::select_all(out.into_iter().chain(err)).boxed(),
        ended: Box::pin(async move { Ok(code(child.wait().await?)) }),
        control: Box::new(Running {
            group: group.ended_by(end),
            terminal: None,
        }),
    })
}

fn at_terminal(streams: Streams, end: Signal) -> Result<Attached, Trouble> {
    let Streams {
        mut child,
        group,
        terminal,
        ..
    } = streams;
    let none = || Trouble::Local("it has no terminal".to_owned());
    let terminal = Arc::new(terminal.ok_or_else(none)?);
    let ours = || Ok::<_, io::Error>(Ours(watched(terminal.try_clone()?)?));
    Ok(Attached {
        input: Some(Box::new(ours()?)),
        output: pieces(ours()?, CommandOutput::Out),
        ended: Box::pin(async move { Ok(code(child.wait().await?)) }),
        control: Box::new(Running {
            group: group.ended_by(end),
            terminal: Some(terminal),
        }),
    })
}

fn pieces(
    from: impl AsyncRead + Send + 'static,
    piece: fn(Bytes) -> CommandOutput,
) -> BoxStream<'static, io::Result<CommandOutput>> {
    let read = ReaderStream::with_capacity(from, 16 << 10);
    read.map(move |bytes| bytes.map(piece)).boxed()
}

/// The exit code, as a shell gives it.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| Some(128 + status.signal().unwrap_or(0)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// A program and its terminal. Dropping it ends the program, and all that it started.
struct Running {
    group: Group,
    terminal: Option<Arc<OwnedFd>>,
}

#[async_trait]
impl Control for Running {
    async fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            // A program that has ended has no terminal to look at.
            let _ = launch::resize(terminal, size);
        }
    }

    async fn signal(&self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            self.group.signal(signal);
        }
    }
}

fn watched(terminal: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, and an owned descriptor is what it asks for"
    )]
    AsyncFd::new(terminal)
}

/// This side of a terminal.
struct Ours(AsyncFd<OwnedFd>);

impl AsyncRead for Ours {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match ready.try_io(|terminal| Ok(rustix::io::read(terminal.as_fd(), &mut *space)?)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has the other side any more: that is its end.
                Ok(Err(error)) if is_over(&error) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

fn is_over(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

impl AsyncWrite for Ours {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            if let Ok(written) =
                ready.try_io(|terminal| Ok(rustix::io::write(terminal.as_fd(), bytes)?))
            {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
