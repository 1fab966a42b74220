//! Journals: one file per run, one JSON line per entry.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::driver::state::local::io;
use crate::files;
use crate::model::journal::{Journal, JournalEntry, fence_of};
use crate::port::store::StoreError;

/// How many journals are kept.
const KEPT: usize = 50;

/// The largest journal that is read: its first line has a plan, and there are two lines for each
/// step.
const LIMIT: u64 = 128 << 20;

fn folder_of(folder: &Path) -> PathBuf {
    folder.join("journal")
}

pub(super) fn append(folder: &Path, run: &str, entry: &JournalEntry) -> Result<(), StoreError> {
    let journals = folder_of(folder);
    let path = journals.join(format!("{run}.jsonl"));
    let (mut file, fresh) = open(&journals, &path)?;
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    let before = file.metadata().map_err(io("reading", &path))?.len();
    if let Err(error) = file.write_all(&line).and_then(|()| file.sync_data()) {
        // Half a line would spoil the next one; the length is cut back, which needs no room on the
        // disk.
        let _ = file.set_len(before);
        return Err(io("writing", &path)(error));
    }
    if fresh {
        files::sync_folder(&journals).map_err(io("writing", &journals))?;
        forget_oldest(&journals);
    }
    Ok(())
}

fn open(journals: &Path, path: &Path) -> Result<(File, bool), StoreError> {
    files::private_folder(journals).map_err(io("making", journals))?;
    let fresh = !path.exists();
    // A plan may say more of a service than everybody should know.
    let file = files::open_or_make(path, OpenOptions::new().append(true));
    Ok((file.map_err(io("opening", path))?, fresh))
}

/// That an old journal cannot be removed is no reason to fail.
fn forget_oldest(journals: &Path) {
    let names = names(journals);
    for name in names.iter().rev().skip(KEPT) {
        let _ = fs::remove_file(journals.join(name));
    }
}

/// The journals in their order ([`Journal::order`]), oldest first. Of each no more than its first
/// line is read.
fn names(journals: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(journals) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    names.sort_by_cached_key(|name| {
        let line = files::first_line(&journals.join(name), LIMIT);
        let fence = line.ok().and_then(|line| fence_of(&line));
        (fence, name.clone())
    });
    names
}

/// The newest journal. A last line that was cut off in the middle is left out: what it announced
/// was never begun, because an effect waits for its intent to be on the disk.
pub(super) fn last(folder: &Path) -> Result<Option<Journal>, StoreError> {
    let journals = folder_of(folder);
    match names(&journals).pop() {
        Some(name) => one(&journals, &name),
        None => Ok(None),
    }
}

/// All of them, oldest first.
pub(super) fn all(folder: &Path) -> Result<Vec<Journal>, StoreError> {
    let journals = folder_of(folder);
    let read = names(&journals)
        .into_iter()
        .map(|name| one(&journals, &name));
    read.filter_map(Result::transpose).collect()
}

/// One of them; none when it went away meanwhile.
fn one(journals: &Path, name: &str) -> Result<Option<Journal>, StoreError> {
    let path = journals.join(name);
    let text = files::read_if_there(&path, LIMIT).map_err(io("reading", &path))?;
    let run = name.trim_end_matches(".jsonl").to_owned();
    Ok(text.map(|text| Journal {
        run,
        entries: entries(&text),
    }))
}

/// Keeps the newest journals of another store, each in the place of one of the same run: how many.
pub(super) fn keep(folder: &Path, all: &[Journal]) -> Result<usize, StoreError> {
    let journals = folder_of(folder);
    files::private_folder(&journals).map_err(io("making", &journals))?;
    let newest = &all[all.len().saturating_sub(KEPT)..];
    for journal in newest {
        let mut text = Vec::new();
        for entry in &journal.entries {
            text.extend(serde_json::to_vec(entry).unwrap_or_default());
            text.push(b'\n');
        }
        let path = journals.join(format!("{}.jsonl", journal.run));
        files::replace(&path, &text).map_err(io("writing", &path))?;
    }
    forget_oldest(&journals);
    Ok(newest.len())
}

/// The entries up to the first line that is none.
fn entries(text: &[u8]) -> Vec<JournalEntry> {
    text.split(|byte| *byte == b'\n')
        .map_while(|line| serde_json::from_slice(line).ok())
        .collect()
}

#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    // What comes behind the first wrong line changes nothing of what is before it.
    let read = entries(bytes);
    let more = entries(&[bytes, b"\n{"].concat());
    assert!(more.starts_with(&read));
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::model::journal::{Direction, What};
    use crate::model::plan::StepId;

    fn written(count: u32) -> (Vec<JournalEntry>, Vec<u8>) {
        let entry = |step| JournalEntry {
            at: Timestamp::UNIX_EPOCH,
            what: What::Intent {
                step: StepId(step),
                back: Direction::Forward,
            },
        };
        let all: Vec<JournalEntry> = (0..count).map(entry).collect();
        let mut text = Vec::new();
        for entry in &all {
            text.extend(serde_json::to_vec(entry).expect("json"));
            text.push(b'\n');
        }
        (all, text)
    }

    #[test]
    fn the_last_run_is_told_by_its_fence_and_not_by_a_clock_that_was_ahead() {
        let folder = tempfile::tempdir().expect("a folder");
        let journals = folder_of(folder.path());
        fs::create_dir_all(&journals).expect("made");
        let began = [
            ("20260101T000000-before", r#"{"what":"began"}"#),
            ("20280101T000000-ahead", r#"{"what":"began","fence":3}"#),
            (
                "20260102T000000-now",
                r#"{"what":"began","plan":{"fence":2},"fence":4}"#,
            ),
        ];
        for (run, line) in began {
            let path = journals.join(format!("{run}.jsonl"));
            fs::write(path, format!("{line}\n")).expect("written");
        }

        let all = all(folder.path()).expect("read");
        let runs: Vec<&str> = all.iter().map(|journal| journal.run.as_str()).collect();
        assert_eq!(runs, began.map(|(run, _)| run));
        let last = last(folder.path()).expect("read").expect("a journal");
        assert_eq!(last.run, "20260102T000000-now");
    }

    proptest! {
        #[test]
        fn a_torn_journal_reads_as_a_beginning_of_what_was_written(count in 0_u32..8, cut in 0_usize..2_000) {
            let (all, text) = written(count);
            let cut = cut.min(text.len());
            let read = entries(&text[..cut]);
            prop_assert!(all.starts_with(&read));
            let whole = text[..cut].split(|byte| *byte == b'\n').count() - 1;
            prop_assert!(read.len() >= whole, "{} lines are whole", whole);
        }

        #[test]
        fn a_hostile_journal_is_read_to_its_first_wrong_line_and_no_further(
            count in 0_u32..4,
            line in prop_oneof![
                any::<Vec<u8>>(),
                (1_usize..50_000).prop_map(|depth| vec![b'['; depth]),
                (1_usize..50_000).prop_map(|digits| format!("{{\"at\":{}}}", "9".repeat(digits)).into_bytes()),
                Just(br#"{"at":"1970-01-01T00:00:00Z","what":"intent","step":4294967296,"back":"forward"}"#.to_vec()),
            ],
        ) {
            let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
            let (all, mut text) = written(count);
            text.extend(&line);
            text.push(b'\n');
            text.extend(written(3).1);
            hostile(&text);
            let read = entries(&text);
            prop_assert_eq!(read, all);
        }
    }
}
