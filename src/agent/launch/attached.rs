//! A program that somebody looks on: started by way of a launcher as a service is, with pipes or a
//! terminal of its own.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{Gid, OFlags, Uid, fchown, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::Child;

use crate::agent::launch::hold::{Group, Session, launcher, spawn};
use crate::agent::launch::{Handover, Start, User};
use crate::agent::trouble::Trouble;
use crate::port::engine::WindowSize;

/// A program that runs, and this side of its streams.
pub struct Streams {
    /// Its process. With pipes, its output is the child's.
    pub child: Child,
    /// The process, and what it started.
    pub group: Group,
    /// Its standard input; none when it reads nothing, or has a terminal.
    pub input: Option<OwnedFd>,
    /// The terminal, from outside; what is read there is its output.
    pub terminal: Option<OwnedFd>,
}

/// Starts a program with pipes.
pub async fn with_pipes(start: Start, reads: bool) -> Result<Streams, Trouble> {
    let (theirs, ours) = if reads {
        let (theirs, ours) = io::pipe()?;
        (Some(OwnedFd::from(theirs)), Some(OwnedFd::from(ours)))
    } else {
        (None, None)
    };
    let socket = match theirs {
        Some(_) => Handover::Input,
        None => Handover::None,
    };
    let (command, talk) = launcher(Stdio::piped(), Stdio::piped(), Session::Agents)?;
    let (child, held) = spawn(command, talk, Start { socket, ..start }, theirs)?;
    let group = Group::recorded(&child, &held.start);
    held.release().await?;
    Ok(Streams {
        child,
        group,
        input: ours,
        terminal: None,
    })
}

/// Starts a program at a terminal of its own.
pub async fn at_terminal(start: Start, size: WindowSize) -> Result<Streams, Trouble> {
    let (ours, theirs) = terminal(size, start.user)?;
    let copy = || theirs.try_clone().map(Stdio::from);
    let (command, talk) = launcher(copy()?, copy()?, Session::Own)?;
    let start = Start {
        socket: Handover::Terminal,
        ..start
    };
    let (child, held) = spawn(command, talk, start, Some(theirs.into()))?;
    let group = Group::recorded(&child, &held.start);
    held.release().await?;
    Ok(Streams {
        child,
        group,
        input: None,
        terminal: Some(ours),
    })
}

/// Both sides of a terminal that belongs to whom it is for.
fn terminal(size: WindowSize, user: Option<User>) -> io::Result<(OwnedFd, File)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    resize(&ours, size)?;

    let path = ptsname(&ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    if let Some(user) = user {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        fchown(&theirs, Some(uid), Some(gid))?;
    }
    fcntl_setfl(&ours, OFlags::RDWR | OFlags::NONBLOCK)?;
    Ok((ours, File::from(theirs)))
}

/// Gives a terminal another size; whoever is in its foreground is told so by the kernel.
pub fn resize(terminal: &OwnedFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}
