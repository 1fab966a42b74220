//! What is known about a failure, as files for people. The folder takes its name when it is whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path};

use crate::files;
use crate::model::{EnvironmentName, ReleaseNumber};
use crate::port::store::StoreError;

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let what = format!("{what} {}", path.display());
    |source| StoreError::Io { what, source }
}

/// Keeps files under `FOLDER/ENVIRONMENT/failures/RELEASE`, and says where that is.
pub(in crate::driver) async fn keep(
    folder: &Path,
    environment: &EnvironmentName,
    release: ReleaseNumber,
    files: &BTreeMap<String, String>,
) -> Result<Option<String>, StoreError> {
    let folder = folder
        .join(environment.as_str())
        .join("failures")
        .join(release.to_string());
    let place = folder.display().to_string();
    let files = files.clone();
    let kept = tokio::task::spawn_blocking(move || write(&folder, &files)).await;
    kept.unwrap_or_else(|panic| {
        let source = std::io::Error::other(panic.to_string());
        Err(StoreError::Io {
            what: "keeping a failure".to_owned(),
            source,
        })
    })?;
    Ok(Some(place))
}

fn write(folder: &Path, files: &BTreeMap<String, String>) -> Result<(), StoreError> {
    let parent = folder.parent().unwrap_or(folder);
    files::private_folder(parent).map_err(io("making", parent))?;
    let beside = tempfile::Builder::new()
        .prefix(".gathering-")
        .tempdir_in(parent)
        .map_err(io("making a folder in", parent))?;
    for (name, text) in files {
        let is_plain = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !is_plain {
            continue;
        }
        let path = beside.path().join(name);
        let own = path.parent().unwrap_or(beside.path());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(own)
            .map_err(io("making", own))?;
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("writing", &path))?;
        file.write_all(text.as_bytes())
            .map_err(io("writing", &path))?;
    }

    if folder.exists() {
        fs::remove_dir_all(folder).map_err(io("deleting", folder))?;
    }
    fs::rename(beside.keep(), folder).map_err(io("naming", folder))
}
