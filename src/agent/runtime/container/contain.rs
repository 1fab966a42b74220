//! A process of its own beside each container of the runtime `container`: it makes the container,
//! waits for its end, and deletes it.
//!
//! It is one thread when it makes the container, as a fork asks for, and it outlives the agent as
//! the services do. The agent sees it as it sees any process: what it is told, the container is
//! told; how the container ends, it ends. Without root it first becomes root of a namespace of its
//! own ([`userns`]).
//!
//! ```text
//! BUNDLE/config.json   what the container is (OCI runtime-spec)
//! BUNDLE/layer         where the image's files are
//! BUNDLE/rootfs        the image with this container's own changes over it (overlayfs)
//! BUNDLE/init          the process id of its first process, and when it started
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::Executor;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::runtime::container::bind_places;
use crate::agent::runtime::container::confined::{Confined, Idle};
use crate::agent::runtime::container::control_groups;
use crate::agent::runtime::container::enter;
use crate::agent::runtime::container::id_map::COUNT;
use crate::agent::runtime::container::staging::{self, ContainerUsers};
use crate::agent::runtime::container::userns;
use crate::agent::runtime::process;
use crate::files::process::started;
use crate::model::chain;

/// What went wrong, in words.
pub(super) type Reason = String;

pub(super) fn said<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Reason + '_ {
    move |error| format!("{what}: {error}")
}

/// The container's name, which is its folder's.
fn name(bundle: &Path) -> String {
    bundle
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn state(bundle: &Path) -> PathBuf {
    bundle.join("state")
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What the process beside a container says on its output when the container of a command is there.
pub const READY: &str = "ready";

/// Has the container of a folder for a command alone, until its standard input is closed.
pub fn hold(bundle: &Path) -> Result<u8, Reason> {
    if !is_root() {
        return Err(userns::enter());
    }
    // The first process of such a container is this program, and stays it: root of the container
    // may be the one whom the program's file belongs to.
    if ContainerUsers::read(bundle)?.is_none() && !copy(bundle).exists() {
        return Err(become_copy(bundle));
    }
    let outcome = Signals::caught().and_then(|signals| {
        no_groups()
            .and_then(|()| make(bundle, Idle))
            .and_then(|pid| {
                let told = writeln!(io::stdout(), "{READY}");
                told.map_err(said("telling the agent"))?;
                signals.wait_for_input(pid)
            })
    });
    remove(bundle);
    outcome
}

/// Where this program is mounted for a container without users of its own, read-only.
fn copy(bundle: &Path) -> PathBuf {
    bundle.join("shipit")
}

/// Starts this program again, with the same arguments, from a mount that nobody can write. Returns
/// only when it cannot.
fn become_copy(bundle: &Path) -> Reason {
    let made = || {
        let program = std::env::current_exe().map_err(said("finding this program"))?;
        let copy = copy(bundle);
        userns::new_mounts()?;
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", flags).map_err(said("mounting this program"))?;
        fs::write(&copy, "").map_err(said("mounting this program"))?;
        mount_bind(&program, &copy).map_err(said("mounting this program"))?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount(&copy, flags, "").map_err(said("mounting this program"))?;
        Ok::<_, Reason>(copy)
    };
    made().map_or_else(
        |reason| reason,
        |copy| {
            let mut again = Command::new(copy);
            said("starting this program again")(again.args(std::env::args_os().skip(1)).exec())
        },
    )
}

/// Runs the container of a folder to its end; gives its exit code.
pub fn run(bundle: &Path) -> Result<u8, Reason> {
    if !is_root() {
        return Err(userns::enter());
    }
    // From here on no signal ends this process alone: what is half made would wait for its word for
    // ever.
    let outcome = Signals::caught().and_then(|signals| {
        no_groups()
            .and_then(|()| Confined::from_stdin())
            .and_then(|confined| make(bundle, confined))
            .and_then(|pid| signals.wait(pid))
    });
    remove(bundle);
    outcome
}

fn make(bundle: &Path, becomes: impl Executor + 'static) -> Result<Pid, Reason> {
    let (user, group) = runs_as(bundle)?;
    if !userns::has(user, group) {
        return Err(format!(
            "it runs as the user {user}:{group}, and without root there is only what `newuidmap` \
             and /etc/subuid give"
        ));
    }

    let files =
        fs::read_to_string(bundle.join("layer")).map_err(said("reading the image's place"))?;
    for folder in ["upper", "work", "rootfs", "state"] {
        fs::create_dir_all(bundle.join(folder)).map_err(said("making its folders"))?;
    }

    // Open until it is made: it is named in the container's description.
    let _namespace = match ContainerUsers::read(bundle)? {
        Some(users) => staged(&users, user, Path::new(&files), bundle).map(Some)?,
        None => overlay(Path::new(&files), &bundle.join("rootfs"), bundle).map(|()| None)?,
    };
    bind_places::clear(bundle)?;

    let mut container = builder(bundle)?
        .with_executor(becomes)
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| chain(&error))?;
    let pid = container
        .pid()
        .map(libcontainer_pid)
        .and_then(Pid::from_raw)
        .ok_or("it has no process")?;
    let since = started(pid.as_raw_nonzero().get().unsigned_abs()).unwrap_or_default();
    // In one step: who reads it in between would hold the container for one without a process.
    let (fresh, recorded) = (bundle.join("init.new"), bundle.join("init"));
    fs::write(&fresh, format!("{} {since}", pid.as_raw_nonzero()))
        .and_then(|()| fs::rename(&fresh, &recorded))
        .map_err(said("writing its process down"))?;
    container.start().map_err(|error| chain(&error))?;
    Ok(pid)
}

/// The files of a container with users of its own; gives their namespace.
fn staged(
    users: &ContainerUsers,
    user: u32,
    files: &Path,
    bundle: &Path,
) -> Result<OwnedFd, Reason> {
    if user >= COUNT {
        return Err(format!(
            "it runs as the user {user}, and a container has {COUNT}: take a smaller number, or \
             `cluster: {{user_namespace: off}}`"
        ));
    }
    let over = |lower: &Path, rootfs: &Path| overlay(lower, rootfs, bundle);
    let namespace = users.stage(files, bundle, over)?;
    staging::describe(bundle, &namespace)?;
    Ok(namespace)
}

/// An image's files with a container's own changes over them.
fn overlay(files: &Path, rootfs: &Path, bundle: &Path) -> Result<(), Reason> {
    let path = |name: &str| bundle.join(name).display().to_string();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        files.display(),
        path("upper"),
        path("work")
    );
    if userns::is_inside() {
        // What is deleted is recorded in attributes that a user may set.
        options.push_str(",userxattr");
    }
    let options = std::ffi::CString::new(options).map_err(said("mounting its files"))?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    mount("overlay", rootfs, "overlay", flags, options.as_c_str())
        .map_err(said("mounting its files (overlayfs)"))
}

/// A container's description.
pub(super) fn described(bundle: &Path) -> Result<serde_json::Value, Reason> {
    let text = fs::read(bundle.join("config.json")).map_err(said("reading what it is"))?;
    serde_json::from_slice(&text).map_err(said("reading what it is"))
}

/// The user and group of a container's service.
pub(super) fn runs_as(bundle: &Path) -> Result<(u32, u32), Reason> {
    let what = described(bundle)?;
    let id = |name: &str| {
        what["process"]["user"][name]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
    };
    Ok((id("uid").unwrap_or(0), id("gid").unwrap_or(0)))
}

/// Gives up the groups of whoever started the agent: a container's user has its own group alone.
pub(super) fn no_groups() -> Result<(), Reason> {
    if userns::is_inside() {
        // Without root there may be no right to it, and there is nothing to gain by those of one's
        // own.
        return Ok(());
    }
    rustix::thread::set_thread_groups(&[]).map_err(said("giving up its groups"))
}

/// What makes the container's processes, as children of this one.
fn builder(bundle: &Path) -> Result<ContainerBuilder, Reason> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(said("becoming its parent"))?;
    // Its own standard input has the environment in it, which is not for the container's other
    // programs.
    let nothing = fs::File::open("/dev/null").map_err(said("opening its standard input"))?;
    let builder = ContainerBuilder::new(name(bundle), SyscallType::default())
        .with_root_path(state(bundle))
        .map_err(|error| chain(&error))?;
    Ok(builder.with_stdin(nothing))
}

fn libcontainer_pid(pid: impl Into<i32>) -> i32 {
    pid.into()
}

/// The signals by which this process is asked to end. One that comes while the container is being
/// made is heard once it is there.
struct Signals {
    runtime: tokio::runtime::Runtime,
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn caught() -> Result<Self, Reason> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(said("waiting for it"))?;
        let catch = |kind| {
            let _inside = runtime.enter();
            signal(kind).map_err(said("waiting for it"))
        };
        let (term, interrupt) = (
            catch(SignalKind::terminate())?,
            catch(SignalKind::interrupt())?,
        );
        Ok(Self {
            runtime,
            term,
            interrupt,
        })
    }

    /// Waits until standard input is closed or a container's first process has ended, which it does
    /// at the latest then.
    fn wait_for_input(self, pid: Pid) -> Result<u8, Reason> {
        let Self {
            runtime,
            mut term,
            mut interrupt,
        } = self;
        runtime.block_on(async {
            let ended = process::descriptor(pid.as_raw_nonzero().get().unsigned_abs());
            let ended = ended.ok_or("waiting for it: its end cannot be seen")?;
            let input = io::stdin().as_fd().try_clone_to_owned();
            let input = input.and_then(pipe::Receiver::from_owned_fd);
            let mut input = input.map_err(said("waiting for it"))?;
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
                _ = input.read_u8() => {}
                _ = ended.readable() => {}
            }
            Ok::<_, Reason>(())
        })?;
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
        Ok(0)
    }

    /// Waits for a container's first process, and hands on to it that it should end.
    fn wait(self, pid: Pid) -> Result<u8, Reason> {
        let Self {
            runtime,
            mut term,
            mut interrupt,
        } = self;
        runtime.block_on(async {
            let ended = process::descriptor(pid.as_raw_nonzero().get().unsigned_abs());
            let ended = ended.ok_or("waiting for it: its end cannot be seen")?;
            loop {
                tokio::select! {
                    _ = term.recv() => { let _ = kill_process(pid, Signal::TERM); }
                    _ = interrupt.recv() => {}
                    _ = ended.readable() => return Ok::<_, Reason>(()),
                }
            }
        })?;
        let status = waitpid(Some(pid), WaitOptions::empty())
            .map_err(said("waiting for it"))?
            .map(|(_, status)| status);
        Ok(code(status))
    }
}

/// As a shell tells it.
pub(super) fn code(status: Option<WaitStatus>) -> u8 {
    let code = status.and_then(|status| {
        status
            .exit_status()
            .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
    });
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// Ends what runs in a container's folder, and takes the folder away: nothing of it stays.
pub fn remove(bundle: &Path) {
    send(bundle, Signal::KILL);
    if is_root() {
        clear(bundle);
    } else if bundle.exists() {
        // What the container's own users left, only they can take away.
        let program = std::env::current_exe().unwrap_or_else(|_| "shipit".into());
        let _ = Command::new(program)
            .args(["agent", "contain-remove"])
            .arg(bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The same, in a process of its own.
pub fn remove_inside(bundle: &Path) -> Result<u8, Reason> {
    if !is_root() {
        return Err(userns::enter());
    }
    clear(bundle);
    Ok(0)
}

fn clear(bundle: &Path) {
    let container = libcontainer::container::Container::load(state(bundle).join(name(bundle)));
    if let Ok(mut container) = container {
        let _ = container.delete(true);
    }
    control_groups::remove(&name(bundle));
    for mounted in [bundle.join("rootfs"), copy(bundle)] {
        let _ = unmount(mounted, UnmountFlags::DETACH);
    }
    let _ = fs::remove_dir_all(bundle);
}

/// Whether containers can be made without root, with their files in this folder: does all that is
/// asked of the kernel.
pub fn probe(folder: &Path) -> Result<u8, Reason> {
    let is_first = std::process::id() == 1;
    if is_first {
        let mounted = mount("proc", folder, "proc", MountFlags::NOSUID, None);
        return mounted
            .map(|()| 0)
            .map_err(said("mounting /proc in a namespace"));
    }

    if !is_root() {
        return Err(userns::enter());
    }
    let place = tempfile::Builder::new()
        .prefix("probe-")
        .tempdir_in(folder)
        .map_err(said("making a folder"))?;
    for folder in ["files", "upper", "work", "rootfs", "proc"] {
        fs::create_dir(place.path().join(folder)).map_err(said("making a folder"))?;
    }

    overlay(
        &place.path().join("files"),
        &place.path().join("rootfs"),
        place.path(),
    )?;
    userns::new_pids()?;
    let program = std::env::current_exe().map_err(said("finding this program"))?;
    let first = Command::new(program)
        .args(["agent", "contain-probe"])
        .arg(place.path().join("proc"))
        .status();
    for folder in ["rootfs", "proc"] {
        let _ = unmount(place.path().join(folder), UnmountFlags::DETACH);
    }

    let status = first.map_err(said("starting a process in a namespace"))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Signals a container's first process. One that is killed takes all others in it along.
pub fn send(bundle: &Path, signal: Signal) {
    if let Some(pid) = first(bundle)
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
    {
        let _ = kill_process(pid, signal);
    }
}

/// A container's first process, if it is certainly the one that was recorded.
#[must_use]
pub fn first(bundle: &Path) -> Option<u32> {
    let text = fs::read_to_string(bundle.join("init")).ok()?;
    let (pid, since) = text.split_once(' ')?;
    let (pid, since) = (pid.parse().ok()?, since.parse().ok()?);
    (started(pid) == Some(since)).then_some(pid)
}

/// Runs a command in a container that runs; gives its exit code.
pub fn exec(bundle: &Path, command: &[String], within: Duration) -> Result<u8, Reason> {
    if !is_root() {
        return Err(first(bundle).map_or_else(|| "it does not run".to_owned(), userns::join));
    }

    let (user, group) = runs_as(bundle)?;
    no_groups()?;
    let confined = Confined::from_stdin()?;
    if ContainerUsers::read(bundle)?.is_some() {
        let (name, arguments) = command.split_first().ok_or("there is no command")?;
        let first = first(bundle).ok_or("it does not run")?;
        let workdir = described(bundle)?["process"]["cwd"]
            .as_str()
            .unwrap_or("/")
            .to_owned();
        let process = confined.command(name, arguments);
        let status = enter::run(first, (user, group), Path::new(&workdir), process, within)?;
        return Ok(code(status));
    }

    let pid = builder(bundle)?
        .with_executor(confined)
        .as_tenant()
        .with_user(Some(user))
        .with_group(Some(group))
        .with_container_args(command.to_vec())
        .with_detach(true)
        .build()
        .map_err(|error| chain(&error))?;

    let pid = Pid::from_raw(libcontainer_pid(pid)).ok_or("it has no process")?;
    Ok(code(enter::ended(pid, within)?))
}
