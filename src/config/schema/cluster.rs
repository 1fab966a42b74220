//! Where releases run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::{
    AccessEntry, Addon, EksCluster, FargateProfile, NodeGroup, Runtime, Text,
};
use crate::model::workload::UserNamespace;

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
