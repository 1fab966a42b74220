//! The agent of this machine: running it, asking it, stopping it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use listenfd::ListenFd;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::agent::log::instances as log_files;
use crate::agent::log::own::OwnLog;
use crate::agent::{posture, server, unit as units};
use crate::driver::host::{Starting, connect, connect_any};
use crate::model::facts::Facts;
use crate::model::route::Route;
use crate::ops::Error;
use crate::output::agent::{AgentView, ManagedEnvironment, RunningAgent};
use crate::port::engine::EngineError;
use crate::proto::convert::decode;
use crate::proto::{Directory, v1};
use crate::redact::Redactor;

/// Why `SHIPIT_AGENT_DIR` names no folder, if that is so.
#[must_use]
pub fn misnamed_directory() -> Option<String> {
    Directory::misnamed()
}

/// What is stopped with the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// The agent alone.
    Agent,
    /// The services too.
    Services,
}

/// What becomes of tasks that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunningTasks {
    /// They end with the agent, a migration in the middle of what it does.
    End,
    /// The agent goes on as long as there are any.
    Keep,
}

impl From<bool> for Stopping {
    fn from(services: bool) -> Self {
        if services {
            Self::Services
        } else {
            Self::Agent
        }
    }
}

/// Runs the agent until it is told to stop.
pub async fn run(directory: Option<PathBuf>, stop: CancellationToken) -> Result<(), Error> {
    let filter = EnvFilter::try_from_env("SHIPIT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let directory = Directory::find(directory);
    let redactor = Redactor::default();
    let log = OwnLog::open(&directory.log(), redactor.clone());
    if log.is_a_file() {
        // Standard error stays with the first file, which goes one day.
        std::panic::set_hook(Box::new(
            |panic| tracing::error!(%panic, "a task has ended"),
        ));
    }

    // A second subscriber in one process is no reason to fail.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Mutex::new(log))
        .with_ansi(false)
        .try_init();
    posture::take();
    Ok(server::serve(directory, inherited(), redactor, stop).await?)
}

/// Listening sockets that systemd opened for us.
fn inherited() -> Vec<std::net::TcpListener> {
    let mut descriptors = ListenFd::from_env();
    (0..descriptors.len())
        .filter_map(|index| descriptors.take_tcp_listener(index).ok().flatten())
        .collect()
}

/// What the agent has.
pub async fn status(directory: Option<PathBuf>) -> Result<AgentView, Error> {
    let directory = Directory::find(directory);
    let Some(mut client) = connect_any(&directory).await? else {
        return Ok(AgentView {
            directory: directory.path().display().to_string(),
            agent: None,
        });
    };

    let info = client
        .info(v1::InfoRequest {})
        .await
        .map_err(EngineError::from)?
        .into_inner();
    let environments = environments(&mut client, info.scopes).await?;
    Ok(AgentView {
        directory: info.directory,
        agent: Some(RunningAgent {
            version: info.version,
            pid: info.pid,
            since: info.started,
            environments: environments.into_iter().map(managed).collect(),
        }),
    })
}

fn managed((name, facts): (String, Facts)) -> ManagedEnvironment {
    let workloads = facts
        .slots
        .values()
        .flat_map(|slot| slot.workloads.values());
    ManagedEnvironment {
        name,
        traffic: facts.traffic,
        instances: workloads.map(|workload| workload.instances.len()).sum(),
        listeners: listeners_of(&facts).count(),
    }
}

/// The addresses at which an agent listens, for all of these environments.
pub(super) async fn listening(
    client: &mut Client,
    scopes: Vec<v1::Scope>,
) -> Result<Vec<SocketAddr>, Error> {
    let environments = environments(client, scopes).await?;
    let mut listeners: Vec<SocketAddr> = environments
        .iter()
        .flat_map(|(_, facts)| listeners_of(facts))
        .collect();
    listeners.sort();
    listeners.dedup();
    Ok(listeners)
}

/// How long an agent may take to say what an environment is like.
const OBSERVE: std::time::Duration = std::time::Duration::from_secs(30);

/// Where the agent listens.
fn listeners_of(facts: &Facts) -> impl Iterator<Item = SocketAddr> {
    let routes = facts.routes.values().filter_map(Route::listeners);
    routes.flat_map(|it| it.routed().into_iter().map(|listen| listen.address))
}

type Client = v1::agent_client::AgentClient<tonic::transport::Channel>;

async fn environments(
    client: &mut Client,
    scopes: Vec<v1::Scope>,
) -> Result<Vec<(String, Facts)>, Error> {
    let mut environments = Vec::new();
    for scope in scopes {
        let name = format!("{}/{}", scope.project, scope.environment);
        let mut request = tonic::Request::new(v1::ObserveRequest { scope: Some(scope) });
        request.set_timeout(OBSERVE);
        let reply = client.observe(request).await.map_err(EngineError::from)?;
        environments.push((
            name,
            decode("facts", &reply.into_inner().facts_json).map_err(EngineError::from)?,
        ));
    }
    Ok(environments)
}

/// Stops the agent; says what stands then. None when no agent runs.
pub async fn stop(
    directory: Option<PathBuf>,
    stopping: Stopping,
    tasks: RunningTasks,
) -> Result<Option<&'static str>, Error> {
    let directory = Directory::find(directory);
    let Some(mut client) = connect_any(&directory).await? else {
        return Ok(None);
    };

    let info = client
        .info(v1::InfoRequest {})
        .await
        .map_err(EngineError::from)?
        .into_inner();
    let message = v1::ShutdownRequest {
        stop_services: stopping == Stopping::Services,
        end_tasks: tasks == RunningTasks::End,
    };
    client.shutdown(message).await.map_err(EngineError::from)?;
    gone(info.pid).await;
    Ok(Some(match stopping {
        Stopping::Services => "The agent and its services are stopped.",
        Stopping::Agent => {
            "The agent is stopped and listens no more. The services run on; the next agent takes \
             them back."
        }
    }))
}

/// Waits until the process has ended: its requests under way have their time.
async fn gone(pid: u32) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(15);
    while crate::files::process::started(pid).is_some() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The last lines of the agent's own log.
#[must_use]
pub fn logs(directory: Option<PathBuf>, tail: usize) -> Vec<String> {
    log_files::tail(&Directory::find(directory).log(), tail)
}

/// The systemd units for the listeners that the agent has now.
pub async fn unit(directory: Option<PathBuf>) -> Result<String, Error> {
    let directory = Directory::find(directory);
    let mut listeners = Vec::new();
    if let Ok(mut client) = connect(&directory, Starting::Never).await {
        let info = client
            .info(v1::InfoRequest {})
            .await
            .map_err(EngineError::from)?
            .into_inner();
        listeners = listening(&mut client, info.scopes).await?;
    }

    let program = std::env::current_exe().unwrap_or_else(|_| "shipit".into());
    Ok(units::units(&program, directory.path(), &listeners))
}

/// Takes off this process what it has from the shell that it is started from. For a process of one
/// thread.
pub fn calm() {
    crate::agent::launch::calm();
}

/// Waits to be told what to start, and becomes it. For a process of one thread.
#[must_use]
pub fn launch() -> u8 {
    crate::agent::launch::launch()
}

/// Becomes a user and a program; gives why it cannot. For a process of one thread.
#[must_use]
pub fn become_user(user: &str, command: &[std::ffi::OsString]) -> String {
    crate::agent::launch::become_user(user, command)
}

/// Runs a container to its end. For a process of one thread.
pub fn contain(bundle: &std::path::Path) -> Result<u8, String> {
    crate::agent::runtime::container::contain::run(bundle)
}

/// Has a container for a command alone. For a process of one thread.
pub fn contain_hold(bundle: &std::path::Path) -> Result<u8, String> {
    crate::agent::runtime::container::contain::hold(bundle)
}

/// Runs a command in a container for somebody who looks on. For a process of one thread.
pub fn contain_attach(bundle: &std::path::Path, command: &[String]) -> Result<u8, String> {
    crate::agent::runtime::container::beside::attach(bundle, command)
}

/// Runs a command in a container. For a process of one thread.
pub fn contain_exec(
    bundle: &std::path::Path,
    command: &[String],
    within: std::time::Duration,
) -> Result<u8, String> {
    crate::agent::runtime::container::contain::exec(bundle, command, within)
}

/// Takes a container's folder away. For a process of one thread.
pub fn contain_remove(bundle: &std::path::Path) -> Result<u8, String> {
    crate::agent::runtime::container::contain::remove_inside(bundle)
}

/// Makes a namespace of users, for whoever started this. For a process of one thread.
pub fn contain_users() -> Result<u8, String> {
    crate::agent::runtime::container::id_map::hold()
}

/// Sees whether containers of a root agent can have users of their own.
pub fn contain_users_probe(folder: &std::path::Path, volumes: &[PathBuf]) -> Result<u8, String> {
    crate::agent::runtime::container::id_map::probe(folder, volumes)
}

/// Sees whether containers can be made without root. For a process of one thread.
pub fn contain_probe(folder: &std::path::Path) -> Result<u8, String> {
    crate::agent::runtime::container::contain::probe(folder)
}
