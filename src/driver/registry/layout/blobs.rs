//! Blobs: files named by the SHA-256 of their bytes.

use std::fs::File;
use std::io::{self as std_io, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::driver::registry::layout::{DOCUMENT_LIMIT, io};
use crate::files;
use crate::files::beneath::{Links, Root};
use crate::model::Digest;
use crate::port::registry::{Blob, RegistryError};

pub(super) fn folder(layout: &Path) -> PathBuf {
    layout.join("blobs").join("sha256")
}

pub(super) fn path(layout: &Path, digest: &Digest) -> PathBuf {
    folder(layout).join(digest.hex())
}

/// Refuses a layout in which a link leads out of the folder: it is written to and cleared by its
/// own names.
pub(super) fn keep_inside(layout: &Path) -> Result<(), RegistryError> {
    let root = match Root::open(layout, Links::StayBeneath) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io("opening", layout))?,
    };
    for name in ["blobs/sha256", "index.json", "oci-layout", ".lock"] {
        match root.real(Path::new(name)) {
            Err(error) if !error.is_missing() => {
                return Err(RegistryError::Malformed {
                    what: name.to_owned(),
                    place: layout.display().to_string(),
                    reason: error.to_string(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a blob of that size is there. Its content is compared with its digest when it is used.
pub(super) fn is_there(layout: &Path, blob: &Blob) -> bool {
    let size = || open(layout, &blob.digest).ok()?.metadata().ok();
    size().is_some_and(|meta| meta.len() == blob.size)
}

/// A document's bytes, compared with their digest.
pub(super) fn read(layout: &Path, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
    let path = path(layout, digest);
    let file = open(layout, digest)?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(io("reading", &path))?;
    expect(layout, digest, Digest::of(&bytes))?;
    Ok(bytes)
}

pub(super) fn open(layout: &Path, digest: &Digest) -> Result<File, RegistryError> {
    let missing = || RegistryError::Missing {
        what: digest.to_string(),
        place: layout.display().to_string(),
    };
    let root = Root::open(layout, Links::StayBeneath).map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing(),
        _ => io("opening", layout)(error),
    })?;
    root.file(&path(Path::new(""), digest)).map_err(|error| {
        if error.is_missing() {
            missing()
        } else {
            io("opening", &path(layout, digest))(error.into())
        }
    })
}

fn expect(layout: &Path, digest: &Digest, found: Digest) -> Result<(), RegistryError> {
    if *digest == found {
        return Ok(());
    }
    Err(RegistryError::Corrupt {
        digest: digest.clone(),
        found,
        place: path(layout, digest).display().to_string(),
    })
}

/// Reads a blob through and holds it against its digest.
pub(super) fn verify(layout: &Path, digest: &Digest) -> Result<(), RegistryError> {
    verify_file(layout, digest, &mut open(layout, digest)?)
}

/// The same of a blob that was opened.
pub(super) fn verify_file(
    layout: &Path,
    digest: &Digest,
    file: &mut File,
) -> Result<(), RegistryError> {
    let mut hasher = Sha256::new();
    copy(file, &mut hasher).map_err(io("reading", &path(layout, digest)))?;
    expect(layout, digest, Digest::from_sha256(hasher))
}

/// Copies in pieces: the memory does not grow with the blob.
fn copy(from: &mut impl Read, hasher: &mut Sha256) -> std_io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Stores a blob from its file. One that is there and right is left alone; one that is there and
/// corrupt is replaced.
pub(super) fn store(layout: &Path, blob: &Blob) -> Result<(), RegistryError> {
    if is_there(layout, blob) && verify(layout, &blob.digest).is_ok() {
        return freshen(&path(layout, &blob.digest));
    }
    let missing = || RegistryError::Missing {
        what: blob.digest.to_string(),
        place: layout.display().to_string(),
    };
    let source = blob.file.as_ref().ok_or_else(missing)?;
    let bytes = File::open(source).map_err(io("opening", source))?;
    place(layout, &blob.digest, bytes)
}

/// A blob that is used again is young again, so that a collection that runs meanwhile lets it be.
fn freshen(path: &Path) -> Result<(), RegistryError> {
    let touch = |file: File| file.set_modified(std::time::SystemTime::now());
    File::options()
        .append(true)
        .open(path)
        .and_then(touch)
        .map_err(io("touching", path))
}

/// Stores a document.
pub(super) fn write(layout: &Path, digest: &Digest, document: &[u8]) -> Result<(), RegistryError> {
    place(layout, digest, document)
}

fn place(layout: &Path, digest: &Digest, mut from: impl Read) -> Result<(), RegistryError> {
    let (folder, target) = (folder(layout), path(layout, digest));
    let mut beside = tempfile::NamedTempFile::new_in(&folder).map_err(io("writing in", &folder))?;
    files::give_to_owner(beside.as_file(), beside.path()).map_err(io("writing in", &folder))?;
    let mut hasher = Sha256::new();
    let mut tee = Tee {
        file: beside.as_file_mut(),
        hasher: &mut hasher,
    };
    std_io::copy(&mut from, &mut tee).map_err(io("writing", &target))?;
    expect(layout, digest, Digest::from_sha256(hasher))?;
    beside
        .as_file()
        .sync_all()
        .map_err(io("syncing", &target))?;
    beside
        .persist(&target)
        .map_err(|error| io("writing", &target)(error.error))?;
    files::sync_folder(&folder).map_err(io("syncing", &folder))
}

struct Tee<'a> {
    file: &'a mut File,
    hasher: &'a mut Sha256,
}

impl std_io::Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> std_io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std_io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use super::*;
    use crate::driver::registry::layout::Layout;
    use crate::model::garbage::Collect;
    use crate::port::Registry as _;

    #[tokio::test]
    async fn a_layout_is_never_written_or_cleared_through_a_link_out_of_it() {
        let machine = tempfile::tempdir().expect("a folder");
        let (layout, victim) = (machine.path().join("layout"), machine.path().join("victim"));
        fs::create_dir_all(layout.join("blobs")).expect("a folder");
        fs::create_dir(&victim).expect("a folder");
        let precious = victim.join("precious");
        fs::write(&precious, "p").expect("a file");
        let file = File::options()
            .append(true)
            .open(&precious)
            .expect("opened");
        file.set_modified(SystemTime::UNIX_EPOCH)
            .expect("it is old");
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        fs::write(layout.join("index.json"), index).expect("an index");

        symlink(&victim, layout.join("blobs/sha256")).expect("a link");
        let registry = Layout::new(layout.clone());
        let kept = BTreeSet::new();
        let refused = registry.collect(&kept, Collect::Delete).await;
        let reason = refused.expect_err("a link out").to_string();
        assert!(reason.contains("outside of"), "{reason}");
        assert_eq!(fs::read_to_string(&precious).expect("it is there"), "p");

        // The same folder without the link is cleared.
        fs::remove_file(layout.join("blobs/sha256")).expect("gone");
        fs::create_dir(layout.join("blobs/sha256")).expect("a folder");
        registry
            .collect(&kept, Collect::Delete)
            .await
            .expect("an own folder");
    }

    #[test]
    fn a_blob_is_a_file_of_the_layout() {
        let machine = tempfile::tempdir().expect("a folder");
        let layout = machine.path().join("layout");
        fs::create_dir_all(folder(&layout)).expect("a folder");
        let digest = Digest::of(b"secret");
        fs::write(machine.path().join("host"), "secret").expect("a file");
        symlink("../../../host", path(&layout, &digest)).expect("a link");
        let reason = read(&layout, &digest).expect_err("a link out").to_string();
        assert!(reason.contains("opening"), "{reason}");
        write(&layout, &digest, b"secret").expect("the link makes way");
        assert_eq!(read(&layout, &digest).expect("a blob"), b"secret");
    }
}
