//! Configuration and manifest: what makes layers an image (OCI image-spec, `config.md` and
//! `manifest.md`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::driver::builder::io;
use crate::model::{Digest, Platform};
use crate::port::builder::{BuildError, BuildRequest};
use crate::port::registry::{Blob, Built, BuiltImage, INDEX};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of a compressed layer.
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub(super) fn assemble(
    config: &Value,
    layers: Vec<Blob>,
    annotations: &BTreeMap<String, String>,
    folder: TempDir,
) -> Result<BuiltImage, BuildError> {
    let bytes = canonical(config);
    let path = folder.path().join("config.json");
    std::fs::write(&path, &bytes).map_err(io("writing", &path))?;
    let config = Blob {
        media_type: CONFIG.to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        file: Some(path),
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(&config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
        "annotations": annotations,
    });
    let manifest = canonical(&manifest);

    Ok(BuiltImage {
        manifest,
        media_type: MANIFEST.to_owned(),
        config,
        layers,
        folder: Some(folder),
    })
}

/// All the images of a build: an index where platforms are named, and the one image itself where
/// none is.
pub(super) fn whole(
    request: &BuildRequest,
    images: Vec<(Platform, BuiltImage)>,
    annotations: &BTreeMap<String, String>,
) -> Built {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": images.iter().map(entry).collect::<Vec<_>>(),
        "annotations": annotations,
    });
    let index = (!request.spec.platforms().is_empty()).then(|| canonical(&index));
    Built {
        images: images.into_iter().map(|(_, image)| image).collect(),
        index,
    }
}

/// Says what an image, or an entry of an index, is for.
pub(super) fn set_platform(says: &mut Value, platform: &Platform) {
    // In this order: an image's digest is over its bytes.
    says["architecture"] = json!(platform.architecture());
    says["os"] = json!(platform.os());
    if let Some(says) = says.as_object_mut() {
        says.remove("variant");
    }
    if let Some(variant) = platform.variant() {
        says["variant"] = json!(variant);
    }
}

/// An image in an index.
fn entry((platform, image): &(Platform, BuiltImage)) -> Value {
    let mut says = json!({});
    set_platform(&mut says, platform);
    let (digest, size) = (image.digest(), image.manifest.len());
    json!({"mediaType": image.media_type, "digest": digest, "size": size, "platform": says})
}

fn canonical(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn descriptor(blob: &Blob) -> Value {
    json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size})
}

/// The commit's time: the same commit gives the same image whenever it is built.
pub(super) fn created(request: &BuildRequest) -> String {
    let seconds = request.source.committed_at.unwrap_or(0);
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// There is a base, and not for this platform.
pub(super) fn no_base_for(reference: &str, platform: &Platform) -> BuildError {
    let help = "take the platform out of `build.platforms`, or choose a base that is made for it";
    BuildError::Invalid {
        reason: format!("the base image {reference} is not made for {platform}: {help}"),
    }
}

fn name(key: &str) -> String {
    format!("org.opencontainers.image.{key}")
}

/// What every image says of where it comes from.
pub(super) fn annotations(request: &BuildRequest) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([
        (name("created"), created(request)),
        (name("title"), request.title.clone()),
    ]);
    if let Some(commit) = &request.source.commit {
        let dirty = if request.source.dirty { "-dirty" } else { "" };
        annotations.insert(name("revision"), format!("{commit}{dirty}"));
    }
    if let Some(origin) = &request.source.origin {
        annotations.insert(name("source"), origin.clone());
    }
    annotations
}

/// What it says of its base.
pub(super) fn annotate_base(
    annotations: &mut BTreeMap<String, String>,
    reference: &str,
    digest: &Digest,
) {
    annotations.insert(name("base.name"), reference.to_owned());
    annotations.insert(name("base.digest"), digest.to_string());
}
