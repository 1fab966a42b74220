//! One service.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::{
    BuildConfig, EnvEntry, EnvFiles, FileConfig, ImageConfig, Manifests, PodConfig, PortConfig,
    ServiceAccountConfig, Text, TrafficPort, VolumeConfig,
};
use crate::model::Period;
use crate::model::health::Health;
use crate::model::port::{PortName, ServicePort};
use crate::model::promotion::Strategy;
use crate::model::workload::Socket;

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// How its image is made. Exactly one of `build` and `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildConfig>,
    /// Its image, when it is there already and not built: `nginx:1.27`, or a map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageConfig>,
    /// The port that gets the traffic, told to it as `PORT`; none for a worker. Its number, and
    /// then its name is `http`, or the name of one under `ports`; `none` where all of them are for
    /// others, such as metrics. Without it the one that is called `http` under `ports`. On a host
    /// the live listener has this port unless `traffic.listeners` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<TrafficPort>,
    /// All ports by name, or those beside `port`: `{http: 8080, metrics: 9090}`. Each but the one
    /// that gets the traffic is told as `PORT_NAME`, as `PORT_METRICS`. On a host each instance has
    /// a free port of its own for each, as `shipit status` shows them; no router leads there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, PortConfig>,
    /// `host`: who opens the port's socket. `inherited`, for the runtime `process`: the agent opens
    /// it and hands it over.
    #[serde(default, skip_serializing_if = "Socket::is_own")]
    pub socket: Socket,
    /// How it says that it can take traffic.
    #[serde(default)]
    pub health: Health,
    /// How many instances.
    #[serde(default = "one")]
    pub replicas: u16,
    /// How its instances follow those of the release before, where that is not left to the
    /// environment's `strategy`. `recreate`: two releases of it never run at once; in a
    /// `blue_green` environment it is stopped in the live slot just before it starts in the other
    /// one and traffic is switched. `rolling`, in an environment that is not `blue_green`:
    /// instance by instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Environment variables: texts, which may be templates, or `{secret: NAME}`.
    #[serde(default)]
    pub env: BTreeMap<String, EnvEntry>,
    /// Files of variables in the format that Docker Compose reads, relative to the project's
    /// folder: one path, or a list. `env` counts before them. Their values are shown in plans, and
    /// are no place for secrets.
    #[serde(default, skip_serializing_if = "no_files")]
    pub env_file: EnvFiles,
    /// Files that each instance finds, from the path in the instance to a file of the project or a
    /// secret. Nobody can write them. Only texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<PathBuf, FileConfig>,
    /// The argument vector, instead of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// How long an instance has to stop after it was asked to: by SIGTERM, or on a host by the
    /// signal that its image names (`STOPSIGNAL`).
    #[serde(default = "ten_seconds")]
    pub stop_grace: Period,
    /// `kubernetes`: the service's own manifests, instead of those that shipit makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Manifests>,
    /// What a pod asks for and may use. Containers and units of a host have limits alone.
    #[serde(default)]
    pub resources: Resources,
    /// Containers of a host: folders that outlive the container, from the path inside to a folder
    /// of this machine or, with the runtime `docker`, to a volume's name. Only what is `shared` may
    /// be mounted by several instances at once, as it is while one release replaces another.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<PathBuf, VolumeConfig>,
    /// `kubernetes`: how many pods there are by their load, instead of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Autoscale>,
    /// `kubernetes`: files of the project that the pods see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigFiles>,
    /// `kubernetes`: the account that the pods run as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountConfig>,
    /// `kubernetes`: what the pods have besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodConfig>,
    /// `kubernetes`: the user's number that the pods run as; never 0.
    #[serde(default = "nonroot")]
    pub user: u32,
}

impl ServiceConfig {
    /// Its ports by name.
    #[must_use]
    pub fn all_ports(&self) -> BTreeMap<PortName, ServicePort> {
        let named = self.ports.iter();
        let mut all: BTreeMap<_, _> = named
            .map(|(name, port)| (name.clone(), ServicePort::from(port)))
            .collect();
        if let Some(TrafficPort::Number(number)) = self.port {
            let port = ServicePort::from(&PortConfig::Number(number));
            all.insert(PortName::http(), port);
        }
        all
    }

    /// The port that gets the traffic, with its name; none of a worker.
    #[must_use]
    pub fn traffic_port(&self) -> Option<(PortName, ServicePort)> {
        let name = match &self.port {
            None | Some(TrafficPort::Number(_)) => PortName::http(),
            Some(TrafficPort::Named(name)) => name.clone(),
            Some(TrafficPort::None) => return None,
        };
        let port = self.all_ports().remove(&name)?;
        Some((name, port))
    }

    /// Its ports besides the one that gets the traffic.
    #[must_use]
    pub fn other_ports(&self) -> BTreeMap<PortName, ServicePort> {
        let mut others = self.all_ports();
        if let Some((name, _)) = self.traffic_port() {
            others.remove(&name);
        }
        others
    }

    /// The number of the port that gets the traffic.
    #[must_use]
    pub fn port_number(&self) -> Option<u16> {
        self.traffic_port().map(|(_, port)| port.number)
    }

    /// Whether two releases of it never run at once in an environment with this strategy.
    #[must_use]
    pub fn is_exclusive(&self, environment: Strategy) -> bool {
        self.strategy.unwrap_or(environment).has_a_gap()
    }

    /// Whether its image is in the project's registry: built here, or in another environment.
    #[must_use]
    pub fn is_of_the_project(&self) -> bool {
        let image = self.image.as_ref();
        image.is_none_or(|image| image.from().is_some())
    }
}

const fn no_files(files: &EnvFiles) -> bool {
    files.0.is_empty()
}

const fn nonroot() -> u32 {
    65532
}

/// What a pod asks for and may use, as Kubernetes quantities: `250m`, `64Mi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// The processor time that a pod is sure to get.
    pub cpu: Text,
    /// The memory that a pod is sure to get.
    pub memory: Text,
    /// The processor time that a pod gets at the most; unlimited without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<Text>,
    /// The memory above which a pod is killed; unlimited without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Text>,
    /// The most processes and threads of an instance, on a host: 4096 in containers, systemd's own
    /// limit in units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes_limit: Option<NonZeroU32>,
}

impl Default for Resources {
    fn default() -> Self {
        let text = |text: &str| Text(text.to_owned());
        Self {
            cpu: text("50m"),
            memory: text("64Mi"),
            cpu_limit: None,
            memory_limit: None,
            processes_limit: None,
        }
    }
}

/// How many pods there are by their load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autoscale {
    /// At the least.
    pub min: u16,
    /// At the most.
    pub max: u16,
    /// The processor load, in percent of `resources.cpu`, that it aims at.
    #[serde(default = "eighty")]
    pub cpu: u16,
}

const fn eighty() -> u16 {
    80
}

/// Files of the project that the pods see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFiles {
    /// Which, as globs relative to the project's folder; each may be a template.
    pub files: Vec<String>,
    /// The folder in the pod where they are.
    pub mount: PathBuf,
}

const fn one() -> u16 {
    1
}

const fn ten_seconds() -> Period {
    Period::from_secs(10)
}
