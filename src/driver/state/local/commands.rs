//! The commands that people ran: one file, one JSON line per record.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::driver::state::local::io;
use crate::files;
use crate::model::command::{CommandRecord, latest};
use crate::port::store::StoreError;

/// How many commands are kept.
const KEPT: usize = 200;
/// How large the file may be until the oldest ones go.
const LARGE: u64 = 1 << 20;
/// The largest file that is read.
const LIMIT: u64 = 64 << 20;

pub(super) fn keep(folder: &Path, record: &CommandRecord) -> Result<(), StoreError> {
    files::private_folder(folder).map_err(io("making", folder))?;
    let path = folder.join("commands.jsonl");
    if path.metadata().is_ok_and(|file| file.len() > LARGE) {
        forget_oldest(folder)?;
    }

    let file = files::open_or_make(&path, OpenOptions::new().append(true));
    let mut file = file.map_err(io("opening", &path))?;
    let written = file
        .write_all(&line(&record.clone().shortened()))
        .and_then(|()| file.sync_data());
    written.map_err(io("writing", &path))
}

/// Keeps the newest commands of another store: how many.
pub(super) fn take(folder: &Path, records: &[CommandRecord]) -> Result<usize, StoreError> {
    let newest = &records[records.len().saturating_sub(KEPT)..];
    for record in newest {
        keep(folder, record)?;
    }
    Ok(newest.len())
}

pub(super) fn all(folder: &Path) -> Result<Vec<CommandRecord>, StoreError> {
    let path = folder.join("commands.jsonl");
    let text = files::read_if_there(&path, LIMIT).map_err(io("reading", &path))?;
    let text = text.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    // A line that was cut off is none.
    let records = lines.filter_map(|line| serde_json::from_slice(line).ok());
    let mut records = latest(records.collect());
    // What came from another store was written later than it happened.
    records.sort_by_key(|record| record.at);
    records.drain(..records.len().saturating_sub(KEPT));
    Ok(records)
}

fn forget_oldest(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join("commands.jsonl");
    let lines: Vec<Vec<u8>> = all(folder)?.iter().map(line).collect();
    let mut room = LARGE / 2;
    let newest = lines.iter().rev().take_while(|line| {
        let left = room.checked_sub(line.len() as u64);
        room = left.unwrap_or(0);
        left.is_some()
    });
    let kept = lines[lines.len() - newest.count()..].concat();
    files::replace(&path, &kept).map_err(io("writing", &path))
}

/// A line, and a line end in front of it: behind one that was cut off it is whole all the same.
fn line(record: &CommandRecord) -> Vec<u8> {
    let text = serde_json::to_vec(record).unwrap_or_default();
    [b"\n", &text[..], b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::Slot;
    use crate::model::command::RecordedPlace;
    use crate::model::release::Actor;

    fn record(id: usize, exit: Option<u8>) -> CommandRecord {
        CommandRecord {
            id: id.to_string(),
            at: Timestamp::UNIX_EPOCH,
            actor: Actor {
                user: "kim".to_owned(),
                host: "laptop".to_owned(),
                run: id.to_string(),
                ci: None,
            },
            place: RecordedPlace::Instance,
            slot: Some(Slot::Blue),
            service: Some("web".parse().expect("a name")),
            command: vec!["ls".to_owned()],
            exit,
        }
    }

    #[test]
    fn the_newest_commands_are_kept_and_half_a_line_spoils_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for id in 0..=KEPT {
            keep(folder, &record(id, None)).expect("kept");
        }
        keep(folder, &record(7, Some(3))).expect("kept");
        let path = folder.join("commands.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"{\"id\": \"8").expect("written");
        keep(folder, &record(9, Some(0))).expect("kept");

        let all = all(folder).expect("read");
        assert_eq!(all.len(), KEPT);
        let exit = |id: &str| all.iter().find(|one| one.id == id).map(|one| one.exit);
        assert_eq!(exit("0"), None, "the oldest went");
        assert_eq!(exit("7"), Some(Some(3)));
        assert_eq!(exit("8"), Some(None));
        assert_eq!(exit("9"), Some(Some(0)));

        forget_oldest(folder).expect("written anew");
        assert_eq!(super::all(folder).expect("read"), all);
    }

    #[test]
    fn neither_a_long_command_nor_many_of_them_make_a_large_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for id in 0..2 * KEPT {
            let long = CommandRecord {
                command: vec!["\u{1}".repeat(1 << 20)],
                ..record(id, None)
            };
            keep(folder, &long).expect("kept");
            let length = folder.join("commands.jsonl").metadata().expect("there");
            assert!(length.len() < LARGE + (64 << 10), "{}", length.len());
        }

        let all = all(folder).expect("read");
        assert!((10..=KEPT).contains(&all.len()), "{}", all.len());
        let last = (2 * KEPT - 1).to_string();
        assert_eq!(all.last().map(|one| &one.id), Some(&last));
    }
}
