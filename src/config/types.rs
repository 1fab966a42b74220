//! The keys of `shipit.yaml` and of `environments/*.yaml`: both are this one document, the second laid over the
//! first. The JSON Schema is made from these types, and so are the descriptions that an editor shows.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::health::Health;
use crate::model::promotion::{Promotion, Strategy};
use crate::model::route::Limits;
use crate::model::secret::SecretRef;
use crate::model::workload::{Socket, UserNamespace};
use crate::model::{
    EnvironmentName, Period, Platform, ProjectName, ServiceName, Slot, TrustedProxies,
};

/// What a project is and where it goes: `shipit.yaml`. A file `environments/NAME.yaml` may override any key for
/// its environment: maps are merged, everything else is replaced, and `null` takes a key away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "shipit.yaml")]
pub struct Environment {
    /// The version of this format: 1.
    pub version: u32,
    /// The project's name.
    pub project: ProjectName,
    /// Which branch deploys where, and what may reach it; by the branch's name or a glob as `feature/*`.
    #[serde(default)]
    pub branches: BTreeMap<String, Branch>,
    /// Whether nothing that holds data may be deleted or replaced here, and the environment not taken away, whoever
    /// consents to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// Where images are kept.
    #[serde(default)]
    pub registry: Registry,
    /// Where releases run.
    #[serde(default)]
    pub cluster: Cluster,
    /// Where history, journal and lock are kept.
    #[serde(default)]
    pub state: StateStore,
    /// What is kept of the past.
    #[serde(default)]
    pub retention: Retention,
    /// The services.
    pub services: BTreeMap<ServiceName, Service>,
    /// `kubernetes`: objects of the environment that belong to no slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Manifests>,
    /// How a new release replaces the old one.
    #[serde(default)]
    pub strategy: Strategy,
    /// Where the two slots are, when they are apart. Kubernetes only.
    #[serde(default)]
    pub slots: BTreeMap<Slot, SlotPlace>,
    /// How traffic comes to the services.
    #[serde(default)]
    pub traffic: Traffic,
    /// How a release comes to live traffic.
    #[serde(default)]
    pub promotion: Promotion,
    /// How long a new release has to become ready.
    #[serde(default = "two_minutes")]
    pub ready_within: Period,
    /// Where secrets come from, by name. They are read while applying, and never written down.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Values for templates, as `{{ vars.NAME }}`.
    #[serde(default)]
    pub vars: BTreeMap<String, Text>,
}

const fn two_minutes() -> Period {
    Period::from_secs(120)
}

/// One branch's rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The environment that it deploys to.
    pub environment: EnvironmentName,
    /// The branches from which it takes merges, and from whose environments it takes promotions.
    #[serde(default)]
    pub accepts: Vec<String>,
    /// Whether commits may be made on it directly.
    #[serde(default = "yes")]
    pub direct_commits: bool,
    /// The channel of its releases: a word for people, as `beta` or `stable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Where images are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools)] // each is a key of its own
pub struct Registry {
    /// Which kind of registry.
    pub kind: RegistryKind,
    /// `layout`: the folder, relative to the project's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `oci` and `ecr`: where pushes go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `oci` and `ecr`: a file with the certificates that may have signed the registry's own, relative to the
    /// project's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// `oci` and `ecr`: whether the registry is spoken to without TLS. One on this machine always may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// Hosts that may be given a login for a registry besides that registry's own: its token server, where that is on
    /// another host. A name is for the usual port, `auth.example.com:8443` for another one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_hosts: Vec<String>,
    /// `ecr`: whether Amazon's password is sent to `endpoint` although that is none of Amazon's addresses. It opens every
    /// repository of the account that this identity may use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_gets_credentials: bool,
    /// `oci` and `ecr`: whether each image gets a document attached that says where it comes from (in-toto, SLSA).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provenance: bool,
    /// `oci` and `ecr`: whether each image gets a document attached that says what is in it (CycloneDX).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sbom: bool,
    /// `ecr`: the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `ecr`: the account's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// `oci` and `ecr`: the repository's name, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// `ecr`: whether a tag may be moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable_tags: Option<bool>,
    /// `ecr`: whether images are scanned when they are pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_on_push: Option<bool>,
    /// `oci` and `ecr`: how many tagged images are kept. `ecr`: and how long untagged ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<RegistryRetention>,
    /// `ecr`: the whole lifecycle policy, instead of `retention`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy: Option<serde_json::Value>,
    /// `ecr`: who may do what with the repositories: a policy document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
    /// `ecr`: the key that images are encrypted with; the registry's own without it. It cannot be changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// `ecr`: tags of the repositories.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Text>,
    /// `ecr`: other registries whose images are fetched through this one and kept, by the prefix of their repositories
    /// here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pull_through: BTreeMap<String, PullThrough>,
    /// `ecr`: where images are copied to when they are pushed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replication: Vec<Replication>,
}

/// Another registry whose images are fetched through this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PullThrough {
    /// Its address: `registry-1.docker.io`, `quay.io`. Another one means another rule.
    pub upstream: String,
    /// The secret of Secrets Manager that has the user and the password, by its ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Where images are copied to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    /// The region.
    pub to: String,
    /// The account's number; the registry's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The beginnings of the repositories' names; those of the environment without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

impl Replication {
    /// The region and the account, as one text.
    #[must_use]
    pub fn place(&self, registry: &Registry) -> String {
        let account = self.account.as_ref().or(registry.account.as_ref());
        format!("{}/{}", self.to, account.map_or("", String::as_str))
    }
}

impl Registry {
    /// The layout's folder, relative to the project's.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("state/registry"))
    }
}

/// The kinds of registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistryKind {
    /// An OCI image layout folder.
    #[default]
    Layout,
    /// Any registry that speaks the OCI distribution protocol.
    Oci,
    /// Amazon ECR.
    Ecr,
}

/// How long a registry keeps images by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryRetention {
    /// How many tagged images of each repository. With `oci`, of those that shipit made: a run takes away the others that
    /// nobody needs.
    pub tagged: Option<u32>,
    /// How long untagged ones.
    pub untagged: Option<Period>,
}

/// Where releases run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Which kind of engine.
    pub kind: ClusterKind,
    /// `host`: how instances are started.
    pub runtime: Runtime,
    /// `docker`: the network that containers are in; Docker's own bridge without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// `container`: whether the users of a container are other ones than the machine's, so that its root is nobody
    /// outside. For an agent that runs as root; without root they always are.
    #[serde(skip_serializing_if = "UserNamespace::is_preferred")]
    pub user_namespace: UserNamespace,
    /// `host`: the agent's folder; the user's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// `eks`: the cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `eks`: the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `kubernetes`: the kubeconfig, relative to the project's folder; without it `KUBECONFIG`, `~/.kube/config`,
    /// or the service account of the pod that shipit runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// `kubernetes`: the context in the kubeconfig; its current one without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// `kubernetes`: the namespace of what belongs to no slot, a template; `PROJECT-ENVIRONMENT` without it. Slots
    /// without a namespace of their own are there too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `kubernetes`: whether shipit makes the namespaces. Without it they must be there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_namespaces: bool,
    /// `kubernetes`: the Pod Security Standard that is enforced in the namespaces that shipit makes.
    pub pod_security: PodSecurity,
    /// `kubernetes`: whether the kubeconfig may start a program to log in. A kubeconfig is then code.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exec_plugins: bool,
    /// `kubernetes`: what to do with a field that another manager has changed.
    pub conflicts: Conflicts,
    /// `kubernetes`: when an object of a kind counts as ready, by `GROUP/KIND`: a condition, or a field and its value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ready: BTreeMap<String, ReadyRule>,
    /// `eks`: the API server's address, when it is not what Amazon says: a tunnel, a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `eks`: whether the login to the cluster is sent to `endpoint` although that is none of Amazon's addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_gets_credentials: bool,
    /// `eks`: the file with the certificate of `endpoint`'s authority, relative to the project's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    /// `eks`: what the cluster should be. Without it the cluster must be there, and is left as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<EksCluster>,
    /// `eks`: groups of machines by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_groups: BTreeMap<String, NodeGroup>,
    /// `eks`: Fargate profiles by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fargate_profiles: BTreeMap<String, FargateProfile>,
    /// `eks`: addons by name: `vpc-cni`, `coredns`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub addons: BTreeMap<String, Addon>,
    /// `eks`: who may do what inside of the cluster, by the ARN of the role or user.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub access: BTreeMap<String, AccessEntry>,
}

impl Cluster {
    /// The agent's folder, if the configuration names one; relative to the project's.
    #[must_use]
    pub fn directory(&self, root: &Path) -> Option<PathBuf> {
        self.directory
            .as_ref()
            .map(|directory| root.join(directory))
    }
}

/// The Pod Security Standard of a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PodSecurity {
    /// What current hardening asks for; the pods that shipit makes hold to it.
    #[default]
    Restricted,
    /// Known ways to more rights are closed.
    Baseline,
    /// Everything is allowed.
    Privileged,
    /// Nothing is said: the cluster's own default holds.
    None,
}

/// What to do with a field that another manager has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conflicts {
    /// Say who, and change nothing.
    #[default]
    Stop,
    /// Take the field over: the configuration wins.
    TakeOver,
    /// Leave the field to the other manager.
    Leave,
}

/// When an object counts as ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadyRule {
    /// The condition that must be `True`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The field that must have `value`, as `status.phase`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The value of `field`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Text>,
    /// The condition that says, when it is `True`, that it has failed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The kinds of engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClusterKind {
    /// This machine, through the agent.
    #[default]
    Host,
    /// A Kubernetes cluster.
    Kubernetes,
    /// Amazon EKS.
    Eks,
}

/// How the host engine starts instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// As a process of this machine.
    #[default]
    Process,
    /// In a container without a daemon.
    Container,
    /// In a Docker container.
    Docker,
    /// As a systemd unit of its own.
    Systemd,
    /// In a container where that is possible, else as a process.
    Auto,
}

/// What an EKS cluster should be. A key that is not given is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EksCluster {
    /// The version: `"1.36"`. Upgrades go one minor version at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    /// The role of the cluster itself.
    pub role: String,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// Its security groups, beside the one that Amazon makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// Whether the API server is reached from outside of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_access: Option<bool>,
    /// Whether the API server is reached inside of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_access: Option<bool>,
    /// What the control plane logs: `api`, `audit`, `authenticator`, `controllerManager`, `scheduler`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Vec<String>>,
    /// Its tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Text>,
}

/// A group of machines of an EKS cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeGroup {
    /// The role of the machines.
    pub role: String,
    /// Their subnets.
    pub subnets: Vec<String>,
    /// Their kinds: `m7i.large`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instance_types: Vec<String>,
    /// How many at the least.
    pub min: u16,
    /// How many at the most.
    pub max: u16,
}

/// An addon of an EKS cluster. A key that is not given is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Addon {
    /// Its version, as Amazon writes it: `v1.19.0-eksbuild.1`. Amazon's default when it is made without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    /// Its own configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<serde_json::Value>,
    /// The role of its pods; that of the machines without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether what it installed stays in the cluster when it leaves the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve: Option<bool>,
}

/// What a role or user may do inside of an EKS cluster. A key that is not given is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessEntry {
    /// Amazon's policies: `AmazonEKSClusterAdminPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<AccessPolicy>>,
    /// The groups of Kubernetes that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// A policy for inside of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessPolicy {
    /// In the whole cluster.
    Everywhere(String),
    /// In some namespaces.
    Within(PolicyWithin),
}

/// A policy that holds in some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyWithin {
    /// Its name: `AmazonEKSEditPolicy`.
    pub policy: String,
    /// The namespaces.
    pub namespaces: Vec<String>,
}

impl AccessPolicy {
    /// Its name without Amazon's prefix.
    #[must_use]
    pub fn name(&self) -> String {
        let (Self::Everywhere(name) | Self::Within(PolicyWithin { policy: name, .. })) = self;
        name.rsplit(":cluster-access-policy/")
            .next()
            .unwrap_or(name)
            .to_owned()
    }

    /// The namespaces in which it holds; all of them when there are none.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        match self {
            Self::Everywhere(_) => &[],
            Self::Within(within) => &within.namespaces,
        }
    }
}

/// A Fargate profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FargateProfile {
    /// The namespaces whose pods it runs.
    pub namespaces: Vec<String>,
    /// The subnets in which they run.
    pub subnets: Vec<String>,
    /// The role that runs them.
    pub role: Option<String>,
}

/// Where history, journal and lock are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateStore {
    /// Which kind of store.
    pub kind: StateKind,
    /// `local`: the folder, relative to the project's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `kubernetes`: the namespace; the environment's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl StateStore {
    /// The store's folder, relative to the project's.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("state"))
    }
}

/// The kinds of store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// A folder.
    #[default]
    Local,
    /// An S3 bucket.
    S3,
    /// Objects of the cluster.
    Kubernetes,
}

/// What is kept of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of how many releases the images are kept, so that `rollback --to` can reach them.
    pub releases: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { releases: 10 }
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How its image is made.
    pub build: Build,
    /// The port that it listens on, told to it as `PORT`; none for a worker. On a host the live listener has
    /// this port unless `traffic.listeners` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `host`: who opens the port's socket. `inherited`, for the runtime `process`: the agent opens it and hands it over.
    #[serde(default, skip_serializing_if = "Socket::is_own")]
    pub socket: Socket,
    /// How it says that it can take traffic.
    #[serde(default)]
    pub health: Health,
    /// How many instances.
    #[serde(default = "one")]
    pub replicas: u16,
    /// Environment variables: texts, which may be templates, or `{secret: NAME}`.
    #[serde(default)]
    pub env: BTreeMap<String, EnvEntry>,
    /// The argument vector, instead of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// How long an instance has to stop after SIGTERM.
    #[serde(default = "ten_seconds")]
    pub stop_grace: Period,
    /// `kubernetes`: the service's own manifests, instead of those that shipit makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Manifests>,
    /// What a pod asks for and may use. In a container of the runtime `docker` only the limits count.
    #[serde(default)]
    pub resources: Resources,
    /// `docker`: folders in the container that outlive it: from the path inside to a volume's name, or to a folder of
    /// this machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<PathBuf, String>,
    /// `kubernetes`: how many pods there are by their load, instead of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Autoscale>,
    /// `kubernetes`: files of the project that the pods see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigFiles>,
    /// `kubernetes`: the user's number that the pods run as; never 0.
    #[serde(default = "nonroot")]
    pub user: u32,
}

pub(super) const fn nonroot() -> u32 {
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
    /// The most processes and threads of an instance, on a host: 4096 in containers, systemd's own limit in units.
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

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Manifests {
    /// A glob of template files.
    Files(String),
    /// A tool that renders them.
    Rendered(Rendered),
}

/// A tool of the user's own that renders manifests. Exactly one of `kustomize` and `helm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rendered {
    /// The folder that `kustomize build` or `kubectl kustomize` renders, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<String>,
    /// The chart that `helm template` renders, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helm: Option<String>,
    /// `helm`: the file of values, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// `helm`: what becomes of a chart's hooks, which shipit does not run. Its tests are left out anyway.
    pub hooks: ChartHooks,
    /// `helm`: what becomes of the definitions in a chart's `crds/`.
    pub crds: ChartCrds,
}

/// What becomes of a chart's hooks: Helm runs them beside the chart's objects, and shipit runs none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChartHooks {
    /// A chart with hooks is refused.
    #[default]
    Refuse,
    /// They are not run.
    LeaveOut,
}

/// What becomes of the definitions in a chart's `crds/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChartCrds {
    /// They are made before the chart's objects, and never deleted. A service's chart may have none: they belong to the
    /// whole cluster.
    #[default]
    Include,
    /// They are there already.
    LeaveOut,
}

/// How an image is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Which builder.
    pub kind: BuildKind,
    /// The folder whose files are the build's inputs, and where `run` runs.
    #[serde(default = "here")]
    pub context: PathBuf,
    /// Which files of the context are inputs, as globs; without it all that Git does not ignore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// The command that makes the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Command>,
    /// What is copied: from a path in the context to an absolute path in the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copy: BTreeMap<PathBuf, PathBuf>,
    /// What lies below: `scratch`, or an image of the registry.
    #[serde(default = "scratch")]
    pub base: String,
    /// The argument vector that starts the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The user in numbers: `UID` or `UID:GID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Text>,
    /// Where the entrypoint starts, in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// Environment variables of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
    /// Labels of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    /// `docker` and `buildah`: the Dockerfile, relative to the context; `Dockerfile` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<PathBuf>,
    /// `docker` and `buildah`: the stage that is the image; the last one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `docker` and `buildah`: build arguments, templates. Everybody who has the image can read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Text>,
    /// `docker` and `buildah`: secrets of the environment that a `RUN --mount=type=secret,id=NAME` may read. They
    /// come into no layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Where layers of other builds are found, templates. `docker`: images that were built with this key; `buildah`:
    /// repositories that `cache_to` has filled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<String>,
    /// `buildah`: the repository that layers are kept in for other builds, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_to: Option<String>,
    /// What images are made for: `[linux/amd64, linux/arm64]`. The result is an index with an image for each. Without it
    /// the result is one image, for the machine that builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// How long it may take, for each platform.
    #[serde(default = "crate::model::build::an_hour")]
    pub within: Period,
}

fn here() -> PathBuf {
    ".".into()
}

fn scratch() -> String {
    "scratch".to_owned()
}

/// The builders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildKind {
    /// Run a command, pack files. Needs nothing but shipit.
    Pack,
    /// A Dockerfile, by Docker.
    Docker,
    /// A Dockerfile, by buildah.
    Buildah,
}

/// A command: a list is an argument vector, a text is split at blanks without a shell, and `{shell: "…"}` is
/// given to `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// Split at blanks.
    Line(String),
    /// As it is.
    Vector(Vec<String>),
    /// By a shell.
    Shell(Shell),
}

/// A command for `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    /// The command.
    pub shell: String,
}

impl Command {
    /// As an argument vector.
    #[must_use]
    pub fn vector(&self) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
            Self::Vector(vector) => vector.clone(),
            Self::Shell(Shell { shell }) => vec!["sh".to_owned(), "-c".to_owned(), shell.clone()],
        }
    }
}

/// Where one slot is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlotPlace {
    /// Its namespace.
    pub namespace: Option<String>,
}

/// How traffic comes to the services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// What routes it.
    pub kind: TrafficKind,
    /// `embedded` and `nginx`: the address of all live listeners.
    pub address: IpAddr,
    /// `embedded` and `nginx`: the address of all preview listeners. What is not live yet is nobody's business: without
    /// this key it is `address` where that is of this machine only, else `127.0.0.1` or `::1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_address: Option<IpAddr>,
    /// `embedded` and `nginx`: the proxies in front of the router, as networks: `[10.0.0.0/8]`. What they say of a
    /// client (`X-Forwarded-For` and its family) reaches the services; what anybody else says is dropped. Without this
    /// key nobody is trusted, not even this machine.
    #[serde(skip_serializing_if = "TrustedProxies::is_empty")]
    pub trusted_proxies: TrustedProxies,
    /// `embedded`: the ports by service. Without it live is the service's `port`, and preview the one above it.
    pub listeners: BTreeMap<ServiceName, Listeners>,
    /// `embedded`: the router's limits.
    pub limits: Limits,
    /// `nginx`: what shipit writes for it, and how it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nginx: Option<Nginx>,
    /// `embedded` and `nginx`: a key that names the slot with live traffic, for whoever routes by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
    /// `ingress` and `gateway`: the host and path of each service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub entries: BTreeMap<ServiceName, Entry>,
    /// `ingress`: the class of the controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// `ingress`: the Secret with the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
    /// `gateway`: the Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

impl Traffic {
    /// Where preview listeners are: on this machine, unless the configuration says otherwise.
    #[must_use]
    pub fn preview_address(&self) -> IpAddr {
        let loopback = match self.address {
            own if own.is_loopback() => own,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        self.preview_address.unwrap_or(loopback)
    }
}

/// What shipit writes for nginx, and how nginx is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nginx {
    /// The file that it writes, a template that sees `service`; nginx has to include it.
    pub config: String,
    /// The hosts that the server answers for, in nginx's words: `[shop.example.com, "*.shop.example.com"]`; others get
    /// 421. Every host without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<String>,
    /// The template of that file, relative to the project's folder. It sees `project`, `environment`, `service`,
    /// `listen`, `upstream`, `slot`, `vars`, `server_names`, `trusted_proxies`, `identity_headers` and `limits`. Without it the file is a server that passes everything on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// The command that takes `-t` and `-s reload`.
    pub command: Vec<String>,
}

impl Default for Nginx {
    fn default() -> Self {
        Self {
            config: "/etc/nginx/conf.d/{{ project }}-{{ environment }}-{{ service }}.conf"
                .to_owned(),
            server_names: Vec::new(),
            template: None,
            command: vec!["nginx".to_owned()],
        }
    }
}

/// A key of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The members of etcd: `http://127.0.0.1:2379`.
    pub etcd: Vec<String>,
    /// The key, a template; its value is `blue`, `green` or `off`.
    #[serde(default = "live_key")]
    pub key: String,
    /// Who writes the key, where etcd asks for a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the user's password, on the machine of the agent, as an absolute path. It is read at each switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The authority that signed the certificates of etcd, a file in PEM on the machine of the agent, as an absolute
    /// path; the machine's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

fn live_key() -> String {
    "/{{ project }}/{{ environment }}/live".to_owned()
}

/// One service's way in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Entry {
    /// The host name; every host without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path's beginning; `/` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where checks and the prober ask for live traffic, when that is not what host and path say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where checks ask a slot before it has live traffic, a template that sees `slot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_url: Option<String>,
}

/// Which Gateway takes the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the route without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Which of its listeners; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            kind: TrafficKind::Embedded,
            address: IpAddr::from([127, 0, 0, 1]),
            preview_address: None,
            trusted_proxies: TrustedProxies::nobody(),
            listeners: BTreeMap::new(),
            limits: Limits::default(),
            nginx: None,
            publish: None,
            entries: BTreeMap::new(),
            class: None,
            tls_secret: None,
            gateway: None,
        }
    }
}

/// What routes traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrafficKind {
    /// The agent's own router.
    #[default]
    Embedded,
    /// nginx on this machine.
    Nginx,
    /// The selector of a Kubernetes Service.
    Service,
    /// The backend of a Kubernetes Ingress.
    Ingress,
    /// The weights of a Gateway API `HTTPRoute`.
    Gateway,
}

/// A service's ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// Where live traffic arrives.
    pub live: Option<u16>,
    /// Where only the preview slot answers.
    pub preview: Option<u16>,
    /// Where the slot blue answers, whichever has live traffic.
    pub blue: Option<u16>,
    /// Where the slot green answers, whichever has live traffic.
    pub green: Option<u16>,
}

/// A text. A number is taken as its text; `true` and `false` must be quoted, so that nobody has to guess.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "TextSchema")]
pub struct Text(pub String);

#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum TextSchema {
    Text(String),
    Number(f64),
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvEntry {
    /// A text.
    Text(Text),
    /// A secret of the environment, by its name.
    Secret(SecretEntry),
}

/// A secret by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretEntry {
    /// The name under the environment's `secrets`.
    pub secret: String,
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = EnvEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text (in quotes, if it looks like something else)")
    }

    fn visit_str<E>(self, text: &str) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<EnvEntry, E> {
        Ok(EnvEntry::Text(Text(number.to_string())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvEntry, A::Error> {
        let map = serde::de::value::MapAccessDeserializer::new(map);
        SecretEntry::deserialize(map).map(EnvEntry::Secret)
    }
}

impl<'de> Deserialize<'de> for EnvEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_bytes(TextVisitor)? {
            EnvEntry::Text(text) => Ok(text),
            EnvEntry::Secret(_) => Err(serde::de::Error::custom(
                "a text is needed here, and no secret",
            )),
        }
    }
}
