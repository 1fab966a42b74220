//! The state's file: JSON with a checksum, so that a torn or hand-edited one is noticed and never
//! half-read.

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

/// What a document of any format says first.
#[derive(serde::Deserialize)]
struct Formatted {
    state: Format,
}

#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

fn previous(folder: &Path) -> PathBuf {
    folder.join("state.previous.json")
}

/// Where a damaged one is kept.
fn aside(folder: &Path) -> PathBuf {
    folder.join("state.damaged.json")
}

pub(super) fn read(folder: &Path) -> Result<Option<State>, StoreError> {
    let path = path(folder);
    let bytes = match files::read_if_there(&path, LIMIT) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => bytes,
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(damaged(folder, error.to_string()));
        }
        Err(error) => return Err(io("reading", &path)(error)),
    };
    decode(&bytes)
        .map(Some)
        .map_err(|reason| damaged(folder, reason))
}

/// The state that a document has, or what is wrong with it.
pub(in crate::driver::state) fn decode(bytes: &[u8]) -> Result<State, String> {
    let document = document(bytes)?;
    if ContentHash::of_json(&document.state) != document.checksum {
        return Err("its content does not fit its checksum: it was edited by hand, or torn".into());
    }
    Ok(document.state)
}

/// A document of this format, whether or not its checksum fits.
fn document(bytes: &[u8]) -> Result<Document, String> {
    let other = |error: serde_json::Error| format!("it is not a state document: {error}");
    // Of another format nothing else is known.
    let Formatted {
        state: Format { format },
    } = serde_json::from_slice(bytes).map_err(other)?;
    if format != FORMAT {
        return Err(format!(
            "it has format {format}, and this shipit reads {FORMAT}"
        ));
    }
    serde_json::from_slice(bytes).map_err(other)
}

fn damaged(folder: &Path, reason: String) -> StoreError {
    let (path, previous) = (path(folder), previous(folder));
    let help = if previous.exists() {
        format!(
            "nothing was changed; `shipit state restore` goes back to {}, `shipit state push FILE \
             --force` brings a copy, and `shipit state accept` takes the file as it is if the edit \
             was meant",
            previous.display()
        )
    } else {
        "nothing was changed; `shipit state push FILE --force` brings a copy; if the edit was \
         meant, `shipit state accept` takes the file as it is; if the history may go, move the \
         file away: what runs is found again"
            .to_owned()
    };
    StoreError::Damaged {
        path: path.display().to_string(),
        reason,
        help,
    }
}

/// Replaces the state. The serial must be above that of what is there.
pub(super) fn write(folder: &Path, state: &State) -> Result<(), StoreError> {
    let there = read(folder)?;
    let found = there.as_ref().map_or(0, |state| state.serial);
    if state.serial <= found {
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
    let current = files::read(&path(folder), LIMIT).map_err(io("reading", &path(folder)))?;
    files::replace(&previous, &current).map_err(io("writing", &previous))
}

/// Puts a state in the place of whatever is there. What cannot be read is kept beside it.
pub(super) fn replace(folder: &Path, state: &State) -> Result<State, StoreError> {
    let path = path(folder);
    let found = match read(folder) {
        Ok(None) => 0,
        Ok(Some(there)) => {
            keep_previous(folder)?;
            there.serial
        }
        Err(StoreError::Damaged { .. }) => {
            let aside = aside(folder);
            fs::copy(&path, &aside).map_err(io("copying aside", &path))?;
            // One that is too large to be read tells nothing.
            let bytes = files::read(&path, LIMIT).unwrap_or_default();
            serial_in(&bytes)
        }
        Err(error) => return Err(error),
    };

    let state = after(state, found);
    files::replace(&path, &encode(&state)).map_err(io("writing", &path))?;
    Ok(state)
}

/// The state with a serial above one that was found.
pub(in crate::driver::state) fn after(state: &State, found: u64) -> State {
    State {
        serial: state.serial.max(found.saturating_add(1)),
        ..state.clone()
    }
}

/// The serial that a damaged document seems to have had; 0 where it says none. It stands before
/// anything that could have another.
pub(in crate::driver::state) fn serial_in(bytes: &[u8]) -> u64 {
    const MOST: u64 = 1 << 53;
    let text = String::from_utf8_lossy(bytes);
    let Some((_, rest)) = text.split_once("\"serial\":") else {
        return 0;
    };
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let serial = rest[..end.unwrap_or(rest.len())].parse();
    serial.ok().filter(|serial| *serial < MOST).unwrap_or(0)
}

pub(in crate::driver::state) fn encode(state: &State) -> Vec<u8> {
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
    let (path, previous, aside) = (path(folder), previous(folder), aside(folder));
    let bytes = files::read(&previous, LIMIT).map_err(io("reading", &previous))?;
    fs::rename(&path, &aside).map_err(io("moving aside", &path))?;
    files::replace(&path, &bytes).map_err(io("writing", &path))?;
    read(folder)?.ok_or_else(|| damaged(folder, "it is gone again".to_owned()))
}

/// Takes a hand-edited file as it is: writes its checksum anew.
pub(super) fn accept(folder: &Path) -> Result<State, StoreError> {
    let path = path(folder);
    let bytes = files::read(&path, LIMIT).map_err(io("reading", &path))?;
    let document = document(&bytes).map_err(|reason| damaged(folder, reason))?;
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

#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    // What is read says the same when it is written again.
    if let Ok(state) = decode(bytes) {
        assert_eq!(decode(&encode(&state)).as_ref(), Ok(&state));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(serial: u64) -> (State, Vec<u8>) {
        let state = State {
            serial,
            ..State::empty(
                "shop".parse().expect("a name"),
                "staging".parse().expect("a name"),
            )
        };
        let bytes = encode(&state);
        (state, bytes)
    }

    #[test]
    fn a_state_of_another_format_is_told_by_it_whatever_else_it_has() {
        let old = br#"{"checksum": "", "state": {"format": 1, "releases": "elsewhere"}}"#;
        let said = decode(old).expect_err("another format");
        assert_eq!(
            said,
            format!("it has format 1, and this shipit reads {FORMAT}")
        );
    }

    proptest! {
        #[test]
        fn a_state_that_was_torn_or_changed_is_never_read_as_another(
            serial in 0..1u64 << 53,
            cut in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let (state, bytes) = written(serial);
            prop_assert_eq!(decode(&bytes), Ok(state.clone()));
            let torn = &bytes[..cut.index(bytes.len())];
            prop_assert!(decode(torn).is_err() || torn.len() + 1 == bytes.len());
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] = byte;
            // A blank may become another blank.
            prop_assert!(decode(&changed).map_or(true, |read| read == state));
        }

        #[test]
        fn a_hostile_state_is_refused_and_ends_nothing(
            bytes in prop_oneof![
                any::<Vec<u8>>(),
                (1_usize..100_000).prop_map(|depth| vec![b'['; depth]),
                (1_usize..10_000).prop_map(|depth| "{\"state\":".repeat(depth).into_bytes()),
                (1_usize..100_000).prop_map(|digits| format!(
                    "{{\"checksum\":\"sha256:0\",\"state\":{{\"format\":{FORMAT},\"serial\":{}}}}}",
                    "9".repeat(digits)
                ).into_bytes()),
            ],
        ) {
            hostile(&bytes);
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
