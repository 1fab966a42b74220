//! The instances' logs: files that processes append to, cut when they grow, and read from their
//! end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Take};
use std::path::Path;

use jiff::Timestamp;

use crate::agent::log::times;
use crate::files::lines::Splitter;

/// How large a log grows until it is cut.
const LIMIT: u64 = 10 << 20;

/// How much of a log's end is read for its last lines.
const TAIL: u64 = 256 << 10;

/// How much of a log is read at a time.
const PIECE: u64 = 64 << 10;

/// How many releases' logs are kept per slot.
const RELEASES: usize = 5;

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
    let read = || Past::open(path, Some(lines), None, u64::MAX)?.next();
    read().ok().flatten().unwrap_or_default()
}

/// What was written to a log until now, piece by piece.
#[derive(Debug)]
pub(in crate::agent) struct Past {
    file: Take<File>,
    lines: Splitter,
    /// How many of the last lines are wanted; all of them without it.
    last: Option<usize>,
}

impl Past {
    /// The last lines, or all of them, as far as they were written since, and up to a length.
    pub fn open(
        path: &Path,
        last: Option<usize>,
        since: Option<Timestamp>,
        until: u64,
    ) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len().min(until);
        let most = if last.is_some() { TAIL } else { 2 * LIMIT };
        let from = since.map_or(0, |since| times::offset(path, since));
        // One that is shorter has been cut since.
        let from = if from > length { 0 } else { from };
        let from = from.max(length.saturating_sub(most));

        file.seek(SeekFrom::Start(from))?;
        Ok(Self {
            file: file.take(length - from),
            lines: Splitter::default(),
            last,
        })
    }

    /// The lines of the next piece; none at the end.
    pub fn next(&mut self) -> io::Result<Option<Vec<String>>> {
        let piece = if self.last.is_some() { TAIL } else { PIECE };
        let mut bytes = Vec::new();
        (&mut self.file).take(piece).read_to_end(&mut bytes)?;
        let mut lines = self.lines.push(&bytes);
        if bytes.is_empty() || self.file.limit() == 0 {
            lines.extend(self.lines.finish());
        }
        if bytes.is_empty() && lines.is_empty() {
            return Ok(None);
        }

        let skipped = self.last.map_or(0, |last| lines.len().saturating_sub(last));
        lines.drain(..skipped);
        Ok(Some(lines))
    }
}

/// A log that is read as it grows.
#[derive(Debug)]
pub(in crate::agent) struct Follower {
    file: File,
    at: u64,
    lines: Splitter,
}

impl Follower {
    /// From the end that the log has now.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let at = file.metadata()?.len();
        Ok(Self {
            file,
            at,
            lines: Splitter::default(),
        })
    }

    /// How long the log was when it was last looked at.
    pub const fn length(&self) -> u64 {
        self.at
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
        Ok(self.lines.push(&bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn all(past: &mut Past) -> Vec<Vec<String>> {
        std::iter::from_fn(|| past.next().expect("read")).collect()
    }

    #[test]
    fn a_long_log_comes_in_pieces_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        let lines: Vec<String> = (0..20_000).map(|at| format!("line {at} \u{e9}")).collect();
        fs::write(&path, lines.join("\n")).expect("written");

        let pieces = all(&mut Past::open(&path, None, None, u64::MAX).expect("open"));
        assert!(pieces.len() > 3, "{} pieces", pieces.len());
        let most = usize::try_from(PIECE).expect("small");
        for piece in &pieces {
            let bytes: usize = piece.iter().map(String::len).sum();
            assert!(bytes <= most + (32 << 10), "{bytes}");
        }
        assert_eq!(pieces.concat(), lines);

        assert_eq!(tail(&path, 2), lines[19_998..]);
        let first = lines[0].len() as u64 + 1;
        let begun = all(&mut Past::open(&path, None, None, first).expect("open"));
        assert_eq!(begun.concat(), lines[..1], "no more than there was");
    }
}
