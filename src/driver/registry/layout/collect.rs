//! Garbage: images that nobody needs, and blobs that no image uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use crate::driver::registry::layout::index::Index;
use crate::driver::registry::layout::{blobs, children, document, index, io, named};
use crate::model::Digest;
use crate::model::garbage::{BASE, CREATED, Collect, Collected, Unneeded, YOUNG};
use crate::port::registry::RegistryError;

/// Finds, and takes away if it shall, every image but those in `keep`, the young ones, and those
/// that they were built on; then every blob that no image left uses. An image that somebody tagged
/// by hand, without a `src-` tag, is theirs and stays.
pub(super) fn collect(
    folder: &Path,
    keep: &BTreeSet<Digest>,
    how: Collect,
) -> Result<Collected, RegistryError> {
    if !folder.join("index.json").exists() {
        return Ok(Collected::default());
    }

    let mut images = Vec::new();
    let mut take = |index: &mut Index| {
        let gone = unneeded(folder, index, keep);
        images = gone
            .iter()
            .map(|digest| told(folder, index, digest))
            .collect();
        index.retain(|digest| !gone.contains(digest));
    };

    let left = match how {
        Collect::Report => {
            let mut left = index::read(folder)?;
            take(&mut left);
            Some(left)
        }
        Collect::Delete => {
            index::change(folder, take)?;
            None
        }
    };

    Ok(Collected {
        images,
        ..sweep(folder, left, keep)?
    })
}

fn unneeded(folder: &Path, index: &Index, keep: &BTreeSet<Digest>) -> BTreeSet<Digest> {
    let all: BTreeSet<Digest> = index.images().map(|(digest, _)| digest).collect();
    let ours: BTreeSet<Digest> = index
        .images()
        .filter(|(_, tag)| tag.is_none_or(|tag| tag.contains(":src-")))
        .map(|(digest, _)| digest)
        .collect();
    let stays = |digest: &Digest| {
        keep.contains(digest) || !ours.contains(digest) || is_young(folder, digest)
    };
    let mut kept: BTreeSet<Digest> = all.iter().filter(|digest| stays(digest)).cloned().collect();
    let bases: Vec<Digest> = kept
        .iter()
        .filter_map(|digest| base(folder, digest))
        .collect();
    kept.extend(bases);
    all.difference(&kept).cloned().collect()
}

fn told(folder: &Path, index: &Index, digest: &Digest) -> Unneeded {
    let names = index
        .images()
        .filter(|(image, _)| image == digest)
        .filter_map(|(_, name)| name);
    let (services, tags): (Vec<&str>, Vec<String>) = names
        .filter_map(|name| name.split_once(':'))
        .map(|(service, tag)| (service, tag.to_owned()))
        .unzip();
    let created = annotation(folder, digest, CREATED).and_then(|text| text.parse().ok());
    let repository = services.first().map(|service| (*service).to_owned());
    Unneeded {
        digest: digest.clone(),
        repository,
        tags,
        created,
    }
}

fn is_young(folder: &Path, digest: &Digest) -> bool {
    is_young_file(&blobs::path(folder, digest))
}

/// What cannot be dated counts as young: nothing is deleted on a guess.
fn is_young_file(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.map_or(true, |time| {
        SystemTime::now().duration_since(time).unwrap_or_default() < YOUNG
    })
}

fn base(folder: &Path, digest: &Digest) -> Option<Digest> {
    annotation(folder, digest, BASE)?.parse().ok()
}

fn annotation(folder: &Path, digest: &Digest, name: &str) -> Option<String> {
    let whole: Value = document(folder, digest).ok()?;
    whole["annotations"][name].as_str().map(str::to_owned)
}

/// The blobs that no image uses: told, of the images that would be left; deleted, of those that the
/// folder has.
fn sweep(
    folder: &Path,
    left: Option<Index>,
    keep: &BTreeSet<Digest>,
) -> Result<Collected, RegistryError> {
    let _guard = index::lock(folder)?;
    let mut used: BTreeSet<Digest> = BTreeSet::new();
    let is_told = left.is_some();
    let index = left.map_or_else(|| index::read(folder), Ok)?;
    let listed = index.images().map(|(digest, _)| digest);
    let needed = keep
        .iter()
        .filter(|digest| blobs::path(folder, digest).exists())
        .cloned();
    for digest in listed.chain(needed) {
        // An image that cannot be read may use any blob: then none is deleted. One of an index may
        // never have come here, and then uses none.
        for image in children(folder, &digest)?
            .into_iter()
            .filter(|image| blobs::path(folder, image).exists())
        {
            used.extend(
                named(&document(folder, &image)?)?
                    .into_iter()
                    .map(|blob| blob.digest),
            );
            used.insert(image);
        }
        used.insert(digest);
    }

    let mut collected = Collected::default();
    let blobs = blobs::folder(folder);
    for entry in fs::read_dir(&blobs)
        .map_err(io("reading", &blobs))?
        .filter_map(Result::ok)
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_used = format!("sha256:{name}")
            .parse()
            .is_ok_and(|digest| used.contains(&digest));
        if is_used || is_young_file(&entry.path()) {
            continue;
        }
        let size = entry.metadata().map_or(0, |meta| meta.len());
        if is_told || fs::remove_file(entry.path()).is_ok() {
            collected.blobs += 1;
            collected.bytes += size;
        }
    }
    Ok(collected)
}
