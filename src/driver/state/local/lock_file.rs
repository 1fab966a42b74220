//! The lock's file: read and written under a guard, an `flock` that is held for microseconds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver::state::local::{blocking, io};
use crate::driver::state::lock::{Lock, LockPlace, Pace};
use crate::files;
use crate::model::EnvironmentName;
use crate::model::lease::EXPIRY;
use crate::port::store::StoreError;

/// How long the guard is waited for. Whoever has it for longer is no shipit, or hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest file that is read.
const LIMIT: u64 = 64 << 10;

/// An environment's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub path: PathBuf,
    pub environment: EnvironmentName,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("lock.json")
}

/// Held while `lock.json` or the state is read and written.
pub(super) fn guard(folder: &Path) -> Result<File, StoreError> {
    files::private_folder(folder).map_err(io("making", folder))?;
    let store = folder.parent().unwrap_or(folder);
    files::close_to_others(store).map_err(io("closing", store))?;
    let path = folder.join("lock.guard");
    files::lock_within(&path, PATIENCE).map_err(io("locking", &path))
}

pub(super) fn read(folder: &Path) -> Result<Lock, StoreError> {
    let path = path(folder);
    let Some(bytes) = files::read_if_there(&path, LIMIT).map_err(io("reading", &path))? else {
        return Ok(Lock::default());
    };
    serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
        path: path.display().to_string(),
        reason: format!("it is not a lock: {error}"),
        help: "make sure that no shipit runs for this environment, then remove the file".to_owned(),
    })
}

fn write(folder: &Path, lock: &Lock) -> Result<(), StoreError> {
    let path = path(folder);
    let bytes = serde_json::to_vec_pretty(lock)
        .map_err(|error| io("writing", &path)(std::io::Error::other(error)))?;
    files::replace(&path, &bytes).map_err(io("writing", &path))
}

impl LockPlace for Folder {
    fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    fn pace(&self) -> Pace {
        Pace {
            beat: Duration::from_secs(2),
            poll: Duration::from_millis(200),
            expiry: EXPIRY,
        }
    }

    async fn read(&self) -> Result<Lock, StoreError> {
        let folder = self.path.clone();
        blocking(move || read(&folder)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut Lock) -> Result<Option<T>, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let folder = self.path.clone();
        blocking(move || {
            let _guard = guard(&folder)?;
            let mut lock = read(&folder)?;
            let Some(result) = change(&mut lock)? else {
                return Ok(None);
            };
            write(&folder, &lock)?;
            Ok(Some(result))
        })
        .await
    }
}
