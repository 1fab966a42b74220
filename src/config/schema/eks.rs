//! Amazon's cluster, with what makes it what it should be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::{AccessEntry, NO_ENDPOINT, Text, region};

/// What only Amazon's cluster has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EksCluster {
    /// The cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The API server's address, when it is not what Amazon says: a tunnel, a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether the login to the cluster is sent to `endpoint` although that is none of Amazon's
    /// addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_gets_credentials: bool,
    /// The file with the certificate of `endpoint`'s authority, relative to the project's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    /// What the cluster should be. Without it the cluster must be there, and is left as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<EksControlPlane>,
    /// Groups of machines by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_groups: BTreeMap<String, NodeGroup>,
    /// Fargate profiles by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fargate_profiles: BTreeMap<String, FargateProfile>,
    /// Addons by name: `vpc-cni`, `coredns`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub addons: BTreeMap<String, Addon>,
    /// Who may do what inside of the cluster, by the ARN of the role or user.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub access: BTreeMap<String, AccessEntry>,
}

/// What an EKS cluster should be. A key that is not given is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EksControlPlane {
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
    /// What the control plane logs: `api`, `audit`, `authenticator`, `controllerManager`,
    /// `scheduler`.
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
    /// Its version, as Amazon writes it: `v1.19.0-eksbuild.1`. Amazon's default when it is made
    /// without one.
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

impl EksCluster {
    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        if self.name.is_none() {
            findings.add(
                &["cluster"],
                "nothing says which cluster",
                "write `name: CLUSTER`",
            );
        }
        region(findings, "cluster", self.region.as_deref());
        if self.endpoint.is_none() {
            findings.refuse(&["cluster"], &["endpoint_gets_credentials"], NO_ENDPOINT);
            let message = "it is for an `endpoint` of your own: Amazon names its own authority";
            findings.refuse(&["cluster"], &["certificate_authority"], message);
        }
        self.check_machines(findings);
        for (principal, entry) in &self.access {
            entry.check(findings, principal);
        }

        if let Some(wanted) = &self.create
            && (wanted.role.is_empty() || wanted.subnets.is_empty())
        {
            let help = "write `create: {role: ARN, subnets: […]}`";
            findings.add(
                &["cluster", "create"],
                "a cluster has a role and subnets",
                help,
            );
        }
    }

    fn check_machines(&self, findings: &mut Findings<'_>) {
        for (name, profile) in &self.fargate_profiles {
            let path = ["cluster", "fargate_profiles", name];
            if profile.namespaces.is_empty() {
                findings.add(&path, "`namespaces` says whose pods it runs", "add it");
            }
            if profile.role.is_none() {
                findings.add(&path, "`role` runs the pods", "add it");
            }
        }

        for (name, group) in &self.node_groups {
            if group.role.is_empty() || group.subnets.is_empty() || group.max < group.min.max(1) {
                findings.add(
                    &["cluster", "node_groups", name],
                    "it needs a role, subnets, and `max`",
                    "write `{role: ARN, subnets: […], min: 1, max: 3}`",
                );
            }
        }
    }
}
