//! `index.json`: which images there are, and by which tags.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};

use crate::driver::registry::layout::{DOCUMENT_LIMIT, blobs, io};
use crate::files;
use crate::files::beneath::{BeneathError, Links, Root};
use crate::model::Digest;
use crate::port::registry::RegistryError;

/// The annotation that names an image in an index (image-spec, `annotations.md`).
const NAME: &str = "org.opencontainers.image.ref.name";

/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Index(ImageIndex);

impl Index {
    /// The image that this tag names.
    pub fn find(&self, name: &str) -> Option<Digest> {
        let named = |descriptor: &&Descriptor| tag_of(descriptor) == Some(name);
        self.0
            .manifests()
            .iter()
            .find(named)
            .and_then(|descriptor| descriptor.digest().to_string().parse().ok())
    }

    /// Every image with its tag.
    pub fn images(&self) -> impl Iterator<Item = (Digest, Option<&str>)> {
        let images = self.0.manifests().iter();
        images.filter_map(|descriptor| {
            Some((
                descriptor.digest().to_string().parse().ok()?,
                tag_of(descriptor),
            ))
        })
    }

    /// Adds an image under these tags; a tag that named another image moves.
    pub fn add(&mut self, digest: &Digest, size: u64, media_type: &str, names: &[String]) {
        let mut manifests = self.0.manifests().clone();
        manifests.retain(|descriptor| {
            !tag_of(descriptor).is_some_and(|tag| names.iter().any(|name| name == tag))
        });
        // An image that lost its last tag is still an image: a slot may use it. Collection decides
        // about it.
        let mut left: Vec<Descriptor> = self.0.manifests().clone();
        left.retain(|old| !manifests.iter().any(|kept| kept.digest() == old.digest()));
        for mut descriptor in left {
            if !manifests
                .iter()
                .any(|kept| kept.digest() == descriptor.digest())
            {
                descriptor.set_annotations(None);
                manifests.push(descriptor);
            }
        }

        let Ok(oci_digest) = digest.as_str().parse::<oci_spec::image::Digest>() else {
            return;
        };

        manifests.retain(|there| there.digest() != &oci_digest || tag_of(there).is_some());
        for name in names {
            let mut descriptor =
                Descriptor::new(MediaType::from(media_type), size, oci_digest.clone());
            descriptor.set_annotations(Some(HashMap::from([(NAME.to_owned(), name.clone())])));
            manifests.push(descriptor);
        }
        self.0.set_manifests(manifests);
    }

    /// Keeps only the images that `keep` says.
    pub fn retain(&mut self, keep: impl Fn(&Digest) -> bool) {
        let mut manifests = self.0.manifests().clone();
        manifests.retain(|descriptor| {
            descriptor
                .digest()
                .to_string()
                .parse()
                .map_or(true, |digest| keep(&digest))
        });
        self.0.set_manifests(manifests);
    }
}

fn tag_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor
        .annotations()
        .as_ref()?
        .get(NAME)
        .map(String::as_str)
}

/// Makes the folder a layout, if it is not one yet.
pub(super) fn prepare(folder: &Path) -> Result<(), RegistryError> {
    let blobs = blobs::folder(folder);
    files::folders(&blobs, 0o700).map_err(io("making", &blobs))?;
    for folder in [folder, &folder.join("blobs"), &blobs] {
        files::close_to_others(folder).map_err(io("closing", folder))?;
    }
    let marker = folder.join("oci-layout");
    if !marker.exists() {
        files::replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)
            .map_err(io("writing", &marker))?;
    }
    Ok(())
}

pub(super) fn read(folder: &Path) -> Result<Index, RegistryError> {
    let path = folder.join("index.json");
    let malformed = |reason: String| RegistryError::Malformed {
        what: "index.json".to_owned(),
        place: folder.display().to_string(),
        reason,
    };

    let root = match Root::open(folder, Links::StayBeneath) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(empty()),
        other => other.map_err(io("opening", folder))?,
    };

    let bytes = match root.read(Path::new("index.json"), DOCUMENT_LIMIT) {
        Err(error) if error.is_missing() => return Ok(empty()),
        Err(error @ BeneathError::Io { .. }) => return Err(io("reading", &path)(error.into())),
        Err(error) => return Err(malformed(error.to_string())),
        Ok(bytes) => bytes,
    };

    serde_json::from_slice(&bytes)
        .map(Index)
        .map_err(|error| malformed(error.to_string()))
}

fn empty() -> Index {
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(Vec::new())
        .build()
        .expect("every required field is set");
    Index(index)
}

/// Changes the index while no other writer does.
pub(super) fn change(folder: &Path, change: impl FnOnce(&mut Index)) -> Result<(), RegistryError> {
    let _guard = lock(folder)?;
    let mut index = read(folder)?;
    change(&mut index);
    let path = folder.join("index.json");
    let bytes = serde_json::to_vec(&index.0).unwrap_or_default();
    files::replace(&path, &bytes).map_err(io("writing", &path))
}

/// Held until it is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, RegistryError> {
    let path = folder.join(".lock");
    let since = Instant::now();
    loop {
        match files::try_lock(&path).map_err(io("locking", &path))? {
            Some(file) => return Ok(file),
            None if since.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(10)),
            None => {
                let what = format!("taking the lock of {}", folder.display());
                return Err(RegistryError::Timeout {
                    what,
                    seconds: PATIENCE.as_secs(),
                });
            }
        }
    }
}
