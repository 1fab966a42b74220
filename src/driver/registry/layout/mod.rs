//! The registry `layout`: a folder by the OCI image layout specification (image-spec,
//! `image-layout.md`).
//!
//! A blob is written beside its place, hashed on the way, synced, and renamed to its digest, so
//! that a half blob never has a name. `index.json` is replaced atomically under an `flock`, so that
//! two writers lose nothing. Tags are `SERVICE:TAG`; `skopeo inspect oci:DIR:SERVICE:TAG` finds
//! them. Start with [`Layout`].

mod blobs;
mod collect;
mod index;
mod verified;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use oci_spec::image::{ImageIndex, ImageManifest};
use serde_json::Value;

use crate::driver::registry::layout::verified::Verified;
use crate::driver::registry::oci::remote::Remote;
use crate::model::garbage::{Collect, Collected};
use crate::model::image::{ImageHome, ImageName};
use crate::model::signature::SignatureFound;
use crate::model::{Digest, Platform, ServiceName, platform};
use crate::port::Progress;
use crate::port::engine::Pull;
use crate::port::registry::{
    BaseImage, BaseImages, Blob, Built, BuiltImage, Registry, RegistryError, asked,
    keeps_no_signatures,
};

/// The largest document that is read: an index, a manifest, a configuration.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// An image layout folder.
pub struct Layout {
    folder: PathBuf,
    /// Where base images come from that are not in the folder, and images that others keep.
    remote: Arc<Remote>,
    /// How images that others keep come to the engine.
    others: Others,
}

/// How images that others keep come to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// By this folder.
    Brought,
    /// It fetches them itself.
    Fetched,
}

/// Which blobs are read through when somebody asks whether they are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Those that were changed since they were found right: for a look.
    Changed,
    /// All of them: for use.
    All,
}

impl Layout {
    /// The layout in this folder, which need not exist yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self::beside(folder, Arc::default())
    }

    /// The layout in this folder, beside registries that are spoken to already.
    #[must_use]
    pub const fn beside(folder: PathBuf, remote: Arc<Remote>) -> Self {
        let others = Others::Brought;
        Self {
            folder,
            remote,
            others,
        }
    }

    /// The same for an engine that fetches images itself which others keep.
    #[must_use]
    pub fn leaving_others(self) -> Self {
        let others = Others::Fetched;
        Self { others, ..self }
    }

    /// Where the engine finds what is in the folder.
    #[must_use]
    pub fn folder(&self) -> Pull {
        Pull::Layout(self.folder.clone())
    }

    /// Whether the image that this machine would start is there, and every blob of it is what its
    /// digest says: of an index that was brought here the others never came.
    pub async fn has_for_us(&self, image: &Digest, reading: Reading) -> bool {
        let image = image.clone();
        let looked = self.blocking(move |folder| {
            let own = own(folder, &image)?;
            let blobs = named(&document(folder, &own)?)?;
            let mut verified = Verified::read(folder);
            if reading == Reading::All {
                verified.forget(blobs.iter().map(|blob| &blob.digest));
            }
            let is_whole = blobs
                .iter()
                .try_for_each(|blob| verified.check(&blob.digest));
            verified.keep();
            is_whole
        });
        looked.await.is_ok()
    }

    /// Stores an image under these names; an index after its images.
    pub async fn store(
        &self,
        built: &Built,
        names: Vec<String>,
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        for image in &built.images {
            let blobs = self.whole(image).await?;
            let bytes: u64 = blobs
                .iter()
                .filter(|blob| blob.file.is_some())
                .map(|blob| blob.size)
                .sum();
            let manifest = image.manifest.clone();
            self.blocking(move |folder| {
                index::prepare(folder)?;
                for blob in &blobs {
                    blobs::store(folder, blob)?;
                }
                blobs::write(folder, &Digest::of(&manifest), &manifest)
            })
            .await?;
            progress(&format!(
                "pushed {} bytes in {} layers",
                bytes,
                image.layers.len()
            ));
        }

        let digest = built.digest();
        let (document, media_type) = built.document();
        let (document, media_type) = (document.to_vec(), media_type.to_owned());
        self.blocking(move |folder| {
            blobs::write(folder, &digest, &document)?;
            index::change(folder, |index| {
                index.add(&digest, document.len() as u64, &media_type, &names);
            })
        })
        .await
    }

    /// The blobs of an image, with the files of those that neither the build nor the folder has
    /// fetched.
    async fn whole(&self, image: &BuiltImage) -> Result<Vec<Blob>, RegistryError> {
        let mut blobs: Vec<Blob> = std::iter::once(&image.config)
            .chain(&image.layers)
            .cloned()
            .collect();
        let Some(folder) = image.folder.as_ref().map(tempfile::TempDir::path) else {
            return Ok(blobs);
        };

        let missing = blobs
            .iter_mut()
            .filter(|blob| blob.file.is_none() && !blobs::is_there(&self.folder, blob));
        let fetch = missing.map(|blob| async move {
            let to = folder.join(format!("fetched-{}", blob.digest.hex()));
            self.remote.fetch(blob, &to).await?;
            blob.file = Some(to);
            Ok::<_, RegistryError>(())
        });
        try_join_all(fetch).await?;
        Ok(blobs)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || {
            blobs::keep_inside(&folder)?;
            work(&folder)
        })
        .await
        .unwrap_or_else(|panic| {
            let source = std::io::Error::other(panic.to_string());
            Err(RegistryError::Io {
                what: "working on the image layout".to_owned(),
                source,
            })
        })
    }
}

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> RegistryError {
    let what = format!("{what} {}", path.display());
    |source| RegistryError::Io { what, source }
}

fn tag(service: &ServiceName, tag: &str) -> String {
    format!("{service}:{tag}")
}

/// A manifest or an index, read and compared with its digest.
fn document<T: serde::de::DeserializeOwned>(
    folder: &Path,
    digest: &Digest,
) -> Result<T, RegistryError> {
    let bytes = blobs::read(folder, digest)?;
    serde_json::from_slice(&bytes).map_err(|error| RegistryError::Malformed {
        what: format!("manifest {digest}"),
        place: folder.display().to_string(),
        reason: error.to_string(),
    })
}

/// The image that a digest stands for on this machine: itself, or the one of its index.
fn own(folder: &Path, digest: &Digest) -> Result<Digest, RegistryError> {
    let whole: Value = document(folder, digest)?;
    if !whole["manifests"].is_array() {
        return Ok(digest.clone());
    }
    let own = Platform::own();
    let missing = || RegistryError::Missing {
        what: format!("an image {digest} for {own}"),
        place: folder.display().to_string(),
    };
    own.choose(platform::images(&whole)).ok_or_else(missing)
}

/// The images that a digest stands for: itself, or all that its index names.
fn children(folder: &Path, digest: &Digest) -> Result<Vec<Digest>, RegistryError> {
    let whole: Value = document(folder, digest)?;
    if !whole["manifests"].is_array() {
        return Ok(vec![digest.clone()]);
    }
    let index: ImageIndex = document(folder, digest)?;
    index
        .manifests()
        .iter()
        .map(|entry| Ok(blob(entry)?.digest))
        .collect()
}

/// The images that a digest stands for, each of which has to be there.
fn images(folder: &Path, digest: &Digest) -> Result<Vec<(Digest, ImageManifest)>, RegistryError> {
    let children = children(folder, digest)?.into_iter();
    children
        .map(|child| document(folder, &child).map(|manifest| (child, manifest)))
        .collect()
}

/// The blobs of all the images that a digest stands for.
fn all_blobs(folder: &Path, digest: &Digest) -> Result<Vec<Blob>, RegistryError> {
    let blobs = images(folder, digest)?
        .iter()
        .map(|(_, manifest)| named(manifest))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(blobs.concat())
}

/// The images to build on that a digest stands for.
fn base(
    folder: &Path,
    digest: &Digest,
    platforms: &[Platform],
) -> Result<BaseImages, RegistryError> {
    let image = |digest: &Digest| -> Result<BaseImage, RegistryError> {
        let manifest: ImageManifest = document(folder, digest)?;
        let config = blobs::read(folder, &blob(manifest.config())?.digest)?;
        let layers = manifest
            .layers()
            .iter()
            .map(blob)
            .collect::<Result<_, _>>()?;
        Ok(BaseImage {
            digest: digest.clone(),
            config,
            layers,
        })
    };

    let index: Value = document(folder, digest)?;
    if !index["manifests"].is_array() {
        return Ok(BaseImages::alone(image(digest)?, platforms));
    }

    let mut images = BTreeMap::new();
    for platform in asked(platforms) {
        if let Some(child) = platform.choose(platform::images(&index)) {
            images.insert(platform, image(&child)?);
        }
    }

    let missing = || RegistryError::Missing {
        what: format!("an image {digest} for {}", Platform::own()),
        place: folder.display().to_string(),
    };
    BaseImages::of_index(digest.clone(), images, platforms).ok_or_else(missing)
}

/// The blobs that a manifest names: its configuration and its layers.
fn named(manifest: &ImageManifest) -> Result<Vec<Blob>, RegistryError> {
    std::iter::once(manifest.config())
        .chain(manifest.layers())
        .map(blob)
        .collect()
}

fn blob(descriptor: &oci_spec::image::Descriptor) -> Result<Blob, RegistryError> {
    let digest = descriptor.digest().to_string();
    let digest = digest.parse().map_err(|_| RegistryError::Malformed {
        what: format!("digest {digest}"),
        place: "the manifest".to_owned(),
        reason: "only sha256 is understood".to_owned(),
    })?;
    let media_type = descriptor.media_type().to_string();
    Ok(Blob {
        media_type,
        digest,
        size: descriptor.size(),
        file: None,
    })
}

#[async_trait]
impl Registry for Layout {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    /// Whether all of it is there: a blob that is missing means that it is built again, and the
    /// push puts it right.
    async fn has(&self, _: &ServiceName, image: &Digest) -> Result<bool, RegistryError> {
        let image = image.clone();
        self.blocking(move |folder| {
            let whole = || -> Result<bool, RegistryError> {
                Ok(all_blobs(folder, &image)?
                    .iter()
                    .all(|blob| blobs::is_there(folder, blob)))
            };
            Ok(whole().unwrap_or(false))
        })
        .await
    }

    async fn push(
        &self,
        service: &ServiceName,
        built: &Built,
        tags: &[String],
        progress: Progress<'_>,
    ) -> Result<Digest, RegistryError> {
        let names = tags.iter().map(|name| tag(service, name)).collect();
        self.store(built, names, progress).await?;
        Ok(built.digest())
    }

    async fn tag(
        &self,
        service: &ServiceName,
        digest: &Digest,
        tags: &[String],
    ) -> Result<(), RegistryError> {
        let names: Vec<String> = tags.iter().map(|name| tag(service, name)).collect();
        let digest = digest.clone();
        self.blocking(move |folder| {
            let size = blobs::read(folder, &digest)?.len() as u64;
            let whole: Value = document(folder, &digest)?;
            let media_type = oci_spec::image::MediaType::ImageManifest.to_string();
            let media_type = whole["mediaType"]
                .as_str()
                .map_or(media_type, str::to_owned);
            index::change(folder, |index| {
                index.add(&digest, size, &media_type, &names);
            })
        })
        .await
    }

    async fn base(
        &self,
        reference: &str,
        platforms: &[Platform],
    ) -> Result<Option<BaseImages>, RegistryError> {
        let (name, wanted) = (reference.to_owned(), platforms.to_vec());
        let found = self.blocking(move |folder| {
            let digest = match name.parse::<Digest>() {
                Ok(digest) if blobs::path(folder, &digest).exists() => Some(digest),
                Ok(_) => None,
                Err(_) => index::read(folder)?.find(&name),
            };
            digest
                .map(|digest| base(folder, &digest, &wanted))
                .transpose()
        });
        if let Some(base) = found.await? {
            return Ok(Some(base));
        }

        // A name with a slash in it is a whole one, of another registry.
        match reference.parse::<oci_spec::distribution::Reference>() {
            Ok(image) if reference.contains('/') => self.remote.base(&image, platforms).await,
            _ => Ok(None),
        }
    }

    async fn resolve(&self, name: &ImageName) -> Result<Digest, RegistryError> {
        self.remote.resolve(name).await
    }

    async fn verify(&self, home: ImageHome<'_>, digest: &Digest) -> Result<(), RegistryError> {
        if let ImageHome::Elsewhere(repository) = home {
            let copies = (self.others == Others::Brought).then_some(self);
            return self.remote.verify(repository, digest, copies).await;
        }
        let digest = digest.clone();
        self.blocking(move |folder| {
            let blobs = all_blobs(folder, &digest)?;
            blobs
                .iter()
                .try_for_each(|blob| blobs::verify(folder, &blob.digest))
        })
        .await
    }

    async fn collect(
        &self,
        keep: &BTreeSet<Digest>,
        how: Collect,
    ) -> Result<Collected, RegistryError> {
        let keep = keep.clone();
        self.blocking(move |folder| collect::collect(folder, &keep, how))
            .await
    }

    async fn signatures(
        &self,
        home: ImageHome<'_>,
        image: &Digest,
    ) -> Result<Vec<SignatureFound>, RegistryError> {
        match home {
            ImageHome::Elsewhere(repository) => self.remote.signatures(repository, image).await,
            ImageHome::Project(service) => Err(keeps_no_signatures(service)),
        }
    }

    fn pull(&self, home: ImageHome<'_>) -> Pull {
        match (home, self.others) {
            (ImageHome::Elsewhere(repository), Others::Fetched) => {
                Pull::Repository(repository.clone().into())
            }
            _ => self.folder(),
        }
    }

    async fn bring(
        &self,
        home: ImageHome<'_>,
        image: &Digest,
        progress: Progress<'_>,
    ) -> Result<Pull, RegistryError> {
        if let (ImageHome::Elsewhere(repository), Others::Brought) = (home, self.others) {
            self.remote.bring(self, repository, image, progress).await?;
        }
        Ok(self.pull(home))
    }
}
