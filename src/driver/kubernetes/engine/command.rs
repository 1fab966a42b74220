//! Commands that people run: in a pod that is ready, or in one of their own, made from a pod of the
//! service and deleted when the command has ended.

pub(super) mod pod;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;

use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::driver::kubernetes::engine::command::pod::{Place, begin, until_it_runs};
use crate::driver::kubernetes::engine::logs::{self, Part};
use crate::driver::kubernetes::engine::ready::is_ready;
use crate::driver::kubernetes::engine::{KubernetesEngine, slots};
use crate::model::command::CommandPlace;
use crate::model::object::mark;
use crate::port::engine::{
    CommandInput, CommandOutput, CommandRequest, EngineError, RunningCommand, Scope, WAITING,
    WindowSize,
};

/// Whether this is the pod of a command.
pub(super) fn is_commands(pod: &Value) -> bool {
    pod["kind"].as_str().is_none_or(|kind| kind == "Pod")
        && pod["metadata"]["labels"][mark::COMMAND].is_string()
}

/// Whether this is the pod of a command in an environment.
pub(super) fn is_commands_of(pod: &Value, scope: &Scope) -> bool {
    let labels = &pod["metadata"]["labels"];
    is_commands(pod)
        && labels[mark::PROJECT] == scope.project.as_str()
        && labels[mark::ENVIRONMENT] == scope.environment.as_str()
}

fn refused(reason: String, help: &str) -> EngineError {
    EngineError::Refused {
        reason,
        help: help.to_owned(),
    }
}

pub(super) async fn run(
    engine: &KubernetesEngine,
    scope: &Scope,
    request: CommandRequest,
) -> Result<RunningCommand, EngineError> {
    let api = engine.api().await?;
    let what = format!(
        "running `{}`",
        request.command.first().map_or("", String::as_str)
    );
    let failed = |fault: ApiError| fault.while_(what.clone());
    let pod = pod_of(engine, api, scope, &request).await?;

    let place = match request.place {
        CommandPlace::Instance => Place {
            namespace: text(&pod, "namespace"),
            pod: text(&pod, "name"),
            container: container(&pod),
            own: None,
        },
        CommandPlace::OneOff => begin(api, scope, &pod, &request).await.map_err(failed)?,
    };

    // From here on the pod goes with whoever looks on, also while it starts.
    let (input, inputs) = mpsc::channel(WAITING);
    let (outputs, output) = mpsc::channel(WAITING);
    tokio::spawn(carry(
        Arc::clone(api),
        (place, what),
        inputs,
        outputs,
        request,
    ));
    Ok(RunningCommand {
        input,
        output: ReceiverStream::new(output).boxed(),
    })
}

/// How a command is looked on.
enum Streams {
    /// Input and output.
    Attached(Box<AttachedProcess>),
    /// The log of a pod of its own: all of it, from its beginning.
    Log(BoxStream<'static, CommandOutput>),
}

async fn streams(
    api: &Api,
    place: &Place,
    request: &CommandRequest,
    what: &str,
) -> Result<Streams, EngineError> {
    let failed = |fault: ApiError| fault.while_(what);
    let has_terminal = request.terminal.is_some();
    let params = AttachParams {
        stdin: request.reads,
        stdout: true,
        stderr: !has_terminal,
        tty: has_terminal,
        container: Some(place.container.clone()),
        ..AttachParams::default()
    };
    let (namespace, name) = (&place.namespace, &place.pod);
    let Some(key) = &place.own else {
        let process = api.exec(namespace, name, &request.command, &params).await;
        return Ok(Streams::Attached(Box::new(process.map_err(failed)?)));
    };

    let pod = until_it_runs(api, key, what, &|_| {}).await?;
    if request.reads && pod["status"]["phase"] == "Running" {
        match api.attach(namespace, name, &params).await {
            Ok(process) => return Ok(Streams::Attached(Box::new(process))),
            // It may have ended in between. What it wrote is in its log.
            Err(fault) if !place.has_ended(api).await => return Err(failed(fault)),
            Err(_) => {}
        }
    }
    let log = log(api, place).await;
    Ok(Streams::Log(log.map_err(failed)?))
}

/// The log of a pod of a command, from its beginning to its end.
async fn log(api: &Api, place: &Place) -> Result<BoxStream<'static, CommandOutput>, ApiError> {
    let pod = json!({"metadata": {"namespace": place.namespace, "name": place.pod}});
    let part = Part {
        follow: true,
        ..Part::default()
    };
    let lines = api.lines(&logs::path(&pod, &place.container, part)).await?;
    let lines = lines.take_while(|line| std::future::ready(line.is_ok()));
    let piece = |line: Result<String, std::io::Error>| {
        let line = line.unwrap_or_default() + "\n";
        CommandOutput::Out(line.into())
    };
    Ok(lines.map(piece).boxed())
}

fn cut_off(reason: &str) -> EngineError {
    EngineError::Failed {
        what: "the command".to_owned(),
        reason: reason.to_owned(),
    }
}

fn text(pod: &Value, name: &str) -> String {
    let text = pod["metadata"][name].as_str();
    text.unwrap_or_default().to_owned()
}

/// The service's container is the pod's first.
fn container(pod: &Value) -> String {
    let name = pod["spec"]["containers"][0]["name"].as_str();
    name.unwrap_or_default().to_owned()
}

/// A pod of the service, one that is ready if there is one.
async fn pod_of(
    engine: &KubernetesEngine,
    api: &Api,
    scope: &Scope,
    request: &CommandRequest,
) -> Result<Value, EngineError> {
    let (slot, service) = (request.slot, &request.service);
    let pods = slots::pods(engine, api, scope, slot).await;
    let pods = pods.map_err(|fault| fault.while_(format!("looking for pods of {service}")))?;
    let is_its = |pod: &&Value| {
        let labels = &pod["metadata"]["labels"];
        labels[mark::SERVICE] == service.as_str() && labels[mark::COMMAND].is_null()
    };
    let runs = |pod: &Value| {
        pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let mut its: Vec<&Value> = pods.iter().filter(is_its).collect();
    its.sort_by_key(|pod| (!runs(pod), !is_ready(pod), text(pod, "name")));
    let best = its
        .first()
        .filter(|pod| runs(pod) || request.place == CommandPlace::OneOff);
    best.map(|pod| (*pod).clone()).ok_or_else(|| {
        let reason = format!("no pod of {service} runs in {slot}");
        refused(reason, "`shipit status` shows what runs where")
    })
}

type Outputs = mpsc::Sender<Result<CommandOutput, EngineError>>;

/// Carries input and output until the command has ended, its time is over, or nobody looks on.
async fn carry(
    api: Arc<Api>,
    (place, what): (Place, String),
    inputs: mpsc::Receiver<CommandInput>,
    outputs: Outputs,
    request: CommandRequest,
) {
    let within = request.within.get();
    let (forward, typed) = mpsc::channel(WAITING);
    let work = async {
        let said = match streams(&api, &place, &request, &what).await? {
            Streams::Log(mut output) => {
                let _ = pass(&mut output, &outputs).await;
                None
            }
            Streams::Attached(process) => {
                let (code, wrote) = attached(*process, typed, &outputs, &request).await;
                // What is written before somebody is attached comes to nobody.
                if wrote == Wrote::Nothing
                    && place.own.is_some()
                    && let Ok(mut log) = log(&api, &place).await
                {
                    pass(&mut log, &outputs).await;
                }
                code
            }
        };
        let code = match place.own {
            Some(_) => place.exit(&api).await,
            None => said,
        };
        code.ok_or_else(|| cut_off("how it ended is not known"))
    };
    let last = tokio::select! {
        code = work => code,
        code = stopped(inputs, forward) => Ok(code),
        () = outputs.closed() => Err(cut_off("nobody looks on")),
        () = tokio::time::sleep(within) => {
            let within = humantime::format_duration(within);
            Err(cut_off(&format!("it took longer than {within}")))
        }
    };
    place.clean_up(&api).await;
    let _ = outputs.send(last.map(CommandOutput::Ended)).await;
}

/// Hands on what is given, until a signal comes that asks for the end: the API has no way to send
/// one, so the command is left, and a pod of its own deleted. Gives the exit code that a shell has
/// for it.
async fn stopped(
    mut inputs: mpsc::Receiver<CommandInput>,
    forward: mpsc::Sender<CommandInput>,
) -> u8 {
    while let Some(given) = inputs.recv().await {
        match given {
            CommandInput::Signal(number @ (1 | 2 | 3 | 15)) => {
                return 128 + u8::try_from(number).unwrap_or_default();
            }
            other => drop(forward.send(other).await),
        }
    }
    std::future::pending().await
}

/// Whether a command has written anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    Nothing,
    Something,
}

async fn pass(
    output: &mut (impl futures_util::Stream<Item = CommandOutput> + Unpin),
    outputs: &Outputs,
) -> Wrote {
    let mut wrote = Wrote::Nothing;
    while let Some(piece) = output.next().await {
        wrote = Wrote::Something;
        if outputs.send(Ok(piece)).await.is_err() {
            break;
        }
    }
    wrote
}

/// Gives the exit code, where the server says it, and whether anything was written.
async fn attached(
    mut process: AttachedProcess,
    inputs: mpsc::Receiver<CommandInput>,
    outputs: &Outputs,
    request: &CommandRequest,
) -> (Option<u8>, Wrote) {
    let status = process.take_status();
    let out = process.stdout().map(|out| pieces(out, CommandOutput::Out));
    let err = process.stderr().map(|err| pieces(err, CommandOutput::Err));
    let mut resize: Option<Resize> = process.terminal_size().map(|mut sizes| {
        let resize: Resize = Box::new(move |size| {
            let _ = sizes.try_send(size);
        });
        resize
    });
    if let Some((resize, size)) = resize.as_mut().zip(request.terminal) {
        resize(terminal(size));
    }
    let giving = tokio::spawn(give(inputs, process.stdin(), resize));

    let mut output = stream::select_all(out.into_iter().chain(err));
    let wrote = pass(&mut output, outputs).await;
    giving.abort();
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    process.abort();
    match status {
        Some(status) => (exit_code(status, outputs).await, wrote),
        None => (None, wrote),
    }
}

/// How a command ended, as the server says it.
async fn exit_code(status: Status, outputs: &Outputs) -> Option<u8> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.and_then(|details| details.causes);
    let mut causes = causes.into_iter().flatten();
    let code = causes.find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    if let Some(code) = code {
        return code.message?.parse().ok();
    }
    let reason = status.message.unwrap_or_default() + "\n";
    let _ = outputs.send(Ok(CommandOutput::Err(reason.into()))).await;
    // As a shell's, for what cannot be executed.
    Some(126)
}

type Resize = Box<dyn FnMut(TerminalSize) + Send>;

const fn terminal(size: WindowSize) -> TerminalSize {
    TerminalSize {
        width: size.columns,
        height: size.rows,
    }
}

fn pieces(
    from: impl tokio::io::AsyncRead + Send + 'static,
    piece: fn(Bytes) -> CommandOutput,
) -> BoxStream<'static, CommandOutput> {
    let read = ReaderStream::with_capacity(from, 16 << 10);
    let read = read.take_while(|bytes| std::future::ready(bytes.is_ok()));
    read.filter_map(move |bytes| std::future::ready(bytes.ok().map(piece)))
        .boxed()
}

/// Gives a command what was typed. The API has no way to send a signal: a terminal has keys for the
/// usual ones.
async fn give(
    mut inputs: mpsc::Receiver<CommandInput>,
    mut typed: Option<impl tokio::io::AsyncWrite + Unpin>,
    mut resize: Option<Resize>,
) {
    while let Some(given) = inputs.recv().await {
        match (given, &mut typed, &mut resize) {
            (CommandInput::Data(bytes), Some(input), _) => {
                // What does not read any more has its reasons.
                let _ = input.write_all(&bytes).await;
            }
            (CommandInput::End, Some(input), _) => {
                let _ = input.shutdown().await;
                typed = None;
            }
            (CommandInput::Resize(size), _, Some(resize)) => resize(terminal(size)),
            _ => {}
        }
    }
}
