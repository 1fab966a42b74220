//! Which blobs were read through and held against their digests already, so that a look at an image
//! does not read all of it each time.
//!
//! A blob is known by which file it is, its size, and when it was written and changed: nobody but
//! the machine's own administrator sets the time of a change. What is known is kept in the folder,
//! and believed only where nobody else may write; what is used is read through all the same.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::blobs;
use crate::files;
use crate::model::Digest;
use crate::port::registry::RegistryError;

/// Its file.
const NAME: &str = ".verified";

/// The largest file that is read.
const LIMIT: u64 = 4 << 20;

/// How old a change has to be. A later one within the clock's tick has the same time.
const OLD: Duration = Duration::from_secs(2);

/// Which file it was, and when it was last changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    /// In seconds and nanoseconds.
    written: (i64, i64),
    /// In seconds and nanoseconds.
    changed: (i64, i64),
}

impl Seen {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    fn is_old(&self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        now.duration_since(changed).is_ok_and(|age| age > OLD)
    }
}

/// What is known of a layout's blobs.
#[derive(Debug)]
pub(super) struct Verified {
    layout: PathBuf,
    known: BTreeMap<Digest, Seen>,
    is_changed: bool,
}

impl Verified {
    /// What was kept of it; nothing where somebody else could have written it.
    pub fn read(layout: &Path) -> Self {
        let path = layout.join(NAME);
        let read = || {
            let meta = fs::symlink_metadata(&path).ok()?;
            if !meta.is_file() || !is_own(&meta) || !is_ours_alone(layout) {
                return None;
            }
            let text = files::read_if_there(&path, LIMIT).ok()??;
            serde_json::from_slice(&text).ok()
        };
        Self {
            known: read().unwrap_or_default(),
            layout: layout.to_owned(),
            is_changed: false,
        }
    }

    /// Forgets what is known of these.
    pub fn forget<'a>(&mut self, digests: impl Iterator<Item = &'a Digest>) {
        for digest in digests {
            self.is_changed |= self.known.remove(digest).is_some();
        }
    }

    /// Holds a blob against its digest, unless it is the one that was found right before.
    pub fn check(&mut self, digest: &Digest) -> Result<(), RegistryError> {
        let mut file = blobs::open(&self.layout, digest)?;
        let seen = |file: &File| file.metadata().ok().as_ref().map(Seen::of);
        let before = seen(&file);
        if before.is_some() && before.as_ref() == self.known.get(digest) {
            return Ok(());
        }

        self.forget(std::iter::once(digest));
        blobs::verify_file(&self.layout, digest, &mut file)?;
        let is_settled = before == seen(&file);
        let seen = before.filter(|seen| is_settled && seen.is_old(SystemTime::now()));
        if let Some(seen) = seen {
            self.known.insert(digest.clone(), seen);
            self.is_changed = true;
        }
        Ok(())
    }

    /// Keeps what is known, of blobs that are there. It is no fault when it cannot be kept.
    pub fn keep(mut self) {
        if !self.is_changed || !is_ours_alone(&self.layout) {
            return;
        }
        let layout = &self.layout;
        let is_there = |digest: &Digest| blobs::path(layout, digest).exists();
        self.known.retain(|digest, _| is_there(digest));
        let text = serde_json::to_vec(&self.known).unwrap_or_default();
        let _ = files::replace(&layout.join(NAME), &text);
    }
}

/// Whether nobody else may put anything into the layout.
fn is_ours_alone(layout: &Path) -> bool {
    let folders = [
        layout.to_owned(),
        layout.join("blobs"),
        blobs::folder(layout),
    ];
    let is_ours = |folder: &PathBuf| fs::symlink_metadata(folder).is_ok_and(|meta| is_own(&meta));
    folders.iter().all(is_ours)
}

/// Whether it is ours, and nobody else may write it.
fn is_own(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A layout with one blob that was changed long ago.
    fn layout() -> (tempfile::TempDir, Digest) {
        let machine = tempfile::tempdir().expect("a folder");
        let digest = Digest::of(b"right");
        fs::create_dir_all(blobs::folder(machine.path())).expect("a folder");
        fs::write(blobs::path(machine.path(), &digest), "right").expect("written");
        (machine, digest)
    }

    /// As if it had been found right: a change is never old in a test.
    fn remembered(layout: &Path, digest: &Digest) -> Verified {
        let mut verified = Verified::read(layout);
        verified.check(digest).expect("right");
        let meta = fs::metadata(blobs::path(layout, digest)).expect("there");
        verified.known.insert(digest.clone(), Seen::of(&meta));
        verified.is_changed = true;
        verified
    }

    #[test]
    fn a_blob_that_was_changed_is_read_again_and_one_that_was_not_is_not() {
        let (machine, digest) = layout();
        let layout = machine.path();
        remembered(layout, &digest).keep();

        let mut again = Verified::read(layout);
        let known = again.known.clone();
        assert_eq!(known.len(), 1, "kept");
        again.check(&digest).expect("as it was");
        assert!(!again.is_changed);

        // Of the same length, and with the time of writing put back.
        let path = blobs::path(layout, &digest);
        let written = fs::metadata(&path).and_then(|meta| meta.modified());
        fs::write(&path, "wrong").expect("written");
        let file = File::options().append(true).open(&path).expect("open");
        file.set_modified(written.expect("a time"))
            .expect("put back");
        let refused = again.check(&digest).expect_err("corrupt");
        assert!(
            matches!(refused, RegistryError::Corrupt { .. }),
            "{refused}"
        );
        assert!(again.known.is_empty(), "it is forgotten");

        // Another file in its place.
        fs::remove_file(&path).expect("gone");
        fs::write(&path, "other").expect("written");
        let mut again = Verified::read(layout);
        again.check(&digest).expect_err("corrupt");
    }

    #[test]
    fn what_somebody_else_could_have_written_is_not_believed() {
        let (machine, digest) = layout();
        let layout = machine.path();
        remembered(layout, &digest).keep();
        for (path, mode) in [
            (layout.join(NAME), 0o666),
            (layout.to_owned(), 0o777),
            (blobs::folder(layout), 0o775),
        ] {
            let before = fs::metadata(&path).expect("there").permissions();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            assert!(
                Verified::read(layout).known.is_empty(),
                "{}",
                path.display()
            );
            fs::set_permissions(&path, before).expect("set back");
        }
        assert_eq!(Verified::read(layout).known.len(), 1);

        for odd in ["", "{", "[]", "{\"sha256:a\": {}}"] {
            fs::write(layout.join(NAME), odd).expect("written");
            let mut verified = Verified::read(layout);
            assert!(verified.known.is_empty(), "{odd}");
            verified.check(&digest).expect("right");
        }
    }

    #[test]
    fn what_was_changed_a_moment_ago_is_not_remembered() {
        let (machine, digest) = layout();
        let mut verified = Verified::read(machine.path());
        verified.check(&digest).expect("right");
        assert!(verified.known.is_empty());
        let meta = fs::metadata(blobs::path(machine.path(), &digest)).expect("there");
        let seen = Seen::of(&meta);
        assert!(!seen.is_old(SystemTime::now()));
        assert!(seen.is_old(SystemTime::now() + 3 * OLD));
    }
}
