//! This machine as an engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
