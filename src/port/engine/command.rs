//! A command that a person runs on an engine: what goes in, and what comes out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;

use crate::model::command::CommandPlace;
use crate::model::secret::SecretValue;
use crate::model::{Period, ServiceName, Slot};
use crate::port::engine::EngineError;
use crate::redact::{ByteStream, Redactor};

/// How many pieces wait on their way in or out.
pub const WAITING: usize = 16;

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// How wide.
    pub columns: u16,
    /// How high.
    pub rows: u16,
}

/// What is run.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// In which slot.
    pub slot: Slot,
    /// Of which service.
    pub service: ServiceName,
    /// In an instance, or by itself.
    pub place: CommandPlace,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The terminal that it has; none: plain streams.
    pub terminal: Option<WindowSize>,
    /// Whether it reads anything.
    pub reads: bool,
    /// How long it may take. It is ended then.
    pub within: Period,
    /// The values of the secrets that the service names, as far as who asks has them. One in an
    /// instance has what the instance has.
    pub secrets: BTreeMap<String, SecretValue>,
}

/// What somebody who looks on has for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandInput {
    /// Bytes of its standard input.
    Data(Bytes),
    /// The end of its standard input.
    End,
    /// Another size of the terminal.
    Resize(WindowSize),
    /// A signal, by its number.
    Signal(i32),
}

/// What a command has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutput {
    /// Bytes of its standard output, and of its terminal.
    Out(Bytes),
    /// Bytes of its standard error.
    Err(Bytes),
    /// It has ended, with this exit code; nothing comes after it. What a signal ended has 128 and
    /// the signal's number.
    Ended(u8),
}

/// A command that runs. When the output is dropped, the command is ended.
pub struct RunningCommand {
    /// Where its input goes.
    pub input: mpsc::Sender<CommandInput>,
    /// What comes of it.
    pub output: BoxStream<'static, Result<CommandOutput, EngineError>>,
}

/// How long what may be the beginning of a secret is held back: a person who types waits for the
/// echo.
const HELD: Duration = Duration::from_millis(100);

/// For how long what may be the beginning of a secret is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// For a moment: somebody types.
    Briefly,
    /// Until more of it comes, or its end: a value that is written in pieces is hidden, too.
    UntilWhole,
}

impl Withheld {
    /// With a terminal somebody types.
    #[must_use]
    pub const fn of(terminal: Option<&WindowSize>) -> Self {
        match terminal {
            Some(_) => Self::Briefly,
            None => Self::UntilWhole,
        }
    }
}

/// The output without values of secrets.
#[must_use]
pub fn without_secrets(
    output: BoxStream<'static, Result<CommandOutput, EngineError>>,
    redactor: &Redactor,
    holding: Withheld,
) -> BoxStream<'static, Result<CommandOutput, EngineError>> {
    let hider = Hider {
        holding,
        output,
        out: redactor.bytes(),
        err: redactor.bytes(),
        next: VecDeque::new(),
    };
    stream::unfold(hider, |mut hider| async move {
        let piece = hider.piece().await?;
        Some((piece, hider))
    })
    .boxed()
}

struct Hider {
    holding: Withheld,
    output: BoxStream<'static, Result<CommandOutput, EngineError>>,
    out: ByteStream,
    err: ByteStream,
    /// What can be shown by now.
    next: VecDeque<Result<CommandOutput, EngineError>>,
}

impl Hider {
    async fn piece(&mut self) -> Option<Result<CommandOutput, EngineError>> {
        loop {
            if let Some(piece) = self.next.pop_front() {
                return Some(piece);
            }
            let holds = self.out.holds() || self.err.holds();
            let next = if holds && self.holding == Withheld::Briefly {
                tokio::time::timeout(HELD, self.output.next()).await.ok()
            } else {
                Some(self.output.next().await)
            };

            match next {
                None => self.let_go(),
                Some(None) if holds => self.let_go(),
                Some(None) => return None,
                Some(Some(Ok(CommandOutput::Out(bytes)))) => {
                    let shown = self.out.push(&bytes);
                    self.show(CommandOutput::Out, shown);
                }
                Some(Some(Ok(CommandOutput::Err(bytes)))) => {
                    let shown = self.err.push(&bytes);
                    self.show(CommandOutput::Err, shown);
                }
                Some(Some(last)) => {
                    self.let_go();
                    self.next.push_back(last);
                }
            }
        }
    }

    fn let_go(&mut self) {
        let (out, err) = (self.out.rest(), self.err.rest());
        self.show(CommandOutput::Out, out);
        self.show(CommandOutput::Err, err);
    }

    fn show(&mut self, piece: fn(Bytes) -> CommandOutput, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.next.push_back(Ok(piece(bytes.into())));
        }
    }
}
