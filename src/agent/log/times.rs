//! When what was written: a file beside an instance's log says how long that was at what time. The
//! instance writes its log itself, without times.
//!
//! An entry is a time in milliseconds and a length in bytes. There is one for each second in which
//! the log grew; where the agent was not there to look, what was written counts as written when it
//! looked again, so that a reader gets too much and never too little.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::agent::log::instances::{KEPT, aside};

/// How many bytes an entry has.
const ENTRY: usize = 16;
/// How many entries there are at most. When there are more, every other one goes.
const MOST: usize = 1 << 16;
/// How close two entries may be, in milliseconds.
const CLOSE: i64 = 1000;

/// How long a log was at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    millis: i64,
    length: u64,
}

impl Mark {
    fn bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..8].copy_from_slice(&self.millis.to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn read(bytes: [u8; ENTRY]) -> Self {
        let [millis, length] =
            [&bytes[..8], &bytes[8..]].map(|half| half.try_into().map_or(0, u64::from_le_bytes));
        Self {
            millis: millis.cast_signed(),
            length,
        }
    }
}

/// The times of one log, for who looks after it.
#[derive(Debug)]
pub(super) struct Times {
    log: PathBuf,
    path: PathBuf,
    count: usize,
    last: Option<Mark>,
    /// What was seen too soon after the last one, and is written when the log grows no more.
    waits: Option<Mark>,
}

impl Times {
    /// Those that an earlier agent has left.
    pub fn of(log: &Path) -> Self {
        let path = beside(log, 0);
        let marks = marks(&path).unwrap_or_default();
        // Half an entry is none, and none comes behind it.
        if let Ok(file) = OpenOptions::new().write(true).open(&path) {
            let _ = file.set_len((marks.len() * ENTRY) as u64);
        }
        Self {
            count: marks.len(),
            last: marks.last().copied(),
            waits: None,
            log: log.to_owned(),
            path,
        }
    }

    /// Notes that the log has this length now.
    pub fn note(&mut self, length: u64, now: Timestamp) -> io::Result<()> {
        let mark = Mark {
            millis: now.as_millisecond(),
            length,
        };
        match (self.last, self.waits) {
            (_, Some(waits)) if waits.length == length => return self.write(waits),
            (Some(last), _) if last.length == length => return Ok(()),
            (Some(last), _) if length < last.length => self.clear()?,
            (Some(last), _) if (0..CLOSE).contains(&(mark.millis - last.millis)) => {
                self.waits = Some(mark);
                return Ok(());
            }
            _ => {}
        }
        self.write(mark)
    }

    fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.waits = None;
        if self.count >= MOST {
            self.thin_out()?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        file.write_all(&mark.bytes())?;
        self.count += 1;
        self.last = Some(mark);
        Ok(())
    }

    /// The log was put aside, and its times with it; all that came to it was written by now.
    pub fn put_aside(&mut self, now: Timestamp) -> io::Result<()> {
        let length = fs::metadata(aside(&self.log, 1))?.len();
        if self.last.is_none_or(|last| last.length != length) {
            let millis = now.as_millisecond();
            self.write(Mark { millis, length })?;
        }

        for number in (0..KEPT).rev() {
            let (from, to) = (beside(&self.log, number), beside(&self.log, number + 1));
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.clear()
    }

    /// Starts over: the log was cut.
    fn clear(&mut self) -> io::Result<()> {
        self.count = 0;
        (self.last, self.waits) = (None, None);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn thin_out(&mut self) -> io::Result<()> {
        let kept = marks(&self.path)?.into_iter().skip(1).step_by(2);
        let bytes: Vec<u8> = kept.flat_map(Mark::bytes).collect();
        let fresh = self.path.with_extension("times.new");
        fs::write(&fresh, &bytes)?;
        fs::rename(&fresh, &self.path)?;
        self.count = bytes.len() / ENTRY;
        Ok(())
    }
}

/// From where on a log has what was written since; with a number, what was put aside.
pub(super) fn offset(log: &Path, number: u32, since: Timestamp) -> u64 {
    let marks = marks(&beside(log, number)).unwrap_or_default();
    let since = since.as_millisecond();
    let after = marks.iter().position(|mark| mark.millis > since);
    let before = after.unwrap_or(marks.len()).checked_sub(1);
    before.map_or(0, |before| marks[before].length)
}

fn beside(log: &Path, number: u32) -> PathBuf {
    let times = log.with_extension("times");
    match number {
        0 => times,
        _ => times.with_added_extension(number.to_string()),
    }
}

/// All of them; an entry that was not written to its end is none.
fn marks(path: &Path) -> io::Result<Vec<Mark>> {
    let most = 2 * (MOST * ENTRY) as u64;
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    let entries = bytes.chunks_exact(ENTRY);
    let entries = entries.filter_map(|entry| entry.try_into().ok());
    Ok(entries.map(Mark::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    #[test]
    fn what_was_written_since_a_time_begins_where_the_log_ended_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("0.log");
        assert_eq!(offset(&log, 0, at(5)), 0, "nobody has looked");

        let mut times = Times::of(&log);
        for (length, second) in [(10, 100), (20, 110), (20, 115), (30, 120)] {
            times.note(length, at(second)).expect("noted");
        }
        for (second, from) in [(99, 0), (100, 10), (109, 10), (119, 20), (119, 20)] {
            assert_eq!(offset(&log, 0, at(second)), from, "since {second}");
        }

        // What came soon after another is noted when it is seen a second time.
        times
            .note(40, Timestamp::from_millisecond(120_500).expect("a time"))
            .expect("noted");
        times.note(40, at(121)).expect("noted");
        assert_eq!(offset(&log, 0, at(121)), 40);
        assert_eq!(offset(&log, 0, at(120)), 30);

        // The next agent goes on, and sees that the log was cut meanwhile.
        Times::of(&log).note(5, at(200)).expect("noted");
        assert_eq!(offset(&log, 0, at(199)), 0);
        assert_eq!(offset(&log, 0, at(200)), 5);
    }

    #[test]
    fn there_are_never_too_many_and_half_an_entry_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("0.log");
        let marks: Vec<u8> = (0..MOST as u64)
            .flat_map(|at| {
                Mark {
                    millis: at.cast_signed() * 1000,
                    length: at,
                }
                .bytes()
            })
            .collect();
        fs::write(beside(&log, 0), [&marks[..], b"half"].concat()).expect("written");

        let mut times = Times::of(&log);
        times.note(MOST as u64, at(1 << 20)).expect("noted");
        assert_eq!(times.count, MOST / 2 + 1);
        assert_eq!(offset(&log, 0, at(7)), 7);
        assert_eq!(offset(&log, 0, at(8)), 7, "too much, and never too little");
        assert_eq!(offset(&log, 0, at(1 << 20)), MOST as u64);
    }
}
