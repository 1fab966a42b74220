//! gRPC over a Unix socket: each call of the contract is a call of the engine.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::Directory;
use crate::agent::answer::{Answer, Lines, Say, done, whole, with_progress, with_progress_until};
use crate::agent::clients::clients;
use crate::agent::engine::{Agent, deploy, schedule, task};
use crate::agent::{documents, home, posture, received};
use crate::files;
use crate::model::route::Route;
use crate::model::secret::SecretValue;
use crate::model::task::TaskId;
use crate::model::{Period, Platform, Role};
use crate::port::engine::{Engine as _, EngineError, Incoming, LogQuery, Placement, Restart};
use crate::proto::commands;
use crate::proto::convert::{decode, encode, fingerprint, live_traffic, parse, slot};
use crate::proto::v1::agent_server::{Agent as Contract, AgentServer};
use crate::proto::{CONTRACT, tasks, v1};
use crate::redact::Redactor;

/// The largest message.
const MESSAGE_LIMIT: usize = 16 << 20;

/// How long a client may take to say which command it wants.
const BEGIN: Duration = Duration::from_secs(10);

/// How long requests under way have when the agent stops.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Runs an agent in this folder until it is told to stop.
pub async fn serve(
    directory: Directory,
    inherited: Vec<std::net::TcpListener>,
    redactor: Redactor,
    stop: CancellationToken,
) -> Result<(), EngineError> {
    let failed = |what: &'static str| {
        move |error: io::Error| EngineError::Failed {
            what: what.to_owned(),
            reason: error.to_string(),
        }
    };

    let folder = directory
        .prepare()
        .map_err(failed("making the agent's folder"))?;
    let closed = directory.close_off();
    closed.map_err(failed("closing the agent's folder to others"))?;
    let _lock = lock(&directory).map_err(failed("taking the agent's lock"))?;
    // Before it reads what services have: their secrets are in its memory from then on.
    posture::hide();
    let agent = Agent::start(directory.clone(), inherited, redactor).await?;
    let socket = listen(&directory, &folder).map_err(failed("opening the agent's socket"))?;
    tracing::info!(directory = %directory.path().display(), "the agent is up");
    let watched = home::watch(folder, directory.clone(), stop.clone());
    schedule::watch(&agent);
    let left = tokio::spawn(home::leave(watched, Arc::clone(&agent), stop.clone()));
    let server = Server {
        agent: Arc::clone(&agent),
        started: Timestamp::now(),
        stop: stop.clone(),
        documents: Arc::new(documents::Documents::new(directory.documents())),
    };

    let service = AgentServer::new(server)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(clients(socket), stop.clone().cancelled_owned());
    tokio::select! {
        result = serving => result.map_err(|error| failed("serving")(io::Error::other(error)))?,
        // A client that follows logs would keep the server up for ever.
        () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(1)).await } => {}
    }

    // One that left its folder has told so; another's socket may be there now.
    if left.is_finished() {
        let _ = left.await;
    } else {
        left.abort();
        let _ = fs::remove_file(directory.socket());
    }

    agent.router().shutdown(SHUTDOWN).await;
    tracing::info!("the agent has stopped");
    Ok(())
}

/// Only one agent per folder. The lock goes with the process, however it ends.
fn lock(directory: &Directory) -> io::Result<fs::File> {
    let taken = || {
        io::Error::new(
            io::ErrorKind::AlreadyExists,
            "another agent runs in this folder",
        )
    };
    files::try_lock(&directory.lock())?.ok_or_else(taken)
}

/// A socket that a dead agent left is replaced: the lock says that nobody else has it.
fn listen(directory: &Directory, folder: &OwnedFd) -> io::Result<UnixListener> {
    let path = directory.socket_of(folder);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The folder is its owner's alone, so nobody can come in before the mode is set.
    let socket = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

struct Server {
    agent: Arc<Agent>,
    started: Timestamp,
    stop: CancellationToken,
    documents: Arc<documents::Documents>,
}

/// The values of secrets as a message has them, by name.
fn secrets(values: HashMap<String, String>) -> BTreeMap<String, SecretValue> {
    let values = values.into_iter();
    values
        .map(|(name, value)| (name, SecretValue::new(value)))
        .collect()
}

#[tonic::async_trait]
impl Contract for Server {
    async fn info(&self, _: Request<v1::InfoRequest>) -> Answer<v1::InfoReply> {
        Ok(Response::new(v1::InfoReply {
            contract: CONTRACT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started.to_string(),
            directory: self.agent.directory().path().display().to_string(),
            scopes: self.agent.scopes().iter().map(Into::into).collect(),
            platform: Platform::own().to_string(),
            now: Timestamp::now().to_string(),
        }))
    }

    async fn observe(&self, request: Request<v1::ObserveRequest>) -> Answer<v1::ObserveReply> {
        let facts = self
            .agent
            .observe(&request.into_inner().scope.try_into()?)
            .await?;
        Ok(Response::new(v1::ObserveReply {
            facts_json: encode(&facts),
        }))
    }

    async fn listen(&self, request: Request<v1::ListenRequest>) -> Answer<v1::Done> {
        let request = request.into_inner();
        let route = decode("route", &request.route_json)?;
        let expects = fingerprint(request.expects.as_ref())?;
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        whole(async move { agent.listen(&permit, &route, expects).await }).await
    }

    async fn listen_together(
        &self,
        request: Request<v1::ListenTogetherRequest>,
    ) -> Answer<v1::Done> {
        let request = request.into_inner();
        let routes: Vec<Route> = decode("routes", &request.routes_json)?;
        let expects = fingerprint(request.expects.as_ref())?;
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        whole(async move { agent.listen_together(&permit, &routes, expects).await }).await
    }

    async fn stop_listening(&self, request: Request<v1::StopListeningRequest>) -> Answer<v1::Done> {
        let request = request.into_inner();
        let service = parse("service", &request.service)?;
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        whole(async move { agent.stop_listening(&permit, &service).await }).await
    }

    async fn room(&self, request: Request<v1::RoomRequest>) -> Answer<v1::Done> {
        let incoming: Vec<Incoming> = decode("images", &request.into_inner().images_json)?;
        done(self.agent.room(&incoming).await)
    }

    async fn secret_hashes(
        &self,
        request: Request<v1::SecretHashesRequest>,
    ) -> Answer<v1::SecretHashesReply> {
        let hashes = self.agent.hashes(&secrets(request.into_inner().secrets));
        Ok(Response::new(v1::SecretHashesReply {
            hashes: hashes.into_iter().collect(),
        }))
    }

    type DeployStream = Lines<v1::Progress>;

    async fn deploy(&self, request: Request<v1::DeployRequest>) -> Answer<Self::DeployStream> {
        let request = request.into_inner();
        let permit = request.permit.try_into()?;
        let placement = Placement {
            slot: parse("slot", &request.slot)?,
            label: decode("label", &request.label_json)?,
            workload: decode("workload", &request.workload_json)?,
            mode: decode("mode", &request.mode_json)?,
            running: request.running,
            pull: decode("pull", &request.pull_json)?,
            secrets: secrets(request.secrets),
            expects: fingerprint(request.expects.as_ref())?,
        };

        let agent = Arc::clone(&self.agent);
        let gone = CancellationToken::new();
        let told = gone.clone();
        let work = |say: Say| async move {
            deploy::deploy(&agent, &permit, placement, say.as_ref(), &told).await
        };
        Ok(with_progress_until(work, gone))
    }

    type StopStream = Lines<v1::Progress>;

    async fn stop(&self, request: Request<v1::StopRequest>) -> Answer<Self::StopStream> {
        let request = request.into_inner();
        let (slot, service) = (
            parse("slot", &request.slot)?,
            parse("service", &request.service)?,
        );
        let expects = fingerprint(request.expects.as_ref())?;
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        Ok(with_progress(|say| async move {
            let stop = agent.stop(&permit, slot, &service, expects, say.as_ref());
            stop.await
        }))
    }

    async fn undeploy(&self, request: Request<v1::UndeployRequest>) -> Answer<v1::Done> {
        let request = request.into_inner();
        let (slot, service) = (
            parse("slot", &request.slot)?,
            parse("service", &request.service)?,
        );
        let expects = fingerprint(request.expects.as_ref())?;
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        whole(async move { agent.undeploy(&permit, slot, &service, expects).await }).await
    }

    type RestartStream = Lines<v1::Progress>;

    async fn restart(&self, request: Request<v1::RestartRequest>) -> Answer<Self::RestartStream> {
        let request = request.into_inner();
        let permit = request.permit.try_into()?;
        let restart = Restart {
            slot: parse("slot", &request.slot)?,
            service: parse("service", &request.service)?,
            mode: decode("mode", &request.mode_json)?,
            secrets: secrets(request.secrets),
        };
        let agent = Arc::clone(&self.agent);
        Ok(with_progress(|say| async move {
            agent.restart(&permit, restart, say.as_ref()).await
        }))
    }

    type ReadyStream = Lines<v1::Progress>;

    async fn ready(&self, request: Request<v1::ReadyRequest>) -> Answer<Self::ReadyStream> {
        let request = request.into_inner();
        let (scope, slot) = (request.scope.try_into()?, parse("slot", &request.slot)?);
        let within = Period::from_millis(request.within_millis);
        let agent = Arc::clone(&self.agent);
        Ok(with_progress(|say| async move {
            agent.ready(&scope, slot, within, say.as_ref()).await
        }))
    }

    async fn switch(&self, request: Request<v1::SwitchRequest>) -> Answer<v1::Done> {
        let request = request.into_inner();
        let from = live_traffic(request.from.as_ref())?;
        let to = live_traffic(request.to.as_ref())?;
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        whole(async move { agent.switch(&permit, from, to).await }).await
    }

    async fn retain(&self, request: Request<v1::RetainRequest>) -> Answer<v1::Done> {
        let request = request.into_inner();
        let (slot, until) = (
            parse("slot", &request.slot)?,
            parse("until", &request.until)?,
        );
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        whole(async move { agent.retain(&permit, slot, until).await }).await
    }

    async fn urls(&self, request: Request<v1::UrlsRequest>) -> Answer<v1::UrlsReply> {
        let request = request.into_inner();
        let role = if request.role == "active" {
            Role::Active
        } else {
            Role::Preview
        };
        let urls = self.agent.urls(&request.scope.try_into()?, role).await?;
        Ok(Response::new(v1::UrlsReply {
            urls_json: encode(&urls),
        }))
    }

    type LogsStream = Lines<v1::LogLine>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let request = request.into_inner();
        let query = LogQuery {
            slot: slot(request.slot.as_ref())?,
            service: request
                .service
                .as_ref()
                .map(|name| parse("service", name))
                .transpose()?,
            tail: (request.tail != u32::MAX)
                .then(|| usize::try_from(request.tail).unwrap_or(usize::MAX)),
            since: request
                .since
                .as_ref()
                .map(|since| parse("since", since))
                .transpose()?,
            follow: request.follow,
        };

        let lines = self.agent.logs(&request.scope.try_into()?, query).await?;
        let lines = lines.map(|line| {
            let line = line?;
            Ok(v1::LogLine {
                slot: line.slot.to_string(),
                service: line.service.to_string(),
                instance: u32::from(line.instance),
                text: line.text,
            })
        });
        Ok(Response::new(Box::pin(lines)))
    }

    type CommandStream = Lines<v1::CommandOutput>;

    async fn command(
        &self,
        request: Request<Streaming<v1::CommandInput>>,
    ) -> Answer<Self::CommandStream> {
        let mut inputs = request.into_inner();
        let first = tokio::time::timeout(BEGIN, inputs.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no command came"))??;
        let (scope, request) = commands::request(first)?;
        let running = self.agent.command(&scope, request).await?;

        let input = running.input;
        tokio::spawn(async move {
            while let Ok(Some(message)) = inputs.message().await {
                let Some(given) = commands::input(message) else {
                    continue;
                };
                if input.send(given).await.is_err() {
                    return;
                }
            }
        });
        let output = running.output.map(|piece| Ok(commands::output(piece?)));
        Ok(Response::new(Box::pin(output)))
    }

    type RunTaskStream = Lines<v1::TaskOutput>;

    async fn run_task(&self, request: Request<v1::TaskRequest>) -> Answer<Self::RunTaskStream> {
        let (permit, run) = tasks::run(request.into_inner())?;
        let agent = Arc::clone(&self.agent);
        // What is begun goes on when nobody looks on any more.
        let beginning = async move { task::begin(&agent, &permit, run).await };
        let begun = tokio::spawn(beginning).await;
        let mut followed =
            begun.map_err(|error| Status::internal(format!("it was not begun: {error}")))??;

        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                match followed.next().await {
                    Ok(lines) => {
                        for line in lines {
                            if sender.send(Ok(tasks::line(line))).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(end) => {
                        let last = end.map(|end| tasks::end(&end)).map_err(Into::into);
                        let _ = sender.send(last).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn stop_task(&self, request: Request<v1::StopTaskRequest>) -> Answer<v1::Done> {
        let request = request.into_inner();
        let id: TaskId = parse("id", &request.id)?;
        let (agent, permit) = (Arc::clone(&self.agent), request.permit.try_into()?);
        whole(async move { agent.stop_task(&permit, &id).await }).await
    }

    async fn schedules(
        &self,
        request: Request<v1::SchedulesRequest>,
    ) -> Answer<v1::SchedulesReply> {
        let request = request.into_inner();
        let task = request.task.map(|task| parse("task", &task)).transpose()?;
        let scope = request.scope.try_into()?;
        let schedules = self.agent.schedules(&scope, task.as_ref()).await?;
        Ok(Response::new(v1::SchedulesReply {
            schedules_json: encode(&schedules),
        }))
    }

    async fn shutdown(&self, request: Request<v1::ShutdownRequest>) -> Answer<v1::Done> {
        let request = request.into_inner();
        if !request.end_tasks {
            let agent = Arc::clone(&self.agent);
            whole(async move { agent.has_no_task().await }).await?;
        }
        if request.stop_services {
            let agent = Arc::clone(&self.agent);
            let stopping = async move {
                agent.stop_services().await;
                Ok(())
            };
            whole(stopping).await?;
        }
        self.stop.cancel();
        Ok(Response::new(v1::Done {}))
    }

    async fn missing_blobs(
        &self,
        request: Request<v1::MissingBlobsRequest>,
    ) -> Answer<v1::MissingBlobsReply> {
        received::missing(&self.agent, request.into_inner()).await
    }

    async fn send_blob(&self, request: Request<Streaming<v1::BlobPiece>>) -> Answer<v1::Done> {
        received::blob(&self.agent, request.into_inner()).await
    }

    async fn read_document(
        &self,
        request: Request<v1::ReadDocumentRequest>,
    ) -> Answer<v1::ReadDocumentReply> {
        documents::read(&self.documents, request.into_inner()).await
    }

    async fn write_document(
        &self,
        request: Request<v1::WriteDocumentRequest>,
    ) -> Answer<v1::WriteDocumentReply> {
        documents::write(&self.documents, request.into_inner()).await
    }

    async fn delete_document(
        &self,
        request: Request<v1::DeleteDocumentRequest>,
    ) -> Answer<v1::Done> {
        documents::delete(&self.documents, request.into_inner()).await
    }

    async fn list_documents(
        &self,
        request: Request<v1::ListDocumentsRequest>,
    ) -> Answer<v1::ListDocumentsReply> {
        documents::list(&self.documents, request.into_inner()).await
    }
}
