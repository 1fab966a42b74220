//! Whether a process is still the one that it was.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::guard;
use super::marked::{self, Mark};

/// Another program than this one that is started as `shipit`.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// What is started where shipit starts itself: the very file that runs, even when another has taken
/// its place meanwhile.
#[must_use]
pub fn program() -> PathBuf {
    let own = || {
        let named = std::env::current_exe().ok();
        named
            .filter(|path| path.exists())
            .unwrap_or_else(|| "/proc/self/exe".into())
    };
    PROGRAM.get().cloned().unwrap_or_else(own)
}

/// For a program that has shipit as a library: where `shipit` is. Only the first call counts.
pub fn set_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// A process' start time in clock ticks since boot: field 22 of `/proc/PID/stat` (see
/// `proc_pid_stat(5)`). None when there is no such process, or when it is only waiting to be
/// reaped.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    look(pid).ok().flatten()
}

/// The same; an error when it cannot be told: for want of a descriptor, or where `/proc` shows a
/// user nobody else's processes (`hidepid`).
pub fn look(pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(error) if is_gone(&error) => return gone(pid),
        other => other?,
    };
    Ok(start_time(&stat))
}

/// What is not shown need not be gone: a signal reaches it all the same, or is refused.
fn gone(pid: u32) -> io::Result<Option<u64>> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    match number.map(test_kill_process) {
        None | Some(Err(Errno::SRCH)) => Ok(None),
        // One that ended and is not reaped yet may be shown or not.
        Some(_) => match fs::metadata(format!("/proc/{pid}")) {
            Ok(_) => look(pid),
            Err(_) => Err(io::Error::new(
                ErrorKind::PermissionDenied,
                format!("/proc does not show process {pid}"),
            )),
        },
    }
}

/// A process may end while its file is read.
fn is_gone(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    error.kind() == ErrorKind::NotFound || number == Some(Errno::SRCH.raw_os_error())
}

/// The fields of `/proc/PID/stat` from the third on: the state, the parent, the group, the session.
/// The second is the name in parentheses, and may itself contain blanks and parentheses.
#[must_use]
pub fn fields(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn start_time(stat: &str) -> Option<u64> {
    let mut fields = fields(stat)?;
    let state = fields.next()?;
    let ticks = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(ticks)
}

/// A file that has become too large is an error of whoever writes it (`EFBIG`) from here on, and
/// ends no process. Programs that this one starts have the signal as it was. Inside of a runtime.
pub fn survive_large_files() -> io::Result<()> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

/// The signals that this process ignores, as whoever started it had it do.
#[must_use]
pub fn ignored_signals() -> Vec<i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status)
}

/// The signals of `SigIgn`, a bit for each from the lowest (`proc_pid_status(5)`), as far as they
/// are no real-time ones.
fn ignored(status: &str) -> Vec<i32> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    // The one of broken pipes every program of this language ignores, and gives back as it starts
    // another.
    (1..=31)
        .filter(|number| *number != 13)
        .filter(|number| mask & (1 << (number - 1)) != 0)
        .collect()
}

/// The machine's own id; empty where it has none, as in many containers.
#[must_use]
pub fn machine() -> String {
    word("/etc/machine-id")
}

/// The id of this start of the kernel; empty where it cannot be read.
#[must_use]
pub fn boot() -> String {
    word("/proc/sys/kernel/random/boot_id")
}

/// The namespace in which this process' number counts; empty where /proc shows another one.
#[must_use]
pub fn pid_namespace() -> String {
    let own = fs::read_link("/proc/self")
        .is_ok_and(|pid| pid.as_os_str() == std::process::id().to_string().as_str());
    let namespace = fs::read_link("/proc/self/ns/pid").ok().filter(|_| own);
    namespace.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn word(path: &str) -> String {
    let content = super::read(Path::new(path), 256).unwrap_or_default();
    String::from_utf8_lossy(&content).trim().to_owned()
}

/// Sends a signal to a process group, which may have ended meanwhile.
pub fn kill_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// A program that was started in a process group of its own. The group is ended when this is
/// dropped: on a time limit, and when whoever waits for it is cancelled; so is what has its mark,
/// in whichever group it is. Where this process is killed, the [guard] ends it.
#[derive(Debug)]
pub struct Group {
    first: Option<u32>,
    mark: Option<Mark>,
}

impl Group {
    /// Starts a program that is found again, with a group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> io::Result<(Child, Self)> {
        Self::start_as(command, Mark::random())
    }

    /// The same with a mark that other programs of its caller's have, too: those that it left are
    /// ended with it. Of programs that run at once each has a mark of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_as(command: &mut Command, mark: Mark) -> io::Result<(Child, Self)> {
        command
            .process_group(0)
            .kill_on_drop(true)
            .env(marked::VARIABLE, mark.word());
        guard::starts(&mark);
        let child = command.spawn().inspect_err(|_| guard::ended(&mark))?;
        let first = child.id();
        if let Some(pid) = first {
            guard::runs(&mark, pid);
        }
        let mark = Some(mark);
        Ok((child, Self { first, mark }))
    }

    /// That of a child which was started with `process_group(0)`, and ends by itself when this
    /// process is killed.
    #[must_use]
    pub fn of(child: &Child) -> Self {
        let first = child.id();
        Self { first, mark: None }
    }

    /// Asks all processes of the group to stop cleanly.
    pub fn ask_to_stop(&self) {
        if let Some(pid) = self.first {
            kill_group(pid, Signal::TERM);
        }
    }

    /// Ends all of it at once.
    pub fn end(&self) {
        if let Some(pid) = self.first {
            kill_group(pid, Signal::KILL);
        }
        if let Some(mark) = &self.mark {
            mark.end();
        }
    }

    /// Whether any process of the group runs.
    #[must_use]
    pub fn is_left(&self) -> bool {
        let first = self.first.and_then(|pid| i32::try_from(pid).ok());
        first.is_some_and(|group| marked::processes().any(|pid| runs_in(pid, group)))
    }

    /// Lets what it has started go on.
    pub fn leave(mut self) {
        self.first = None;
        if let Some(mark) = self.mark.take() {
            guard::ended(&mark);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
        if let Some(mark) = &self.mark {
            guard::ended(mark);
        }
    }
}

/// Whether a process is of a group, and has not ended (`proc_pid_stat(5)`).
fn runs_in(pid: Pid, group: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stat = stat.unwrap_or_default();
    let Some(mut fields) = fields(&stat) else {
        return false;
    };
    let state = fields.next();
    let of = fields.nth(1).and_then(|number| number.parse().ok());
    of == Some(group) && !matches!(state, Some("Z" | "X"))
}

/// Passes nothing on that this process was started with, besides its three streams, to whatever it
/// starts itself: a lock, a pipe or a socket of the caller's is held by nobody any more once this
/// process has ended. What this program opens is never passed on unless it says so.
pub fn pass_nothing_on() {
    // A kernel before 5.9 is asked for one descriptor after the other. Nothing else can go wrong
    // here.
    let _ = libcontainer::syscall::syscall::create_syscall().close_range(0);
}

/// This machine's name.
#[must_use]
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001003\n"), [1, 2]);
        assert_eq!(ignored("SigIgn:\t0000000000000000\n"), [0; 0]);
        assert_eq!(ignored(""), [0; 0]);
    }
}
