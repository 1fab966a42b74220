//! The runtime `process`: a process group of this machine, with the image's files as its working
//! folder.

pub(super) mod streams;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

use crate::agent::Directory;
use crate::agent::engine::record::{ProcessRecord, boot};
use crate::agent::launch::{self, Handover, Held, Start, User};
use crate::agent::posture::Limits;
use crate::agent::rootfs::{self, ImageMeta, Tree, Unpacked};
use crate::agent::runtime::attached::{Attach, Attached};
use crate::agent::runtime::{Launch, Running, Runtime};
use crate::agent::trouble::{Trouble, is_local};
use crate::files::beneath::{BeneathError, Links, Missing, Root};
use crate::files::marked::{self, Mark};
use crate::files::process::{kill_group, look, started};
use crate::model::Digest;
use crate::port::engine::Pull;

/// How a program ended that left another one running and said that all was well.
const IN_BACKGROUND: &str = "exit code 0: it put itself into the background, where it is ended: \
     have it stay in the foreground";

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
        rootfs::fetch(Unpacked::of(directory, image, Tree::Machine), pull).await
    }

    fn unpacked(&self, directory: &Directory, image: &Digest) -> Option<Unpacked> {
        Some(Unpacked::of(directory, image, Tree::Machine))
    }

    fn meta(&self, directory: &Directory, image: &Digest) -> Result<ImageMeta, String> {
        Unpacked::of(directory, image, Tree::Machine).meta()
    }

    async fn start(&self, launch: &Launch) -> Result<Box<dyn Running>, Trouble> {
        let_in(launch)?;
        let log = open_log(&launch.log)?;
        let socket = launch.socket.as_ref().map(|socket| socket.try_clone());
        // In its environment, as a program that puts itself into the background leaves its group.
        let mark = Mark::random();
        let mut start = start(launch)?;
        start
            .env
            .insert(marked::VARIABLE.to_owned(), mark.word().to_owned());
        let (child, held) = launch::hold(start, &log, socket.transpose()?)?;
        let pid = child
            .id()
            .ok_or_else(|| Trouble::Instance("it ended at once".to_owned()))?;
        // A process that has ended already is only waiting to be reaped; its start time no longer
        // matters.
        Ok(Box::new(Started {
            child,
            held: Some(held),
            members: Members {
                first: pid,
                mark: Some(mark),
            },
            ticks: started(pid).unwrap_or_default(),
        }))
    }

    async fn exec(&self, launch: &Launch, command: &[String], _: Duration) -> Result<(), Trouble> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(Trouble::Instance("no command".to_owned()));
        };
        let what = format!("`{program}`");
        let check = Start {
            name: None,
            program: program.into(),
            arguments: arguments.to_vec(),
            workdir: launch.rootfs.clone(),
            ..start(launch)?.alone()
        };
        let ended = launch::run(check).await;
        succeeded(program, ended.map_err(|trouble| trouble.during(&what))?)
    }

    async fn attach(&self, launch: &Launch, attach: &Attach) -> Result<Attached, Trouble> {
        let launch = Launch {
            command: attach.command.clone(),
            input: None,
            socket: None,
            ..launch.clone()
        };
        let_in(&launch)?;
        let mut start = start(&launch)?;
        let mark = Mark::random();
        start
            .env
            .insert(marked::VARIABLE.to_owned(), mark.word().to_owned());
        streams::attach(start, attach, Signal::KILL).await
    }

    async fn adopt(
        &self,
        _: &Directory,
        record: &ProcessRecord,
        _: &Path,
    ) -> Result<Option<Box<dyn Running>>, Trouble> {
        // A container's process is another runtime's.
        if record.container.is_some() {
            return Ok(None);
        }
        adopt(record)
    }
}

/// Runs a health command, which has its standard input, to its end; the error names the program
/// that it is about. Nobody ends it from outside: it knows its time itself, and ends what it has
/// started in the container.
pub(super) async fn succeeds(mut process: Command, program: &str) -> Result<(), Trouble> {
    process.stdout(Stdio::null()).stderr(Stdio::null());
    let status = process
        .status()
        .await
        .map_err(|error| Trouble::from(error).during(&format!("`{program}`")))?;
    succeeded(program, status)
}

fn succeeded(program: &str, status: ExitStatus) -> Result<(), Trouble> {
    if status.success() {
        return Ok(());
    }
    let reason = format!("`{program}` ended with {}", describe(status));
    Err(Trouble::Instance(reason))
}

/// Takes a process back, if it is certainly the one that was recorded. None when it has ended; an
/// error when that cannot be told, for then it must not be started a second time.
pub(super) fn adopt(record: &ProcessRecord) -> Result<Option<Box<dyn Running>>, Trouble> {
    let is_it = || {
        let looked = look(record.pid).map(|ticks| ticks == Some(record.started));
        looked.map_err(|error| cannot_tell(record.pid, &error))
    };
    let mark = record.mark.as_deref().map(Mark::of);
    let mut descriptor = None;
    if record.boot == boot() && is_it()? {
        descriptor = open_descriptor(record.pid)?;
    }
    // Looked at again: between the first look and the descriptor the pid may have gone to another.
    if descriptor.is_some() && !is_it()? {
        descriptor = None;
    }
    let Some(descriptor) = descriptor else {
        // What it has started and left behind ends with it.
        if let Some(mark) = mark {
            mark.end();
        }
        return Ok(None);
    };

    let members = Members {
        first: record.pid,
        mark,
    };
    Ok(Some(Box::new(Adopted {
        descriptor,
        members,
        ticks: record.started,
    })))
}

fn cannot_tell(pid: u32, error: &io::Error) -> Trouble {
    Trouble::Local(format!(
        "whether process {pid} still runs cannot be told: {error}"
    ))
}

/// A descriptor that becomes readable when a process has ended (`pidfd_open(2)`).
pub(in crate::agent) fn descriptor(pid: u32) -> Option<AsyncFd<OwnedFd>> {
    open_descriptor(pid).ok().flatten()
}

/// The same; none when there is no such process, and an error when that cannot be told.
pub(super) fn open_descriptor(pid: u32) -> Result<Option<AsyncFd<OwnedFd>>, Trouble> {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let descriptor = match pidfd_open(id, PidfdFlags::NONBLOCK) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened.map_err(|error| cannot_tell(pid, &error.into()))?,
    };
    // Deprecated for what is not sound with descriptors that change under it; an owned one cannot.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, and an owned descriptor is what it asks for"
    )]
    let descriptor = AsyncFd::new(descriptor).map_err(|error| cannot_tell(pid, &error))?;
    Ok(Some(descriptor))
}

/// What is started: an absolute program is one of the image, a bare name is looked for on the
/// machine's path.
pub(super) fn program(launch: &Launch) -> io::Result<(PathBuf, &[String])> {
    let (program, arguments) = launch.command.split_first().ok_or_else(|| {
        io::Error::new(
            ErrorKind::InvalidInput,
            "neither the service nor its image has a command",
        )
    })?;
    Ok((inside(&launch.rootfs, program), arguments))
}

/// The folder that it starts in: one of the image, whatever its configuration and its links say.
///
/// # Errors
/// The image has no such folder.
pub(super) fn workdir(launch: &Launch) -> io::Result<PathBuf> {
    let root = Root::open(&launch.rootfs, Links::SeeRoot)?;
    match root.folder(&launch.workdir, Missing::Refuse) {
        Ok(folder) => Ok(launch.rootfs.join(folder.real)),
        // Nothing is known of the image then.
        Err(BeneathError::Io { source, .. }) if is_local(&source) => Err(source),
        Err(error) => {
            let folder = launch.workdir.display();
            let reason = format!(
                "the image has no folder {folder} to start in ({error}): its Dockerfile's WORKDIR \
                 names one"
            );
            Err(io::Error::new(ErrorKind::InvalidInput, reason))
        }
    }
}

/// A service of another user than the agent's has to come to its image: through the folder that is
/// named by a digest, to files that it cannot change.
pub(super) fn let_in(launch: &Launch) -> io::Result<()> {
    if user(launch.user)?.is_none() {
        return Ok(());
    }
    let image = launch.rootfs.parent();
    for (folder, open) in [(image, 0o711), (Some(launch.rootfs.as_path()), 0o755)] {
        let Some(folder) = folder else { continue };
        let mode = std::fs::metadata(folder)?.permissions().mode();
        if mode & 0o001 == 0 {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(open))?;
        }
    }
    Ok(())
}

pub(super) fn start(launch: &Launch) -> io::Result<Start> {
    let name = launch.command.first().cloned().unwrap_or_default();
    let (program, arguments) = program(launch)?;
    Ok(Start {
        // Where a link leads elsewhere in the image than on the machine, the program still hears
        // its own name.
        name: (program.file_name() != Path::new(&name).file_name()).then_some(name),
        program,
        arguments: arguments.to_vec(),
        workdir: workdir(launch)?,
        env: launch.env.clone(),
        input: launch.input.clone(),
        handed: None,
        user: user(launch.user)?,
        limits: Limits::started_with(),
        socket: match launch.socket {
            Some(_) => Handover::One,
            None => Handover::None,
        },
        image: Some(launch.rootfs.clone()),
        commands: launch.commands.clone(),
    })
}

/// Standard input with these bytes, held in memory: no file has them, and no process needs to write
/// them.
pub(in crate::agent) fn input(bytes: Option<&[u8]>) -> io::Result<Stdio> {
    let Some(bytes) = bytes else {
        return Ok(Stdio::null());
    };
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

/// A program of the image, through links that see the image alone; one that the image does not have
/// is the machine's.
fn inside(rootfs: &Path, program: &str) -> PathBuf {
    let Ok(relative) = Path::new(program).strip_prefix("/") else {
        return PathBuf::from(program);
    };
    let root = Root::open(rootfs, Links::SeeRoot);
    let Some(real) = root.ok().and_then(|root| root.real(relative).ok()) else {
        return PathBuf::from(program);
    };

    // Where the kernel comes to the same, the name stays: some programs do what they are called.
    let (plain, real) = (rootfs.join(relative), rootfs.join(real));
    let is_same = match (plain.canonicalize(), real.canonicalize()) {
        (Ok(plain), Ok(real)) => plain == real,
        _ => false,
    };
    if is_same { plain } else { real }
}

/// Appended to, so that it can be cut while the process goes on writing.
pub(super) fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// The user to change to. Root starts the service as the image's user; anybody else only as
/// themselves.
pub(in crate::agent) fn user(user: Option<User>) -> io::Result<Option<User>> {
    let Some(user) = user else {
        return Ok(None);
    };
    let own = rustix::process::geteuid();
    if own.is_root() {
        return Ok(Some(user));
    }
    if own.as_raw() == user.uid {
        return Ok(None);
    }
    let reason = format!(
        "the agent is not root and cannot start a process as user {}: take `user` out, or run the \
         agent as root",
        user.uid
    );
    Err(io::Error::new(ErrorKind::InvalidInput, reason))
}

/// The processes of an instance.
struct Members {
    /// The first one, whose group and children they are at first.
    first: u32,
    /// What they have in common when they are not any more; none where an agent before this one
    /// has started them.
    mark: Option<Mark>,
}

impl Members {
    /// Whether any runs on behind the end of the first one.
    fn are_left(&self) -> bool {
        self.mark.as_ref().is_some_and(Mark::is_had)
    }

    fn terminate(&self) {
        kill_group(self.first, Signal::TERM);
    }

    fn kill(&self) {
        kill_group(self.first, Signal::KILL);
        if let Some(mark) = &self.mark {
            mark.end();
        }
    }

    fn mark(&self) -> Option<String> {
        self.mark.as_ref().map(|mark| mark.word().to_owned())
    }
}

/// A child of this process.
struct Started {
    child: Child,
    /// What makes it the service; until then it is a launcher that waits.
    held: Option<Held>,
    members: Members,
    ticks: u64,
}

#[async_trait]
impl Running for Started {
    fn pid(&self) -> u32 {
        self.members.first
    }

    fn started(&self) -> u64 {
        self.ticks
    }

    fn mark(&self) -> Option<String> {
        self.members.mark()
    }

    async fn release(&mut self) -> Result<(), Trouble> {
        match self.held.take() {
            Some(held) => held.release().await,
            None => Ok(()),
        }
    }

    async fn wait(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) if status.success() && self.members.are_left() => IN_BACKGROUND.to_owned(),
            Ok(status) => describe(status),
            Err(error) => format!("its end could not be seen: {error}"),
        }
    }

    fn terminate(&self) {
        self.members.terminate();
    }

    fn kill(&self) {
        self.members.kill();
    }
}

/// A process that an earlier agent started. Its exit status went to whoever inherited it.
struct Adopted {
    descriptor: AsyncFd<OwnedFd>,
    members: Members,
    ticks: u64,
}

#[async_trait]
impl Running for Adopted {
    fn pid(&self) -> u32 {
        self.members.first
    }

    fn started(&self) -> u64 {
        self.ticks
    }

    fn mark(&self) -> Option<String> {
        self.members.mark()
    }

    async fn wait(&mut self) -> String {
        // A pidfd becomes readable when its process has ended (pidfd_open(2)).
        let _ = self.descriptor.readable().await;
        "ended (how is not known: an earlier agent had started it)".to_owned()
    }

    fn terminate(&self) {
        self.members.terminate();
    }

    fn kill(&self) {
        self.members.kill();
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

/// How something ended whose exit code is one as a shell gives it: 128 and the number of the signal
/// that ended it.
pub(super) fn of_code(code: i64) -> String {
    match code {
        134 | 137 | 139 | 143 => of_signal(code - 128),
        code => format!("exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_images_wherever_its_links_lead_on_the_machine() {
        let machine = tempfile::tempdir().expect("a folder");
        let rootfs = machine.path().join("rootfs");
        let outside = machine.path().join("busy");
        for folder in ["bin", "opt"] {
            std::fs::create_dir_all(rootfs.join(folder)).expect("a folder");
        }
        std::fs::write(&outside, "").expect("a file");
        std::fs::write(rootfs.join("bin/busybox"), "").expect("a file");
        for (link, to) in [
            ("bin/sh", "busybox".into()),
            ("opt/sh", "/bin/busybox".into()),
            ("opt/out", outside.clone()),
            (
                "opt/up",
                Path::new("../../../../../../bin/busybox").to_path_buf(),
            ),
        ] {
            std::os::unix::fs::symlink(to, rootfs.join(link)).expect("a link");
        }

        assert_eq!(inside(&rootfs, "/bin/sh"), rootfs.join("bin/sh"));
        assert_eq!(inside(&rootfs, "/opt/sh"), rootfs.join("bin/busybox"));
        assert_eq!(inside(&rootfs, "/opt/up"), rootfs.join("bin/busybox"));
        // What a link leads to is not in the image, and nothing of the machine is taken for it.
        assert!(!inside(&rootfs, "/opt/out").exists());
        assert_eq!(inside(&rootfs, "/usr/bin/env"), Path::new("/usr/bin/env"));
        assert_eq!(inside(&rootfs, "python3"), Path::new("python3"));
    }

    #[test]
    fn a_process_starts_in_a_folder_of_its_image() {
        let rootfs = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(rootfs.path().join("srv/app")).expect("a folder");
        std::os::unix::fs::symlink("/srv/app", rootfs.path().join("app")).expect("a link");
        std::os::unix::fs::symlink("../../../../tmp", rootfs.path().join("out")).expect("a link");
        std::fs::write(rootfs.path().join("file"), "").expect("a file");
        for (workdir, inside) in [
            ("/srv/app", Some("srv/app")),
            ("srv", Some("srv")),
            ("/app", Some("srv/app")),
            ("/../../srv", Some("srv")),
            ("/", Some("")),
            // Of the machine, and not of the image.
            ("/out", None),
            ("/../../none", None),
            ("/file", None),
        ] {
            let launch = Launch {
                input: None,
                rootfs: rootfs.path().to_path_buf(),
                command: Vec::new(),
                workdir: workdir.into(),
                env: std::collections::BTreeMap::new(),
                user: None,
                socket: None,
                files: std::collections::BTreeMap::new(),
                instance_files: None,
                reports: None,
                log: PathBuf::new(),
                commands: None,
                contained: None,
            };
            let found = self::workdir(&launch).map_err(|error| error.to_string());
            if let Some(inside) = inside {
                assert_eq!(found, Ok(rootfs.path().join(inside)), "{workdir}");
            } else {
                let error = found.expect_err(workdir);
                assert!(error.contains("the image has no folder"), "{error}");
            }
        }
    }
}
