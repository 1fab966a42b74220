//! Garbage: images that nobody needs, and blobs that no image uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::driver::registry::layout::{blobs, document, images, index, io, named};
use crate::model::Digest;
use crate::port::registry::{Collected, RegistryError};

/// What is younger than this stays: somebody may be about to use it.
const YOUNG: Duration = Duration::from_hours(1);

/// The annotation that names the image on which another was built (image-spec, `annotations.md`).
const BASE: &str = "org.opencontainers.image.base.digest";

/// Takes away every image but those in `keep`, the young ones, and those that they were built on; then every
/// blob that no image left uses. An image that somebody tagged by hand, without a `src-` tag, is theirs and stays.
pub(super) fn collect(folder: &Path, keep: &BTreeSet<Digest>) -> Result<Collected, RegistryError> {
    if !folder.join("index.json").exists() {
        return Ok(Collected::default());
    }
    let mut gone = BTreeSet::new();
    index::change(folder, |index| {
        let all: BTreeSet<Digest> = index.images().map(|(digest, _)| digest).collect();
        let ours: BTreeSet<Digest> = index
            .images()
            .filter(|(_, tag)| tag.is_none_or(|tag| tag.contains(":src-")))
            .map(|(digest, _)| digest)
            .collect();
        let stays =
            |digest: &Digest| keep.contains(digest) || !ours.contains(digest) || is_young(folder, digest);
        let mut kept: BTreeSet<Digest> = all.iter().filter(|digest| stays(digest)).cloned().collect();
        let bases: Vec<Digest> = kept.iter().filter_map(|digest| base(folder, digest)).collect();
        kept.extend(bases);
        gone = all.difference(&kept).cloned().collect();
        index.retain(|digest| kept.contains(digest));
    })?;
    let mut collected = sweep(folder, keep)?;
    collected.images = gone.into_iter().collect();
    Ok(collected)
}

fn is_young(folder: &Path, digest: &Digest) -> bool {
    is_young_file(&blobs::path(folder, digest))
}

/// What cannot be dated counts as young: nothing is taken away on a guess.
fn is_young_file(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.map_or(true, |time| SystemTime::now().duration_since(time).unwrap_or_default() < YOUNG)
}

fn base(folder: &Path, digest: &Digest) -> Option<Digest> {
    let whole: Value = document(folder, digest).ok()?;
    whole["annotations"][BASE].as_str()?.parse().ok()
}

fn sweep(folder: &Path, keep: &BTreeSet<Digest>) -> Result<Collected, RegistryError> {
    let _guard = index::lock(folder)?;
    let mut used: BTreeSet<Digest> = BTreeSet::new();
    let index = index::read(folder)?;
    let listed = index.images().map(|(digest, _)| digest);
    let needed = keep.iter().filter(|digest| blobs::path(folder, digest).exists()).cloned();
    for digest in listed.chain(needed) {
        // An image that cannot be read may use any blob: then none is taken away.
        for (image, manifest) in images(folder, &digest)? {
            used.extend(named(&manifest)?.into_iter().map(|blob| blob.digest));
            used.insert(image);
        }
        used.insert(digest);
    }
    let mut collected = Collected::default();
    let blobs = blobs::folder(folder);
    for entry in fs::read_dir(&blobs).map_err(io("reading", &blobs))?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_used = format!("sha256:{name}").parse().is_ok_and(|digest| used.contains(&digest));
        if is_used || is_young_file(&entry.path()) {
            continue;
        }
        let size = entry.metadata().map_or(0, |meta| meta.len());
        if fs::remove_file(entry.path()).is_ok() {
            collected.blobs += 1;
            collected.bytes += size;
        }
    }
    Ok(collected)
}
