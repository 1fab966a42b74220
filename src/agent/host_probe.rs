//! What the agent's runtimes find on this machine.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::agent::Directory;
use crate::agent::launch;
use crate::agent::runtime::{container, systemd};
use crate::port::host_probe::{HostProbe, Unavailable};

/// The machine that this process is on.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

fn directory(agent: &Path) -> Directory {
    Directory::find(Some(agent.to_path_buf()))
}

#[async_trait]
impl HostProbe for ThisMachine {
    fn no_units(&self) -> Option<Unavailable> {
        systemd::unavailable()
    }

    async fn units_go_on(&self) -> bool {
        systemd::lingers().await
    }

    fn no_containers(&self, agent: &Path) -> Option<Unavailable> {
        let reason = container::why_not(&directory(agent))?;
        Some(Unavailable {
            reason,
            help: "`runtime: process` needs nothing, `docker` a Docker Engine".to_owned(),
        })
    }

    fn containers_have_limits(&self) -> bool {
        container::has_limits()
    }

    fn no_users(&self, agent: &Path, volumes: &[PathBuf]) -> Option<String> {
        container::why_no_users(&directory(agent), volumes)
    }

    fn why_on_disk(&self) -> Option<String> {
        launch::why_on_disk()
    }
}
