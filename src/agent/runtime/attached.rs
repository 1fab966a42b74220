//! A command that somebody looks on: where its input goes, what comes of it, and how it is ended.

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

use crate::agent::trouble::Trouble;
use crate::model::command::CommandPlace;
use crate::port::engine::{CommandOutput, WindowSize};

/// What is run.
#[derive(Debug, Clone)]
pub struct Attach {
    /// Where.
    pub place: CommandPlace,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The terminal that it has; none: plain streams.
    pub terminal: Option<WindowSize>,
    /// Whether it reads anything.
    pub reads: bool,
}

/// A command that runs. Dropping `control` ends it, with all that it started.
pub struct Attached {
    /// Its standard input, or its terminal's; none when it reads nothing.
    pub input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// What it writes; the end of this stream is not its own.
    pub output: BoxStream<'static, std::io::Result<CommandOutput>>,
    /// Its exit code, once it has ended.
    pub ended: BoxFuture<'static, Result<u8, Trouble>>,
    /// What else can be done to it.
    pub control: Box<dyn Control>,
}

/// What can be done to a command that runs.
#[async_trait]
pub trait Control: Send + Sync {
    /// Gives its terminal another size.
    async fn resize(&self, size: WindowSize);

    /// Sends it a signal.
    async fn signal(&self, number: i32);
}
