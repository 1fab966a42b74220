//! The state's file: JSON with a checksum, so that a torn or hand-edited one is noticed and never half-read.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::driver::state::local::io;
use crate::files;
use crate::model::state::{FORMAT, State};
use crate::model::{ContentHash, EnvironmentName};
use crate::port::store::StoreError;

/// The largest state that is read: some ten thousand releases.
const LIMIT: u64 = 64 << 20;

/// What stands in the file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Document {
    /// Over the state's JSON.
    checksum: ContentHash,
    state: State,
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

fn previous(folder: &Path) -> PathBuf {
    folder.join("state.previous.json")
}

pub(super) fn read(folder: &Path) -> Result<Option<State>, StoreError> {
    let path = path(folder);
    let bytes = match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("reading", &path)(error)),
        Ok(meta) if meta.len() > LIMIT => {
            return Err(damaged(
                folder,
                format!("it has {} bytes, more than any state has", meta.len()),
            ));
        }
        Ok(_) => fs::read(&path).map_err(io("reading", &path))?,
    };
    let document: Document = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(folder, format!("it is not a state document: {error}")))?;
    if document.state.format != FORMAT {
        let found = document.state.format;
        return Err(damaged(
            folder,
            format!("it has format {found}, and this shipit reads {FORMAT}"),
        ));
    }
    if ContentHash::of_json(&document.state) != document.checksum {
        return Err(damaged(
            folder,
            "its content does not fit its checksum: it was edited by hand, or torn".into(),
        ));
    }
    Ok(Some(document.state))
}

fn damaged(folder: &Path, reason: String) -> StoreError {
    let (path, previous) = (path(folder), previous(folder));
    let help = if previous.exists() {
        format!(
            "nothing was changed; `shipit state restore` goes back to {}, and `shipit state accept` takes the \
             file as it is if the edit was meant",
            previous.display()
        )
    } else {
        "nothing was changed; if the edit was meant, `shipit state accept` takes the file as it is; if the history \
         may go, move the file away: what runs is found again"
            .to_owned()
    };
    StoreError::Damaged {
        path: path.display().to_string(),
        reason,
        help,
    }
}

/// Replaces the state. The serial must be the next one.
pub(super) fn write(folder: &Path, state: &State) -> Result<(), StoreError> {
    let there = read(folder)?;
    let found = there.as_ref().map_or(0, |state| state.serial);
    if state.serial != found + 1 {
        let expected = state.serial.saturating_sub(1);
        return Err(StoreError::Moved {
            environment: state.environment.clone(),
            expected,
            found,
        });
    }
    let path = path(folder);
    if there.is_some() {
        keep_previous(folder)?;
    }
    files::replace(&path, &encode(state)).map_err(io("writing", &path))
}

fn keep_previous(folder: &Path) -> Result<(), StoreError> {
    let previous = previous(folder);
    let current = fs::read(path(folder)).map_err(io("reading", &path(folder)))?;
    files::replace(&previous, &current).map_err(io("writing", &previous))
}

fn encode(state: &State) -> Vec<u8> {
    let document = Document {
        checksum: ContentHash::of_json(state),
        state: state.clone(),
    };
    let mut bytes = serde_json::to_vec_pretty(&document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Goes back to the state before the damaged one. The damaged file is kept beside it.
pub(super) fn restore(folder: &Path) -> Result<State, StoreError> {
    let (path, previous, aside) = (
        path(folder),
        previous(folder),
        folder.join("state.damaged.json"),
    );
    let bytes = fs::read(&previous).map_err(io("reading", &previous))?;
    fs::rename(&path, &aside).map_err(io("moving aside", &path))?;
    files::replace(&path, &bytes).map_err(io("writing", &path))?;
    read(folder)?.ok_or_else(|| damaged(folder, "it is gone again".to_owned()))
}

/// Takes a hand-edited file as it is: writes its checksum anew.
pub(super) fn accept(folder: &Path) -> Result<State, StoreError> {
    let path = path(folder);
    let bytes = fs::read(&path).map_err(io("reading", &path))?;
    let document: Document = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(folder, format!("it is not a state document: {error}")))?;
    files::replace(&path, &encode(&document.state)).map_err(io("writing", &path))?;
    Ok(document.state)
}

pub(super) fn environments(folder: &Path) -> Result<Vec<EnvironmentName>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io("reading", folder))?,
    };
    let mut names: Vec<EnvironmentName> = entries
        .filter_map(Result::ok)
        .filter(|entry| path(&entry.path()).exists())
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    names.sort();
    Ok(names)
}
