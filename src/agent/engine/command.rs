//! Commands that people run in instances, or beside them: one task for each, which ends with
//! whoever looks on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::engine::environment_state::InstanceKey;
use crate::agent::engine::held::Held;
use crate::agent::engine::{Agent, Environment, failed};
use crate::agent::instance::{InstanceSpec, launch_beside};
use crate::agent::launch::InstanceFiles;
use crate::agent::runtime::attached::{Attach, Attached};
use crate::agent::trouble::Trouble;
use crate::model::command::CommandPlace;
use crate::model::secret::SecretValue;
use crate::model::{ServiceName, Slot};
use crate::port::engine::{
    CommandInput, CommandOutput, CommandRequest, EngineError, RunningCommand, Scope, WAITING,
    Withheld, without_secrets,
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

pub(super) fn refused(reason: impl Into<String>, help: &str) -> EngineError {
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
    let spec = spec(agent, scope, &request).await?;
    run_as(agent, scope, spec, request).await
}

/// Starts a command of an instance that is described already.
pub(super) async fn run_as(
    agent: &Agent,
    scope: &Scope,
    spec: InstanceSpec,
    request: CommandRequest,
) -> Result<RunningCommand, EngineError> {
    is_bounded(&request)?;
    let permit = agent.commands.0.clone().try_acquire_owned();
    let permit = permit.map_err(|_| {
        let reason = format!("{MOST} commands run already, which is the most at a time");
        refused(reason, "end one of them")
    })?;

    let holding = Withheld::of(request.terminal.as_ref());
    let (attached, files) = attach(agent, scope, spec, &request).await?;
    let (input, inputs) = mpsc::channel(WAITING);
    let (outputs, output) = mpsc::channel(WAITING);
    tokio::spawn(pump(
        attached,
        inputs,
        outputs,
        request.within.get(),
        (permit, files),
    ));
    let output = ReceiverStream::new(output).boxed();
    Ok(RunningCommand {
        input,
        output: without_secrets(output, &agent.redactor, holding),
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

/// The values that a workload was given. Who deploys it holds them until that is done.
pub(super) async fn held(
    environment: &Environment,
    slot: Slot,
    service: &ServiceName,
) -> Result<BTreeMap<String, SecretValue>, EngineError> {
    let late = |_| {
        refused(
            "a run changes the environment just now",
            "try again when it is done",
        )
    };
    let work = tokio::time::timeout(BUSY, environment.work.lock());
    let work = work.await.map_err(late)?;
    let held = work.secrets.get(&(slot, service.clone()));
    Ok(held.map(Held::values).unwrap_or_default())
}

/// What the instances of the service are, with the values that a command has.
pub(super) async fn spec(
    agent: &Agent,
    scope: &Scope,
    request: &CommandRequest,
) -> Result<InstanceSpec, EngineError> {
    let (slot, service) = (request.slot, &request.service);
    let environment = agent.environment(scope);
    // An instance has its variables already.
    let mut secrets = match request.place {
        CommandPlace::Instance => BTreeMap::new(),
        CommandPlace::OneOff => held(&environment, slot, service).await?,
    };
    secrets.extend(request.secrets.clone());

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
    agent.instance_spec(scope, there, service, secrets)
}

async fn attach(
    agent: &Agent,
    scope: &Scope,
    spec: InstanceSpec,
    request: &CommandRequest,
) -> Result<(Attached, OwnFiles), EngineError> {
    let (slot, service) = (request.slot, &request.service);
    let environment = agent.environment(scope);
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
    let cannot = |trouble: Trouble| {
        refused(
            format!("`{}` cannot be run: {trouble}", request.command[0]),
            "name a program that the image has; words that a shell reads want `sh -c`",
        )
    };
    let launch = launch_beside(spec, key, &environment.state, process)
        .await
        .map_err(cannot)?;
    let files = launch.instance_files.clone();
    let files = OwnFiles(files.filter(|_| request.place == CommandPlace::OneOff));
    let attached = runtime.attach(&launch, &attach).await.map_err(cannot)?;
    Ok((attached, files))
}

/// The files that were written for a command alone: deleted when it has ended.
struct OwnFiles(Option<InstanceFiles>);

impl Drop for OwnFiles {
    fn drop(&mut self) {
        if let Some(files) = &self.0 {
            files.remove();
        }
    }
}

type Outputs = mpsc::Sender<Result<CommandOutput, EngineError>>;

/// Carries input and output until the command has ended, its time is over, or nobody looks on. With
/// this, what is left of it ends.
async fn pump(
    attached: Attached,
    mut inputs: mpsc::Receiver<CommandInput>,
    outputs: Outputs,
    within: Duration,
    _held: (OwnedSemaphorePermit, OwnFiles),
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
                code = &mut ended => {
                    // What it started ends with it, and so does what that could still write.
                    drop(control);
                    let rest = tokio::time::timeout(REST, pass(&mut output, &outputs));
                    let _ = rest.await;
                    return code;
                }
                piece = output.next() => match piece {
                    Some(Ok(piece)) => if outputs.send(Ok(piece)).await.is_err() {
                        std::future::pending::<()>().await;
                    },
                    // What is said of its end is what counts.
                    Some(Err(_)) | None => return (&mut ended).await,
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
        ended = work => ended.map_err(|trouble| failed("the command", &trouble)),
        () = outputs.closed() => return typing.abort(),
        () = tokio::time::sleep(within) => {
            let reason = format!("it took longer than {}", humantime::format_duration(within));
            Err(EngineError::Failed { what: "the command".to_owned(), reason })
        }
    };
    // Nothing of it is left by now, however long its last words wait for a reader.
    typing.abort();
    let _ = outputs.send(last.map(CommandOutput::Ended)).await;
}

/// Hands on what comes, to its end.
async fn pass(
    output: &mut (impl Stream<Item = std::io::Result<CommandOutput>> + Unpin),
    outputs: &Outputs,
) {
    while let Some(Ok(piece)) = output.next().await {
        if outputs.send(Ok(piece)).await.is_err() {
            return;
        }
    }
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
