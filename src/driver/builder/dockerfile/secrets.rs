//! The secrets of a build.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::driver::builder::io;
use crate::port::builder::{BuildError, BuildRequest};

/// Secrets in files of their own, for as long as the build lasts; in memory where the machine has a
/// place for it.
pub(super) struct Secrets {
    pub files: BTreeMap<String, PathBuf>,
    _folder: Option<TempDir>,
}

impl Secrets {
    pub fn write(request: &BuildRequest) -> Result<Self, BuildError> {
        if request.secrets.is_empty() {
            return Ok(Self {
                files: BTreeMap::new(),
                _folder: None,
            });
        }

        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            crate::files::temporary::folder()
        };
        let folder = made.map_err(io("making a folder in", memory))?;

        let mut files = BTreeMap::new();
        for (number, (id, value)) in request.secrets.iter().enumerate() {
            let path = folder.path().join(number.to_string());
            let file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            file.and_then(|mut file| file.write_all(value.expose().as_bytes()))
                .map_err(io("writing", &path))?;
            files.insert(id.clone(), path);
        }

        Ok(Self {
            files,
            _folder: Some(folder),
        })
    }
}
