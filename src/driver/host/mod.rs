//! The engine `host`: this machine, through the agent; without an agent the first call starts one.
//! Another machine is the same through a connection of ssh ([`ElsewhereEngine`], [`tunnel`]).

mod connect;
mod documents;
mod elsewhere;
mod examine;
mod lines;
mod listening;
mod machine;
mod ports;
mod push;
mod tasks;
mod trust;
pub mod tunnel;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;

use crate::model::facts::Facts;
use crate::model::outcome::Url;
use crate::model::route::Route;
use crate::model::schedule::ScheduleFacts;
use crate::model::secret::SecretValue;
use crate::model::task::TaskId;
use crate::model::{Fingerprint, LiveTraffic, Period, Role, ServiceName, Slot, TaskName};
use crate::port::Progress;
use crate::port::engine::{
    CommandRequest, Engine, EngineError, Incoming, LogLine, LogQuery, Permit, Placement, Restart,
    RunningCommand, Scope, TaskEnd, TaskRun, WAITING,
};
use crate::proto::commands;
use crate::proto::convert::{decode, encode};
use crate::proto::v1::agent_client::AgentClient;
use crate::proto::{Directory, v1};

pub use connect::{Starting, connect, connect_any};
use connect::{found, listens};
pub use elsewhere::ElsewhereEngine;
use lines::{follow, log_line};
pub use machine::{Machine, Reached};

/// How long a call may take that only looks or flips something.
const SHORT: Duration = Duration::from_secs(30);

/// How long a call may take that drains and stops.
const LONG: Duration = Duration::from_mins(10);

/// The largest message.
const MESSAGE_LIMIT: usize = 16 << 20;

/// A machine with an agent.
#[derive(Clone)]
pub struct HostEngine {
    place: AgentPlace,
    /// The agent that was reached last.
    client: Arc<Mutex<Option<AgentClient<Channel>>>>,
}

/// Where the agent is.
#[derive(Clone)]
enum AgentPlace {
    /// On this machine, in this folder.
    Here(Directory, Starting),
    /// On another one. None is started there: what would it be started from?
    There(Machine),
}

impl HostEngine {
    /// The agent in this folder, or in the user's own.
    #[must_use]
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self {
            place: AgentPlace::Here(Directory::find(directory), Starting::IfNeeded),
            client: Arc::default(),
        }
    }

    /// The agent of another machine.
    #[must_use]
    pub fn on(machine: Machine) -> Self {
        Self {
            place: AgentPlace::There(machine),
            client: Arc::default(),
        }
    }

    /// The same for who only looks: where an agent would have to be started first, nothing can be
    /// seen.
    #[must_use]
    pub fn never_starting(self) -> Self {
        let place = match self.place {
            AgentPlace::Here(directory, _) => AgentPlace::Here(directory, Starting::Never),
            AgentPlace::There(machine) => AgentPlace::There(machine),
        };
        Self { place, ..self }
    }

    /// For what only looks: none when there is neither an agent nor anything of this environment
    /// that one would take back. To look at nothing starts nothing.
    async fn reader(&self, scope: &Scope) -> Result<Option<AgentClient<Channel>>, EngineError> {
        let mut reached = self.client.lock().await;
        let directory = match &self.place {
            AgentPlace::Here(directory, _) if reached.is_none() => directory,
            // What another machine has is not known while nobody answers there.
            AgentPlace::Here(..) | AgentPlace::There(_) => {
                return self.reach(&mut reached).await.map(Some);
            }
        };
        if directory.record(scope).exists() {
            return self.reach(&mut reached).await.map(Some);
        }
        (*reached).clone_from(&found(directory).await?);
        Ok(reached.clone())
    }

    async fn client(&self) -> Result<AgentClient<Channel>, EngineError> {
        let mut reached = self.client.lock().await;
        self.reach(&mut reached).await
    }

    /// The agent, looked for before each call: one that was killed in the middle of a run is
    /// started again, so that what follows, a rollback above all, finds one.
    async fn reach(
        &self,
        reached: &mut Option<AgentClient<Channel>>,
    ) -> Result<AgentClient<Channel>, EngineError> {
        let (directory, starting) = match &self.place {
            AgentPlace::Here(directory, starting) => (directory, *starting),
            AgentPlace::There(machine) => return Ok(machine.agent().await?.client),
        };
        if let Some(client) = reached
            && listens(directory).await
        {
            return Ok(client.clone());
        }

        let client = connect(directory, starting).await?;
        *reached = Some(client.clone());
        Ok(client)
    }
}

fn request<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

#[async_trait]
impl Engine for HostEngine {
    async fn observe(&self, scope: &Scope) -> Result<Facts, EngineError> {
        let message = v1::ObserveRequest {
            scope: Some(scope.into()),
        };
        let Some(mut client) = self.reader(scope).await? else {
            return Ok(Facts::default());
        };
        let reply = client.observe(request(message, SHORT)).await?;
        Ok(decode("facts", &reply.into_inner().facts_json)?)
    }

    async fn listen(
        &self,
        permit: &Permit,
        route: &Route,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let message = v1::ListenRequest {
            permit: Some(permit.into()),
            route_json: encode(route),
            expects: expects.map(Into::into),
        };
        self.client().await?.listen(request(message, SHORT)).await?;
        Ok(())
    }

    async fn listen_together(
        &self,
        permit: &Permit,
        routes: &[Route],
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let message = v1::ListenTogetherRequest {
            permit: Some(permit.into()),
            routes_json: encode(&routes),
            expects: expects.map(Into::into),
        };
        self.client()
            .await?
            .listen_together(request(message, SHORT))
            .await?;
        Ok(())
    }

    async fn stop_listening(
        &self,
        permit: &Permit,
        service: &ServiceName,
    ) -> Result<(), EngineError> {
        let message = v1::StopListeningRequest {
            permit: Some(permit.into()),
            service: service.to_string(),
        };
        self.client()
            .await?
            .stop_listening(request(message, SHORT))
            .await?;
        Ok(())
    }

    async fn room(&self, incoming: &[Incoming]) -> Result<(), EngineError> {
        let message = v1::RoomRequest {
            images_json: encode(&incoming),
        };
        let looked = self.client().await?.room(request(message, SHORT)).await;
        match looked {
            // An agent of an earlier version looks at each image when it comes.
            Err(status) if status.code() == tonic::Code::Unimplemented => Ok(()),
            looked => Ok(looked.map(drop)?),
        }
    }

    async fn secret_hashes(
        &self,
        _: &Scope,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let values = values.iter();
        let message = v1::SecretHashesRequest {
            secrets: values
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect(),
        };
        let mut client = self.client().await?;
        let reply = client.secret_hashes(request(message, SHORT)).await?;
        Ok(reply.into_inner().hashes.into_iter().collect())
    }

    async fn deploy(
        &self,
        permit: &Permit,
        placement: Placement,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let message = v1::DeployRequest {
            permit: Some(permit.into()),
            slot: placement.slot.to_string(),
            label_json: encode(&placement.label),
            workload_json: encode(&placement.workload),
            mode_json: encode(&placement.mode),
            running: placement.running,
            pull_json: encode(&placement.pull),
            secrets: placement
                .secrets
                .iter()
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect(),
            expects: placement.expects.map(Into::into),
        };

        follow(
            self.client().await?.deploy(request(message, LONG)).await,
            progress,
        )
        .await
    }

    async fn restart(
        &self,
        permit: &Permit,
        restart: Restart,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let secrets = restart.secrets.iter();
        let message = v1::RestartRequest {
            permit: Some(permit.into()),
            slot: restart.slot.to_string(),
            service: restart.service.to_string(),
            mode_json: encode(&restart.mode),
            secrets: secrets
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect(),
        };
        let begun = self.client().await?.restart(request(message, LONG)).await;
        if let Err(status) = &begun
            && status.code() == tonic::Code::Unimplemented
        {
            return Err(EngineError::Refused {
                reason: "the agent is of an earlier version and cannot restart a service"
                    .to_owned(),
                help: "`shipit agent stop` ends it and leaves the services running; the next \
                       command starts one of this version"
                    .to_owned(),
            });
        }
        follow(begun, progress).await
    }

    async fn stop(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let message = v1::StopRequest {
            permit: Some(permit.into()),
            slot: slot.to_string(),
            service: service.to_string(),
            expects: expects.map(Into::into),
        };
        follow(
            self.client().await?.stop(request(message, LONG)).await,
            progress,
        )
        .await
    }

    async fn undeploy(
        &self,
        permit: &Permit,
        slot: Slot,
        service: &ServiceName,
        expects: Option<Fingerprint>,
    ) -> Result<(), EngineError> {
        let message = v1::UndeployRequest {
            permit: Some(permit.into()),
            slot: slot.to_string(),
            service: service.to_string(),
            expects: expects.map(Into::into),
        };
        self.client()
            .await?
            .undeploy(request(message, LONG))
            .await?;
        Ok(())
    }

    async fn ready(
        &self,
        scope: &Scope,
        slot: Slot,
        within: Period,
        progress: Progress<'_>,
    ) -> Result<(), EngineError> {
        let message = v1::ReadyRequest {
            scope: Some(scope.into()),
            slot: slot.to_string(),
            within_millis: within.as_millis(),
        };
        let limit = within.get().saturating_add(SHORT);
        follow(
            self.client().await?.ready(request(message, limit)).await,
            progress,
        )
        .await
    }

    async fn switch(
        &self,
        permit: &Permit,
        from: LiveTraffic,
        to: LiveTraffic,
    ) -> Result<(), EngineError> {
        let message = v1::SwitchRequest {
            permit: Some(permit.into()),
            from: from.slot().map(|slot| slot.to_string()),
            to: to.slot().map(|slot| slot.to_string()),
        };
        self.client().await?.switch(request(message, SHORT)).await?;
        Ok(())
    }

    async fn retain(
        &self,
        permit: &Permit,
        slot: Slot,
        until: Timestamp,
    ) -> Result<(), EngineError> {
        let message = v1::RetainRequest {
            permit: Some(permit.into()),
            slot: slot.to_string(),
            until: until.to_string(),
        };
        self.client().await?.retain(request(message, SHORT)).await?;
        Ok(())
    }

    async fn run_task(
        &self,
        permit: &Permit,
        run: TaskRun,
        progress: Progress<'_>,
    ) -> Result<TaskEnd, EngineError> {
        tasks::run(self, permit, &run, progress).await
    }

    async fn schedules(
        &self,
        scope: &Scope,
        task: Option<&TaskName>,
    ) -> Result<Vec<ScheduleFacts>, EngineError> {
        tasks::schedules(self, scope, task).await
    }

    async fn stop_task(&self, permit: &Permit, id: &TaskId) -> Result<(), EngineError> {
        let message = v1::StopTaskRequest {
            permit: Some(permit.into()),
            id: id.to_string(),
        };
        let mut client = self.client().await?;
        client.stop_task(request(message, SHORT)).await?;
        Ok(())
    }

    async fn urls(&self, scope: &Scope, role: Role) -> Result<Vec<Url>, EngineError> {
        let message = v1::UrlsRequest {
            scope: Some(scope.into()),
            role: role.to_string(),
        };
        let Some(mut client) = self.reader(scope).await? else {
            return Ok(Vec::new());
        };
        let reply = client.urls(request(message, SHORT)).await?;
        Ok(decode("urls", &reply.into_inner().urls_json)?)
    }

    async fn command(
        &self,
        scope: &Scope,
        request: CommandRequest,
    ) -> Result<RunningCommand, EngineError> {
        let (input, inputs) = mpsc::channel(WAITING);
        let begin = commands::begin(scope, &request);
        let given = ReceiverStream::new(inputs).map(commands::given);
        let messages = futures_util::stream::once(async { begin }).chain(given);

        let mut client = self.client().await?;
        let running = client.command(Request::new(messages)).await?;
        let output = running.into_inner();
        let output = output.map(|message| Ok(commands::piece(message?)?));
        Ok(RunningCommand {
            input,
            output: output.boxed(),
        })
    }

    async fn logs(
        &self,
        scope: &Scope,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, EngineError>>, EngineError> {
        let message = v1::LogsRequest {
            scope: Some(scope.into()),
            slot: query.slot.map(|slot| slot.to_string()),
            service: query.service.map(|service| service.to_string()),
            tail: query
                .tail
                .map_or(u32::MAX, |tail| u32::try_from(tail).unwrap_or(u32::MAX)),
            follow: query.follow,
            since: query.since.map(|since| since.to_string()),
        };
        let Some(mut client) = self.reader(scope).await? else {
            return Ok(futures_util::stream::empty().boxed());
        };

        // A followed log has no end, and so no limit.
        let lines = client.logs(Request::new(message)).await?.into_inner();
        Ok(lines
            .map(|line| log_line(line?).map_err(Into::into))
            .boxed())
    }
}
