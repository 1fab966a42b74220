//! What the agent says of itself. In the background its standard error is `agent.log`; then it
//! writes the file itself, so that it is put aside when it is full. Anywhere else, as under
//! systemd, standard error is somebody's to keep.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use crate::agent::log::file::{LogFile, Quota, Rotating};
use crate::redact::Redactor;

/// The log, event by event, without the secrets that the agent holds.
pub struct OwnLog {
    redactor: Redactor,
    to: To,
}

/// Where it goes.
#[derive(Debug)]
enum To {
    StandardError,
    File(Box<Bounded>),
}

impl OwnLog {
    /// The file at this path, if that is where standard error goes; else standard error.
    #[must_use]
    pub fn open(path: &Path, redactor: Redactor) -> Self {
        let to = if is_standard_error(path) {
            To::File(Box::new(Bounded::new(LogFile::agent(path.to_owned()))))
        } else {
            To::StandardError
        };
        Self { redactor, to }
    }

    /// Whether it is a file that is put aside when it is full.
    #[must_use]
    pub const fn is_a_file(&self) -> bool {
        matches!(self.to, To::File(_))
    }
}

fn is_standard_error(path: &Path) -> bool {
    let (there, mine) = (std::fs::metadata(path), rustix::fs::fstat(io::stderr()));
    let (Ok(there), Ok(mine)) = (there, mine) else {
        return false;
    };
    (there.dev(), there.ino()) == (mine.st_dev, mine.st_ino)
}

impl Write for OwnLog {
    /// A whole event each time, as the subscriber writes them.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = self.redactor.text(&String::from_utf8_lossy(event));
        match &mut self.to {
            To::StandardError => io::stderr().write_all(text.as_bytes())?,
            To::File(file) => file.write(text.as_bytes())?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that takes so much in its time, and counts what was too much.
#[derive(Debug)]
struct Bounded {
    file: Rotating,
    quota: Quota,
    dropped: u64,
}

impl Bounded {
    fn new(settings: LogFile) -> Self {
        Self {
            quota: Quota::of(&settings, Instant::now()),
            file: Rotating::new(settings),
            dropped: 0,
        }
    }

    fn write(&mut self, event: &[u8]) -> io::Result<()> {
        if !self.quota.allows(Instant::now(), event.len() as u64) {
            self.dropped += 1;
            return Ok(());
        }
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let note = format!("({dropped} lines were too many, and are missing here)\n");
            self.file.write(note.as_bytes())?;
        }
        self.file.write(event)?;
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_too_much_is_dropped_and_counted_and_the_past_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        let mut log = Bounded::new(LogFile {
            path: path.clone(),
            most_bytes: 100,
            files: 3,
            window: Duration::from_hours(1),
        });
        log.write(b"the first line\n").unwrap();
        for _ in 0..1000 {
            log.write(b"once more\n").unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("the first line\n") && text.len() <= 100,
            "{text}"
        );
        assert_eq!(log.dropped, 992);

        // The time is over.
        log.quota = Quota::of(&LogFile::agent(path.clone()), Instant::now());
        log.write(b"all is well\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("(992 lines were too many, and are missing here)\nall is well\n"));
    }

    #[test]
    fn standard_error_is_left_alone_where_it_is_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.log");
        let open = || OwnLog::open(&path, Redactor::default());
        assert!(!open().is_a_file(), "there is none");
        std::fs::write(&path, "").unwrap();
        assert!(!open().is_a_file(), "it is another file");
    }
}
