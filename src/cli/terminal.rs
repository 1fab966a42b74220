//! A command that a person looks on: what is typed goes in, what comes of it is printed as it is.
//! Where both sides are a terminal, that is the command's own until it ends.

use std::io::{self, IsTerminal as _, Read as _};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::Cx;
use crate::model::command::CommandPlace;
use crate::model::{Period, ServiceName, Slot};
use crate::ops::Error;
use crate::ops::command::{self, Asked};
use crate::output::{Exit, Failure};
use crate::port::engine::{CommandInput, CommandOutput, RunningCommand, WindowSize};

/// How long a signal may take on its way.
const GIVING: Duration = Duration::from_secs(2);

/// How a command is attached.
#[derive(Debug, clap::Args)]
pub(super) struct AttachArgs {
    /// Only this slot; without it the one with live traffic.
    #[arg(long, value_name = "blue|green")]
    slot: Option<Slot>,

    /// Have it read the standard input; at a terminal it does.
    #[arg(short, long)]
    interactive: bool,

    /// Give it a terminal: refused where there is none. Without it, it has one when this command
    /// has one.
    #[arg(short, long, conflicts_with = "no_tty")]
    tty: bool,

    /// Give it plain streams, at a terminal too.
    #[arg(short = 'T', long)]
    no_tty: bool,

    /// How long it may take; it is ended then.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    within: Period,

    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs a command; its exit code is this command's.
pub(super) async fn attach(
    cx: &Cx,
    args: &AttachArgs,
    place: CommandPlace,
    service: Option<ServiceName>,
) -> Result<Exit, Failure> {
    let terminal = terminal(args)?;
    let session = cx.session().await?;
    let reads = args.interactive || terminal.is_some();
    let asked = Asked {
        slot: args.slot,
        service,
        place,
        command: args.command.clone(),
        terminal,
        reads,
        within: args.within,
    };

    let (running, record) = command::start(&session, asked).await?;
    let raw = terminal.map(|_| Raw::new()).transpose();
    let raw = raw.map_err(|error| unreadable(&error))?;
    if reads {
        read(running.input.clone());
    }
    let ended = carry(cx, running, terminal.is_some()).await;
    drop(raw);

    let exit = ended?;
    // How the command ended is what counts, whether or not that can be kept.
    if let Err(error) = command::ended(&session, record, exit).await {
        let note = format!("how it ended is not in the history: {error}");
        cx.screen.note(Some(&note));
    }
    Ok(Exit::Command(exit))
}

/// The terminal that it gets.
fn terminal(args: &AttachArgs) -> Result<Option<WindowSize>, Failure> {
    let has_one = io::stdin().is_terminal();
    if args.tty && !has_one {
        return Err(Failure::say(
            Exit::Usage,
            "the standard input is not a terminal",
            "leave -t out",
        ));
    }
    Ok((has_one && !args.no_tty).then(size))
}

fn unreadable(error: &io::Error) -> Failure {
    let what = format!("the terminal cannot be used: {error}");
    Failure::say(Exit::Failed, what, "give -T")
}

fn size() -> WindowSize {
    let found = tcgetwinsize(io::stdin()).ok();
    let found = found.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    found.map_or(
        WindowSize {
            columns: 80,
            rows: 24,
        },
        |size| WindowSize {
            columns: size.ws_col,
            rows: size.ws_row,
        },
    )
}

/// How a program ends that writes to nobody: 128 and SIGPIPE.
const PIPE: u8 = 141;

/// Prints what comes, and passes signals on, until the command has ended.
async fn carry(cx: &Cx, running: RunningCommand, has_terminal: bool) -> Result<u8, Failure> {
    let RunningCommand { input, mut output } = running;
    let stuck = CancellationToken::new();
    tokio::spawn(pass_on(input, has_terminal, stuck.clone()));
    loop {
        let piece = tokio::select! {
            piece = output.next() => piece,
            () = stuck.cancelled() => return Err(Error::Interrupted.into()),
        };
        let Some(piece) = piece else { break };
        match piece.map_err(Error::from)? {
            CommandOutput::Out(bytes) => {
                cx.screen.pass(&bytes);
                // As a program whose reader is gone: its output ends here, and so does it.
                if cx.screen.is_over() {
                    return Ok(PIPE);
                }
            }
            CommandOutput::Err(bytes) => cx.screen.pass_error(&bytes),
            CommandOutput::Ended(code) => return Ok(code),
        }
    }
    Err(Failure::say(
        Exit::Failed,
        "the command was cut off: how it ended is not known",
        "`shipit status` shows what runs",
    ))
}

/// Signals that this process gets are the command's. The keys of a terminal are typed, and not
/// signals.
async fn pass_on(input: mpsc::Sender<CommandInput>, has_terminal: bool, stuck: CancellationToken) {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    for kind in kinds {
        pass_signal_on(kind, input.clone(), stuck.clone());
    }
    end_with_the_terminal(input.clone(), stuck);
    if !has_terminal {
        return;
    }
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    while changes.recv().await.is_some() {
        if input.send(CommandInput::Resize(size())).await.is_err() {
            return;
        }
    }
}

/// A signal that does not get through, because the command takes nothing of what was typed before
/// it, is meant for this process.
fn pass_signal_on(kind: SignalKind, input: mpsc::Sender<CommandInput>, stuck: CancellationToken) {
    let Ok(mut signals) = signal(kind) else {
        return;
    };
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            let given = input.send(CommandInput::Signal(kind.as_raw_value()));
            if !matches!(tokio::time::timeout(GIVING, given).await, Ok(Ok(()))) {
                stuck.cancel();
                return;
            }
        }
    });
}

/// Whose terminal is gone looks on no more. The command hears of it, and what does not end then is
/// ended by the engine.
fn end_with_the_terminal(input: mpsc::Sender<CommandInput>, stuck: CancellationToken) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    tokio::spawn(async move {
        if hangup.recv().await.is_some() {
            let hung_up = CommandInput::Signal(SignalKind::hangup().as_raw_value());
            let _ = tokio::time::timeout(GIVING, input.send(hung_up)).await;
            tokio::time::sleep(GIVING).await;
            stuck.cancel();
        }
    });
}

/// Reads what is typed, on a thread of its own: nothing can end a read that waits.
fn read(input: mpsc::Sender<CommandInput>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 8 << 10];
        while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
            let bytes = Bytes::copy_from_slice(&buffer[..length]);
            if input.blocking_send(CommandInput::Data(bytes)).is_err() {
                return;
            }
        }
        let _ = input.blocking_send(CommandInput::End);
    });
}

/// A terminal that gives every key as it is. Dropping it makes it what it was.
struct Raw(Termios);

impl Raw {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
