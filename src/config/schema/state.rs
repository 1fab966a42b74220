//! Where history, journal and lock are kept.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::kinds::by_kind;
use crate::config::schema::{ClusterConfig, EnvironmentConfig};

by_kind! {
    /// Where history, journal and lock are kept.
    pub enum StateConfig by default Local {
        /// A folder.
        "local" => Local(local: LocalState),
        /// Objects of the cluster.
        "kubernetes" => Kubernetes(cluster: ClusterState),
    }
}

/// A folder of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LocalState {
    /// The folder, relative to the project's; `state` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// Objects of the cluster that the environment is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterState {
    /// The namespace; the environment's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The folder for what is recorded about failures, relative to the project's; `state` without
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl StateConfig {
    /// The folder that it writes to, relative to the project's.
    #[must_use]
    pub fn path(&self) -> &Path {
        let path = match self {
            Self::Local(local) => &local.path,
            Self::Kubernetes(cluster) => &cluster.path,
        };
        path.as_deref().unwrap_or(Path::new("state"))
    }

    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        match (&environment.state, &environment.cluster) {
            (Self::Kubernetes(_), ClusterConfig::Host(_)) => findings.add(
                &["state", "kind"],
                "there is no cluster to keep the state in",
                "`local` keeps it in a folder",
            ),
            (Self::Local(_), _)
            | (Self::Kubernetes(_), ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..)) => {}
        }
    }
}
