//! Keeps an instance's log: a secret that the service wrote is blotted out where it lies, soon
//! after it was written, and the log is put aside when it is large. The service goes on writing
//! meanwhile: nothing that is there moves.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::agent::log::instances::{self, Rotated};
use crate::agent::log::reader::read_at;
use crate::agent::log::times::Times;
use crate::redact::Redactor;

/// How long a secret may lie in a log.
const PAUSE: Duration = Duration::from_millis(250);

/// How much is looked through at once.
const CHUNK: usize = 1 << 20;

/// How much of the end is looked at again: a secret may begin there by a few characters.
const AGAIN: usize = 96;

/// What stands in place of each byte of a secret.
const BLOT: u8 = b'*';

/// One instance's log and who looks after it. Dropping it ends that.
pub(in crate::agent) struct LogKeeper {
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl LogKeeper {
    /// Begins with what is there: an earlier agent may have ended before it came to it.
    pub fn begin(path: PathBuf, redactor: Redactor) -> Self {
        let log = Arc::new(Mutex::new(Log {
            times: Times::of(&path),
            path,
            redactor,
            at: 0,
            length: 0,
        }));
        let task = tokio::spawn(keep(Arc::clone(&log)));
        Self { log, task }
    }

    /// Looks through all that was written up to now.
    pub async fn look(&self) {
        look(&self.log).await;
    }
}

impl Drop for LogKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(log: Arc<Mutex<Log>>) {
    let behind = Arc::clone(&log);
    let looked = tokio::task::spawn_blocking(move || {
        let mut log = behind.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = log.blot_aside();
    });
    let _ = looked.await;

    loop {
        look(&log).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(log: &Arc<Mutex<Log>>) {
    let log = Arc::clone(log);
    let looked = tokio::task::spawn_blocking(move || {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = log.note();
        let _ = log.blot().and_then(|()| log.cut());
    });
    let _ = looked.await;
}

struct Log {
    path: PathBuf,
    /// When what was written.
    times: Times,
    redactor: Redactor,
    /// Up to where it was looked through for good.
    at: u64,
    /// How long it was then.
    length: u64,
}

impl Log {
    /// Blots out the secrets in what came since the last time.
    fn blot(&mut self) -> io::Result<()> {
        let length = fs::metadata(&self.path)?.len();
        if length == self.length {
            return Ok(());
        }
        if length < self.length {
            self.at = 0;
        }
        self.length = length;
        self.blot_file(&self.path.clone())
    }

    fn blot_file(&mut self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        while self.blot_chunk(&file)? {}
        Ok(())
    }

    /// True when there is more to look through.
    fn blot_chunk(&mut self, file: &File) -> io::Result<bool> {
        let mut bytes = vec![0; CHUNK];
        let length = read_at(file, &mut bytes, self.at)?;
        bytes.truncate(length);
        let Some(found) = self.redactor.find(&bytes) else {
            return Ok(false);
        };

        for range in found.hidden {
            let part = &mut bytes[range.clone()];
            part.iter_mut()
                .filter(|byte| !matches!(byte, b'\n' | b'\r'))
                .for_each(|byte| *byte = BLOT);
            file.write_all_at(part, self.at + range.start as u64)?;
        }
        // What may be the beginning of a secret is looked at again with what follows it.
        let done = found
            .open
            .unwrap_or(length)
            .min(length.saturating_sub(AGAIN));
        self.at += done as u64;
        Ok(length == CHUNK && done > 0)
    }

    /// Blots out the secrets in what was put aside last: an earlier agent may have ended before it
    /// came to what was written while it was copied.
    fn blot_aside(&mut self) -> io::Result<()> {
        let looked = self.blot_file(&instances::aside(&self.path, 1));
        self.at = 0;
        looked
    }

    fn note(&mut self) -> io::Result<()> {
        let length = fs::metadata(&self.path)?.len();
        self.times.note(length, Timestamp::now())
    }

    fn cut(&mut self) -> io::Result<()> {
        if instances::rotate(&self.path)? == Rotated::No {
            return Ok(());
        }

        // What came while it was copied was not looked through yet.
        self.blot_file(&instances::aside(&self.path, 1))?;
        (self.at, self.length) = (0, 0);
        self.times.put_aside(Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::model::secret::SecretValue;

    fn log_in(folder: &tempfile::TempDir, values: &[&str]) -> (Log, File) {
        let path = folder.path().join("0.log");
        let service = OpenOptions::new().create(true).append(true).open(&path);
        let redactor = Redactor::default();
        for value in values {
            redactor.remember(&SecretValue::new((*value).to_owned()));
        }
        let log = Log {
            times: Times::of(&path),
            path,
            redactor,
            at: 0,
            length: 0,
        };
        (log, service.expect("a log"))
    }

    #[test]
    fn a_secret_in_a_log_is_blotted_out_while_the_service_goes_on_writing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, mut service) = log_in(&folder, &["hunter2\nsecond-line"]);
        let text = |log: &Log| fs::read_to_string(&log.path).expect("text");

        service
            .write_all(b"one hunter2 and more\npart: hun")
            .expect("written");
        log.blot().expect("looked through");
        assert_eq!(text(&log), "one ******* and more\npart: hun");

        service
            .write_all(b"ter2\nsecond-line end\n")
            .expect("written");
        log.blot().expect("looked through");
        assert_eq!(
            text(&log),
            "one ******* and more\npart: *******\n*********** end\n"
        );
    }

    #[test]
    fn a_secret_between_two_chunks_is_blotted_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, mut service) = log_in(&folder, &["a-secret-between-chunks"]);
        let text = ["x".repeat(CHUNK - 9), "a-secret-between-chunks".to_owned()].concat();
        service.write_all(text.as_bytes()).expect("written");
        log.blot().expect("looked through");
        let blotted = fs::read_to_string(&log.path).expect("text");
        assert_eq!(blotted.len(), text.len());
        assert!(blotted.ends_with(&["xxx", &"*".repeat(23)].concat()));
    }

    #[test]
    fn a_log_that_was_cut_is_looked_through_from_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, mut service) = log_in(&folder, &["hunter2"]);
        service
            .write_all(b"a long line without any\n")
            .expect("written");
        log.blot().expect("looked through");
        service.set_len(0).expect("cut");
        service.write_all(b"hunter2\n").expect("written");
        log.blot().expect("looked through");
        assert_eq!(fs::read_to_string(&log.path).expect("text"), "*******\n");
    }

    #[test]
    fn what_an_earlier_agent_put_aside_and_did_not_look_through_is_looked_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, mut service) = log_in(&folder, &["hunter2"]);
        assert!(log.blot_aside().is_err(), "nothing was put aside");
        let aside = instances::aside(&log.path, 1);
        fs::write(&aside, "an old line\nhunter2\n").expect("written");
        service.write_all(b"hunter2\n").expect("written");

        log.blot_aside().expect("looked through");
        log.blot().expect("looked through");
        let text = |path: &Path| fs::read_to_string(path).expect("text");
        assert_eq!(text(&aside), "an old line\n*******\n");
        assert_eq!(text(&log.path), "*******\n");
    }

    #[test]
    fn a_secret_is_blotted_out_of_what_is_put_aside_and_of_what_comes_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, mut service) = log_in(&folder, &["hunter2"]);
        let large = "x".repeat(11 << 20);
        let write = |service: &mut File, text: &str| {
            service.write_all(text.as_bytes()).expect("written");
        };
        write(&mut service, &large);
        log.blot().expect("looked through");

        // It comes between the look and the cut; then the log is soon longer than it was.
        write(&mut service, "hunter2\n");
        log.cut().expect("put aside");
        let put_aside = fs::read_to_string(instances::aside(&log.path, 1)).expect("text");
        assert!(put_aside.ends_with("xxx*******\n"));
        write(&mut service, "hunter2\n");
        write(&mut service, &large);
        write(&mut service, &large);
        log.blot().expect("looked through");
        let text = fs::read_to_string(&log.path).expect("text");
        assert!(text.starts_with("*******\nxxx"));
    }
}
