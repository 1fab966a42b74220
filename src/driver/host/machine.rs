//! Another machine: its agent, reached through one connection of ssh that is made when it is first
//! needed, and again when it has ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::driver::host::ports::Ports;
use crate::driver::host::trust::{self, Foreign};

use crate::driver::host::tunnel::{Destination, SEEN, Tunnel, quoted};
use crate::model::ssh::SshAddress;
use crate::port::engine::EngineError;
use crate::proto::CONTRACT;
use crate::proto::v1::agent_client::AgentClient;
use crate::proto::v1::{InfoReply, InfoRequest};

/// How long an agent may take to say who it is.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a connection may take to show that it is there.
const TRIED: Duration = Duration::from_secs(5);

/// How long it is not tried again for a client when no connection was to be had.
const AGAIN: Duration = Duration::from_secs(1);

/// How long one that is just being started anew is waited for.
const RESTART: Duration = Duration::from_secs(3);

/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// A machine, and the connection to it that a whole run uses.
#[derive(Clone)]
pub struct Machine {
    link: Link,
    /// The agent's folder there; that user's own without it.
    folder: Option<PathBuf>,
    /// What of it is reached here.
    ports: Arc<Ports>,
}

/// A connection, and the agent behind it once one has answered.
struct Open {
    tunnel: Arc<Tunnel>,
    agent: Option<Reached>,
}

/// An agent that answers.
#[derive(Clone)]
pub struct Reached {
    /// Its client.
    pub client: AgentClient<Channel>,
    /// What it says of itself.
    pub info: InfoReply,
}

/// What it takes to have a connection to a machine.
#[derive(Clone)]
pub(super) struct Link {
    to: Destination,
    open: Arc<Mutex<Option<Open>>>,
    /// Connections that have ended before they were given up.
    lost: Arc<AtomicU64>,
    /// When no connection was to be had, the last time.
    failed: Arc<Mutex<Option<Instant>>>,
}

impl Link {
    /// The connection that there is, or another one. Whoever asks may have less patience than a
    /// login needs: it goes on, and the next one finds it done.
    pub(super) async fn tunnel(&self) -> Result<Arc<Tunnel>, EngineError> {
        let link = self.clone();
        let connecting = tokio::spawn(async move { link.connected().await });
        connecting.await.unwrap_or_else(|error| {
            Err(EngineError::Failed {
                what: format!("connecting to {}", self.to.address),
                reason: error.to_string(),
            })
        })
    }

    /// The same for one of many clients: whoever connects already does it for all, and this one
    /// comes again. None where there is no connection.
    pub(super) async fn tunnel_for_a_client(&self) -> Option<Arc<Tunnel>> {
        let open = self.open.try_lock().ok()?;
        let is_open = open.as_ref().map(|open| Arc::clone(&open.tunnel));
        let is_open = is_open.filter(|tunnel| tunnel.is_open());
        let is_early = self
            .failed
            .lock()
            .await
            .is_some_and(|at| at.elapsed() < AGAIN);
        drop(open);
        if is_open.is_some() || is_early {
            return is_open;
        }
        self.tunnel().await.ok()
    }

    async fn connected(&self) -> Result<Arc<Tunnel>, EngineError> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref().filter(|open| open.tunnel.is_open()) {
            return Ok(Arc::clone(&open.tunnel));
        }
        if open.take().is_some() {
            self.lost.fetch_add(1, Ordering::AcqRel);
        }
        let opened = Tunnel::open(self.to.clone()).await;
        *self.failed.lock().await = opened.is_err().then(Instant::now);
        let tunnel = Arc::new(opened?);
        *open = Some(Open {
            tunnel: Arc::clone(&tunnel),
            agent: None,
        });
        Ok(tunnel)
    }
}

impl Machine {
    /// A machine that nobody has connected to yet.
    #[must_use]
    pub fn new(to: Destination, folder: Option<PathBuf>) -> Self {
        let link = Link {
            to,
            open: Arc::default(),
            lost: Arc::default(),
            failed: Arc::default(),
        };
        Self {
            link,
            folder,
            ports: Arc::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &SshAddress {
        &self.link.to.address
    }

    /// How somebody logs in there by hand.
    #[must_use]
    pub fn by_hand(&self) -> String {
        self.link.to.by_hand()
    }

    /// The connection.
    pub async fn tunnel(&self) -> Result<Arc<Tunnel>, EngineError> {
        self.link.tunnel().await
    }

    /// How many connections have ended while they were needed. One that is there is tried: a link
    /// that is dead is known to be only after a while.
    pub async fn lost_connections(&self) -> u64 {
        // Whoever holds it for longer connects, and has counted what was lost.
        let tunnel = match tokio::time::timeout(SEEN, self.link.open.lock()).await {
            Ok(open) => open.as_ref().map(|open| Arc::clone(&open.tunnel)),
            Err(_) => None,
        };
        let has_ended = match tunnel {
            Some(tunnel) => tunnel.run("true", None, TRIED).await.is_err(),
            None => false,
        };
        self.link.lost.load(Ordering::Acquire) + u64::from(has_ended)
    }

    /// An address of this machine's loopback that leads to one there, through whichever connection
    /// there is when somebody comes.
    pub async fn port(&self, there: SocketAddr) -> Result<SocketAddr, EngineError> {
        self.ports.of(&self.link, there).await
    }

    /// The agent that has answered through the connection that is there. Its client makes a new
    /// connection to its socket by itself when the agent was started anew.
    async fn known(&self) -> Option<Reached> {
        let open = self.link.open.lock().await;
        let open = open.as_ref().filter(|open| open.tunnel.is_open())?;
        open.agent.clone()
    }

    async fn remember(&self, agent: &Reached) {
        if let Some(open) = self.link.open.lock().await.as_mut() {
            open.agent = Some(agent.clone());
        }
    }

    /// Asks anew who the agent is: it may be another one since.
    pub async fn forget_agent(&self) {
        if let Some(open) = self.link.open.lock().await.as_mut() {
            open.agent = None;
        }
    }

    /// The agent's folder there.
    pub async fn folder(&self) -> Result<String, EngineError> {
        Ok(match &self.folder {
            Some(folder) => folder.to_string_lossy().into_owned(),
            None => self.tunnel().await?.about().agent_folder(),
        })
    }

    /// The agent there, of this contract.
    pub async fn agent(&self) -> Result<Reached, EngineError> {
        if let Some(known) = self.known().await {
            return Ok(known);
        }
        let Some(reached) = self.any_agent().await? else {
            return Err(self.no_agent().await);
        };
        if reached.info.contract == CONTRACT {
            self.remember(&reached).await;
            return Ok(reached);
        }

        let info = reached.info;
        Err(EngineError::Unreachable {
            what: format!("asking the agent on {}", self.address()),
            reason: format!(
                "it is shipit {} and speaks contract {}, not {CONTRACT}",
                info.version, info.contract
            ),
            help: format!(
                "`shipit agent upgrade --at {}` puts this version there: the services stay up",
                self.address()
            ),
        })
    }

    /// The agent there, of whichever version; none when there is none.
    pub async fn any_agent(&self) -> Result<Option<Reached>, EngineError> {
        let deadline = tokio::time::Instant::now() + RESTART;
        loop {
            let found = self.attempt().await?;
            if found.is_some() || tokio::time::Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn attempt(&self) -> Result<Option<Reached>, EngineError> {
        let tunnel = self.tunnel().await?;
        let there = format!("{}/agent.sock", self.folder().await?.trim_end_matches('/'));
        if !is_plain(&there) {
            return Err(EngineError::Unreachable {
                what: format!("asking the agent on {}", self.address()),
                reason: format!("ssh cannot forward `{there}`"),
                help: "name a folder without `:` there with `cluster.directory`".to_owned(),
            });
        }
        self.is_trusted(&tunnel, &there).await?;
        let socket = tunnel.socket("a", &there).await?;
        let asked = tokio::time::timeout(ANSWER, ask(socket)).await;
        match asked {
            Ok(Some(reached)) => Ok(Some(reached)),
            Ok(None) => match tunnel.fault_within(SEEN).await {
                Some(fault) => Err(fault),
                None => Ok(None),
            },
            // A dead link is found later than this.
            Err(_) => Err(match tunnel.fault_within(ANSWER).await {
                Some(fault) => fault,
                None => EngineError::Unreachable {
                    what: format!("asking the agent on {}", self.address()),
                    reason: format!("connected, no answer within {} s", ANSWER.as_secs()),
                    help: "look at its log there: `shipit agent logs`".to_owned(),
                },
            }),
        }
    }

    /// Whoever has made a socket there would get secrets: it is that user's own or root's, in a
    /// folder where nobody else can put another one.
    async fn is_trusted(&self, tunnel: &Tunnel, socket: &str) -> Result<(), EngineError> {
        let script = format!("s={}; {}", quoted(socket), trust::SCRIPT);
        let done = tunnel.run(&script, None, ANSWER).await?;
        let said = String::from_utf8_lossy(&done.answer).into_owned();
        let beside = String::from_utf8_lossy(&done.beside).into_owned();
        let foreign = if done.status.success() {
            trust::foreign(&said)
        } else {
            Err(beside.lines().last().unwrap_or(&said).trim().to_owned())
        };

        let foreign = foreign.map_err(|reason| EngineError::Unreachable {
            what: format!("looking whose {socket} on {} is", self.address()),
            reason,
            help: "its `sh`, `id` and `stat` tell that".to_owned(),
        })?;
        let other = "name the folder of that user's own agent with `cluster.directory`";
        match foreign {
            None => Ok(()),
            Some(Foreign::Owned { path, by }) => Err(EngineError::Refused {
                reason: format!("{path} on {} is {by}'s", self.address()),
                help: format!("log in as {by} (`cluster.at`), or {other}"),
            }),
            Some(Foreign::Open { path }) => Err(EngineError::Refused {
                reason: format!("others may write to {path} on {}", self.address()),
                help: format!("`chmod go-w {path}` there, or {other}"),
            }),
        }
    }

    /// Why there is no agent, and what to do.
    async fn no_agent(&self) -> EngineError {
        let what = format!("asking the agent on {}", self.address());
        let folder = self.folder().await.unwrap_or_default();
        let install = format!("shipit agent install --at {}", self.address());
        let socket = format!("{}/agent.sock", folder.trim_end_matches('/'));
        match self.has(&socket).await {
            Err(error) => error,
            // sshd says the same of a socket that nobody has and of one that it may not forward.
            Ok(true) => EngineError::Unreachable {
                what,
                reason: format!(
                    "{socket} is there and nothing comes through: the agent was killed, or its \
                     sshd forwards no sockets"
                ),
                help: format!(
                    "its sshd_config must say `AllowStreamLocalForwarding yes` for this user; \
                     `{install}` starts an agent where none runs"
                ),
            },
            Ok(false) => EngineError::Unreachable {
                what,
                reason: format!("no agent of that user answers in {folder} there"),
                help: format!("`{install}` puts one there and starts it"),
            },
        }
    }

    /// Whether there is a socket of this name.
    async fn has(&self, socket: &str) -> Result<bool, EngineError> {
        let script = format!("test -S {}", quoted(socket));
        let done = self.tunnel().await?.run(&script, None, ANSWER).await?;
        Ok(done.status.success())
    }

    /// An error of a call, or what is behind it: that the connection has ended.
    pub(super) async fn explained(&self, error: EngineError) -> EngineError {
        if !matches!(error, EngineError::Unreachable { .. }) {
            return error;
        }
        let open = self.link.open.lock().await;
        let tunnel = open.as_ref().map(|open| Arc::clone(&open.tunnel));
        drop(open);
        let fault = match tunnel {
            Some(tunnel) => tunnel.fault_within(SEEN).await,
            None => None,
        };
        fault.unwrap_or(error)
    }
}

/// Whether ssh takes a path to forward as it is: it parts two paths at a colon, and puts variables
/// of this side and more into one.
fn is_plain(path: &str) -> bool {
    let means_more = |sign: char| ":%\\$\"".contains(sign) || sign.is_control();
    path.starts_with('/') && !path.contains(means_more)
}

/// The agent behind a socket, if one answers.
async fn ask(socket: PathBuf) -> Option<Reached> {
    // The URI is not used: the connector knows the way.
    let endpoint = Endpoint::from_static("http://agent").connect_timeout(ANSWER);
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move {
            let stream = UnixStream::connect(&socket).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let channel = endpoint.connect_with_connector(connector).await.ok()?;
    let mut client = AgentClient::new(channel)
        .max_decoding_message_size(super::MESSAGE_LIMIT)
        .max_encoding_message_size(super::MESSAGE_LIMIT);
    let asked = client.info(super::request(InfoRequest {}, ANSWER)).await;
    let info = asked.ok()?.into_inner();
    Some(Reached { client, info })
}
