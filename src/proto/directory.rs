//! The agent's folder: one per user, so that all projects of a machine share one router.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::model::{Digest, ReleaseNumber, ServiceName, Slot};
use crate::port::engine::Scope;

/// The variable that names another folder.
pub const VARIABLE: &str = "SHIPIT_AGENT_DIR";

/// Where the agent keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(PathBuf);

impl Directory {
    /// This folder, else `SHIPIT_AGENT_DIR`, else `/var/lib/shipit` for root, else `$XDG_STATE_HOME/shipit`, else
    /// `~/.local/state/shipit`.
    #[must_use]
    pub fn find(named: Option<PathBuf>) -> Self {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let path = named.or_else(|| variable(VARIABLE)).unwrap_or_else(|| {
            if rustix::process::geteuid().is_root() {
                return PathBuf::from("/var/lib/shipit");
            }
            let home = || variable("HOME").unwrap_or_default().join(".local/state");
            variable("XDG_STATE_HOME")
                .unwrap_or_else(home)
                .join("shipit")
        });
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, for its owner only.
    pub fn prepare(&self) -> io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
    }

    /// Where the agent listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// Held by the agent that runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("agent.lock")
    }

    /// Held while an agent is being started.
    #[must_use]
    pub fn start_lock(&self) -> PathBuf {
        self.0.join("agent.start")
    }

    /// What the agent itself has to say.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("agent.log")
    }

    /// One line per request.
    #[must_use]
    pub fn access_log(&self) -> PathBuf {
        self.0.join("access.log")
    }

    /// What is written down of the environments.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.0.join("environments")
    }

    /// Where images are brought to from registries, as an OCI image layout.
    #[must_use]
    pub fn layout(&self) -> PathBuf {
        self.0.join("layout")
    }

    /// Where images are unpacked.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// One image's files.
    #[must_use]
    pub fn rootfs(&self, image: &Digest) -> PathBuf {
        self.images().join(image.hex())
    }

    /// The logs of what stands in a slot, or stood there.
    #[must_use]
    pub fn slot_logs(&self, scope: &Scope, slot: Slot) -> PathBuf {
        self.0
            .join("logs")
            .join(scope.project.as_str())
            .join(scope.environment.as_str())
            .join(slot.as_str())
    }

    /// One instance's log.
    #[must_use]
    pub fn instance_log(
        &self,
        scope: &Scope,
        slot: Slot,
        release: ReleaseNumber,
        service: &ServiceName,
        index: u16,
    ) -> PathBuf {
        self.slot_logs(scope, slot)
            .join(release.to_string())
            .join(format!("{service}.{index}.log"))
    }
}
