//! Reaching the agent, and starting one where there is none.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::files;
use crate::port::engine::EngineError;
use crate::proto::v1::InfoRequest;
use crate::proto::v1::agent_client::AgentClient;
use crate::proto::{CONTRACT, Directory};

/// How long a new agent has until it answers: it may have many processes to take back.
const START: Duration = Duration::from_secs(20);

/// How long one that runs may take to say who it is.
const ANSWER: Duration = Duration::from_secs(8);

/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// What the agent may see of this process' environment. Build servers end what carries their
/// variables; the agent is to outlive the build.
const PASSED_ON: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "SHIPIT_LOG",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "SHIPIT_IMAGE_SIZE",
    "SHIPIT_IMAGE_FILES",
    "SHIPIT_IMAGE_WITHIN",
];

/// Whether an agent is started where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starting {
    /// One is started.
    IfNeeded,
    /// It is said that there is none.
    Never,
}

/// A client of the agent in this folder, of whichever version: `Info`, `Observe` and `Shutdown` are
/// the same in all. None when no agent runs.
pub async fn connect_any(
    directory: &Directory,
) -> Result<Option<AgentClient<Channel>>, EngineError> {
    reach(directory).await
}

/// A client of the agent in this folder.
pub async fn connect(
    directory: &Directory,
    starting: Starting,
) -> Result<AgentClient<Channel>, EngineError> {
    if let Some(client) = attempt(directory).await? {
        return Ok(client);
    }
    if starting == Starting::Never {
        return Err(unreachable(directory, "no agent runs".to_owned()));
    }
    start(directory).await
}

/// A client, if an agent runs.
pub(super) async fn found(
    directory: &Directory,
) -> Result<Option<AgentClient<Channel>>, EngineError> {
    attempt(directory).await
}

/// Whether anybody listens at the agent's socket.
pub(super) async fn listens(directory: &Directory) -> bool {
    let Ok(Some(folder)) = directory.open() else {
        return false;
    };
    let path = directory.socket_of(&Arc::new(folder));
    UnixStream::connect(path).await.is_ok()
}

/// A client, if somebody listens. An agent of another version is an error of its own. One that goes
/// away while it is asked is asked again, until there is none: its socket accepts for a moment
/// longer than it lives.
async fn attempt(directory: &Directory) -> Result<Option<AgentClient<Channel>>, EngineError> {
    let deadline = Instant::now() + START;
    let (client, info) = loop {
        let asked = async {
            let Some(mut client) = reach(directory).await? else {
                return Ok(None);
            };
            let info = client
                .info(super::request(InfoRequest {}, super::SHORT))
                .await?
                .into_inner();
            Ok(Some((client, info)))
        };
        let silent = || {
            let reason = format!("connected, no answer within {} s", ANSWER.as_secs());
            unreachable(directory, reason)
        };
        let asked = tokio::time::timeout(ANSWER, asked).await;
        match asked.map_err(|_| silent())? {
            Ok(Some(answer)) => break answer,
            Ok(None) => return Ok(None),
            Err(EngineError::Unreachable { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => return Err(error),
        }
    };

    if info.contract != CONTRACT {
        return Err(EngineError::Unreachable {
            what: format!("asking the agent in {}", directory.path().display()),
            reason: format!(
                "it is shipit {} and speaks contract {}, not {CONTRACT}",
                info.version, info.contract
            ),
            help: "`shipit agent stop`, then run the command again: the services stay up meanwhile"
                .to_owned(),
        });
    }

    Ok(Some(client))
}

/// A client, if somebody listens.
async fn reach(directory: &Directory) -> Result<Option<AgentClient<Channel>>, EngineError> {
    let opened = directory.open();
    let opened = opened.map_err(|error| unreachable(directory, error.to_string()))?;
    let Some(folder) = opened.map(Arc::new) else {
        return Ok(None);
    };
    let path = directory.socket_of(&folder);
    let Ok(stream) = UnixStream::connect(&path).await else {
        return Ok(None);
    };

    held_by(&stream).map_err(|reason| unreachable(directory, reason))?;
    drop(stream);
    // The URI is not used: the connector knows the way.
    let endpoint = Endpoint::from_static("http://agent").connect_timeout(Duration::from_secs(5));
    let connector = tower::service_fn(move |_: Uri| {
        // The folder stays open as long as its socket may be connected to.
        let (path, folder) = (path.clone(), Arc::clone(&folder));
        async move {
            let stream = UnixStream::connect(path).await?;
            drop(folder);
            held_by(&stream).map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });

    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| unreachable(directory, error.to_string()))?;
    let client = AgentClient::new(channel)
        .max_decoding_message_size(super::MESSAGE_LIMIT)
        .max_encoding_message_size(super::MESSAGE_LIMIT);
    Ok(Some(client))
}

/// An agent is of this user, or of root. Whoever else holds the socket gets nothing.
fn held_by(stream: &UnixStream) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?.uid();
    trusted(peer, rustix::process::geteuid().as_raw())
}

fn trusted(peer: u32, own: u32) -> Result<(), String> {
    if peer == own || peer == 0 {
        return Ok(());
    }
    Err(format!(
        "its socket is held by user {peer}, and neither by this one ({own}) nor by root"
    ))
}

fn unreachable(directory: &Directory, reason: String) -> EngineError {
    EngineError::Unreachable {
        what: format!("asking the agent in {}", directory.path().display()),
        reason,
        help: "look at `shipit agent status` and `shipit agent logs`".to_owned(),
    }
}

/// Starts an agent and waits until it answers. Of several that start one at once, one does.
async fn start(directory: &Directory) -> Result<AgentClient<Channel>, EngineError> {
    let cannot = |error: io::Error| EngineError::Unreachable {
        what: format!("starting an agent in {}", directory.path().display()),
        reason: error.to_string(),
        help: "name a folder that can be written with `cluster.directory` or SHIPIT_AGENT_DIR"
            .to_owned(),
    };
    directory.prepare().map_err(cannot)?;
    let _lock = start_lock(directory).await.map_err(cannot)?;
    if let Some(client) = attempt(directory).await? {
        return Ok(client);
    }

    let mut agent = spawn(directory).map_err(cannot)?;
    let deadline = Instant::now() + START;
    loop {
        if let Some(client) = attempt(directory).await? {
            return Ok(client);
        }
        let ended = agent.try_wait().map_err(cannot)?;
        if ended.is_some() || Instant::now() > deadline {
            return Err(EngineError::Unreachable {
                what: format!("starting an agent in {}", directory.path().display()),
                reason: ended.map_or_else(
                    || format!("it did not answer within {} s", START.as_secs()),
                    |status| format!("it ended with {status}"),
                ) + &last_words(&directory.log()),
                help: format!("the whole log is {}", directory.log().display()),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for whoever starts an agent at this moment.
async fn start_lock(directory: &Directory) -> io::Result<std::fs::File> {
    let deadline = Instant::now() + START;
    loop {
        match files::try_lock(&directory.start_lock())? {
            Some(file) => return Ok(file),
            None if Instant::now() > deadline => return Err(io::ErrorKind::TimedOut.into()),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// In a process group of its own, with a log of its own, and without what the caller had in its
/// environment.
fn spawn(directory: &Directory) -> io::Result<std::process::Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(directory.log())?;
    let mut command = Command::new(files::process::program());
    command
        .args(["agent", "run", "--detached", "--agent-directory"])
        .arg(directory.path())
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.spawn()
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines
        .into_iter()
        .rev()
        .map(|line| ["\n  ", line].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::trusted;

    #[test]
    fn a_socket_of_another_user_is_no_agent() {
        for (peer, own) in [(1000, 1000), (0, 1000), (0, 0)] {
            assert_eq!(trusted(peer, own), Ok(()));
        }
        for (peer, own) in [(1001, 1000), (1000, 0), (65534, 0)] {
            let said = trusted(peer, own).expect_err("refused");
            assert!(said.contains(&format!("held by user {peer}")), "{said}");
        }
    }
}
