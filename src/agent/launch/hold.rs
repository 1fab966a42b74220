//! The agent's side: a launcher is started, held until it is recorded, and released.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::agent::launch::record::CommandRecord;
use crate::agent::launch::{Handover, Report, Start};
use crate::agent::trouble::Trouble;
use crate::files::interpreter::Asked;
use crate::files::marked::{self, Mark};
use crate::files::process;

/// How long a launcher may take to become the service.
const PATIENCE: Duration = Duration::from_secs(30);

/// A launcher that waits. Dropping it, or the agent's death, ends it before it has started
/// anything.
#[derive(Debug)]
pub struct Held {
    talk: UnixStream,
    pub(super) start: Start,
    socket: Option<OwnedFd>,
}

/// Starts a launcher for a program whose output goes to `log`.
pub fn hold(start: Start, log: &File, socket: Option<OwnedFd>) -> io::Result<(Child, Held)> {
    let (out, err) = (log.try_clone()?.into(), log.try_clone()?.into());
    let (command, talk) = launcher(out, err, Session::Agents)?;
    spawn(command, talk, start, socket)
}

/// Runs a program to its end, with nobody listening to what it says. Whoever stops waiting for it
/// ends it, and all that it started.
pub async fn run(start: Start) -> Result<ExitStatus, Trouble> {
    let (command, talk) = launcher(Stdio::null(), Stdio::null(), Session::Agents)?;
    let (mut child, held) = spawn(command, talk, start, None)?;
    let group = Group::recorded(&child, &held.start);
    held.release().await?;
    let status = child.wait().await?;
    group.has_ended();
    Ok(status)
}

/// Whose session a program is in: a terminal is that of a whole session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// The agent's, as the first of a process group of its own.
    Agents,
    /// One of its own, which the launcher makes.
    Own,
}

pub(super) fn launcher(
    out: Stdio,
    err: Stdio,
    session: Session,
) -> io::Result<(Command, StdUnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    let mut command = Command::new(process::program());
    command
        .args(["agent", "launch"])
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(out)
        .stderr(err);
    if session == Session::Agents {
        command.process_group(0);
    }
    Ok((command, ours))
}

pub(super) fn spawn(
    mut command: Command,
    talk: StdUnixStream,
    start: Start,
    socket: Option<OwnedFd>,
) -> io::Result<(Child, Held)> {
    talk.set_nonblocking(true)?;
    let talk = UnixStream::from_std(talk)?;
    let child = command.spawn()?;
    let held = Held {
        talk,
        start,
        socket,
    };
    Ok((child, held))
}

impl Held {
    /// Has it start the program; returns once the program runs.
    pub async fn release(self) -> Result<(), Trouble> {
        let late = |_| Trouble::Local(format!("it was not started within {PATIENCE:?}"));
        let Self {
            talk,
            start,
            socket,
        } = self;
        let number = tokio::time::timeout(PATIENCE, tell(talk, &start, socket))
            .await
            .map_err(late)??;
        number.map_or(Ok(()), |number| Err(obstacle(&start, number)))
    }
}

/// Sends what to start, and reads what the launcher says: nothing when the program runs.
async fn tell(
    mut talk: UnixStream,
    start: &Start,
    socket: Option<OwnedFd>,
) -> io::Result<Option<i32>> {
    let text = serde_json::to_vec(start)?;
    let (first, rest) = text.split_at(1);
    talk.writable().await?;
    give(&talk, first, socket.as_ref())?;
    drop(socket);
    talk.write_all(rest).await?;
    talk.shutdown().await?;

    let mut said = Vec::new();
    talk.read_to_end(&mut said).await?;
    if said.is_empty() {
        return Ok(None);
    }
    let report: Report = serde_json::from_slice(&said)?;
    Ok(Some(report.number))
}

/// The first byte, and a socket with it.
fn give(talk: &UnixStream, first: &[u8], socket: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    let descriptors = socket.map(|socket| [socket.as_fd()]);
    if let Some(descriptors) = &descriptors {
        along.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(
        talk,
        &[IoSlice::new(first)],
        &mut along,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Why a program could not be started, as far as an error number and a look at its files say.
fn obstacle(start: &Start, number: i32) -> Trouble {
    let error = io::Error::from_raw_os_error(number);
    let asked = Asked {
        program: &start.program,
        folder: &start.workdir,
        path: start.env.get("PATH").map(Into::into),
        image: start.image.as_deref(),
    };
    let more = match (error.kind(), start.user) {
        (io::ErrorKind::PermissionDenied, user) => {
            let barred = user.and_then(|user| {
                barred(user, &start.workdir).or_else(|| barred(user, &start.program))
            });
            barred.or_else(|| asked.reason(&error))
        }
        // Where the folder is not there, that is what is not found.
        (io::ErrorKind::NotFound, _) if !start.workdir.is_dir() => None,
        _ => asked.reason(&error),
    };
    match (Trouble::of(&error), more) {
        (Trouble::Instance(reason), Some(more)) => Trouble::Instance(format!("{reason}: {more}")),
        (trouble, _) => trouble,
    }
}

/// The first folder on the way to a file that a user may not enter, in words.
fn barred(user: super::User, path: &Path) -> Option<String> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    let (folder, mode) = folders.into_iter().find_map(|folder| {
        let mode = user.barred_by(folder)?;
        Some((folder, mode))
    })?;
    let (uid, folder) = (user.uid, folder.display());
    Some(format!(
        "user {uid} may not enter {folder} (mode {mode:04o}): `chmod o+x {folder}`, or name \
         another folder with `cluster.directory` or SHIPIT_AGENT_DIR"
    ))
}

/// A program and all that it started. It ends when this is dropped, unless its first process was
/// seen to end.
#[derive(Debug)]
pub struct Group {
    first: Option<u32>,
    end: Signal,
    record: Option<CommandRecord>,
    mark: Option<Mark>,
}

impl Group {
    /// Of a child that is the first of one, and still only a launcher: it is written down before it
    /// becomes anything. A full disk is no reason not to run it.
    pub(super) fn recorded(child: &Child, start: &Start) -> Self {
        let (first, end) = (child.id(), Signal::KILL);
        let mark = start.env.get(marked::VARIABLE).map(|word| Mark::of(word));
        let written = start.commands.as_deref().zip(first).map(|(folder, pid)| {
            CommandRecord::write(folder, pid, end, mark.clone()).inspect_err(|error| {
                tracing::warn!(%error, "that a command runs could not be written down");
            })
        });
        let record = written.and_then(Result::ok);
        Self {
            first,
            end,
            record,
            mark,
        }
    }

    /// The same, which another signal ends: its first process ends the others.
    #[must_use]
    pub fn ended_by(mut self, end: Signal) -> Self {
        self.end = end;
        if let Some(Err(error)) = self.record.as_ref().map(|record| record.ended_by(end)) {
            tracing::warn!(%error, "what ends a command could not be written down");
        }
        self
    }

    /// Sends a signal to all of it.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.first {
            process::kill_group(pid, signal);
        }
    }

    fn has_ended(mut self) {
        self.first = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(self.end);
        if let Some(mark) = &self.mark {
            mark.end();
        }
    }
}

impl Start {
    /// Without a socket.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.socket = Handover::None;
        self
    }
}
