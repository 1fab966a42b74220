//! The instances' logs: files that processes append to, cut when they grow, and read from their
//! end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use jiff::Timestamp;

use crate::agent::log::times;

/// How large a log grows until it is cut.
const LIMIT: u64 = 10 << 20;

/// How much of a log's end is read for its last lines.
const TAIL: u64 = 256 << 10;

/// How many releases' logs are kept per slot.
const RELEASES: usize = 5;

/// The longest line that is passed on.
const LINE: usize = 8 << 10;

/// Whether a log was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Rotated {
    Yes,
    No,
}

/// Copies a log aside and cuts it, once it is large. The process goes on writing at the new end,
/// because it appends; what it writes between the copy and the cut is lost.
pub(in crate::agent) fn rotate(path: &Path) -> io::Result<Rotated> {
    if fs::metadata(path)?.len() < LIMIT {
        return Ok(Rotated::No);
    }
    let numbered = |number: u8| path.with_extension(format!("log.{number}"));
    let _ = fs::rename(numbered(1), numbered(2));
    fs::copy(path, numbered(1))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(Rotated::Yes)
}

/// The last lines of a log.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> Vec<String> {
    past(path, Some(lines), None)
}

/// The last lines of a log, or all of them, as far as they were written since.
pub(in crate::agent) fn past(
    path: &Path,
    lines: Option<usize>,
    since: Option<Timestamp>,
) -> Vec<String> {
    let from = since.map_or(0, |since| times::offset(path, since));
    let most = if lines.is_some() { TAIL } else { 2 * LIMIT };
    let bytes = end(path, from, most).unwrap_or_default();

    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let skipped = lines.map_or(0, |lines| all.len().saturating_sub(lines));
    all.iter()
        .skip(skipped)
        .map(|line| line.chars().take(LINE).collect())
        .collect()
}

/// What stands at a log's end, from an offset on, and no more bytes than that.
fn end(path: &Path, from: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // One that is shorter has been cut since.
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(most))))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A log that is read as it grows.
pub(in crate::agent) struct Follower {
    file: File,
    at: u64,
    rest: Vec<u8>,
}

impl Follower {
    /// From the end that the log has now.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let at = file.metadata()?.len();
        Ok(Self {
            file,
            at,
            rest: Vec::new(),
        })
    }

    /// The whole lines that came since the last call.
    pub fn read(&mut self) -> io::Result<Vec<String>> {
        // A log that is shorter than it was has been cut.
        if self.file.metadata()?.len() < self.at {
            self.at = 0;
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        self.at += (&mut self.file).take(TAIL).read_to_end(&mut bytes)? as u64;
        self.rest.extend_from_slice(&bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let text = String::from_utf8_lossy(&whole);
        Ok(text
            .lines()
            .map(|line| line.chars().take(LINE).collect())
            .collect())
    }
}

/// Takes the logs of the oldest releases away.
pub(in crate::agent) fn forget_oldest(slot: &Path) {
    let Ok(entries) = fs::read_dir(slot) else {
        return;
    };
    let mut releases: Vec<u64> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    releases.sort_unstable();
    for release in releases.iter().rev().skip(RELEASES) {
        let _ = fs::remove_dir_all(slot.join(release.to_string()));
    }
}
