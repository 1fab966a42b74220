//! The runtime `process`: a process group of this machine, with the image's files as its working folder.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use async_trait::async_trait;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

use crate::agent::Directory;
use crate::agent::record::{ProcessRecord, boot};
use crate::agent::rootfs::{self, ImageMeta};
use crate::agent::runtime::{Launch, Running, Runtime};
use crate::files::process::started;
use crate::model::Digest;
use crate::port::engine::Pull;

/// The runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessRuntime;

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn prepare(
        &self,
        directory: &Directory,
        pull: &Pull,
        image: &Digest,
    ) -> io::Result<ImageMeta> {
        let (directory, pull, image) = (directory.clone(), pull.clone(), image.clone());
        let fetched =
            tokio::task::spawn_blocking(move || rootfs::fetch(&directory, &pull, &image)).await;
        fetched.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    fn meta(&self, directory: &Directory, image: &Digest) -> Result<ImageMeta, String> {
        rootfs::read_meta(directory, image)
    }

    async fn start(&self, launch: &Launch) -> io::Result<Box<dyn Running>> {
        let child = command(launch)?.spawn()?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("it ended at once"))?;
        // A process that has ended already is only waiting to be reaped; its start time no longer matters.
        Ok(Box::new(Started {
            child,
            pid,
            ticks: started(pid).unwrap_or_default(),
        }))
    }

    async fn exec(&self, launch: &Launch, command: &[String]) -> Result<(), String> {
        let Some((program, arguments)) = command.split_first() else {
            return Err("no command".to_owned());
        };
        let mut process = Command::new(program);
        process
            .args(arguments)
            .current_dir(&launch.rootfs)
            .env_clear()
            .envs(&launch.env);
        process.stdin(Stdio::null());
        succeeds(process, program).await
    }

    async fn adopt(
        &self,
        _: &Directory,
        record: &ProcessRecord,
        _: &Path,
    ) -> Option<Box<dyn Running>> {
        // A container's process is another runtime's.
        if record.container.is_some() {
            return None;
        }
        adopt(record)
    }
}

/// Runs a health command, which has its standard input, to its end; the error names the program that it is about.
pub(super) async fn succeeds(mut process: Command, program: &str) -> Result<(), String> {
    process
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let status = process
        .status()
        .await
        .map_err(|error| format!("`{program}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{program}` ended with {}", describe(status)))
    }
}

/// Takes a process back, if it is certainly the one that was written down.
pub(super) fn adopt(record: &ProcessRecord) -> Option<Box<dyn Running>> {
    if record.boot != boot() || started(record.pid) != Some(record.started) {
        return None;
    }
    let descriptor = descriptor(record.pid)?;
    // Looked at again: between the first look and the descriptor the pid may have gone to another.
    if started(record.pid) != Some(record.started) {
        return None;
    }
    Some(Box::new(Adopted {
        descriptor,
        pid: record.pid,
        ticks: record.started,
    }))
}

/// A descriptor that becomes readable when a process has ended (`pidfd_open(2)`).
pub(in crate::agent) fn descriptor(pid: u32) -> Option<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
    // Deprecated for what is not sound with descriptors that change under it; an owned one cannot.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, and an owned descriptor is what it asks for"
    )]
    AsyncFd::new(descriptor).ok()
}

/// What is started: an absolute program is one of the image, a bare name is looked for on the machine's path.
pub(super) fn program(launch: &Launch) -> io::Result<(PathBuf, &[String])> {
    let (program, arguments) = launch.command.split_first().ok_or_else(|| {
        io::Error::new(
            ErrorKind::InvalidInput,
            "neither the service nor its image has a command",
        )
    })?;
    Ok((inside(&launch.rootfs, program), arguments))
}

/// The folder that it starts in.
pub(super) fn workdir(launch: &Launch) -> PathBuf {
    launch
        .rootfs
        .join(launch.workdir.strip_prefix("/").unwrap_or(&launch.workdir))
}

fn command(launch: &Launch) -> io::Result<Command> {
    let (program, arguments) = program(launch)?;
    let log = open_log(&launch.log)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(workdir(launch))
        .env_clear()
        .envs(&launch.env)
        .stdin(input(launch.input.as_deref())?)
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    if let Some((uid, gid)) = user(launch.user.as_deref())? {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

/// Standard input with these bytes, held in memory: no file has them, and no process needs to write them.
pub(super) fn input(bytes: Option<&[u8]>) -> io::Result<Stdio> {
    let Some(bytes) = bytes else {
        return Ok(Stdio::null());
    };
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

fn inside(rootfs: &Path, program: &str) -> PathBuf {
    match Path::new(program).strip_prefix("/") {
        Ok(relative) if rootfs.join(relative).exists() => rootfs.join(relative),
        _ => PathBuf::from(program),
    }
}

/// Appended to, so that it can be cut while the process goes on writing.
pub(super) fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// The user and group to change to. Root starts the service as the image's user; anybody else only as themselves.
pub(super) fn user(user: Option<&str>) -> io::Result<Option<(u32, u32)>> {
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return Ok(None);
    };
    let numbers = || {
        let (uid, gid) = user.split_once(':').unwrap_or((user, user));
        Some((uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?))
    };
    let invalid = |reason: String| io::Error::new(ErrorKind::InvalidInput, reason);
    let (uid, gid) =
        numbers().ok_or_else(|| invalid(format!("user `{user}` must be given in numbers")))?;
    if rustix::process::geteuid().is_root() {
        return Ok(Some((uid, gid)));
    }
    if rustix::process::geteuid().as_raw() == uid {
        return Ok(None);
    }
    Err(invalid(format!(
        "the agent is not root and cannot start a process as user {uid}"
    )))
}

fn group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process_group(pid, signal);
    }
}

/// A child of this process.
struct Started {
    child: Child,
    pid: u32,
    ticks: u64,
}

#[async_trait]
impl Running for Started {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn started(&self) -> u64 {
        self.ticks
    }

    async fn wait(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => format!("its end could not be seen: {error}"),
        }
    }

    fn terminate(&self) {
        group(self.pid, Signal::TERM);
    }

    fn kill(&self) {
        group(self.pid, Signal::KILL);
    }
}

/// A process that an earlier agent started. Its exit status went to whoever inherited it.
struct Adopted {
    descriptor: AsyncFd<OwnedFd>,
    pid: u32,
    ticks: u64,
}

#[async_trait]
impl Running for Adopted {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn started(&self) -> u64 {
        self.ticks
    }

    async fn wait(&mut self) -> String {
        // A pidfd becomes readable when its process has ended (pidfd_open(2)).
        let _ = self.descriptor.readable().await;
        "ended (how is not known: an earlier agent had started it)".to_owned()
    }

    fn terminate(&self) {
        group(self.pid, Signal::TERM);
    }

    fn kill(&self) {
        group(self.pid, Signal::KILL);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => of_signal(signal.into()),
        (None, None) => "no exit code".to_owned(),
    }
}

/// That a signal ended it; by name, if it is one that often does.
pub(super) fn of_signal(signal: i64) -> String {
    match signal {
        6 => "signal 6 (SIGABRT)".to_owned(),
        9 => "signal 9 (SIGKILL)".to_owned(),
        11 => "signal 11 (SIGSEGV)".to_owned(),
        15 => "signal 15 (SIGTERM)".to_owned(),
        signal => format!("signal {signal}"),
    }
}

/// How something ended whose exit code is one as a shell gives it: 128 and the number of the signal that ended it.
pub(super) fn of_code(code: i64) -> String {
    match code {
        134 | 137 | 139 | 143 => of_signal(code - 128),
        code => format!("exit code {code}"),
    }
}
