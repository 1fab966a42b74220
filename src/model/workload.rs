//! What runs in a slot for one service.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::health::Health;
use crate::model::image::{ImageHome, ImageRepository};
use crate::model::plan::DeployMode;
use crate::model::port::PortName;
use crate::model::promotion::ServiceStrategy;
use crate::model::schedule::ScheduledTask;
use crate::model::secret::SecretRef;
use crate::model::volume::{Mount, contended};
use crate::model::{Address, Digest, Manifest, Period, ServiceName, Slot, TaskName};

/// A value that may only be known once a step has run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known<T> {
    /// It is this.
    Value(T),
    /// It is known after the step on this address.
    After(Address),
}

impl<T> Known<T> {
    /// The value, when it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::After(_) => None,
        }
    }
}

/// Everything an engine must know to run one service in a slot, and nothing it would have to look
/// up. Two equal workloads run the same thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Workload {
    /// Whose workload it is.
    pub service: ServiceName,
    /// What is run.
    pub image: Known<Digest>,
    /// The repository that the image is in, when somebody else keeps it; the service's own in the
    /// project's registry without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<ImageRepository>,
    /// The port that the service listens on; none for a worker. The runtime `process` gives each
    /// instance a free port of its own as `PORT`.
    pub port: Option<u16>,
    /// How many instances.
    pub replicas: u16,
    /// How an instance says that it can take traffic.
    pub health: Health,
    /// How its instances follow those of the release before; as its environment says without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<ServiceStrategy>,
    /// What each instance is.
    #[serde(flatten)]
    pub kind: WorkloadKind,
}

/// What the instances of a workload are, by the engine that runs them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// On a host: processes, bare or in a container or unit.
    Process(Box<Process>),
    /// On a cluster: the objects that make the pods.
    Objects(SlotObjects),
}

/// A process of a host, from which each instance is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// The argument vector; the image's own when empty.
    pub command: Vec<String>,
    /// Environment variables. `PORT` is added by the engine for a service with a port.
    pub env: BTreeMap<String, EnvValue>,
    /// Files that it finds, by their path in an instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<PathBuf, WorkloadFile>,
    /// Its ports besides the workload's, by name. Each instance has one of its own for each, told
    /// as `PORT_NAME`; in a container of Docker's it is this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, u16>,
    /// Those of them that a listener leads to: an instance is ready once it listens there, too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub routed: BTreeSet<PortName>,
    /// Who opens the socket of the service's port.
    #[serde(default, skip_serializing_if = "Socket::is_own")]
    pub socket: Socket,
    /// How long an instance has to stop after SIGTERM.
    pub stop_grace: Period,
    /// The container or unit that each instance runs in; a process of the machine itself without
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The tasks that run by themselves with its image, environment and secrets while its slot has
    /// live traffic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<TaskName, ScheduledTask>,
}

/// The objects that a workload is on a cluster. Image and secrets are named in them, and filled in
/// when they are applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SlotObjects {
    /// The objects, for each slot that the workload may stand in.
    pub slots: BTreeMap<Slot, Vec<Manifest>>,
    /// The secrets that they name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
}

/// Who opens the socket of an instance's port.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// The service, at the port that `PORT` says.
    #[default]
    Own,
    /// The agent. The service gets it as descriptor 3, as `sd_listen_fds(3)` has it: `LISTEN_FDS`,
    /// `LISTEN_PID`. In no moment can anybody else have the port.
    Inherited,
}

impl Socket {
    /// Whether the service does.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }
}

/// Who makes what an instance of the host engine runs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    /// The Docker Engine.
    #[default]
    Docker,
    /// The agent itself, without a daemon.
    Own,
    /// systemd: a unit, and no container.
    Systemd,
}

/// Whether the users of a container that an agent of root makes are other ones than the machine's.
/// Without root they always are.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum UserNamespace {
    /// No container starts without.
    Required,
    /// Where the kernel and the file systems can; the agent's log and `shipit doctor` say where
    /// they cannot.
    #[default]
    Preferred,
    /// A container's root is the machine's.
    Off,
}

impl UserNamespace {
    /// Whether nothing is said about it.
    #[must_use]
    pub fn is_preferred(&self) -> bool {
        *self == Self::Preferred
    }
}

/// What a container or unit of the host engine may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Container {
    /// Who makes it.
    #[serde(default)]
    pub by: ContainerKind,
    /// Thousandths of a processor; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Bytes of memory; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The most processes and threads; the runtime's own limit without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// The network; the runtime's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Folder in the container → volume or folder of the machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<PathBuf, String>,
    /// The folders among them whose volume several instances may have at once. Of any other volume
    /// there is one instance at a time, whatever its service is called.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shared: BTreeSet<PathBuf>,
    /// The runtime `container`: whose users its users are.
    #[serde(default, skip_serializing_if = "UserNamespace::is_preferred")]
    pub users: UserNamespace,
}

impl Workload {
    /// Whether two releases of it never run at once: it says so itself, or has a volume that is
    /// not shared.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.strategy == Some(ServiceStrategy::Recreate)
            || self.mounts().iter().any(|mount| !mount.shared)
    }

    /// Whether it never runs at once with this one, of whatever release and in whatever slot.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        let is_same = self.service == other.service;
        is_same && (self.is_exclusive() || other.is_exclusive()) || self.contended(other).is_some()
    }

    /// A volume of its own that keeps it from running at once with this one.
    #[must_use]
    pub fn contended(&self, other: &Self) -> Option<Mount> {
        contended(&self.mounts(), &other.mounts()).cloned()
    }

    /// What it has mounted; nothing on a cluster, which has the rules of its claims.
    #[must_use]
    pub fn mounts(&self) -> Vec<Mount> {
        let container = self.process().and_then(|it| it.container.as_ref());
        let volumes = container.into_iter().flat_map(|container| {
            let volumes = container.volumes.iter();
            volumes.map(move |(inside, from)| Mount {
                from: from.clone(),
                shared: container.shared.contains(inside),
            })
        });
        volumes.collect()
    }

    /// How it replaces what runs in a live slot. `environment`: how others do it there.
    #[must_use]
    pub fn mode(&self, environment: DeployMode) -> DeployMode {
        match self.strategy {
            _ if self.is_exclusive() => DeployMode::Recreate,
            None => environment,
            Some(ServiceStrategy::Rolling) => DeployMode::Rolling,
            Some(ServiceStrategy::Recreate) => DeployMode::Recreate,
        }
    }

    /// Where its image is.
    #[must_use]
    pub fn home(&self) -> ImageHome<'_> {
        match &self.repository {
            Some(repository) => ImageHome::Elsewhere(repository),
            None => ImageHome::Project(&self.service),
        }
    }

    /// The process that each instance is; none on a cluster.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        match &self.kind {
            WorkloadKind::Process(process) => Some(process),
            WorkloadKind::Objects(_) => None,
        }
    }

    /// Who makes what its instances run in; nobody makes anything around a process of the machine
    /// itself.
    #[must_use]
    pub fn runs_by(&self) -> Option<ContainerKind> {
        let container = self.process()?.container.as_ref()?;
        Some(container.by)
    }

    /// The objects that it is in a slot; none on a host.
    #[must_use]
    pub fn objects(&self, slot: Slot) -> &[Manifest] {
        match &self.kind {
            WorkloadKind::Process(_) => &[],
            WorkloadKind::Objects(objects) => objects.slots.get(&slot).map_or(&[], Vec::as_slice),
        }
    }

    /// The objects that it may be, of both slots.
    pub fn all_objects(&self) -> impl Iterator<Item = &Manifest> {
        Slot::ALL.into_iter().flat_map(|slot| self.objects(slot))
    }

    /// The tasks that run by themselves while it has live traffic in a slot, each with its times in
    /// words.
    #[must_use]
    pub fn schedules(&self, slot: Slot) -> BTreeMap<String, String> {
        let of_process = self.process().into_iter();
        let of_process = of_process.flat_map(|process| &process.schedules);
        let of_process = of_process.map(|(name, it)| (name.to_string(), it.schedule.to_string()));
        let of_objects = self.objects(slot).iter().filter_map(|object| {
            let spec = &object.body()["spec"];
            let (at, zone) = (spec["schedule"].as_str()?, spec["timeZone"].as_str()?);
            let zone = if zone == "Etc/UTC" { "UTC" } else { zone };
            Some((object.scheduled_task()?.to_owned(), format!("{at} {zone}")))
        });
        of_process.chain(of_objects).collect()
    }

    /// Every secret that it needs, by name.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<&str, &SecretRef> {
        match &self.kind {
            WorkloadKind::Process(process) => process.secrets(),
            WorkloadKind::Objects(objects) => objects
                .secrets
                .iter()
                .map(|(name, from)| (name.as_str(), from))
                .collect(),
        }
    }
}

impl Workload {
    /// Changes where its secrets are read from, each by its name.
    pub fn each_secret(&mut self, change: &mut dyn FnMut(&str, &mut SecretRef)) {
        match &mut self.kind {
            WorkloadKind::Process(process) => {
                let files = process.files.values_mut().map(|file| &mut file.content);
                for value in process.env.values_mut().chain(files) {
                    if let EnvValue::Secret { name, from } = value {
                        change(name, from);
                    }
                }
            }
            WorkloadKind::Objects(objects) => {
                for (name, from) in &mut objects.secrets {
                    change(name, from);
                }
            }
        }
    }
}

impl Process {
    /// Every secret that its variables and files have, by name.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<&str, &SecretRef> {
        let files = self.files.values().map(|file| &file.content);
        let secrets = self
            .env
            .values()
            .chain(files)
            .filter_map(|value| match value {
                EnvValue::Secret { name, from } => Some((name.as_str(), from)),
                EnvValue::Plain(_) => None,
            });
        secrets.collect()
    }
}

/// A file that instances find at a path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WorkloadFile {
    /// What is in it.
    pub content: EnvValue,
    /// The variable that says where it is; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
}

/// The variable that says beneath which folder the files of an instance are: empty where they are
/// at their own paths, as in a container.
pub const FILES_VARIABLE: &str = "SHIPIT_FILES";

/// The variables that tell an instance of itself, whatever its own say.
pub const ABOUT_ITSELF: [&str; 7] = [
    "SHIPIT_PROJECT",
    "SHIPIT_ENVIRONMENT",
    "SHIPIT_SERVICE",
    "SHIPIT_SLOT",
    "SHIPIT_RELEASE",
    "SHIPIT_INSTANCE",
    "SHIPIT_COMMIT",
];

/// The value of an environment variable, or a file's content.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    /// As it stands.
    Plain(String),
    /// A secret, by name and by where it is read from; never its value.
    Secret {
        /// The name under the environment's `secrets`.
        name: String,
        /// Where it is read from.
        from: SecretRef,
    },
}
