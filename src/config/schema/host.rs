//! This machine as an engine.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::model::workload::UserNamespace;

/// This machine, through the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostCluster {
    /// How instances are started.
    pub runtime: Runtime,
    /// `docker`: the network that containers are in; Docker's own bridge without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// `container`: whether the users of a container are other ones than the machine's, so that its
    /// root is nobody outside. For an agent that runs as root; without root they always are.
    #[serde(skip_serializing_if = "UserNamespace::is_preferred")]
    pub user_namespace: UserNamespace,
    /// The agent's folder, relative to the project's; the user's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
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

impl HostCluster {
    /// The agent's folder, if the configuration names one.
    #[must_use]
    pub fn directory(&self, root: &Path) -> Option<PathBuf> {
        self.directory
            .as_ref()
            .map(|directory| root.join(directory))
    }

    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        let (has_network, has_users) = match self.runtime {
            Runtime::Docker => (true, false),
            Runtime::Container | Runtime::Auto => (false, true),
            Runtime::Process | Runtime::Systemd => (false, false),
        };
        if !has_network {
            findings.refuse(&["cluster"], &["network"], "only `docker` has this");
        }
        if !has_users {
            let only = "only the runtime `container` has this";
            findings.refuse(&["cluster"], &["user_namespace"], only);
        }
    }
}
