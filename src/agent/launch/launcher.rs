//! The other side: `shipit agent launch`, which becomes the service. For a process of one thread.

use std::fs;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::fs::Mode;
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{ioctl_tiocsctty, setpriority_process, setsid, umask};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::launch::{Handover, Report, Start, memory};
use crate::agent::runtime::process::input;
use crate::files::interpreter::is_cut_off;
use crate::files::process::ignored_signals;

/// The exit code of a launcher that started nothing, as a shell's for a command that cannot be
/// executed.
const NOTHING: u8 = 126;

/// The descriptor that a handed over socket has (`sd_listen_fds(3)`).
const SOCKET: i32 = 3;

/// Waits at standard input for what to start, and becomes it. Returns when there is nothing to
/// become.
#[must_use]
pub fn launch() -> u8 {
    // Far from where a socket that is handed over has to be.
    let Ok(talk) = fcntl_dupfd_cloexec(io::stdin(), 2 * SOCKET) else {
        return NOTHING;
    };
    let talk = UnixStream::from(talk);
    // An end without all of it is the agent's end.
    let Some((start, socket)) = hear(&talk) else {
        return NOTHING;
    };
    reset();
    start.limits.set();
    let error = become_it(&start, socket);
    tell(talk, &error);
    NOTHING
}

/// What to start, if it came whole.
fn hear(mut talk: &UnixStream) -> Option<(Start, Option<OwnedFd>)> {
    let mut text = vec![0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        talk,
        &mut [IoSliceMut::new(&mut text)],
        &mut along,
        RecvFlags::CMSG_CLOEXEC,
    );
    if received.ok()?.bytes == 0 {
        return None;
    }

    let socket = along.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    talk.read_to_end(&mut text).ok()?;
    Some((serde_json::from_slice(&text).ok()?, socket))
}

/// Executes the program; gives why that failed.
fn become_it(start: &Start, socket: Option<OwnedFd>) -> io::Error {
    let is_path = start.program.components().count() > 1;
    if is_path && is_cut_off(&start.workdir.join(&start.program)) {
        return Errno::NOEXEC.into();
    }
    let mut command = Command::new(&start.program);
    command
        .args(&start.arguments)
        .env_clear()
        .envs(&start.env)
        .current_dir(&start.workdir);
    if let Some(name) = &start.name {
        command.arg0(name);
    }
    match stdin(start, socket.as_ref()) {
        Ok(input) => command.stdin(input),
        Err(error) => return error,
    };

    if let Some(user) = start.user {
        // With it go the groups of the agent's user.
        command.uid(user.uid).gid(user.gid);
    }

    let handed = start.handed.as_deref().map(memory::hand_on);
    let handed = match handed.transpose() {
        Ok(handed) => handed,
        Err(error) => return error,
    };

    let socket = match (start.socket, socket) {
        (Handover::None | Handover::Input | Handover::Terminal, _) => None,
        (Handover::One, None) => return io::ErrorKind::NotFound.into(),
        (Handover::One, Some(socket)) => match at_its_place(socket) {
            Ok(socket) => Some(socket),
            Err(error) => return error,
        },
    };

    if socket.is_some() {
        command
            .env("LISTEN_FDS", "1")
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDNAMES", "http");
    }

    let error = command.exec();
    drop((socket, handed));
    error
}

/// What it reads. A terminal becomes that of a session of its own.
fn stdin(start: &Start, given: Option<&OwnedFd>) -> io::Result<Stdio> {
    match (start.socket, given) {
        (Handover::Input, Some(pipe)) => Ok(pipe.try_clone()?.into()),
        (Handover::Terminal, Some(terminal)) => {
            setsid()?;
            ioctl_tiocsctty(terminal)?;
            Ok(terminal.try_clone()?.into())
        }
        (Handover::Input | Handover::Terminal, None) => Err(io::ErrorKind::NotFound.into()),
        (Handover::None | Handover::One, _) => input(start.input.as_deref()),
    }
}

/// The socket as the descriptor that a service looks for it at, and kept over what comes.
fn at_its_place(socket: OwnedFd) -> io::Result<OwnedFd> {
    let socket = if socket.as_raw_fd() == SOCKET {
        socket
    } else {
        fcntl_dupfd_cloexec(&socket, SOCKET)?
    };
    if socket.as_raw_fd() != SOCKET {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fcntl_setfd(&socket, FdFlags::empty())?;
    Ok(socket)
}

fn tell(mut talk: UnixStream, error: &io::Error) {
    let number = error
        .raw_os_error()
        .unwrap_or_else(|| Errno::INVAL.raw_os_error());
    let text = serde_json::to_vec(&Report { number }).unwrap_or_default();
    // An agent that has died needs no report.
    let _ = talk.write_all(&text);
}

/// Takes off this process what it has from whoever started it, as far as it may: niceness, the
/// kernel's inclination to kill it, its umask, and signals that it ignores.
fn reset() {
    calm();
    umask(Mode::WGRP | Mode::WOTH);
}

/// The same but for the umask, which the agent has for itself.
pub fn calm() {
    // Only root may be less nice than before, or less inclined to be killed.
    let _ = setpriority_process(None, 0);
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    heed_signals();
}

/// A signal that a shell or `nohup` had this process ignore is one that a program would ignore
/// after it. One that is caught is back at its default once a program is executed.
fn heed_signals() {
    let ignored = ignored_signals();
    if ignored.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let Ok(runtime) = runtime else { return };
    let _inside = runtime.enter();
    for number in ignored {
        // What cannot be caught cannot be ignored either.
        let _ = signal(SignalKind::from_raw(number));
    }
}
