//! How an instance is started, found again, and ended. `process` is the runtime that needs nothing
//! but the machine; containers and units come beside it.

pub mod attached;
pub mod container;
pub mod docker;
pub mod process;
pub mod systemd;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;

use crate::agent::Directory;
use crate::agent::engine::record::ProcessRecord;
use crate::agent::launch::{InstanceFiles, User};
use crate::agent::rootfs::{ImageMeta, Unpacked};
use crate::agent::runtime::attached::{Attach, Attached};
use crate::agent::runtime::container::ContainerRuntime;
use crate::agent::runtime::docker::DockerRuntime;
use crate::agent::runtime::process::ProcessRuntime;
use crate::agent::runtime::systemd::SystemdRuntime;
use crate::agent::trouble::Trouble;
use crate::model::Digest;
use crate::model::drift::MovedField;
use crate::model::workload::{Container, ContainerKind, Workload};
use crate::port::engine::Pull;

/// The most processes and threads in a container that the configuration does not limit: enough for
/// large services, and a bound for one that starts processes without end.
pub(super) const PROCESSES: u32 = 4096;

/// Where a container finds the folder of its reports.
pub const REPORTS: &str = "/shipit/reports";

/// Everything that a runtime must know to start one instance.
#[derive(Clone)]
pub struct Launch {
    /// The image's files.
    pub rootfs: PathBuf,
    /// The argument vector.
    pub command: Vec<String>,
    /// Where it starts, in the image.
    pub workdir: PathBuf,
    /// The signal that asks it to end.
    pub stop_signal: Signal,
    /// All of its environment, secrets included: never shown.
    pub env: BTreeMap<String, String>,
    /// What it reads on its standard input; nothing without it. Never shown.
    pub input: Option<Vec<u8>>,
    /// As whom it runs, if the image names somebody.
    pub user: Option<User>,
    /// A listening socket that is handed to it.
    pub socket: Option<Arc<OwnedFd>>,
    /// The files that it finds, by their paths in it, and where they are.
    pub files: BTreeMap<PathBuf, PathBuf>,
    /// The same as a whole, for who has to own them.
    pub instance_files: Option<InstanceFiles>,
    /// The folder in which it writes reports, for who has to own it. A container finds it as
    /// [`REPORTS`].
    pub reports: Option<InstanceFiles>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Where it is written down which commands run.
    pub commands: Option<PathBuf>,
    /// The container or unit that it runs in.
    pub contained: Option<ContainerSpec>,
}

/// What a container or unit is made from, besides the process in it.
#[derive(Clone, Default)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// The image, as the runtime knows it.
    pub image: String,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// The project that it is of.
    pub project: String,
    /// The agent that makes it.
    pub agent: String,
    /// The ports of this machine, each with the one inside that it leads to.
    pub ports: Vec<(u16, u16)>,
    /// How long it has to stop.
    pub grace: Duration,
    /// What the configuration asks for.
    pub spec: Container,
}

/// An instance that runs.
#[async_trait]
pub trait Running: Send + Sync {
    /// Its process id.
    fn pid(&self) -> u32;

    /// Its start time in clock ticks since boot.
    fn started(&self) -> u64;

    /// The name of its container or unit, if it runs in one.
    fn container(&self) -> Option<String> {
        None
    }

    /// What it and all that it starts are marked with, where nothing else holds them together.
    fn mark(&self) -> Option<String> {
        None
    }

    /// Lets it begin, once it is recorded: nothing of the service runs before. A runtime that finds
    /// what it started by other means has begun by then.
    async fn release(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Waits until it ends, and says how: `exit code 1`.
    async fn wait(&mut self) -> String;

    /// Asks it to end, by the signal that its image says. A runtime that was told of it before, or
    /// finds it in the image, takes it from there.
    fn terminate(&self, signal: Signal);

    /// Ends it, with all that it started.
    fn kill(&self);
}

/// A runtime.
#[async_trait]
pub(super) trait Runtime: Send + Sync {
    /// Fetches an image, unless it is there; every byte is compared with its digest.
    async fn prepare(
        &self,
        directory: &Directory,
        pull: &Pull,
        image: &Digest,
    ) -> io::Result<ImageMeta>;

    /// The files of an image that instances read; none where the runtime keeps them itself.
    fn unpacked(&self, _directory: &Directory, _image: &Digest) -> Option<Unpacked> {
        None
    }

    /// What an image that was fetched says about how it is started.
    fn meta(&self, directory: &Directory, image: &Digest) -> Result<ImageMeta, String>;

    /// Starts an instance, which waits for [`Running::release`]. It does not need this process to
    /// go on after it.
    async fn start(&self, launch: &Launch) -> Result<Box<dyn Running>, Trouble>;

    /// Finds an instance again that an earlier agent started; none when it has ended. What is left
    /// of one that has ended is deleted. An error when it cannot be told: it is asked again then.
    async fn adopt(
        &self,
        directory: &Directory,
        record: &ProcessRecord,
        log: &Path,
    ) -> Result<Option<Box<dyn Running>>, Trouble>;

    /// Runs a command beside an instance, as its health check. `within`: how long the caller waits
    /// for it; what it has started then is ended, where the runtime can.
    async fn exec(
        &self,
        launch: &Launch,
        command: &[String],
        within: Duration,
    ) -> Result<(), Trouble>;

    /// Runs a command for somebody who looks on: in the instance that was started so, or by itself.
    async fn attach(&self, launch: &Launch, attach: &Attach) -> Result<Attached, Trouble>;

    /// What somebody else has changed of the files of a container or unit since it was started;
    /// nothing where the runtime keeps none.
    async fn altered(&self, _directory: &Directory, _name: &str) -> Vec<MovedField> {
        Vec::new()
    }

    /// Takes away what an agent left that is not known.
    async fn remove_strays(&self, _agent: &str, _known: &[String]) {}

    /// Takes away images that nobody uses, where the runtime keeps any of its own.
    async fn sweep(&self, _directory: &Directory, _used: &[Digest]) {}
}

/// The runtimes of an agent.
#[derive(Clone)]
pub(super) struct Runtimes {
    pub process: Arc<dyn Runtime>,
    pub docker: Arc<dyn Runtime>,
    pub container: Arc<dyn Runtime>,
    pub systemd: Arc<dyn Runtime>,
}

impl Default for Runtimes {
    fn default() -> Self {
        Self {
            process: Arc::new(ProcessRuntime),
            docker: Arc::new(DockerRuntime::default()),
            container: Arc::new(ContainerRuntime),
            systemd: Arc::new(SystemdRuntime),
        }
    }
}

impl Runtimes {
    /// What has changed on disk of a workload's image since it was unpacked, in words.
    pub async fn damage(&self, directory: &Directory, workload: &Workload) -> Option<String> {
        let image = workload.image.value()?;
        let unpacked = self.of(workload).unpacked(directory, image)?;
        tokio::task::spawn_blocking(move || unpacked.damage())
            .await
            .ok()?
    }

    /// The one that a workload asks for.
    pub fn of(&self, workload: &Workload) -> Arc<dyn Runtime> {
        Arc::clone(match workload.runs_by() {
            None => &self.process,
            Some(ContainerKind::Docker) => &self.docker,
            Some(ContainerKind::Own) => &self.container,
            Some(ContainerKind::Systemd) => &self.systemd,
        })
    }
}
