//! What can be started on this machine, and why not: asked before anything is.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

/// Why something cannot be started here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// What is missing.
    pub reason: String,
    /// What to do.
    pub help: String,
}

/// What the runtimes of a host find on this machine. `agent` is the folder of the agent that would
/// start instances: what it can do depends on the file system that it is on.
#[async_trait]
pub trait HostProbe: Send + Sync {
    /// Why units of systemd cannot be started for this user.
    fn no_units(&self) -> Option<Unavailable>;

    /// Whether this user's units go on when it logs out.
    async fn units_go_on(&self) -> bool;

    /// Why containers cannot be made without a daemon.
    fn no_containers(&self, agent: &Path) -> Option<Unavailable>;

    /// Whether containers can have limits of memory, processor and processes.
    fn containers_have_limits(&self) -> bool;

    /// Why containers cannot have users of their own, with these volumes.
    fn no_users(&self, agent: &Path, volumes: &[PathBuf]) -> Option<String>;

    /// Why the files of instances, which may be secrets, are written to the disk.
    fn why_on_disk(&self) -> Option<String>;
}

/// A machine that can start everything.
#[derive(Debug, Clone, Copy)]
pub struct AnyHost;

#[async_trait]
impl HostProbe for AnyHost {
    fn no_units(&self) -> Option<Unavailable> {
        None
    }

    async fn units_go_on(&self) -> bool {
        true
    }

    fn no_containers(&self, _: &Path) -> Option<Unavailable> {
        None
    }

    fn containers_have_limits(&self) -> bool {
        true
    }

    fn no_users(&self, _: &Path, _: &[PathBuf]) -> Option<String> {
        None
    }

    fn why_on_disk(&self) -> Option<String> {
        None
    }
}
