//! The runtime `container`: namespaces, cgroups and overlayfs without a daemon, made by
//! libcontainer in a process beside each instance
//! ([`contain`](crate::agent::runtime::container::contain)). The network is the machine's own: each
//! instance gets a free port.

pub mod contain;
pub mod id_map;

mod confined;
mod control_groups;
mod enter;
mod seccomp;
mod staging;
mod userns;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::agent::Directory;
use crate::agent::engine::record::ProcessRecord;
use crate::agent::launch::User;
use crate::agent::rootfs::{ImageMeta, Tree, Unpacked};
use crate::agent::runtime::attached::{self, Attach, Attached};
use crate::agent::runtime::container::id_map::IdRange;
use crate::agent::runtime::container::staging::ContainerUsers;
use crate::agent::runtime::process::{self, ProcessRuntime};
use crate::agent::runtime::{ContainerSpec, Launch, PROCESSES, Running, Runtime};
use crate::agent::trouble::Trouble;
use crate::files::process::program;
use crate::model::Digest;
use crate::model::workload::{Container, UserNamespace};
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
                "root of this container is root of the machine, as it can have no users of its own: {reason}"
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
        process::fetch(Unpacked::of(directory, image, Tree::Container), pull).await
    }

    fn unpacked(&self, directory: &Directory, image: &Digest) -> Option<Unpacked> {
        Some(Unpacked::of(directory, image, Tree::Container))
    }

    fn meta(&self, directory: &Directory, image: &Digest) -> Result<ImageMeta, String> {
        Unpacked::of(directory, image, Tree::Container).meta()
    }

    async fn start(&self, launch: &Launch) -> Result<Box<dyn Running>, Trouble> {
        let folder = of(launch)?;
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
        }

        let beside = Launch {
            rootfs: folder.clone(),
            command: vec![
                program().display().to_string(),
                "agent".to_owned(),
                "contain".to_owned(),
                folder.display().to_string(),
            ],
            workdir: "/".into(),
            env: [("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())].into(),
            input: Some(environment(launch)?),
            user: None,
            socket: None,
            log: launch.log.clone(),
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

    async fn attach(&self, _: &Launch, attach: &Attach) -> Result<Attached, Trouble> {
        Err(attached::cannot("container", attach.place))
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

    fn terminate(&self) {
        self.inner.terminate();
    }

    /// Its first process ends at once, and the process beside it deletes it.
    fn kill(&self) {
        contain::kill(&self.folder);
    }
}

/// The variables as the process beside the container reads them, on its standard input: they are in
/// no file.
fn environment(launch: &Launch) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&launch.env)?)
}

/// What a service may need as root of its container, and no more: to listen below 1024 and to
/// change its user.
const CAPABILITIES: [&str; 6] = [
    "CAP_NET_BIND_SERVICE",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
];

/// What the container is, as the OCI runtime specification has it (runtime-spec, `config.md` and
/// `config-linux.md`).
fn specification(launch: &Launch, users: Option<&ContainerUsers>) -> io::Result<Value> {
    let contained = launch.contained.clone().unwrap_or_default();
    if launch.command.is_empty() {
        return Err(io::Error::other(
            "neither the service nor its image has a command",
        ));
    }

    let user = launch.user.unwrap_or(User { uid: 0, gid: 0 });
    let mounts = mounts(&contained.spec, users);
    let resources = resources(&contained.spec)?;

    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": user.uid, "gid": user.gid},
            "args": launch.command, "cwd": launch.workdir, "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": contained.name,
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "cgroupsPath": format!("/{}/{}", control_groups::PARENT, contained.name),
            "resources": resources,
            "maskedPaths": [
                "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/sched_debug",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    }))
}

/// The kernel's file systems, the machine's names, and the service's volumes, in this order.
fn mounts(spec: &Container, users: Option<&ContainerUsers>) -> Vec<Value> {
    let mut mounts = kernel_mounts();

    for file in ["/etc/resolv.conf", "/etc/hosts"] {
        if Path::new(file).exists() {
            let options = ["rbind", "ro", "nosuid", "nodev", "noexec"];
            mounts.push(mount(file, "bind", file, &options));
        }
    }

    // Those whose owners are mapped are there before it is made.
    let mapped: &[(PathBuf, PathBuf)] = users.map_or(&[], |users| &users.volumes);
    for (inside, from) in &spec.volumes {
        if mapped.iter().all(|(path, _)| path != inside) {
            let inside = inside.display().to_string();
            mounts.push(mount(&inside, "bind", from, &["rbind", "nosuid", "nodev"]));
        }
    }
    mounts
}

fn kernel_mounts() -> Vec<Value> {
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let terminals = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    let shared = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];

    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &dev),
        mount("/dev/pts", "devpts", "devpts", &terminals),
        mount("/dev/shm", "tmpfs", "shm", &shared),
    ]
}

fn mount(to: &str, kind: &str, from: &str, options: &[&str]) -> Value {
    json!({"destination": to, "type": kind, "source": from, "options": options})
}

/// The container's limits; without root there are none, and who asks for one is told.
fn resources(spec: &Container) -> io::Result<Map<String, Value>> {
    let limited = spec.memory.is_some() || spec.cpu.is_some() || spec.processes.is_some();
    if limited && !has_limits() {
        return Err(io::Error::other(
            "limits of containers need root: take `resources` out",
        ));
    }

    let mut resources = Map::new();
    if has_limits() {
        let most = spec.processes.unwrap_or(PROCESSES);
        resources.insert("pids".to_owned(), json!({"limit": most}));
    }
    if let Some(memory) = spec.memory {
        let limit = json!({"limit": memory, "swap": memory});
        resources.insert("memory".to_owned(), limit);
    }
    if let Some(cpu) = spec.cpu {
        let limit = json!({"period": 100_000, "quota": u64::from(cpu) * 100});
        resources.insert("cpu".to_owned(), limit);
    }
    Ok(resources)
}
