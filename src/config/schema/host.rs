//! This machine as an engine.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::model::ssh::SshAddress;
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
    /// The agent's folder, relative to the project's; the user's own without it. With `at` it is
    /// absolute, and on the machine there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Another machine, whose agent is reached by ssh: `ssh://deploy@10.0.0.5:22`. This one without
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// With `at`: files that the ssh program uses besides the user's own.
    #[serde(skip_serializing_if = "SshFiles::is_default")]
    pub ssh: SshFiles,
}

/// Files that the ssh program uses, relative to the project's folder. A configuration of ssh is
/// none of them: it names programs, and is the user's own alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SshFiles {
    /// The private key to log in with, and no other: for a build server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// The keys that hosts are known by, in the place of the user's own list: one that is kept with
    /// the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<PathBuf>,
    /// Only a host whose key is known beforehand is believed, whatever the user's own configuration
    /// of ssh says. No file says it: it holds in a change request, which may name any host.
    #[serde(skip)]
    pub is_known_beforehand: bool,
}

impl SshFiles {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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

    /// The machine that it is, when it is another than this one.
    #[must_use]
    pub fn elsewhere(&self) -> Option<SshAddress> {
        self.at.as_deref()?.parse().ok()
    }

    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        self.check_elsewhere(findings);
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

    fn check_elsewhere(&self, findings: &mut Findings<'_>) {
        let Some(at) = &self.at else {
            findings.refuse(&["cluster"], &["ssh"], "only a host with `at` has this");
            return;
        };

        if let Err(error) = at.parse::<SshAddress>() {
            let help = "write `at: ssh://HOST`, with `USER@` before the host and `:PORT` behind it \
                        where they are needed";
            findings.add(&["cluster", "at"], error.to_string(), help);
        }
        if self.runtime == Runtime::Auto {
            findings.add(
                &["cluster", "runtime"],
                "what another machine can do is not asked by `auto`",
                "write `runtime: container` or another",
            );
        }
        let folder = self.directory.as_deref().map(Path::to_string_lossy);
        if folder.is_some_and(|folder| !is_plain(&folder)) {
            findings.add(
                &["cluster", "directory"],
                "the agent's folder on another machine is absolute, without `:` and `%`",
                "write `directory: /var/lib/shipit`, or leave it out for that user's own",
            );
        }
    }
}

/// Whether ssh takes a path as it stands.
fn is_plain(path: &str) -> bool {
    let is_odd = |c: char| matches!(c, ':' | '%' | '"' | '\'') || c.is_control();
    path.starts_with('/') && !path.contains(is_odd) && !path.split('/').any(|part| part == "..")
}
