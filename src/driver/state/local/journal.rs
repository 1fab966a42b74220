//! Journals: one file per run, one JSON line per entry.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::driver::state::local::io;
use crate::files;
use crate::model::journal::{Entry, Journal};
use crate::port::store::StoreError;

/// How many journals are kept.
const KEPT: usize = 50;

fn folder_of(folder: &Path) -> PathBuf {
    folder.join("journal")
}

pub(super) fn append(folder: &Path, run: &str, entry: &Entry) -> Result<(), StoreError> {
    let journals = folder_of(folder);
    let path = journals.join(format!("{run}.jsonl"));
    let (mut file, fresh) = open(&journals, &path)?;
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    let before = file.metadata().map_err(io("reading", &path))?.len();
    if let Err(error) = file.write_all(&line).and_then(|()| file.sync_data()) {
        // Half a line would spoil the next one; the length is cut back, which needs no room on the disk.
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
    fs::create_dir_all(journals).map_err(io("making", journals))?;
    let fresh = !path.exists();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io("opening", path))?;
    Ok((file, fresh))
}

/// The names sort by time. That an old journal cannot be removed is no reason to fail.
fn forget_oldest(journals: &Path) {
    let names = names(journals);
    for name in names.iter().rev().skip(KEPT) {
        let _ = fs::remove_file(journals.join(name));
    }
}

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
    names.sort_unstable();
    names
}

/// The newest journal. A last line that was cut off in the middle is left out: what it announced was never
/// begun, because an effect waits for its intent to be on the disk.
pub(super) fn last(folder: &Path) -> Result<Option<Journal>, StoreError> {
    let journals = folder_of(folder);
    let Some(name) = names(&journals).pop() else {
        return Ok(None);
    };
    let path = journals.join(&name);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io("reading", &path))?,
    };
    let entries = text
        .split(|byte| *byte == b'\n')
        .map_while(|line| serde_json::from_slice(line).ok())
        .collect();
    let run = name.trim_end_matches(".jsonl").to_owned();
    Ok(Some(Journal { run, entries }))
}
