//! The runtime `container`: namespaces, cgroups and overlayfs without a daemon, made by
//! libcontainer in a process beside each instance
//! ([`contain`](crate::agent::runtime::container::contain)). The network is the machine's own: each
//! instance gets a free port.

pub mod beside;
pub mod contain;
pub mod id_map;

mod attach;
mod bind_places;
mod confined;
mod control_groups;
mod enter;
mod seccomp;
mod specification;
mod staging;
mod userns;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::process::Command;

use crate::agent::Directory;
use crate::agent::engine::record::ProcessRecord;
use crate::agent::rootfs::{self, ImageMeta, Tree, Unpacked};
use crate::agent::runtime::attached::{Attach, Attached};
use crate::agent::runtime::container::id_map::IdRange;
use crate::agent::runtime::container::specification::specification;
use crate::agent::runtime::container::staging::ContainerUsers;
use crate::agent::runtime::process::{self, ProcessRuntime};
use crate::agent::runtime::{ContainerSpec, Launch, Running, Runtime};
use crate::agent::trouble::Trouble;
use crate::files::beneath::{Links, Missing, Root};
use crate::files::process::program;
use crate::model::Digest;
use crate::model::command::CommandPlace;
use crate::model::workload::UserNamespace;
use crate::port::engine::Pull;

/// The runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct ContainerRuntime;

/// How long the kernel may take to say what it allows.
const PROBE: Duration = Duration::from_secs(10);

/// Why this runtime cannot work here, for the agent of this folder; none when it can.
#[must_use]
pub fn why_not(directory: &Directory) -> Option<String> {
    if !is_root() {
        return probe(directory)
            .err()
            .map(|reason| format!("without root it needs more of the kernel: {reason}"));
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    (!known
        .lines()
        .any(|line| line.trim_start_matches("nodev").trim() == "overlay"))
    .then(|| "the kernel has no overlayfs".to_owned())
}

/// Whether limits hold here: without root the machine's control groups are not ours.
#[must_use]
pub fn has_limits() -> bool {
    is_root()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Tries it, for what a kernel allows without root cannot be read anywhere. What has worked once in
/// a folder is not tried again by this process; what has not may have been allowed meanwhile.
fn probe(directory: &Directory) -> Result<(), String> {
    static WORKS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let works = || WORKS.lock().unwrap_or_else(PoisonError::into_inner);
    if works().contains(directory.path()) {
        return Ok(());
    }
    try_out(directory)?;
    works().insert(directory.path().to_path_buf());
    Ok(())
}

fn try_out(directory: &Directory) -> Result<(), String> {
    directory.prepare().map_err(|error| error.to_string())?;
    let mut probe = std::process::Command::new(program());
    probe.args(["agent", "contain-probe"]).arg(directory.path());
    tried(probe)
}

/// Why an agent of root cannot give containers users of their own, with their files in this folder
/// and these folders and files of the machine mounted into them; none when it can.
#[must_use]
pub fn why_no_users(directory: &Directory, volumes: &[PathBuf]) -> Option<String> {
    if !is_root() {
        return None;
    }
    if let Err(error) = directory.prepare() {
        return Some(error.to_string());
    }
    let mut probe = std::process::Command::new(program());
    probe
        .args(["agent", "contain-users-probe"])
        .arg(directory.path())
        .args(volumes);
    tried(probe).err()
}

/// What a probe says is wrong.
fn tried(mut probe: std::process::Command) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let mut process = probe
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(text)?;
    let deadline = Instant::now() + PROBE;
    while process.try_wait().map_err(text)?.is_none() {
        if Instant::now() > deadline {
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("no answer within {PROBE:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }

    let output = process.wait_with_output().map_err(text)?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// The first process of a container of this agent, if it runs.
pub(in crate::agent) fn first_process(directory: &Directory, name: &str) -> Option<u32> {
    contain::first(&bundle(directory.path(), name))
}

/// Where a container of this agent has its folder.
fn bundle(agent: &Path, name: &str) -> PathBuf {
    agent.join("containers").join(name)
}

/// The users of a container: its own where the configuration asks for it and the machine can.
async fn users(contained: &ContainerSpec) -> Result<Option<ContainerUsers>, Trouble> {
    let wanted = contained.spec.users;
    if !is_root() || wanted == UserNamespace::Off {
        return Ok(None);
    }

    let directory = Directory::find(Some(contained.agent.clone().into()));
    let volumes: Vec<(PathBuf, PathBuf)> = mapped_volumes(contained)
        .map(|(inside, from)| (inside.clone(), from.into()))
        .collect();
    let from: Vec<PathBuf> = volumes.iter().map(|(_, from)| from.clone()).collect();
    let looked = tokio::task::spawn_blocking(move || why_no_users(&directory, &from)).await;
    let range = IdRange::of(&contained.project);
    match (looked.map_err(io::Error::other)?, wanted) {
        (None, _) => Ok(Some(ContainerUsers { range, volumes })),
        (Some(reason), UserNamespace::Required) => Err(Trouble::Instance(format!(
            "`user_namespace: required` cannot be kept here: {reason}"
        ))),
        (Some(reason), UserNamespace::Preferred | UserNamespace::Off) => {
            tracing::warn!(
                container = contained.name,
                "root of this container is root of the machine, as it can have no users of its \
                 own: {reason}"
            );
            Ok(None)
        }
    }
}

/// The volumes whose owners are mapped. What is put among devices or processes, as a socket is, is
/// put there when those are, and has no owner in the container.
fn mapped_volumes(contained: &ContainerSpec) -> impl Iterator<Item = (&PathBuf, &String)> {
    let volumes = contained.spec.volumes.iter();
    volumes.filter(|(inside, _)| !inside.starts_with("/dev") && !inside.starts_with("/proc"))
}

/// Says where the service's own output is what its user cannot write, and why.
fn remark(users: &ContainerUsers, launch: &Launch) -> io::Result<()> {
    let user = launch.user.map_or(0, |user| user.uid);
    for remark in users.remarks(user) {
        tracing::warn!("{remark}");
        let mut log = process::open_log(&launch.log)?;
        writeln!(log, "{remark}")?;
    }
    Ok(())
}

async fn take_away(folder: PathBuf) {
    let _ = tokio::task::spawn_blocking(move || contain::remove(&folder)).await;
}

fn of(launch: &Launch) -> io::Result<PathBuf> {
    let contained = launch
        .contained
        .as_ref()
        .ok_or_else(|| io::Error::other("no container"))?;
    Ok(bundle(Path::new(&contained.agent), &contained.name))
}

/// The first file that cannot be mounted, as its path is a folder of the image.
fn folder_in_place_of_a_file(launch: &Launch) -> Option<&Path> {
    let image = Root::open(&launch.rootfs, Links::SeeRoot).ok()?;
    let mut paths = launch.files.keys();
    let path = paths.find(|path| image.folder(path, Missing::Refuse).is_ok())?;
    Some(path)
}

/// Writes down what a container is; gives its folder.
async fn describe(launch: &Launch) -> Result<PathBuf, Trouble> {
    let folder = of(launch)?;
    if let Some(path) = folder_in_place_of_a_file(launch) {
        let path = path.display();
        let reason = format!("`files` has {path}, and the image has a folder there");
        return Err(Trouble::Instance(reason));
    }
    let users = match &launch.contained {
        Some(contained) => users(contained).await?,
        None => None,
    };
    let specification = specification(launch, users.as_ref())?.to_string();
    std::fs::DirBuilder::new().recursive(true).create(&folder)?;

    // For its owner alone: the container's own changes are in it.
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    crate::files::replace(&folder.join("config.json"), specification.as_bytes())?;
    std::fs::write(folder.join("layer"), launch.rootfs.display().to_string())?;
    if let Some(users) = &users {
        users.write(&folder)?;
        remark(users, launch)?;
        if let Some(files) = &launch.instance_files {
            files.give(users.of_the_machine(launch.user))?;
        }
        if let Some(reports) = &launch.reports {
            reports.give(users.of_the_machine(launch.user))?;
        }
    }
    Ok(folder)
}

#[async_trait]
impl Runtime for ContainerRuntime {
    async fn prepare(
        &self,
        directory: &Directory,
        pull: &Pull,
        image: &Digest,
    ) -> io::Result<ImageMeta> {
        let here = directory.clone();
        let looked = tokio::task::spawn_blocking(move || why_not(&here)).await;
        if let Some(reason) = looked.map_err(io::Error::other)? {
            return Err(io::Error::other(format!(
                "the runtime `container` cannot work here: {reason}"
            )));
        }
        rootfs::fetch(Unpacked::of(directory, image, Tree::Container), pull).await
    }

    fn unpacked(&self, directory: &Directory, image: &Digest) -> Option<Unpacked> {
        Some(Unpacked::of(directory, image, Tree::Container))
    }

    fn meta(&self, directory: &Directory, image: &Digest) -> Result<ImageMeta, String> {
        Unpacked::of(directory, image, Tree::Container).meta()
    }

    async fn start(&self, launch: &Launch) -> Result<Box<dyn Running>, Trouble> {
        let folder = describe(launch).await?;
        let beside = Launch {
            rootfs: folder.clone(),
            command: vec![
                program().display().to_string(),
                "agent".to_owned(),
                "contain".to_owned(),
                folder.display().to_string(),
            ],
            workdir: "/".into(),
            stop_signal: Signal::TERM,
            env: [("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())].into(),
            input: Some(environment(launch)?),
            user: None,
            socket: None,
            files: BTreeMap::new(),
            instance_files: None,
            reports: None,
            log: launch.log.clone(),
            commands: None,
            contained: None,
        };

        let inner = ProcessRuntime.start(&beside).await?;
        Ok(Box::new(OwnContainer { inner, folder }))
    }

    async fn adopt(
        &self,
        directory: &Directory,
        record: &ProcessRecord,
        _: &Path,
    ) -> Result<Option<Box<dyn Running>>, Trouble> {
        let Some(name) = &record.container else {
            return Ok(None);
        };
        let folder = bundle(directory.path(), name);
        if let Some(inner) = process::adopt(record)? {
            return Ok(Some(Box::new(OwnContainer { inner, folder })));
        }
        // The process beside it was killed while no agent ran: nobody waits for the container any
        // more.
        take_away(folder).await;
        Ok(None)
    }

    async fn exec(
        &self,
        launch: &Launch,
        command: &[String],
        within: Duration,
    ) -> Result<(), Trouble> {
        let folder = of(launch)?;
        let mut process = Command::new(program());
        let environment = environment(launch)?;
        process
            .args(["agent", "contain-exec"])
            .args(["--within-millis", &within.as_millis().to_string()])
            .arg(folder)
            .arg("--")
            .args(command)
            .stdin(process::input(Some(&environment))?);
        process::succeeds(process, command.first().map_or("", String::as_str)).await
    }

    async fn attach(&self, launch: &Launch, attach: &Attach) -> Result<Attached, Trouble> {
        match attach.place {
            CommandPlace::Instance => attach::beside(launch, attach).await,
            CommandPlace::OneOff => attach::alone(launch, attach).await,
        }
    }

    async fn remove_strays(&self, agent: &str, known: &[String]) {
        let Ok(entries) = std::fs::read_dir(Path::new(agent).join("containers")) else {
            return;
        };
        for entry in entries.filter_map(Result::ok) {
            if !known.contains(&entry.file_name().to_string_lossy().into_owned()) {
                contain::remove(&entry.path());
            }
        }
    }
}

/// A container that runs: the process beside it, and its folder.
struct OwnContainer {
    inner: Box<dyn Running>,
    folder: PathBuf,
}

#[async_trait]
impl Running for OwnContainer {
    fn pid(&self) -> u32 {
        self.inner.pid()
    }

    fn started(&self) -> u64 {
        self.inner.started()
    }

    fn container(&self) -> Option<String> {
        self.folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    }

    async fn release(&mut self) -> Result<(), Trouble> {
        self.inner.release().await
    }

    async fn wait(&mut self) -> String {
        let ended = self.inner.wait().await;
        // The process beside it may have been killed, and not have come to it.
        take_away(self.folder.clone()).await;
        // What ended the container, the process beside it tells as a shell does.
        let code = ended
            .strip_prefix("exit code ")
            .and_then(|code| code.parse().ok());
        code.map_or(ended, process::of_code)
    }

    /// The process beside it hands SIGTERM on, and is meant itself by any other.
    fn terminate(&self, signal: Signal) {
        if signal == Signal::TERM {
            self.inner.terminate(signal);
        } else {
            contain::send(&self.folder, signal);
        }
    }

    /// Its first process ends at once, and the process beside it deletes it.
    fn kill(&self) {
        contain::send(&self.folder, Signal::KILL);
    }
}

/// The variables as the process beside the container reads them, on its standard input: they are in
/// no file.
fn environment(launch: &Launch) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&launch.env)?)
}
