//! The keys of `server.yaml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::bounds::Bounds;
use crate::model::job::JobKind;
use crate::model::trigger::SenderKind;
use crate::model::trusted_proxies::TrustedProxies;
use crate::model::{ByteSize, EnvironmentName, Period, ProjectName};

/// The front doors of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "server.yaml")]
pub struct ServerConfig {
    /// The version of this format: 1.
    pub version: u32,
    /// The folder for the queue, the logs and the checkouts; `/var/lib/shipit/serve` without it.
    #[serde(default = "data")]
    pub data: PathBuf,
    /// Where people and senders reach it, as `https://ship.example.com`; it stands in answers, and
    /// the forms of the dashboard are taken from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// What it listens to.
    #[serde(default)]
    pub listen: ListenConfig,
    /// The pages for people, at `listen.web`; without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<DashboardConfig>,
    /// How jobs are carried out.
    #[serde(default)]
    pub runner: RunnerConfig,
    /// How long what is over is kept.
    #[serde(default)]
    pub keep: KeepConfig,
    /// The projects.
    pub projects: BTreeMap<ProjectName, ServerProject>,
}

fn data() -> PathBuf {
    "/var/lib/shipit/serve".into()
}

/// What it listens to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// Webhooks; without it none are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebConfig>,
    /// Commands of other machines, by gRPC and with certificates; without it none are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteConfig>,
    /// Git hooks and commands of this machine.
    pub socket: SocketConfig,
}

/// The listener for webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    /// The address: `0.0.0.0:8443`.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// The certificate; without it a proxy in front has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// The listener for commands of other machines. Its certificate is of an authority of the server's
/// own, as are those of its clients: `shipit client issue` makes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// The address: `0.0.0.0:9443`.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// The names and addresses by which clients reach it: `ship.example.com`.
    pub names: Vec<String>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The file with the certificate, and those of its authorities behind it.
    pub certificate: PathBuf,
    /// The file with the key.
    pub key: PathBuf,
}

/// The socket for this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SocketConfig {
    /// Where it is; `/run/shipit/serve.sock` without it.
    pub path: PathBuf,
    /// Users besides root and the server's own whose programs are heard, as `git`: their hooks may
    /// say on whose behalf.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

/// Where the socket is that nobody has put elsewhere.
pub const SOCKET: &str = "/run/shipit/serve.sock";

impl Default for SocketConfig {
    fn default() -> Self {
        Self {
            path: SOCKET.into(),
            users: Vec::new(),
        }
    }
}

/// The pages for people: `{}` has everything as it is without a key. Who may what on them are the
/// tokens of `shipit token issue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DashboardConfig {
    /// How long somebody stays signed in; 12 hours without it.
    pub session: Period,
    /// How long somebody stays signed in who does nothing; an hour without it.
    pub idle: Period,
    /// The networks of the proxies in front, as `10.0.0.0/8`, whose `X-Forwarded-For` says who
    /// tries to sign in; nobody's word is taken without it.
    #[serde(skip_serializing_if = "TrustedProxies::is_empty")]
    pub proxies: TrustedProxies,
}

impl Default for DashboardConfig {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        Self {
            session: Period::from_secs(12 * HOUR),
            idle: Period::from_secs(HOUR),
            proxies: TrustedProxies::nobody(),
        }
    }
}

/// How jobs are carried out: each as a process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerConfig {
    /// How many at once; 2 without it. An environment has one at a time.
    #[schemars(with = "u8", range(min = 1))]
    pub workers: NonZeroU8,
    /// How long one may take; an hour without it.
    pub within: Period,
    /// How long one waits for the environment's lock; 10 seconds without it.
    pub lock_timeout: Period,
    /// How much of its log is kept; 16MiB without it.
    pub log: ByteSize,
    /// The variables of the server's environment that jobs see, as `AWS_*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            workers: NonZeroU8::MIN.saturating_add(1),
            within: Period::from_secs(60 * 60),
            lock_timeout: Period::from_secs(10),
            log: ByteSize::from_mib(16),
            variables: Vec::new(),
        }
    }
}

/// How long what is over is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepConfig {
    /// Deliveries, by which one that comes again is known; 14 days without it.
    pub deliveries: Period,
    /// Jobs that have ended, with their logs; 90 days without it.
    pub jobs: Period,
}

impl Default for KeepConfig {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            deliveries: Period::from_secs(14 * DAY),
            jobs: Period::from_secs(90 * DAY),
        }
    }
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerProject {
    /// Where it comes from.
    pub source: SourceConfig,
    /// Who sends webhooks, by a name that is the last part of their URL:
    /// `/hooks/PROJECT/NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub receivers: BTreeMap<String, ReceiverConfig>,
    /// The file with the pipeline that is run before each deployment, as JSON:
    /// `[{"step": "compile", "commands": ["yarn install", "yarn build"]}]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PathBuf>,
    /// Its environments, and what each is deployed on.
    pub environments: BTreeMap<EnvironmentName, EnvironmentRule>,
    /// What the files of the repository may ask for: `everything`, or a map.
    pub may: Bounds,
}

/// Where a project comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The repository's URL, or its folder on this machine. No other is ever fetched from.
    pub url: String,
    /// The project's folder in the repository; the top without it.
    #[serde(default)]
    pub folder: PathBuf,
    /// How often the repository is asked where its branches and tags point, as `2m`: what moved is
    /// deployed, though no webhook or hook told of it. Never without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Period>,
}

/// Who sends webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Which kind of sender; it decides how it proves itself.
    pub kind: SenderKind,
    /// The secrets that it may prove itself with: the new one and the old one while they change.
    pub secrets: Vec<ServerSecret>,
    /// The largest body; 1MiB without it.
    #[serde(default = "body")]
    pub body: ByteSize,
}

const fn body() -> ByteSize {
    ByteSize::from_mib(1)
}

/// Where a secret of the server's comes from: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSecret {
    /// A file: its content without the last line end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// An environment variable of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// What an environment is deployed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentRule {
    /// On what.
    pub on: On,
    /// What is done; `apply` without it.
    #[serde(default)]
    pub then: JobKind,
}

/// On what an environment is deployed: on any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct On {
    /// A push to this branch, or to one of a glob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// A tag of this name, or of a glob: `v*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// A push of an image; what is checked out is the tip of `branch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<OnImage>,
}

/// A push of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnImage {
    /// The repository, without the registry: `shop/web`.
    pub repository: String,
    /// A glob of tags; every tag without it.
    #[serde(default = "every")]
    pub tags: String,
}

fn every() -> String {
    "*".to_owned()
}

impl ServerConfig {
    /// The file of the queue.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.data.join("queue.db")
    }

    /// Whether what browsers are given goes over TLS: the listener's own, or that of a proxy at the
    /// public URL.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        let is_public = |url: &String| url.starts_with("https://");
        let own = self
            .listen
            .web
            .as_ref()
            .is_some_and(|web| web.tls.is_some());
        own || self.public_url.as_ref().is_some_and(is_public)
    }

    /// The folder with a folder for each job.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.data.join("jobs")
    }

    /// The folder of an environment: its checkout, with the state that stays in it.
    #[must_use]
    pub fn lane(&self, project: &str, environment: &str) -> PathBuf {
        let lanes: &Path = "lanes".as_ref();
        self.data.join(lanes).join(project).join(environment)
    }
}
