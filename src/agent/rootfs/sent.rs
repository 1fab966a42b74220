//! Images that a client on another machine sends: blob by blob into a layout folder of their
//! environment's. A blob has its name once every byte was compared with its digest, so that what a
//! client that went away has begun is never taken for one, and what is there is not sent again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::Reason;
use super::blobs::{Layout, digest};
use super::limits::Limits;
use super::space::Space;
use crate::files;
use crate::model::Digest;

/// How long a blob stays that no slot's image has: the rest of its image may be on the way.
const YOUNG: Duration = Duration::from_hours(1);

/// What the name of a blob begins with until it is whole.
const INCOMING: &str = ".incoming-";

fn folder(layout: &Path) -> PathBuf {
    layout.join("blobs").join("sha256")
}

/// Which of these blobs are not there, whole and right. An error when there is no room for them, or
/// when together they are more than an image may be.
pub(in crate::agent) fn missing(
    layout: &Path,
    blobs: &[(Digest, u64)],
    unpacked: u64,
) -> Result<Vec<Digest>, Reason> {
    let there = |digest: &Digest| {
        let opened = Layout::open(layout).ok()?;
        opened.verify(digest).ok()?;
        renew(&folder(layout).join(digest.hex()));
        Some(())
    };
    let missing: Vec<&(Digest, u64)> = blobs
        .iter()
        .filter(|(digest, _)| there(digest).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }

    let bytes = missing
        .iter()
        .fold(0_u64, |all, (_, size)| all.saturating_add(*size));
    let most = Limits::of_agent()?.bytes();
    if bytes.max(unpacked) > most {
        return Err(format!(
            "the image has {} bytes, and may have {most}: SHIPIT_IMAGE_SIZE is the agent's limit",
            bytes.max(unpacked)
        ));
    }
    make(layout).map_err(|error| format!("making {}: {error}", layout.display()))?;
    let space = Space::of(layout).map_err(|error| error.to_string())?;
    let needed = bytes.saturating_add(unpacked);
    space.expect(needed).map_err(|error| error.to_string())?;
    Ok(missing
        .into_iter()
        .map(|(digest, _)| digest.clone())
        .collect())
}

/// Whether all of an image is there that this machine starts, whole and right.
pub(in crate::agent) fn has(layout: &Path, image: &Digest) -> bool {
    let whole = || -> Result<(), Reason> {
        let opened = Layout::open(layout)?;
        let manifest = opened.manifest(image)?;
        for blob in manifest.layers().iter().chain([manifest.config()]) {
            opened.verify(&digest(blob)?)?;
        }
        let mut blobs = BTreeSet::new();
        keep_image(&opened, image, &mut blobs);
        for blob in blobs {
            renew(&folder(layout).join(blob));
        }
        Ok(())
    };
    whole().is_ok()
}

/// A blob of which somebody was told that it is there counts as young again: another service's
/// deployment must not take it away before it is used.
fn renew(path: &Path) {
    let opened = fs::File::options().append(true).open(path);
    if let Err(error) = opened.and_then(|file| file.set_modified(SystemTime::now())) {
        tracing::warn!(path = %path.display(), %error, "a blob's time could not be renewed");
    }
}

fn make(layout: &Path) -> io::Result<()> {
    files::private_folder(layout)?;
    fs::create_dir_all(folder(layout))
}

/// A blob on its way.
pub(in crate::agent) struct Incoming {
    folder: PathBuf,
    digest: Digest,
    left: u64,
    file: NamedTempFile,
    hasher: Sha256,
    space: Space,
}

impl Incoming {
    /// One of this many bytes. Nothing is written yet.
    pub fn begin(layout: &Path, digest: Digest, size: u64) -> Result<Self, Reason> {
        let most = Limits::of_agent()?.bytes();
        if size > most {
            return Err(format!(
                "{digest} has {size} bytes, and an image may have {most}"
            ));
        }
        let folder = folder(layout);
        let said = |error: io::Error| format!("writing in {}: {error}", folder.display());
        make(layout).map_err(said)?;
        let space = Space::of(layout).map_err(said)?;
        space.expect(size).map_err(|error| error.to_string())?;
        let file = tempfile::Builder::new()
            .prefix(INCOMING)
            .tempfile_in(&folder)
            .map_err(said)?;
        Ok(Self {
            folder,
            digest,
            left: size,
            file,
            hasher: Sha256::new(),
            space,
        })
    }

    /// The next bytes. More than it was to have are refused.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let more = bytes.len() as u64;
        self.left = self
            .left
            .checked_sub(more)
            .ok_or_else(|| format!("{} has more bytes than it was said to have", self.digest))?;
        self.space
            .count_bytes(more)
            .map_err(|error| error.to_string())?;
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|error| format!("writing {}: {error}", self.digest))
    }

    /// Gives it its name, if it is what its digest says.
    pub fn finish(self) -> Result<(), Reason> {
        let found = Digest::from_sha256(self.hasher);
        if found != self.digest || self.left > 0 {
            return Err(format!(
                "what came for {} is something else: its bytes have the digest {found}; nothing of \
                 it is kept",
                self.digest
            ));
        }
        let said = |error: io::Error| format!("writing {}: {error}", self.digest);
        self.file.as_file().sync_all().map_err(said)?;
        let named = self.folder.join(self.digest.hex());
        let kept = self.file.persist(&named);
        kept.map_err(|error| said(error.error))?;
        files::sync_folder(&self.folder).map_err(said)
    }
}

/// Takes the blobs away that none of these images has, but for young ones.
pub(in crate::agent) fn prune(layout: &Path, images: &BTreeSet<Digest>) {
    let Ok(opened) = Layout::open(layout) else {
        return;
    };
    let mut keep = BTreeSet::new();
    for image in images {
        keep_image(&opened, image, &mut keep);
    }
    let Ok(entries) = fs::read_dir(folder(layout)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if !keep.contains(&name) && age.is_some_and(|age| age > YOUNG) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The names of an image's blobs, and of those of the images that an index has here.
fn keep_image(layout: &Layout, image: &Digest, keep: &mut BTreeSet<String>) {
    if !keep.insert(image.hex().to_owned()) {
        return;
    }
    let Ok(document) = layout.document::<Value>(image) else {
        return;
    };
    let digest = |value: &Value| value["digest"].as_str()?.parse::<Digest>().ok();
    let each = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    for blob in each("layers").iter().chain([&document["config"]]) {
        keep.extend(digest(blob).map(|digest| digest.hex().to_owned()));
    }
    for child in each("manifests").iter().filter_map(digest) {
        keep_image(layout, &child, keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(layout: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder(layout)).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    fn send(layout: &Path, digest: &Digest, size: u64, bytes: &[u8]) -> Result<(), Reason> {
        let mut incoming = Incoming::begin(layout, digest.clone(), size)?;
        incoming.write(bytes)?;
        incoming.finish()
    }

    #[test]
    fn what_somebody_was_told_is_there_stays_until_it_is_used() {
        let top = tempfile::tempdir().expect("a folder");
        let layout = top.path().join("sent/shop/staging");
        let [told, other] = [b"layer", b"other"].map(|bytes| Digest::of(bytes));
        for (digest, bytes) in [(&told, b"layer"), (&other, b"other")] {
            assert_eq!(
                missing(&layout, &[(digest.clone(), 5)], 0).map(|it| it.len()),
                Ok(1)
            );
            send(&layout, digest, 5, bytes).expect("sent");
            let blob = fs::File::options()
                .append(true)
                .open(folder(&layout).join(digest.hex()));
            let long_ago = SystemTime::now() - 2 * YOUNG;
            blob.and_then(|blob| blob.set_modified(long_ago))
                .expect("its time");
        }

        assert_eq!(missing(&layout, &[(told.clone(), 5)], 0), Ok(Vec::new()));
        prune(&layout, &BTreeSet::new());
        assert_eq!(names(&layout), [told.hex()]);
    }

    #[test]
    fn a_blob_has_its_name_once_it_is_what_its_digest_says() {
        let top = tempfile::tempdir().expect("a folder");
        let layout = top.path().join("sent/shop/staging");
        let digest = Digest::of(b"layer");
        let wanted = [(digest.clone(), 5)];
        assert_eq!(missing(&layout, &wanted, 0), Ok(vec![digest.clone()]));

        for wrong in [&b"tampe"[..], b"lay", b"layers", b""] {
            let reason = send(&layout, &digest, 5, wrong).expect_err("refused");
            assert!(reason.contains(&digest.to_string()), "{reason}");
            assert_eq!(
                names(&layout),
                Vec::<String>::new(),
                "nothing of it is kept"
            );
        }

        send(&layout, &digest, 5, b"layer").expect("it is right");
        assert_eq!(missing(&layout, &wanted, 0), Ok(Vec::new()));
        fs::write(folder(&layout).join(digest.hex()), "lbyer").expect("damaged");
        assert_eq!(missing(&layout, &wanted, 0), Ok(vec![digest.clone()]));
        send(&layout, &digest, 5, b"layer").expect("it makes way");
        assert_eq!(missing(&layout, &wanted, 0), Ok(Vec::new()));
    }

    #[test]
    fn what_is_larger_than_an_image_may_be_or_than_the_disk_is_not_begun() {
        let top = tempfile::tempdir().expect("a folder");
        let digest = Digest::of(b"layer");
        for size in [u64::MAX, 9 << 30] {
            let reason = missing(top.path(), &[(digest.clone(), size)], 0).expect_err("too much");
            assert!(reason.contains("SHIPIT_IMAGE_SIZE"), "{reason}");
            assert!(Incoming::begin(top.path(), digest.clone(), size).is_err());
        }
    }

    #[test]
    fn what_no_slot_has_goes_once_it_is_old() {
        let top = tempfile::tempdir().expect("a folder");
        let layout = top.path();
        make(layout).expect("made");
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            let path = folder(layout).join(digest.hex());
            fs::write(&path, bytes).expect("written");
            let file = fs::File::options()
                .append(true)
                .open(&path)
                .expect("opened");
            file.set_modified(SystemTime::UNIX_EPOCH)
                .expect("it is old");
            digest
        };
        let (config, layer, old) = (put(b"{}"), put(b"layer"), put(b"old layer"));
        let manifest =
            format!(r#"{{"config":{{"digest":"{config}"}},"layers":[{{"digest":"{layer}"}}]}}"#);
        let image = put(manifest.as_bytes());
        let index = put(format!(r#"{{"manifests":[{{"digest":"{image}"}}]}}"#).as_bytes());
        let young = Digest::of(b"young");
        fs::write(folder(layout).join(young.hex()), "young").expect("written");

        prune(layout, &BTreeSet::from([index.clone()]));
        let kept = names(layout);
        for digest in [config, layer, image, index, young] {
            assert!(kept.contains(&digest.hex().to_owned()), "{digest}");
        }
        assert!(!kept.contains(&old.hex().to_owned()));
    }
}
