//! What is to be reported of runs: a file each.

use std::path::{Path, PathBuf};

use crate::driver::state::local::io;
use crate::files;
use crate::model::notice::OutboxEntry;
use crate::port::store::StoreError;

/// The largest file that is read.
const LIMIT: u64 = 1 << 20;

fn folder(environment: &Path) -> PathBuf {
    environment.join("outbox")
}

/// The file of a notice. An id that is no plain name never leads out of the folder.
fn path(environment: &Path, id: &str) -> PathBuf {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = id.chars().map(plain).collect();
    folder(environment).join(format!("{name}.json"))
}

pub(super) fn keep(environment: &Path, entry: &OutboxEntry) -> Result<(), StoreError> {
    files::private_folder(environment).map_err(io("making", environment))?;
    let folder = folder(environment);
    files::private_folder(&folder).map_err(io("making", &folder))?;
    let path = path(environment, &entry.notice.id);
    let text = serde_json::to_vec(entry).unwrap_or_default();
    files::replace(&path, &text).map_err(io("writing", &path))
}

pub(super) fn all(environment: &Path) -> Result<Vec<OutboxEntry>, StoreError> {
    let folder = folder(environment);
    let listed = match std::fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("reading", &folder)(error)),
    };
    let names = listed.filter_map(|entry| Some(entry.ok()?.path()));
    let is_notice = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    let mut paths: Vec<PathBuf> = names.filter(is_notice).collect();
    paths.sort();

    let mut entries = Vec::new();
    for path in paths {
        let bytes = files::read_if_there(&path, LIMIT).map_err(io("reading", &path))?;
        entries.extend(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
    }
    Ok(entries)
}

pub(super) fn forget(environment: &Path, id: &str) -> Result<(), StoreError> {
    let path = path(environment, id);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("deleting", &path)(error))
        }
        _ => Ok(()),
    }
}
