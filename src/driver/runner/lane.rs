//! What the last job of a lane left, seen to before the next one begins: programs that still run,
//! and locks of a Git that was killed.
//!
//! ```text
//! LANE/lock      held by the process of a job
//! LANE/started   the mark of the programs that the last job has started
//! ```
//!
//! Start with [`LaneHold::take`].

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::files;
use crate::files::marked::Mark;

/// How long the process of the last job may have the lane that is about to end, and how long a
/// program may take to end that was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The longest word, in bytes.
const LONGEST: u64 = 256;

/// A lane, as this process' alone.
#[derive(Debug)]
pub struct LaneHold {
    _lock: File,
    mark: Mark,
}

impl LaneHold {
    /// Takes a lane for the programs that have a mark, once nothing of its last job runs any more.
    ///
    /// # Errors
    /// Another process has it (`TimedOut`), something of the last job cannot be ended, or its files
    /// not be written.
    pub fn take(place: &Path, mark: Mark) -> io::Result<Self> {
        files::folders(place, 0o755)?;
        let lock = files::lock_within(&place.join("lock"), PATIENCE)?;
        let started = place.join("started");
        if let Some(word) = files::read_if_there(&started, LONGEST)? {
            let word = String::from_utf8_lossy(&word);
            end(&Mark::of(word.trim()))?;
        }
        files::replace(&started, mark.word().as_bytes())?;
        Ok(Self { _lock: lock, mark })
    }

    /// Ends what the job has started and not ended, in whichever group and session it is.
    ///
    /// # Errors
    /// Something of it cannot be ended.
    pub fn leave(self) -> io::Result<()> {
        end(&self.mark)
    }
}

/// Ends all that has a mark, and waits until it has ended.
fn end(mark: &Mark) -> io::Result<()> {
    if mark.word().is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        mark.end();
        if !mark.is_had() {
            return Ok(());
        }
        if began.elapsed() >= PATIENCE {
            return Err(io::Error::other(
                "a program of the environment's last job cannot be ended, and may still write in \
                 its checkout",
            ));
        }
        thread::sleep(LOOK);
    }
}

/// Deletes the lock files that a Git has left in its folder which was killed. No ref ends like one
/// (`git check-ref-format`). For whoever knows that no Git works there.
///
/// # Errors
/// The folder cannot be read, or one not be deleted.
pub fn unlock(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension() == Some(OsStr::new("lock")) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::files::marked::VARIABLE;
    use crate::files::process::started;

    #[test]
    fn a_lane_is_taken_once_nothing_of_its_last_job_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("shop/staging");
        let (first, second) = (Mark::random(), Mark::random());
        let hold = LaneHold::take(&place, first.clone()).expect("taken");
        // In a session of its own, as a daemon is.
        let mut daemon = Command::new("setsid")
            .args(["--wait", "sleep", "600"])
            .env(VARIABLE, first.word())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("it starts");
        let mut other = Command::new("sleep")
            .arg("600")
            .env(VARIABLE, Mark::random().word())
            .spawn()
            .expect("it starts");

        // The process of the job is killed: nobody has ended what it has started.
        drop(hold);
        let hold = LaneHold::take(&place, second).expect("taken");
        daemon.wait().expect("it has ended");
        assert!(!first.is_had());
        assert!(started(other.id()).is_some());
        hold.leave().expect("nothing is left");
        other.kill().expect("it runs");
        other.wait().expect("it has ended");
    }

    #[test]
    fn lock_files_are_deleted_wherever_git_has_them_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let git = folder.path().join(".git");
        let locks = [
            "index.lock",
            "config.lock",
            "HEAD.lock",
            "packed-refs.lock",
            "refs/remotes/origin/feature/x.lock",
        ];
        let kept = ["index", "refs/remotes/origin/lock", "refs/tags/v1.locked"];
        for name in locks.iter().chain(&kept) {
            files::replace(&git.join(name), b"").expect("written");
        }
        unlock(&git).expect("deleted");
        assert!(locks.iter().all(|name| !git.join(name).exists()));
        assert!(kept.iter().all(|name| git.join(name).exists()));
    }
}
