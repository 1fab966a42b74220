//! Commands that people run: in a pod that is ready, or in one of their own, made from a pod of the
//! service and deleted when the command has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;

use crate::driver::kubernetes::client::api::{Api, ApiError, Selector};
use crate::driver::kubernetes::engine::logs::{self, Part};
use crate::driver::kubernetes::engine::{KubernetesEngine, observe, slots};
use crate::model::command::CommandPlace;
use crate::model::object::mark;
use crate::model::{ObjectKey, Slot};
use crate::port::engine::{
    CommandInput, CommandOutput, CommandRequest, EngineError, RunningCommand, Scope, WAITING,
    WindowSize,
};

/// What marks the pod of a command.
const COMMAND: &str = "shipit.dev/command";
/// How long the pod of a command may take to start.
const START: Duration = Duration::from_mins(5);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);
/// How long the end of a container may take to be seen, once its output has ended.
const ENDING: Duration = Duration::from_secs(30);
/// Why a container will not start, whatever is waited for.
const HOPELESS: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "InvalidImageName",
];
/// What the pod of a command does not have of the service's, and what its container does not.
const NOT_OF_POD: [&str; 5] = [
    "nodeName",
    "hostname",
    "subdomain",
    "initContainers",
    "ephemeralContainers",
];
const NOT_OF_CONTAINER: [&str; 6] = [
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "ports",
    "lifecycle",
    "args",
];

fn refused(reason: String, help: &str) -> EngineError {
    EngineError::Refused {
        reason,
        help: help.to_owned(),
    }
}

/// Where a command runs.
struct Place {
    namespace: String,
    pod: String,
    container: String,
    /// The pod, when it is the command's own.
    own: Option<ObjectKey>,
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
    let streams = match streams(api, &place, &request, &what).await {
        Ok(streams) => streams,
        Err(error) => {
            place.clean_up(api).await;
            return Err(error);
        }
    };

    let (input, inputs) = mpsc::channel(WAITING);
    let (outputs, output) = mpsc::channel(WAITING);
    tokio::spawn(carry(
        Arc::clone(api),
        place,
        streams,
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

    let pod = until_it_runs(api, key, what).await?;
    if request.reads && pod["status"]["phase"] == "Running" {
        let process = api.attach(namespace, name, &params).await;
        return Ok(Streams::Attached(Box::new(process.map_err(failed)?)));
    }
    let part = Part {
        follow: true,
        ..Part::default()
    };
    let lines = api.lines(&logs::path(&pod, &place.container, part)).await;
    let lines = lines.map_err(failed)?;
    let lines = lines.take_while(|line| std::future::ready(line.is_ok()));
    let piece = |line: Result<String, std::io::Error>| {
        let line = line.unwrap_or_default() + "\n";
        CommandOutput::Out(line.into())
    };
    Ok(Streams::Log(lines.map(piece).boxed()))
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
        labels[mark::SERVICE] == service.as_str() && labels[COMMAND].is_null()
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

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|one| one["type"] == "Ready");
    ready.any(|one| one["status"] == "True")
}

/// Makes the pod of a command: what the service\'s pod is, without what makes it one of the
/// service\'s. What earlier commands have left goes.
async fn begin(
    api: &Api,
    scope: &Scope,
    model: &Value,
    request: &CommandRequest,
) -> Result<Place, ApiError> {
    let namespace = text(model, "namespace");
    sweep(api, scope, &namespace).await?;
    let pod = pod_for(scope, model, request);
    let made = api.create(&pod).await?;
    let name = text(&made, "name");
    Ok(Place {
        own: Some(ObjectKey {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some(namespace.clone()),
            name: name.clone(),
        }),
        container: container(model),
        namespace,
        pod: name,
    })
}

fn pod_for(scope: &Scope, model: &Value, request: &CommandRequest) -> Value {
    let (slot, service): (Slot, _) = (request.slot, &request.service);
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut spec = model["spec"].clone();
    let mut first = spec["containers"][0].clone();
    for (of, fields) in [
        (&mut spec, &NOT_OF_POD[..]),
        (&mut first, &NOT_OF_CONTAINER),
    ] {
        if let Some(of) = of.as_object_mut() {
            fields.iter().for_each(|field| drop(of.remove(*field)));
        }
    }
    first["command"] = json!(request.command);
    first["stdin"] = json!(request.reads);
    first["stdinOnce"] = json!(request.reads);
    first["tty"] = json!(request.terminal.is_some());
    spec["containers"] = json!([first]);
    spec["restartPolicy"] = json!("Never");
    spec["activeDeadlineSeconds"] = json!(request.within.get().as_secs().max(1));
    spec["terminationGracePeriodSeconds"] = json!(5);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{service}-command-{}", &id[..8]),
            "namespace": model["metadata"]["namespace"],
            "labels": {
                mark::PROJECT: scope.project.as_str(),
                mark::ENVIRONMENT: scope.environment.as_str(),
                COMMAND: format!("{slot}.{service}"),
            },
        },
        "spec": spec,
    })
}

/// Deletes the pods of commands that have ended and whose client has died.
async fn sweep(api: &Api, scope: &Scope, namespace: &str) -> Result<(), ApiError> {
    let kind = api.must(("v1", "Pod")).await?;
    let labels = format!("{},{COMMAND}", observe::of_scope(scope));
    let mut over = Vec::new();
    api.list(&kind, Some(namespace), &Selector::Labels(labels), |pod| {
        if matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        ) {
            over.push(text(&pod, "name"));
        }
    })
    .await?;
    for name in over {
        let key = ObjectKey {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some(namespace.to_owned()),
            name,
        };
        let _ = api.delete(&key, None).await;
    }
    Ok(())
}

/// Waits until the pod of a command runs, or has run.
async fn until_it_runs(api: &Api, key: &ObjectKey, what: &str) -> Result<Value, EngineError> {
    let begun = tokio::time::Instant::now();
    loop {
        let pod = api.get(key).await.map_err(|fault| fault.while_(what))?;
        let pod = pod.unwrap_or_default();
        if !matches!(pod["status"]["phase"].as_str(), None | Some("Pending")) {
            return Ok(pod);
        }

        let waits = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let reason = waits["reason"].as_str().unwrap_or("no node has it yet");
        if HOPELESS.contains(&reason) || begun.elapsed() > START {
            let message = waits["message"].as_str().unwrap_or_default();
            return Err(EngineError::Failed {
                what: what.to_owned(),
                reason: format!("its pod does not start: {reason} {message}"),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Place {
    /// Waits for the end of a pod of a command, and gives its exit code.
    async fn exit(&self, api: &Api) -> Option<u8> {
        let key = self.own.as_ref()?;
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < ENDING {
            let pod = api.get(key).await.ok()??;
            let statuses = pod["status"]["containerStatuses"].as_array();
            let code = statuses
                .into_iter()
                .flatten()
                .filter(|one| one["name"] == self.container.as_str())
                .find_map(|one| one["state"]["terminated"]["exitCode"].as_u64());
            if let Some(code) = code {
                return u8::try_from(code).ok();
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }

    /// Deletes the pod of a command.
    async fn clean_up(&self, api: &Api) {
        if let Some(key) = &self.own {
            let _ = api.delete(key, None).await;
        }
    }
}

type Outputs = mpsc::Sender<Result<CommandOutput, EngineError>>;

/// Carries input and output until the command has ended, its time is over, or nobody looks on.
async fn carry(
    api: Arc<Api>,
    place: Place,
    streams: Streams,
    inputs: mpsc::Receiver<CommandInput>,
    outputs: Outputs,
    request: CommandRequest,
) {
    let within = request.within.get();
    let work = async {
        match streams {
            Streams::Log(mut output) => {
                pass(&mut output, &outputs).await;
                place.exit(&api).await
            }
            Streams::Attached(process) => {
                let said = attached(*process, inputs, &outputs, &request).await;
                match place.own {
                    Some(_) => place.exit(&api).await,
                    None => said,
                }
            }
        }
    };
    let last = tokio::select! {
        code = work => code.ok_or_else(|| cut_off("how it ended is not known")),
        () = outputs.closed() => Err(cut_off("nobody looks on")),
        () = tokio::time::sleep(within) => {
            let within = humantime::format_duration(within);
            Err(cut_off(&format!("it took longer than {within}")))
        }
    };
    place.clean_up(&api).await;
    let _ = outputs.send(last.map(CommandOutput::Ended)).await;
}

async fn pass(
    output: &mut (impl futures_util::Stream<Item = CommandOutput> + Unpin),
    outputs: &Outputs,
) {
    while let Some(piece) = output.next().await {
        if outputs.send(Ok(piece)).await.is_err() {
            return;
        }
    }
}

/// Gives the exit code, where the server says it.
async fn attached(
    mut process: AttachedProcess,
    inputs: mpsc::Receiver<CommandInput>,
    outputs: &Outputs,
    request: &CommandRequest,
) -> Option<u8> {
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
    pass(&mut output, outputs).await;
    giving.abort();
    let status = status?.await?;
    process.abort();
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.and_then(|details| details.causes);
    let mut causes = causes.into_iter().flatten();
    let code = causes.find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match code {
        Some(code) => code.message?.parse().ok(),
        None => {
            let reason = status.message.unwrap_or_default() + "\n";
            let _ = outputs.send(Ok(CommandOutput::Err(reason.into()))).await;
            // As a shell's, for what cannot be executed.
            Some(126)
        }
    }
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
            (CommandInput::Data(bytes), Some(typed), _) => {
                if typed.write_all(&bytes).await.is_err() {
                    return;
                }
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
