//! A log that is read from a place on, over the files that were put aside, and as it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::agent::log::{instances, times};
use crate::files::lines::Splitter;

/// How many bytes of a log are read at a time.
const PIECE: usize = 64 << 10;

/// How many files that were put aside are looked for beside a log.
const MOST_ASIDE: u32 = 16;

/// Stands where lines would, which were deleted before they were read.
const GAP: &str = "(lines are missing here: they were deleted before they were read)";

/// Which part of a log is read.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::agent) struct Part {
    /// How many of the last lines; all of them without it.
    pub last: Option<usize>,
    /// What was written since; a little more rather than less.
    pub since: Option<Timestamp>,
}

/// A place in the files of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    /// Which of them, from the oldest on.
    file: usize,
    /// How many bytes into it.
    offset: u64,
}

/// Reads a log piece by piece. What it still reads of what was put aside it holds open, so that it
/// is not deleted before.
#[derive(Debug)]
pub(in crate::agent) struct Reader {
    log: PathBuf,
    /// What is read before the log itself, the oldest first.
    aside: VecDeque<File>,
    current: File,
    /// What was put aside last when that was looked at.
    newest: Option<File>,
    /// How many bytes of the first of them were read.
    offset: u64,
    /// How many bytes there were to read when it was opened, as far as they were not read yet.
    left: u64,
    lines: Splitter,
}

impl Reader {
    /// Begins with that part of what there is now.
    pub fn open(log: &Path, part: Part) -> io::Result<Self> {
        let _unmoved = instances::unmoved();
        let mut files = open_all(log)?;
        let lengths = lengths(&files)?;
        let begin = begin(log, &files, &lengths, part)?;
        let all: u64 = lengths[begin.file..].iter().sum();

        let current = files.pop().ok_or(io::ErrorKind::NotFound)?;
        let newest = files.last().map(File::try_clone).transpose()?;
        Ok(Self {
            log: log.to_owned(),
            aside: files.into_iter().skip(begin.file).collect(),
            current,
            newest,
            offset: begin.offset,
            left: all.saturating_sub(begin.offset),
            lines: Splitter::default(),
        })
    }

    /// The lines of the next piece of what there was when it was opened; none at its end.
    pub fn past(&mut self) -> io::Result<Option<Vec<String>>> {
        if self.left == 0 {
            return Ok(None);
        }

        let most = usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE));
        let (lines, read) = self.read(most)?;
        self.left = if read == 0 { 0 } else { self.left - read };
        Ok(Some(lines))
    }

    /// The last line, when it has no end.
    pub fn finish(&mut self) -> Option<String> {
        self.lines.finish()
    }

    /// The whole lines that came since the last call, and whether there may be more of them.
    pub fn coming(&mut self) -> io::Result<(Vec<String>, bool)> {
        let (lines, read) = self.read(PIECE)?;
        Ok((lines, read > 0))
    }

    /// The lines that end in the next bytes, and how many bytes these were: none at the end.
    fn read(&mut self, most: usize) -> io::Result<(Vec<String>, u64)> {
        let _unmoved = instances::unmoved();
        let mut lines = Vec::new();
        if self.catch_up()? == Gap::Yes {
            lines.extend(self.lines.finish());
            lines.push(GAP.to_owned());
        }

        let mut bytes = vec![0; most];
        let length = loop {
            let file = self.aside.front().unwrap_or(&self.current);
            let length = read_at(file, &mut bytes, self.offset)?;
            if length > 0 || self.aside.pop_front().is_none() {
                break length;
            }
            self.offset = 0;
        };

        self.offset += length as u64;
        lines.extend(self.lines.push(&bytes[..length]));
        Ok((lines, length as u64))
    }

    /// Takes in what was put aside since it was last looked at. The log itself is the same file as
    /// before, with other bytes in it; what was read of it is in the copy.
    fn catch_up(&mut self) -> io::Result<Gap> {
        let mut fresh = VecDeque::new();
        let mut is_known = false;
        for number in 1..=MOST_ASIDE {
            let Some(file) = open_aside(&self.log, number)? else {
                break;
            };
            is_known = match &self.newest {
                Some(newest) => is_same(newest, &file)?,
                None => false,
            };
            if is_known {
                break;
            }
            fresh.push_front(file);
        }

        let Some(newest) = fresh.back() else {
            // One that is shorter than it was has been cut by somebody else.
            if self.aside.is_empty() && self.current.metadata()?.len() < self.offset {
                self.offset = 0;
            }
            return Ok(Gap::No);
        };
        self.newest = Some(newest.try_clone()?);
        // As many as are kept are new: nobody knows how many more there were.
        let gap = if !is_known && fresh.len() >= instances::KEPT as usize {
            Gap::Yes
        } else {
            Gap::No
        };
        // The log itself was not begun while an older file is read.
        if self.aside.is_empty() && gap == Gap::Yes {
            self.offset = 0;
        }
        self.aside.extend(fresh);
        Ok(gap)
    }
}

/// Whether something was deleted before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Yes,
    No,
}

/// All files of a log, the oldest first and itself last.
fn open_all(log: &Path) -> io::Result<Vec<File>> {
    let mut files = vec![File::open(log)?];
    for number in 1..=MOST_ASIDE {
        let Some(file) = open_aside(log, number)? else {
            break;
        };
        // Another process may have put it aside in between.
        if !is_same(&files[0], &file)? {
            files.push(file);
        }
    }

    files.reverse();
    Ok(files)
}

fn open_aside(log: &Path, number: u32) -> io::Result<Option<File>> {
    match File::open(instances::aside(log, number)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn lengths(files: &[File]) -> io::Result<Vec<u64>> {
    let lengths = files.iter().map(|file| Ok(file.metadata()?.len()));
    lengths.collect()
}

/// Where a part of a log begins.
fn begin(log: &Path, files: &[File], lengths: &[u64], part: Part) -> io::Result<Position> {
    let since = part.since.map(|since| since_in(log, lengths, since));
    let last = match part.last {
        Some(lines) => Some(last_lines(files, lengths, lines)?),
        None => None,
    };
    let first = Position { file: 0, offset: 0 };
    Ok(since.into_iter().chain(last).fold(first, Position::max))
}

/// Where what was written since begins.
fn since_in(log: &Path, lengths: &[u64], since: Timestamp) -> Position {
    let current = lengths.len().saturating_sub(1);
    for (file, length) in lengths.iter().enumerate() {
        let number = u32::try_from(current - file).unwrap_or(u32::MAX);
        let offset = times::offset(log, number, since);
        // One that is shorter has been cut by somebody else.
        let offset = if offset > *length { 0 } else { offset };
        if offset < *length || file == current {
            return Position { file, offset };
        }
    }
    Position { file: 0, offset: 0 }
}

/// Where the last lines begin: from the end on backwards, so that no more is read than that.
fn last_lines(files: &[File], lengths: &[u64], lines: usize) -> io::Result<Position> {
    let mut ends = 0;
    let mut is_end = true;
    let mut bytes = vec![0; PIECE];
    for (file, length) in lengths.iter().enumerate().rev() {
        let mut until = *length;
        while until > 0 {
            let from = until.saturating_sub(PIECE as u64);
            let piece = usize::try_from(until - from).map_or(PIECE, |piece| piece.min(PIECE));
            let read = read_at(&files[file], &mut bytes[..piece], from)?;
            for at in (0..read).rev() {
                let is_line_end = bytes[at] == b'\n';
                // A line that has no end counts as one, and the end of the last line as none.
                ends += usize::from(is_line_end || is_end);
                is_end = false;
                if ends > lines && (is_line_end || lines == 0) {
                    let offset = from + at as u64 + 1;
                    return Ok(Position { file, offset });
                }
            }
            until = from;
        }
    }
    Ok(Position { file: 0, offset: 0 })
}

/// Reads until the bytes are full or the file ends; how many they are.
pub(super) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], at + length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;
    use crate::agent::log::times::Times;

    fn past(log: &Path, part: Part) -> Vec<String> {
        let mut reader = Reader::open(log, part).expect("open");
        let mut lines = Vec::new();
        while let Some(more) = reader.past().expect("read") {
            lines.extend(more);
        }
        lines.extend(reader.finish());
        lines
    }

    fn last(lines: usize) -> Part {
        Part {
            last: Some(lines),
            since: None,
        }
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|at| format!("line {at} \u{e9}")).collect()
    }

    fn append(log: &Path, lines: &[String]) {
        let file = fs::OpenOptions::new().create(true).append(true).open(log);
        let text = lines.concat_with_ends();
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("written");
    }

    trait WithEnds {
        fn concat_with_ends(&self) -> String;
    }

    impl WithEnds for [String] {
        fn concat_with_ends(&self) -> String {
            self.iter().flat_map(|line| [line, "\n"]).collect()
        }
    }

    #[test]
    fn what_was_put_aside_is_read_before_the_log_in_its_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("web.0.log");
        for part in 0..3 {
            append(&log, &numbers(part * 9_000..(part + 1) * 9_000));
            if part < 2 {
                instances::put_aside(&log).expect("put aside");
            }
        }

        assert_eq!(past(&log, Part::default()), numbers(0..27_000));
        // The last lines are in one file, begin with one, or are in all of them.
        for lines in [0, 1, 8_999, 9_000, 9_001, 20_000, 27_000, 30_000] {
            let from = 27_000_usize.saturating_sub(lines);
            assert_eq!(past(&log, last(lines)), numbers(from..27_000), "{lines}");
        }
        // Directly after it was put aside there is nothing in the log itself.
        instances::put_aside(&log).expect("put aside");
        assert_eq!(past(&log, last(2)), numbers(26_998..27_000));
        assert_eq!(instances::tail(&log, 2), numbers(26_998..27_000));
    }

    #[test]
    fn a_line_over_two_files_is_one_and_one_without_an_end_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("web.0.log");
        fs::write(&log, "one\ntwo ha").expect("written");
        instances::put_aside(&log).expect("put aside");
        fs::write(&log, "lf\nthree").expect("written");

        assert_eq!(past(&log, Part::default()), ["one", "two half", "three"]);
        assert_eq!(past(&log, last(1)), ["three"]);
        assert_eq!(past(&log, last(2)), ["two half", "three"]);
        assert_eq!(past(&log, last(0)), Vec::<String>::new());
    }

    #[test]
    fn what_was_written_since_is_found_in_what_was_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("web.0.log");
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let mut times = Times::of(&log);
        for part in 0..3_usize {
            for half in 0..2 {
                let line = part * 2 + half;
                append(&log, &numbers(line..line + 1));
                // What came last before it was put aside nobody has noted.
                if half == 0 || part == 2 {
                    let length = fs::metadata(&log).expect("a log").len();
                    let second = 100 + i64::try_from(line).expect("small") * 10;
                    times.note(length, at(second)).expect("noted");
                }
            }
            if part < 2 {
                instances::put_aside(&log).expect("put aside");
                let second = 115 + i64::try_from(part).expect("small") * 20;
                times.put_aside(at(second)).expect("put aside");
            }
        }

        let begins = [
            (99, 0),
            (100, 1),
            (114, 1),
            (115, 2),
            (119, 2),
            (134, 3),
            (135, 4),
            (149, 5),
            (150, 6),
        ];
        for (second, from) in begins {
            let part = Part {
                last: None,
                since: Some(at(second)),
            };
            assert_eq!(past(&log, part), numbers(from..6), "since {second}");
        }
        let both = Part {
            last: Some(3),
            since: Some(at(100)),
        };
        assert_eq!(past(&log, both), numbers(3..6));
    }

    #[test]
    fn a_reader_goes_on_where_it_was_when_the_log_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("web.0.log");
        append(&log, &numbers(0..9_000));
        let mut reader = Reader::open(&log, Part::default()).expect("open");
        let mut lines = reader.past().expect("read").expect("a piece");
        assert!(lines.len() < 9_000, "it is in the middle");

        instances::put_aside(&log).expect("put aside");
        append(&log, &numbers(9_000..10_000));
        while let Some(more) = reader.past().expect("read") {
            lines.extend(more);
        }
        assert_eq!(lines, numbers(0..9_000), "no more than there was");

        // Then it follows: over another turn, and when the log is longer than before at once.
        append(&log, &numbers(10_000..10_001));
        instances::put_aside(&log).expect("put aside");
        append(&log, &numbers(10_001..30_000));
        loop {
            let (more, is_more) = reader.coming().expect("read");
            lines.extend(more);
            if !is_more {
                break;
            }
        }
        assert_eq!(lines, numbers(0..30_000));
    }

    #[test]
    fn what_was_deleted_before_it_was_read_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("web.0.log");
        append(&log, &numbers(0..1));
        let mut reader = Reader::open(&log, last(0)).expect("open");
        for at in 1..5 {
            append(&log, &numbers(at..at + 1));
            instances::put_aside(&log).expect("put aside");
        }
        append(&log, &numbers(5..6));

        let mut lines = Vec::new();
        for _ in 0..3 {
            lines.extend(reader.coming().expect("read").0);
        }
        let kept = numbers(3..6);
        assert_eq!(lines, [&[GAP.to_owned()], &kept[..]].concat());
    }

    #[test]
    fn a_long_log_comes_in_pieces_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("0.log");
        let lines = numbers(0..20_000);
        fs::write(&log, lines.join("\n")).expect("written");

        let mut reader = Reader::open(&log, Part::default()).expect("open");
        let mut pieces = Vec::new();
        while let Some(piece) = reader.past().expect("read") {
            let bytes: usize = piece.iter().map(String::len).sum();
            assert!(bytes <= PIECE + (32 << 10), "{bytes}");
            pieces.push(piece);
        }
        pieces.push(reader.finish().into_iter().collect());
        assert!(pieces.len() > 3, "{} pieces", pieces.len());
        assert_eq!(pieces.concat(), lines);
    }
}
