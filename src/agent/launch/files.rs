//! The files that an instance finds: written when it is started, and deleted with it.
//!
//! They are held in memory where the machine has a file system for that, as there may be secrets
//! among them; else in the agent's folder.
//!
//! ```text
//! PLACE/INSTANCE/etc/app/config.toml   what an instance finds as /etc/app/config.toml
//! ```

mod place;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::agent::Directory;
use crate::agent::launch::User;
use crate::agent::launch::files::place::Place;

/// Who reads the files of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// This user of the machine; the agent's own without one.
    User(Option<User>),
    /// A user that the container alone knows: its files are mounted, and nobody else comes to them.
    Container,
}

/// The files of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFiles {
    folder: PathBuf,
}

impl InstanceFiles {
    /// Writes them, by their paths in the instance. Nothing is left of what could not be written
    /// whole.
    pub fn write(
        directory: &Directory,
        files: &BTreeMap<PathBuf, String>,
        reader: Reader,
    ) -> io::Result<Self> {
        let folder = place(directory)?.join(uuid::Uuid::new_v4().simple().to_string());
        let written = Self { folder };
        let whole = written.fill(files, reader);
        if whole.is_err() {
            written.remove();
        }
        whole.map(|()| written)
    }

    /// A folder for the reports of a task, which whoever it runs as may write in.
    pub fn for_reports(directory: &Directory) -> io::Result<Self> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let made = Self {
            folder: place(directory)?.join(name),
        };
        folder(&made.folder)?;
        folder(&made.reports())?;
        // A user that a container alone knows comes to it by no other way than its own mount.
        fs::set_permissions(made.reports(), Permissions::from_mode(0o777))?;
        Ok(made)
    }

    /// Where a task writes its reports.
    #[must_use]
    pub fn reports(&self) -> PathBuf {
        self.folder.join("reports")
    }

    /// Those that were written into this folder.
    #[must_use]
    pub const fn found(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder beneath which they have their paths.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the file is that an instance finds at a path.
    #[must_use]
    pub fn source(&self, inside: &Path) -> PathBuf {
        self.folder.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn fill(&self, files: &BTreeMap<PathBuf, String>, reader: Reader) -> io::Result<()> {
        let mode = match reader {
            Reader::User(_) => 0o400,
            Reader::Container => 0o444,
        };
        folder(&self.folder)?;
        for (inside, text) in files {
            let path = self.source(inside);
            folder(path.parent().unwrap_or(&self.folder))?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)?;
            file.write_all(text.as_bytes())?;
            // Whatever the umask is.
            file.set_permissions(Permissions::from_mode(mode))?;
        }

        match reader {
            Reader::User(Some(user)) => self.give(user),
            Reader::User(None) | Reader::Container => Ok(()),
        }
    }

    /// Makes them a user's, and nobody else's to read. Only root can.
    pub fn give(&self, user: User) -> io::Result<()> {
        give(&self.folder, user)
    }

    /// Deletes them.
    pub fn remove(&self) {
        let Some((place, name)) = self.folder.parent().zip(self.folder.file_name()) else {
            return;
        };
        match Place::open(place).and_then(|place| place.remove(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(folder = %self.folder.display(), %error, "the files of an instance \
                    could not be deleted");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn give(path: &Path, user: User) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    } else {
        fs::set_permissions(path, Permissions::from_mode(0o400))?;
    }
    chown(path, Some(user.uid), Some(user.gid))
}

/// Deletes what an agent left of instances that nobody knows any more.
pub fn remove_stray_files(directory: &Directory, known: &[PathBuf]) {
    let places = [
        place::recorded(directory),
        Some(place::predictable(directory)),
        Some(directory.files()),
    ];
    for path in places.into_iter().flatten() {
        match Place::open(&path) {
            Ok(place) => place.remove_all_but(known),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "nothing is deleted in a folder that is not the agent's \
                                        own");
            }
        }
    }
}

/// Why the files of instances would be on the disk and not in memory; none where they are in
/// memory. Nothing is left of the look.
#[must_use]
pub fn why_on_disk() -> Option<String> {
    let looked = place::expect_memory().and_then(|()| tempfile::tempdir_in(place::MEMORY));
    looked.err().map(|error| error.to_string())
}

/// Where this agent's instances have their files.
fn place(directory: &Directory) -> io::Result<PathBuf> {
    let memory = place::in_memory(directory);
    let error = match memory {
        Ok(path) => return Ok(path),
        Err(error) => error,
    };

    let disk = directory.files();
    tracing::warn!(
        folder = %disk.display(), %error,
        "the files of instances, secrets among them, are written to the disk"
    );
    place::own(&disk)?;
    Ok(disk)
}

#[cfg(test)]
mod tests;
