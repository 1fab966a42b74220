//! A Kubernetes cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::Text;

/// What a Kubernetes cluster has, whoever runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AnyKubernetes {
    /// The namespace of what belongs to no slot, a template; `PROJECT-ENVIRONMENT` without it.
    /// Slots without a namespace of their own are there too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether shipit makes the namespaces. Without it they must be there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_namespaces: bool,
    /// The Pod Security Standard that is enforced in the namespaces that shipit makes.
    pub pod_security: PodSecurity,
    /// What to do with a field that another manager has changed.
    pub conflicts: Conflicts,
    /// When an object of a kind counts as ready, by `GROUP/KIND`: a condition, or a field and its
    /// value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ready: BTreeMap<String, ReadyRule>,
}

/// How a cluster is reached that nobody else names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KubernetesCluster {
    /// The kubeconfig, relative to the project's folder; without it `KUBECONFIG`, `~/.kube/config`,
    /// or the service account of the pod that shipit runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig; its current one without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether the kubeconfig may start a program to log in. A kubeconfig is then code.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exec_plugins: bool,
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

impl AnyKubernetes {
    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        if !self.create_namespaces {
            let message = "without `create_namespaces` shipit makes no namespace";
            findings.refuse(&["cluster"], &["pod_security"], message);
        }
    }
}
