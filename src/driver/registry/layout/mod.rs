//! The registry `layout`: a folder by the OCI image layout specification (image-spec, `image-layout.md`).
//!
//! A blob is written beside its place, hashed on the way, synced, and renamed to its digest, so that a half
//! blob never has a name. `index.json` is replaced atomically under an `flock`, so that two writers lose
//! nothing. Tags are `SERVICE:TAG`; `skopeo inspect oci:DIR:SERVICE:TAG` finds them. Start with [`Layout`].

mod blobs;
mod collect;
mod index;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use oci_spec::image::ImageManifest;

use crate::driver::registry::oci::remote::Remote;
use crate::model::{ContentHash, Digest, ServiceName};
use crate::port::Progress;
use crate::port::engine::Pull;
use crate::port::registry::{BaseImage, Blob, BuiltImage, Collected, Registry, RegistryError, inputs_tag};

/// The largest document that is read: an index, a manifest, a configuration.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// An image layout folder.
pub struct Layout {
    folder: PathBuf,
    /// Where base images come from that are not in the folder.
    remote: Remote,
}

impl Layout {
    /// The layout in this folder, which need not exist yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, remote: Remote::default() }
    }

    /// The blobs of an image, with the files of those that neither the build nor the folder has fetched.
    async fn whole(&self, image: &BuiltImage) -> Result<Vec<Blob>, RegistryError> {
        let mut blobs: Vec<Blob> = std::iter::once(&image.config).chain(&image.layers).cloned().collect();
        let Some(folder) = image.folder.as_ref().map(tempfile::TempDir::path) else { return Ok(blobs) };
        let missing =
            blobs.iter_mut().filter(|blob| blob.file.is_none() && !blobs::is_there(&self.folder, blob));
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
        tokio::task::spawn_blocking(move || work(&folder)).await.unwrap_or_else(|panic| {
            let source = std::io::Error::other(panic.to_string());
            Err(RegistryError::Io { what: "working on the image layout".to_owned(), source })
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

/// An image's manifest, read and held against its digest.
fn manifest(folder: &Path, digest: &Digest) -> Result<ImageManifest, RegistryError> {
    let bytes = blobs::read(folder, digest)?;
    serde_json::from_slice(&bytes).map_err(|error| RegistryError::Malformed {
        what: format!("manifest {digest}"),
        place: folder.display().to_string(),
        reason: error.to_string(),
    })
}

/// The blobs that a manifest names: its configuration and its layers.
fn named(manifest: &ImageManifest) -> Result<Vec<Blob>, RegistryError> {
    std::iter::once(manifest.config()).chain(manifest.layers()).map(blob).collect()
}

fn blob(descriptor: &oci_spec::image::Descriptor) -> Result<Blob, RegistryError> {
    let digest = descriptor.digest().to_string();
    let digest = digest.parse().map_err(|_| RegistryError::Malformed {
        what: format!("digest {digest}"),
        place: "the manifest".to_owned(),
        reason: "only sha256 is understood".to_owned(),
    })?;
    let media_type = descriptor.media_type().to_string();
    Ok(Blob { media_type, digest, size: descriptor.size(), file: None })
}

#[async_trait]
impl Registry for Layout {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    async fn find(
        &self,
        service: &ServiceName,
        inputs: &ContentHash,
    ) -> Result<Option<Digest>, RegistryError> {
        let name = tag(service, &inputs_tag(inputs));
        self.blocking(move |folder| {
            let Some(digest) = index::read(folder)?.find(&name) else { return Ok(None) };
            let whole = || -> Result<bool, RegistryError> {
                Ok(named(&manifest(folder, &digest)?)?.iter().all(|blob| blobs::is_there(folder, blob)))
            };
            // A blob that is missing or corrupt means: build again. The push puts it right.
            Ok(whole().unwrap_or(false).then_some(digest))
        })
        .await
    }

    async fn push(
        &self,
        service: &ServiceName,
        image: &BuiltImage,
        tags: &[String],
        progress: Progress<'_>,
    ) -> Result<Digest, RegistryError> {
        let digest = image.digest();
        let blobs = self.whole(image).await?;
        let bytes: u64 = blobs.iter().filter(|blob| blob.file.is_some()).map(|blob| blob.size).sum();
        let (document, media_type) = (image.manifest.clone(), image.media_type.clone());
        let names: Vec<String> = tags.iter().map(|name| tag(service, name)).collect();
        let pushed = digest.clone();
        self.blocking(move |folder| {
            index::prepare(folder)?;
            for blob in &blobs {
                blobs::store(folder, blob)?;
            }
            blobs::write(folder, &pushed, &document)?;
            index::change(folder, |index| index.add(&pushed, document.len() as u64, &media_type, &names))
        })
        .await?;
        progress(&format!("pushed {} bytes in {} layers", bytes, image.layers.len()));
        Ok(digest)
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
            let media_type = oci_spec::image::MediaType::ImageManifest.to_string();
            index::change(folder, |index| index.add(&digest, size, &media_type, &names))
        })
        .await
    }

    async fn base(&self, reference: &str) -> Result<Option<BaseImage>, RegistryError> {
        let name = reference.to_owned();
        let found = self.blocking(move |folder| {
            let reference = name;
            let digest = match reference.parse::<Digest>() {
                Ok(digest) if blobs::path(folder, &digest).exists() => Some(digest),
                Ok(_) => None,
                Err(_) => index::read(folder)?.find(&reference),
            };
            let Some(digest) = digest else { return Ok(None) };
            let manifest = manifest(folder, &digest)?;
            let config = blobs::read(folder, &blob(manifest.config())?.digest)?;
            let layers = manifest.layers().iter().map(blob).collect::<Result<_, _>>()?;
            Ok(Some(BaseImage { digest, config, layers }))
        });
        if let Some(base) = found.await? {
            return Ok(Some(base));
        }
        // A name with a slash in it is a whole one, of another registry.
        match reference.parse::<oci_client::Reference>() {
            Ok(image) if reference.contains('/') => self.remote.base(&image).await,
            _ => Ok(None),
        }
    }

    async fn verify(&self, _: &ServiceName, digest: &Digest) -> Result<(), RegistryError> {
        let digest = digest.clone();
        self.blocking(move |folder| {
            let manifest = manifest(folder, &digest)?;
            named(&manifest)?.iter().try_for_each(|blob| blobs::verify(folder, &blob.digest))
        })
        .await
    }

    async fn collect(&self, keep: &BTreeSet<Digest>) -> Result<Collected, RegistryError> {
        let keep = keep.clone();
        self.blocking(move |folder| collect::collect(folder, &keep)).await
    }

    fn pull(&self, _: &ServiceName) -> Pull {
        Pull::Layout(self.folder.clone())
    }
}
