//! A registry that speaks the OCI distribution protocol: Harbor, Docker's own, and others.
//!
//! A blob that is there is not sent again; a base image's layers are mounted from their repository where that is
//! possible, and fetched from another registry where it is not. What breaks on the way goes on where it broke
//! (`upload`). The manifest goes after its blobs and the tags after the manifest, so that a push that dies on the way
//! leaves nothing that a reader could take for an image. [`remote`] speaks to registries, `credentials` reads what
//! `docker login` wrote. Start with [`Oci`].

mod attach;
mod collect;
mod copies;
mod credentials;
mod garbage;
pub mod remote;
mod signature;
mod upload;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use oci_client::manifest::ImageIndexEntry;
use oci_client::{Reference, RegistryOperation};
use serde_json::Value;

use crate::driver::registry::layout::Layout;
use crate::driver::registry::oci::remote::{
    Connection, MANIFEST, Remote, absent, blob, blobs, malformed, retry,
};
use crate::model::garbage::{Collect, Collected};
use crate::model::signature::Found;
use crate::model::{ContentHash, Digest, Platform, ServiceName};
use crate::port::Progress;
use crate::port::engine::Pull;
use crate::port::registry::{BaseImages, Blob, Built, Registry, RegistryError, inputs_tag};

/// Where a registry's images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The registry: `registry.example.com`, `localhost:5000`.
    pub endpoint: String,
    /// Each service's repository there.
    pub repositories: BTreeMap<ServiceName, String>,
    /// Whether a tag may be moved to another image.
    pub moves_tags: bool,
    /// Whether each image has a document attached that says where it comes from.
    pub provenance: bool,
    /// Whether each image has a document attached that says what is in it.
    pub sbom: bool,
}

/// A registry on the network.
pub struct Oci {
    place: Place,
    remote: Arc<Remote>,
    /// Where images are brought to, for an engine that speaks to no registry.
    copies: Option<Layout>,
    /// How many of the newest images a collection leaves in each repository, needed or not.
    newest: usize,
}

impl Oci {
    /// The registry at this place. Nothing is asked of it yet.
    #[must_use]
    pub fn new(place: Place, remote: Remote) -> Self {
        Self {
            place,
            remote: Arc::new(remote),
            copies: None,
            newest: 0,
        }
    }

    /// The same, with each image that is started brought to this folder first.
    #[must_use]
    pub fn bringing(self, to: PathBuf) -> Self {
        let copies = Some(Layout::beside(to, Arc::clone(&self.remote)));
        Self { copies, ..self }
    }

    /// The same, with so many of the newest images left in each repository by a collection, needed or not.
    #[must_use]
    pub fn keeping(self, newest: usize) -> Self {
        Self { newest, ..self }
    }

    fn repository(&self, service: &ServiceName) -> String {
        self.place
            .repositories
            .get(service)
            .cloned()
            .unwrap_or_else(|| service.to_string())
    }

    fn tagged(&self, service: &ServiceName, tag: &str) -> Reference {
        Reference::with_tag(
            self.place.endpoint.clone(),
            self.repository(service),
            tag.to_owned(),
        )
    }

    fn image(&self, service: &ServiceName, digest: &Digest) -> Reference {
        Reference::with_digest(
            self.place.endpoint.clone(),
            self.repository(service),
            digest.to_string(),
        )
    }

    /// Sends a blob that is not there; gives how many bytes were sent.
    async fn send(
        &self,
        open: &Connection,
        image: &Reference,
        blob: &Blob,
        folder: Option<&Path>,
        progress: Progress<'_>,
    ) -> Result<u64, RegistryError> {
        if has(open, image, &blob.digest).await? {
            return Ok(0);
        }
        let digest = blob.digest.to_string();
        let fetched;
        let file = if let Some(file) = &blob.file {
            file
        } else {
            let home = self
                .remote
                .home(&blob.digest)
                .filter(|home| home.registry() == image.registry());
            if let Some(home) = home
                && open.client.mount_blob(image, &home, &digest).await.is_ok()
            {
                return Ok(0);
            }
            let missing = || RegistryError::Missing {
                what: format!("layer {digest}"),
                place: self.place(),
            };
            fetched = folder
                .ok_or_else(missing)?
                .join(format!("fetched-{}", blob.digest.hex()));
            self.remote.fetch(blob, &fetched).await?;
            &fetched
        };
        upload::upload(&self.remote, open, image, (blob, file), progress).await?;
        Ok(blob.size)
    }

    async fn put(
        &self,
        open: &Connection,
        image: &Reference,
        manifest: &[u8],
        media_type: &str,
    ) -> Result<(), RegistryError> {
        retry(
            || format!("pushing {image}"),
            || open.wire.put(image, manifest, media_type),
        )
        .await
    }

    /// A manifest or an index that must be there.
    async fn there(&self, image: &Reference) -> Result<Value, RegistryError> {
        remote::read(image, &self.remote.must(image).await?)
    }

    /// Whether every blob of an image is there.
    async fn whole(&self, image: &Reference, manifest: &Value) -> Result<(), RegistryError> {
        let mut named = blobs(manifest)?;
        named.push(blob(&manifest["config"])?);
        let open = self.remote.open(image, RegistryOperation::Pull).await?;
        let there = try_join_all(named.iter().map(|blob| has(&open, image, &blob.digest))).await?;
        let missing = |blob: &Blob| RegistryError::Missing {
            what: format!("{} of {image}", blob.digest),
            place: self.place(),
        };
        let lost = named.iter().zip(there).find(|(_, there)| !there);
        lost.map_or(Ok(()), |(blob, _)| Err(missing(blob)))
    }

    /// Puts tags on a manifest that is there. A tag that cannot be moved and names this image already is well; one
    /// that names another is told and left.
    async fn label(
        &self,
        open: &Connection,
        service: &ServiceName,
        (manifest, media_type): (&[u8], &str),
        tags: &[String],
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        let digest = Digest::of(manifest);
        let pushes = tags.iter().map(|tag| {
            let (image, digest) = (self.tagged(service, tag), &digest);
            async move {
                let Err(error) = self.put(open, &image, manifest, media_type).await else {
                    return Ok(());
                };
                match self.digest(open, &image).await {
                    Ok(Some(there)) if there == *digest => Ok(()),
                    Ok(Some(there)) if error.to_string().to_lowercase().contains("immutable") => {
                        progress(&format!(
                            "the tag {tag} cannot be moved and stays with {there}"
                        ));
                        Ok(())
                    }
                    _ => Err(error),
                }
            }
        });
        try_join_all(pushes).await.map(drop)
    }

    /// What a tag names; none when it is not there.
    async fn digest(
        &self,
        open: &Connection,
        image: &Reference,
    ) -> Result<Option<Digest>, RegistryError> {
        let ask = || open.client.fetch_manifest_digest(image, &open.auth);
        let found = retry(|| format!("looking for {image}"), ask).await;
        let parsed = |digest: String| {
            digest
                .parse()
                .map_err(|_| malformed(&digest, &"only sha256 is understood"))
        };
        absent(found)?.map(parsed).transpose()
    }

    /// What a base image's reference means: `web:staging` is a service's, everything with a slash is a whole name.
    fn reference(&self, text: &str) -> Option<Reference> {
        if text.contains('/') {
            return text.parse().ok();
        }
        let (service, tag) = text.split_once(':')?;
        Some(self.tagged(&service.parse().ok()?, tag))
    }
}

/// The tag that lists what is attached to an image, where the registry does not (distribution-spec, "Referrers Tag
/// Schema").
fn list_tag(image: &Digest) -> String {
    image.to_string().replace(':', "-")
}

/// What is attached to an image.
async fn referrers(
    open: &Connection,
    image: &Reference,
) -> Result<Vec<ImageIndexEntry>, RegistryError> {
    let ask = || open.client.pull_referrers(image, None);
    let listed = retry(|| format!("asking what refers to {image}"), ask).await?;
    Ok(listed.manifests)
}

async fn has(open: &Connection, image: &Reference, blob: &Digest) -> Result<bool, RegistryError> {
    let ask = || open.wire.has(image, blob);
    retry(
        || format!("looking for {blob} in {}", image.repository()),
        ask,
    )
    .await
}

#[async_trait]
impl Registry for Oci {
    fn place(&self) -> String {
        self.place.endpoint.clone()
    }

    async fn find(
        &self,
        service: &ServiceName,
        inputs: &ContentHash,
    ) -> Result<Option<Digest>, RegistryError> {
        let image = self.tagged(service, &inputs_tag(inputs));
        let open = self.remote.open(&image, RegistryOperation::Pull).await?;
        self.digest(&open, &image).await
    }

    async fn push(
        &self,
        service: &ServiceName,
        built: &Built,
        tags: &[String],
        progress: Progress<'_>,
    ) -> Result<Digest, RegistryError> {
        let digest = built.digest();
        let to = self.image(service, &digest);
        let open = self.remote.open(&to, RegistryOperation::Push).await?;
        for image in &built.images {
            let to = self.image(service, &image.digest());
            let folder = image.folder.as_ref().map(tempfile::TempDir::path);
            let blobs = std::iter::once(&image.config).chain(&image.layers);
            let sent =
                try_join_all(blobs.map(|blob| self.send(&open, &to, blob, folder, progress)))
                    .await?;
            self.put(&open, &to, &image.manifest, &image.media_type)
                .await?;
            let (sent, repository): (u64, _) = (sent.iter().sum(), to.repository());
            progress(&format!(
                "pushed {sent} bytes in {} layers to {repository}",
                image.layers.len()
            ));
        }
        let (document, media_type) = built.document();
        if built.index.is_some() {
            self.put(&open, &to, document, media_type).await?;
        }
        self.label(&open, service, (document, media_type), tags, progress)
            .await?;
        Ok(digest)
    }

    async fn tag(
        &self,
        service: &ServiceName,
        digest: &Digest,
        tags: &[String],
    ) -> Result<(), RegistryError> {
        let image = self.image(service, digest);
        let manifest = self.remote.must(&image).await?;
        let open = self.remote.open(&image, RegistryOperation::Push).await?;
        let kind: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let kind = kind["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        self.label(&open, service, (&manifest, &kind), tags, &|_| {})
            .await
    }

    async fn base(
        &self,
        reference: &str,
        platforms: &[Platform],
    ) -> Result<Option<BaseImages>, RegistryError> {
        let Some(image) = self.reference(reference) else {
            return Ok(None);
        };
        self.remote.base(&image, platforms).await
    }

    /// The registry holds every blob against its digest as it takes it; what is asked is that all of them are there.
    async fn verify(&self, service: &ServiceName, digest: &Digest) -> Result<(), RegistryError> {
        let image = self.image(service, digest);
        let document = self.there(&image).await?;
        let Some(children) = document["manifests"].as_array() else {
            return self.whole(&image, &document).await;
        };
        for child in children {
            let child = self.image(service, &blob(child)?.digest);
            self.whole(&child, &self.there(&child).await?).await?;
        }
        Ok(())
    }

    fn wants_provenance(&self) -> bool {
        self.place.provenance
    }

    fn wants_sbom(&self) -> bool {
        self.place.sbom
    }

    async fn fetch(&self, layer: &Blob, to: &Path) -> Result<(), RegistryError> {
        self.remote.fetch(layer, to).await
    }

    async fn attach(
        &self,
        service: &ServiceName,
        image: &Digest,
        kind: &str,
        document: &[u8],
    ) -> Result<(), RegistryError> {
        attach::attach(self, service, image, kind, document).await
    }

    async fn signatures(
        &self,
        service: &ServiceName,
        image: &Digest,
    ) -> Result<Vec<Found>, RegistryError> {
        signature::find(self, service, image).await
    }

    fn moves_tags(&self) -> bool {
        self.place.moves_tags
    }

    async fn collect(
        &self,
        keep: &BTreeSet<Digest>,
        how: Collect,
    ) -> Result<Collected, RegistryError> {
        collect::collect(self, keep, self.newest, how).await
    }

    fn keeps_copies(&self) -> bool {
        self.copies.is_some()
    }

    async fn tidy(&self, keep: &BTreeSet<Digest>) -> Result<(), RegistryError> {
        match &self.copies {
            Some(copies) => copies.collect(keep, Collect::TakeAway).await.map(drop),
            None => Ok(()),
        }
    }

    fn pull(&self, service: &ServiceName) -> Pull {
        Pull::Repository(format!(
            "{}/{}",
            self.place.endpoint,
            self.repository(service)
        ))
    }

    async fn bring(
        &self,
        service: &ServiceName,
        image: &Digest,
        progress: Progress<'_>,
    ) -> Result<Pull, RegistryError> {
        let Some(copies) = &self.copies else {
            return Ok(self.pull(service));
        };
        // One that is there and whole needs no network.
        if copies.verify(service, image).await.is_err() {
            copies::bring(self, copies, service, image, progress).await?;
        }
        Ok(copies.pull(service))
    }
}
