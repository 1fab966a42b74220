//! The files that an instance finds: written when it is started, and deleted with it.
//!
//! They are held in memory where the machine has a file system for that, as there may be secrets
//! among them; else in the agent's folder.
//!
//! ```text
//! PLACE/INSTANCE/etc/app/config.toml   what an instance finds as /etc/app/config.toml
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::agent::Directory;
use crate::agent::launch::User;
use crate::model::Digest;

/// Where files are held in memory.
const MEMORY: &str = "/dev/shm";

/// What `statfs(2)` says of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

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
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(folder = %self.folder.display(), %error, "the files of an instance could not be deleted");
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
    for place in [in_memory(directory), directory.files()] {
        let Ok(entries) = fs::read_dir(&place) else {
            continue;
        };
        let entries = entries.filter_map(Result::ok).map(|entry| entry.path());
        for path in entries.filter(|path| !known.contains(path)) {
            InstanceFiles::found(path).remove();
        }
    }
}

/// Where this agent's instances have their files.
fn place(directory: &Directory) -> io::Result<PathBuf> {
    let memory = in_memory(directory);
    if is_memory() && own(&memory).is_ok() {
        return Ok(memory);
    }
    let place = directory.files();
    own(&place)?;
    Ok(place)
}

fn in_memory(directory: &Directory) -> PathBuf {
    let folder = Digest::of(directory.path().as_os_str().as_encoded_bytes());
    let name = format!("shipit-{}-{}", geteuid().as_raw(), folder.short());
    Path::new(MEMORY).join(name)
}

fn is_memory() -> bool {
    rustix::fs::statfs(MEMORY).is_ok_and(|found| found.f_type == TMPFS)
}

/// Makes a folder of this user's own, which others may go through at the most: root's services may
/// be of any user.
fn own(path: &Path) -> io::Result<()> {
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        let reason = format!("{} is not this user's own folder", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> (tempfile::TempDir, Directory) {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::find(Some(place.path().join("agent")));
        drop(directory.prepare().unwrap());
        (place, directory)
    }

    #[test]
    fn files_are_there_for_their_reader_alone_until_they_are_deleted() {
        let (_place, directory) = agent();
        let paths = ["/etc/app/a.toml", "/etc/b"].map(PathBuf::from);
        let texts = paths.clone().map(|path| (path, "text".to_owned()));
        let files = BTreeMap::from(texts);

        for (reader, mode) in [(Reader::User(None), 0o400), (Reader::Container, 0o444)] {
            let written = InstanceFiles::write(&directory, &files, reader).unwrap();
            for path in &paths {
                let source = written.source(path);
                assert_eq!(fs::read_to_string(&source).unwrap(), "text");
                assert_eq!(source.metadata().unwrap().mode() & 0o777, mode);
            }
            assert_eq!(written.folder().metadata().unwrap().mode() & 0o777, 0o700);
            written.remove();
            assert!(!written.folder().exists());
        }
        remove_stray_files(&directory, &[]);
        let _ = fs::remove_dir(in_memory(&directory));
    }

    #[test]
    fn what_nobody_knows_any_more_is_deleted() {
        let (_place, directory) = agent();
        let files = BTreeMap::from([("/a".into(), String::new())]);
        let write = || InstanceFiles::write(&directory, &files, Reader::User(None)).unwrap();
        let (known, stray) = (write(), write());
        remove_stray_files(&directory, &[known.folder().to_owned()]);
        assert!(known.folder().exists() && !stray.folder().exists());
        known.remove();
        let _ = fs::remove_dir(in_memory(&directory));
    }
}
