//! A cluster of Amazon's, and what belongs to it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::Text;

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
