//! Which commands run: health commands, and those that somebody looks on. They end with the agent;
//! what one that was killed had no time to end, the next one finds in these records.
//!
//! ```text
//! AGENT/commands/PID.STARTED   the machine's boot, when the process was started, the signal that
//!                              ends it, and what all that it started is marked with
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::files::marked::Mark;
use crate::files::process;

/// How long a command has for what it does when it is ended.
const GRACE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// What is known of a command that runs. It is deleted when this is dropped.
#[derive(Debug)]
pub(super) struct CommandRecord {
    file: PathBuf,
    process: Process,
    mark: Option<Mark>,
}

/// A process of one moment of the machine: its number may be another's later.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    boot: String,
    started: u64,
}

impl Process {
    /// An error where that cannot be told.
    fn still_runs(&self) -> io::Result<bool> {
        Ok(self.boot == process::boot() && process::look(self.pid)? == Some(self.started))
    }

    fn is_seen(&self) -> bool {
        self.still_runs().unwrap_or_default()
    }
}

impl CommandRecord {
    /// Writes down a process that does nothing yet.
    pub fn write(folder: &Path, pid: u32, end: Signal, mark: Option<Mark>) -> io::Result<Self> {
        let process = Process {
            pid,
            boot: process::boot(),
            started: process::look(pid)?.ok_or(io::ErrorKind::NotFound)?,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        // A number alone may be another's by the time that this mark is dropped.
        let file = folder.join(format!("{pid}.{}", process.started));
        let record = Self {
            file,
            process,
            mark,
        };
        record.ended_by(end)?;
        Ok(record)
    }

    /// Says what ends it.
    pub fn ended_by(&self, end: Signal) -> io::Result<()> {
        let Process { boot, started, .. } = &self.process;
        let mark = self.mark.as_ref().map_or("", Mark::word);
        let text = format!("{boot} {started} {} {mark}\n", end.as_raw());
        fs::write(&self.file, text)
    }
}

impl Drop for CommandRecord {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Ends the commands that an agent left when it was killed, with all that is in their groups.
pub async fn end_stray_commands(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    let strays: Vec<Stray> = paths.iter().filter_map(|path| read(path)).collect();
    for Stray { process, end, .. } in strays.iter().filter(|stray| stray.process.is_seen()) {
        process::kill_group(process.pid, *end);
    }

    let all_ended = async {
        while strays.iter().any(|stray| stray.process.is_seen()) {
            tokio::time::sleep(POLL).await;
        }
    };
    let _ = tokio::time::timeout(GRACE, all_ended).await;
    for Stray { process, mark, .. } in &strays {
        if process.is_seen() {
            process::kill_group(process.pid, Signal::KILL);
        }
        if let Some(mark) = mark {
            mark.end();
        }
    }
    for path in paths {
        // One that could not be looked at is left to the next agent.
        let is_unseen = read(&path).is_some_and(|stray| stray.process.still_runs().is_err());
        if !is_unseen {
            let _ = fs::remove_file(path);
        }
    }
}

/// What an agent that was killed has left.
struct Stray {
    process: Process,
    end: Signal,
    mark: Option<Mark>,
}

fn read(path: &Path) -> Option<Stray> {
    let name = path.file_name()?.to_str()?;
    let pid = name.split('.').next()?.parse().ok()?;
    let text = fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    let boot = words.next()?.to_owned();
    let started = words.next()?.parse().ok()?;
    let end = Signal::from_named_raw(words.next()?.parse().ok()?)?;
    Some(Stray {
        process: Process { pid, boot, started },
        end,
        mark: words.next().map(Mark::of),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;
    use crate::files::marked;

    fn sleeper() -> std::process::Child {
        let mut command = Command::new("sleep");
        command
            .arg("600")
            .process_group(0)
            .spawn()
            .expect("it starts")
    }

    #[tokio::test]
    async fn what_a_killed_agent_left_is_ended_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut left, mut other) = (sleeper(), sleeper());
        let mark = Mark::random();
        let mut marked = Command::new("sleep")
            .arg("600")
            .env(marked::VARIABLE, mark.word())
            .process_group(0)
            .spawn()
            .expect("it starts");
        let marks = [&left, &other].map(|child| {
            CommandRecord::write(folder.path(), child.id(), Signal::KILL, None).expect("written")
        });
        // The number of the other one has been another process' before.
        let [of_left, of_other] = &marks;
        let before = of_other.process.started - 1;
        let text = format!("{} {before} 9\n", of_other.process.boot);
        fs::write(&of_other.file, text).expect("written");
        assert!(of_left.file.is_file());
        // Its first process has ended, and something that it started has not.
        let ended = CommandRecord {
            file: folder.path().join("1.1"),
            process: Process {
                started: 1,
                ..of_left.process.clone()
            },
            mark: Some(mark),
        };
        ended.ended_by(Signal::KILL).expect("written");

        let ended = tokio::task::spawn_blocking(move || left.wait());
        end_stray_commands(folder.path()).await;
        assert!(!ended.await.expect("no panic").expect("ended").success());
        assert!(
            other.try_wait().expect("a look").is_none(),
            "it is another process"
        );
        let none = fs::read_dir(folder.path())
            .expect("a folder")
            .next()
            .is_none();
        assert!(none, "the records are gone");
        assert!(!marked.wait().expect("ended").success());
        other.kill().expect("killed");
        let _ = other.wait();
    }

    #[tokio::test]
    async fn a_record_goes_with_its_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = sleeper();
        let mark =
            CommandRecord::write(folder.path(), child.id(), Signal::KILL, None).expect("written");
        let file = mark.file.clone();
        assert!(file.is_file());
        drop(mark);
        assert!(!file.exists());
        child.kill().expect("killed");
        let _ = child.wait();
    }
}
