//! Programs that are found again in whichever group and session they are, by a word in their
//! environment that they and all that they start have.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::process::fields;
use super::read;

/// The variable that has the word.
pub const VARIABLE: &str = "SHIPIT_STARTED";

/// The largest environment that is looked through, in bytes: more than a program is started with.
const LARGEST: u64 = 8 << 20;

/// How often is looked for what was started meanwhile.
const ROUNDS: usize = 20;

/// How often a process is looked at that seems to have no environment, and how long after each
/// other.
const LOOKS: usize = 1_000;
const BETWEEN: Duration = Duration::from_millis(1);

/// How often one has to have arguments, and no whole environment, until it is believed.
const SURE: usize = 3;

/// What a program and all that it starts are marked with. Nobody else knows the word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// One that was written down.
    #[must_use]
    pub fn of(word: &str) -> Self {
        Self(word.to_owned())
    }

    /// The word.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.0
    }

    /// Sends a signal to all that have it; whether there was any.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        let entry = format!("{VARIABLE}={}", self.0);
        let mut any = false;
        for pid in processes() {
            // The number cannot become another's while it is looked at.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            if has(pid, entry.as_bytes()) {
                any |= pidfd_send_signal(process, signal).is_ok();
            }
        }
        any
    }

    /// Whether any process has it.
    #[must_use]
    pub fn is_had(&self) -> bool {
        self.holders().next().is_some()
    }

    /// Those that have it and are the first of a group. In the group may be what has left its
    /// variables behind.
    #[must_use]
    pub fn leaders(&self) -> Vec<Pid> {
        let leads = |pid: &Pid| group(*pid) == Some(pid.as_raw_nonzero().get());
        self.holders().filter(leads).collect()
    }

    /// The processes that have it.
    fn holders(&self) -> impl Iterator<Item = Pid> {
        let entry = format!("{VARIABLE}={}", self.0);
        processes().filter(move |pid| has(*pid, entry.as_bytes()))
    }

    /// Ends all that have it, and what they start meanwhile.
    pub fn end(&self) {
        for _ in 0..ROUNDS {
            if !self.signal(Signal::KILL) {
                return;
            }
        }
    }
}

/// All processes that `/proc` shows.
pub(super) fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| {
        let number: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(number)
    })
}

/// The group of a process (`proc_pid_stat(5)`): nought for one that is none of this namespace's.
fn group(pid: Pid) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    fields(&stat)?.nth(2)?.parse().ok()
}

/// Whether a process was started with this in its environment. One that has ended has none.
fn has(pid: Pid, entry: &[u8]) -> bool {
    let environment = environment(pid);
    environment.split(|byte| *byte == 0).any(|one| one == entry)
}

/// What a process has in its environment. While it becomes another program (execve(2)) that and its
/// arguments cannot be read for a moment, or not to their end: it is looked at again. One that has
/// arguments each time has written over its environment. Of what is the kernel's own, or has ended,
/// there is no program.
fn environment(pid: Pid) -> Vec<u8> {
    let of = |what: &str| format!("/proc/{}/{what}", pid.as_raw_nonzero());
    let read = |what: &str| read(Path::new(&of(what)), LARGEST).unwrap_or_default();
    let mut with_arguments = 0;
    let mut environment = Vec::new();
    for _ in 0..LOOKS {
        environment = read("environ");
        let is_whole = environment.last() == Some(&0);
        if is_whole || fs::read_link(of("exe")).is_err() {
            break;
        }
        with_arguments += usize::from(!read("cmdline").is_empty());
        if with_arguments == SURE {
            break;
        }
        thread::sleep(BETWEEN);
    }
    environment
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::files::process::started;

    #[test]
    fn what_becomes_another_program_all_the_time_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("again");
        fs::write(&script, "exec sh \"$0\"\n").expect("written");
        let mark = Mark::random();
        let mut again = Command::new("sh")
            .arg(&script)
            .env(VARIABLE, mark.word())
            .spawn()
            .expect("it starts");

        let entry = format!("{VARIABLE}={}", mark.word());
        let pid = Pid::from_child(&again);
        let missed = (0..20_000).filter(|_| !has(pid, entry.as_bytes())).count();
        mark.end();
        again.wait().expect("it ends");
        assert_eq!(missed, 0);
    }

    #[test]
    fn what_is_in_a_session_of_its_own_is_found_and_nobody_else_is() {
        let mark = Mark::random();
        let start = |mark: &Mark| {
            Command::new("setsid")
                .args(["--wait", "sleep", "600"])
                .env(VARIABLE, mark.word())
                .stdout(Stdio::null())
                .process_group(0)
                .spawn()
                .expect("it starts")
        };
        let others = Mark::random();
        let (mut own, mut other) = (start(&mark), start(&others));

        assert!(mark.is_had());
        mark.end();
        own.wait().expect("it ends");
        assert!(!mark.signal(Signal::CONT), "none is left");
        assert!(!mark.is_had());
        assert!(started(other.id()).is_some());

        others.end();
        other.wait().expect("it ends");
    }
}
