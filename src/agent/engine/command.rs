//! Commands that people run in instances, or beside them: one task for each, which ends with
//! whoever looks on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::engine::environment_state::InstanceKey;
use crate::agent::engine::{Agent, failed};
use crate::agent::instance::launch_beside;
use crate::agent::runtime::attached::{Attach, Attached};
use crate::model::command::CommandPlace;
use crate::port::engine::{
    CommandInput, CommandOutput, CommandRequest, EngineError, RunningCommand, Scope, WAITING,
    without_secrets,
};

/// How many commands run at a time.
const MOST: usize = 32;
/// How many words a command has, and how many bytes all of them.
const WORDS: usize = 4096;
const BYTES: usize = 128 << 10;
/// How long whoever changes the environment is waited for.
const BUSY: Duration = Duration::from_secs(30);
/// How long the output of a command may go on once it has ended: something else may have it.
const REST: Duration = Duration::from_millis(500);

/// How many more commands may run.
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

fn refused(reason: impl Into<String>, help: &str) -> EngineError {
    EngineError::Refused {
        reason: reason.into(),
        help: help.to_owned(),
    }
}

/// Starts a command.
pub(super) async fn run(
    agent: &Agent,
    scope: &Scope,
    request: CommandRequest,
) -> Result<RunningCommand, EngineError> {
    is_bounded(&request)?;
    let permit = agent.commands.0.clone().try_acquire_owned();
    let permit = permit.map_err(|_| {
        let reason = format!("{MOST} commands run already, which is the most at a time");
        refused(reason, "end one of them")
    })?;

    let attached = attach(agent, scope, &request).await?;
    let (input, inputs) = mpsc::channel(WAITING);
    let (outputs, output) = mpsc::channel(WAITING);
    tokio::spawn(pump(
        attached,
        inputs,
        outputs,
        request.within.get(),
        permit,
    ));
    let output = ReceiverStream::new(output).boxed();
    Ok(RunningCommand {
        input,
        output: without_secrets(output, &agent.redactor),
    })
}

fn is_bounded(request: &CommandRequest) -> Result<(), EngineError> {
    let bytes: usize = request.command.iter().map(String::len).sum();
    let is_empty = request.command.first().is_none_or(String::is_empty);
    if is_empty || request.command.len() > WORDS || bytes > BYTES {
        let reason = format!("a command has 1 to {WORDS} words, and {BYTES} bytes at the most");
        return Err(refused(
            reason,
            "write what is longer into a file of the image",
        ));
    }
    Ok(())
}

async fn attach(
    agent: &Agent,
    scope: &Scope,
    request: &CommandRequest,
) -> Result<Attached, EngineError> {
    let (slot, service) = (request.slot, &request.service);
    let environment = agent.environment(scope);
    let late = |_| {
        refused(
            "a run changes the environment just now",
            "try again when it is done",
        )
    };
    let work = tokio::time::timeout(BUSY, environment.work.lock())
        .await
        .map_err(late)?;
    let held = work.secrets.get(&(slot, service.clone()));
    let mut secrets = held.map(super::held::Held::values).unwrap_or_default();
    secrets.extend(request.secrets.clone());
    drop(work);

    let record = environment.state.record();
    let nothing = || {
        refused(
            format!("{service} is not in {slot}"),
            "`shipit status` shows what is",
        )
    };
    let there = record.slots.get(&slot).ok_or_else(nothing)?;
    if !there.workloads.contains_key(service) {
        return Err(nothing());
    }
    let spec = agent.instance_spec(scope, there, service, secrets)?;
    let runtime = spec.runtime.clone();

    let (key, process) = match request.place {
        CommandPlace::Instance => {
            let running = environment.state.running(slot, service);
            let (key, process) = running.ok_or_else(|| {
                let reason = format!("no instance of {service} runs in {slot}");
                refused(reason, "`shipit run` runs a command without one")
            })?;
            (key, Some(process))
        }
        CommandPlace::OneOff => {
            let (generation, index) = (0, 0);
            let service = service.clone();
            let key = InstanceKey {
                slot,
                service,
                generation,
                index,
            };
            (key, None)
        }
    };

    let attach = Attach {
        place: request.place,
        command: request.command.clone(),
        terminal: request.terminal,
        reads: request.reads,
    };
    let what = format!("running `{}`", request.command[0]);
    let launch = launch_beside(spec, key, &environment.state, process)
        .map_err(|trouble| failed(&what, &trouble))?;
    let attached = runtime.attach(&launch, &attach).await;
    attached.map_err(|trouble| failed(&what, &trouble))
}

type Outputs = mpsc::Sender<Result<CommandOutput, EngineError>>;

/// Carries input and output until the command has ended, its time is over, or nobody looks on. With
/// this, what is left of it ends.
async fn pump(
    attached: Attached,
    mut inputs: mpsc::Receiver<CommandInput>,
    outputs: Outputs,
    within: Duration,
    _permit: OwnedSemaphorePermit,
) {
    let Attached {
        input,
        mut output,
        mut ended,
        control,
    } = attached;
    let (typed, to_type) = mpsc::channel(WAITING);
    let typing = tokio::spawn(write(input, to_type));
    let mut typed = Some(typed);
    // What the command does not take yet: its output goes on meanwhile.
    let mut waits: Option<bytes::Bytes> = None;

    let work = async {
        loop {
            tokio::select! {
                code = &mut ended => return code.map(|code| (code, true)),
                piece = output.next() => match piece {
                    Some(Ok(piece)) => if outputs.send(Ok(piece)).await.is_err() {
                        std::future::pending::<()>().await;
                    },
                    // What is said of its end is what counts.
                    Some(Err(_)) | None => return (&mut ended).await.map(|code| (code, false)),
                },
                room = reserve(typed.clone()), if waits.is_some() => {
                    let bytes = waits.take();
                    if let Some((room, bytes)) = room.zip(bytes) {
                        room.send(bytes);
                    }
                }
                Some(given) = inputs.recv(), if waits.is_none() => match given {
                    CommandInput::Data(bytes) => waits = Some(bytes),
                    CommandInput::End => typed = None,
                    CommandInput::Resize(size) => control.resize(size).await,
                    CommandInput::Signal(number) => control.signal(number).await,
                },
            }
        }
    };

    let last = tokio::select! {
        ended = work => ended,
        () = outputs.closed() => return typing.abort(),
        () = tokio::time::sleep(within) => {
            let reason = format!("it took longer than {}", humantime::format_duration(within));
            let late = EngineError::Failed { what: "the command".to_owned(), reason };
            let _ = outputs.send(Err(late)).await;
            return typing.abort();
        }
    };
    typing.abort();

    if let Ok((_, true)) = last {
        while let Ok(Some(Ok(piece))) = tokio::time::timeout(REST, output.next()).await {
            if outputs.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    }
    let last = last.map(|(code, _)| CommandOutput::Ended(code));
    let _ = outputs
        .send(last.map_err(|trouble| failed("the command", &trouble)))
        .await;
}

/// Room for what was typed; none when nothing is read any more.
async fn reserve(typed: Option<mpsc::Sender<bytes::Bytes>>) -> Option<OwnedPermit<bytes::Bytes>> {
    typed?.reserve_owned().await.ok()
}

/// Writes what was typed. It waits for a command that does not read, which nothing else does.
async fn write(
    input: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>,
    mut typed: mpsc::Receiver<bytes::Bytes>,
) {
    let Some(mut input) = input else {
        return;
    };
    while let Some(bytes) = typed.recv().await {
        let written = async {
            input.write_all(&bytes).await?;
            input.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}
