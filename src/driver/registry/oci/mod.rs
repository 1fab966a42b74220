//! A registry that speaks the OCI distribution protocol: Harbor, Docker's own, and others.
//!
//! A blob that is there is not sent again; a base image's layers are mounted from their repository
//! where that is possible, and fetched from another registry where it is not. What breaks on the
//! way goes on where it broke (`upload`). The manifest goes after its blobs and the tags after the
//! manifest, so that a push that dies on the way leaves nothing that a reader could take for an
//! image. [`remote`] speaks to registries; a registry is a stranger, and `auth` says who gets a
//! login, `guard` where it may lead to, `document` and `wire` how much of it is read. Start with
//! [`Oci`].

mod attach;
mod auth;
mod collect;
mod copies;
mod document;
mod elsewhere;
mod fault;
mod fetch;
mod garbage;
mod guard;
pub mod remote;
mod signature;
#[cfg(test)]
mod tests;
mod upload;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) use auth::hostile as hostile_token;
#[cfg(any(test, fuzzing))]
pub(crate) use document::hostile as hostile_manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use oci_spec::distribution::Reference;
use serde_json::Value;

use crate::driver::registry::layout::Layout;
use crate::driver::registry::oci::auth::Access;
use crate::driver::registry::oci::document::{blob, blobs};
use crate::driver::registry::oci::fault::absent;
use crate::driver::registry::oci::remote::{MANIFEST, RegistryConnection, Remote};
use crate::model::garbage::{Collect, Collected};
use crate::model::image::{ImageHome, ImageName};
use crate::model::signature::SignatureFound;
use crate::model::{Digest, Platform, ServiceName};
use crate::port::Progress;
use crate::port::engine::Pull;
use crate::port::registry::{BaseImages, Blob, Built, Registry, RegistryError};

/// Where a registry's images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
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
    place: Location,
    remote: Arc<Remote>,
    /// Where images are brought to, for an engine that speaks to no registry.
    copies: Option<Layout>,
    /// How many of the newest images a collection leaves in each repository, needed or not.
    newest: usize,
}

impl Oci {
    /// The registry at this place. Nothing is asked of it yet.
    #[must_use]
    pub fn new(place: Location, remote: Remote) -> Self {
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

    /// The same, with so many of the newest images left in each repository by a collection, needed
    /// or not.
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
        image: &Reference,
        blob: &Blob,
        folder: Option<&Path>,
        progress: Progress<'_>,
    ) -> Result<u64, RegistryError> {
        let open = &self.remote.open(image, Access::Push).await?;
        if has(open, image, &blob.digest).await? {
            return Ok(0);
        }

        let digest = &blob.digest;
        let fetched;
        let file = if let Some(file) = &blob.file {
            file
        } else {
            let home = self
                .remote
                .home(digest)
                .filter(|home| home.registry() == image.registry());
            if let Some(home) = home
                && open.wire.mount(image, &home, digest).await
            {
                return Ok(0);
            }
            let missing = || RegistryError::Missing {
                what: format!("layer {digest}"),
                place: self.place(),
            };
            fetched = folder
                .ok_or_else(missing)?
                .join(format!("fetched-{}", digest.hex()));
            self.remote.fetch(blob, &fetched).await?;
            &fetched
        };

        upload::upload(&self.remote, open, image, (blob, file), progress).await?;
        Ok(blob.size)
    }

    /// Puts a manifest there. What was sent before may have taken longer than a login holds.
    async fn put(
        &self,
        image: &Reference,
        manifest: &[u8],
        media_type: &str,
    ) -> Result<(), RegistryError> {
        let open = self.remote.open(image, Access::Push).await?;
        let what = || format!("pushing {image}");
        let ask = || open.wire.put(image, manifest, media_type);
        open.again(what, ask).await
    }

    /// A manifest or an index that must be there.
    async fn there(&self, image: &Reference) -> Result<Value, RegistryError> {
        document::read(image, &self.remote.must(image).await?)
    }

    /// Whether every blob of an image is there.
    async fn whole(&self, image: &Reference, manifest: &Value) -> Result<(), RegistryError> {
        let mut named = blobs(manifest)?;
        named.push(blob(&manifest["config"])?);
        let open = self.remote.open(image, Access::Pull).await?;
        let there = try_join_all(named.iter().map(|blob| has(&open, image, &blob.digest))).await?;
        let missing = |blob: &Blob| RegistryError::Missing {
            what: format!("{} of {image}", blob.digest),
            place: self.place(),
        };
        let lost = named.iter().zip(there).find(|(_, there)| !there);
        lost.map_or(Ok(()), |(blob, _)| Err(missing(blob)))
    }

    /// Puts tags on a manifest that is there. A tag that cannot be moved and names this image
    /// already is well; one that names another is told and left.
    async fn label(
        &self,
        service: &ServiceName,
        (manifest, media_type): (&[u8], &str),
        tags: &[String],
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        let digest = Digest::of(manifest);
        let pushes = tags.iter().map(|tag| {
            let (image, digest) = (self.tagged(service, tag), &digest);
            async move {
                let Err(error) = self.put(&image, manifest, media_type).await else {
                    return Ok(());
                };
                let there = self.remote.manifest(&image).await;
                match there.map(|found| found.map(|(_, digest)| digest)) {
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

    /// An image, wherever it is.
    fn at(&self, home: ImageHome<'_>, digest: &Digest) -> Reference {
        match home {
            ImageHome::Project(service) => self.image(service, digest),
            ImageHome::Elsewhere(repository) => elsewhere::by_digest(repository, digest),
        }
    }

    /// The same for one of the project's.
    async fn is_whole(&self, service: &ServiceName, digest: &Digest) -> Result<(), RegistryError> {
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

    /// What a base image's reference means: `web:staging` is a service's, everything with a slash
    /// is a whole name.
    fn reference(&self, text: &str) -> Option<Reference> {
        if text.contains('/') {
            return text.parse().ok();
        }
        let (service, tag) = text.split_once(':')?;
        Some(self.tagged(&service.parse().ok()?, tag))
    }
}

/// The tag that lists what is attached to an image, where the registry does not (distribution-spec,
/// "Referrers Tag Schema").
fn list_tag(image: &Digest) -> String {
    image.to_string().replace(':', "-")
}

/// What refers to an image: its digest, and what kind of artifact it is.
struct Referrer {
    digest: Digest,
    artifact: Option<String>,
}

/// What is attached to an image, by the registry's own list or by the tag that stands for it.
async fn referrers(remote: &Remote, image: &Reference) -> Result<Vec<Referrer>, RegistryError> {
    let open = remote.open(image, Access::Pull).await?;
    let what = || format!("asking what refers to {image}");
    let own = open.again(what, || open.wire.referrers(image)).await?;
    let listed = match own {
        Some(listed) => Some(listed),
        None => tagged_list(remote, image).await?,
    };
    let Some(listed) = listed else {
        return Ok(Vec::new());
    };

    let index = document::read(image, &listed)?;
    let entries = index["manifests"].as_array().into_iter().flatten();
    let referrer = |entry: &Value| {
        Some(Referrer {
            digest: entry["digest"].as_str()?.parse().ok()?,
            artifact: entry["artifactType"].as_str().map(str::to_owned),
        })
    };
    Ok(entries.filter_map(referrer).collect())
}

async fn tagged_list(remote: &Remote, image: &Reference) -> Result<Option<Vec<u8>>, RegistryError> {
    let Some(Ok(digest)) = image.digest().map(str::parse) else {
        return Ok(None);
    };
    let (registry, repository) = (image.registry().to_owned(), image.repository().to_owned());
    let list = Reference::with_tag(registry, repository, list_tag(&digest));
    let found = absent(remote.manifest(&list).await)?.flatten();
    Ok(found.map(|(bytes, _)| bytes))
}

async fn has(
    open: &RegistryConnection,
    image: &Reference,
    blob: &Digest,
) -> Result<bool, RegistryError> {
    let what = || format!("looking for {blob} in {}", image.repository());
    open.again(what, || open.wire.has(image, blob)).await
}

#[async_trait]
impl Registry for Oci {
    fn place(&self) -> String {
        self.place.endpoint.clone()
    }

    async fn has(&self, service: &ServiceName, image: &Digest) -> Result<bool, RegistryError> {
        let image = self.image(service, image);
        let open = self.remote.open(&image, Access::Pull).await?;
        let what = || format!("looking for {image}");
        open.again(what, || open.wire.has_manifest(&image)).await
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
        for image in &built.images {
            let to = self.image(service, &image.digest());
            let folder = image.folder.as_ref().map(tempfile::TempDir::path);
            let blobs = std::iter::once(&image.config).chain(&image.layers);
            let sent =
                try_join_all(blobs.map(|blob| self.send(&to, blob, folder, progress))).await?;
            self.put(&to, &image.manifest, &image.media_type).await?;
            let (sent, repository): (u64, _) = (sent.iter().sum(), to.repository());
            progress(&format!(
                "pushed {sent} bytes in {} layers to {repository}",
                image.layers.len()
            ));
        }

        let (document, media_type) = built.document();
        if built.index.is_some() {
            self.put(&to, document, media_type).await?;
        }
        self.label(service, (document, media_type), tags, progress)
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
        let kind = document::read(&image, &manifest)?;
        let kind = kind["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        self.label(service, (&manifest, &kind), tags, &|_| {}).await
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

    /// The registry holds every blob against its digest as it takes it; what is asked is that all
    /// of them are there.
    async fn verify(&self, home: ImageHome<'_>, digest: &Digest) -> Result<(), RegistryError> {
        let repository = match home {
            ImageHome::Project(service) => return self.is_whole(service, digest).await,
            ImageHome::Elsewhere(repository) => repository,
        };
        let copies = self.copies.as_ref();
        self.remote.verify(repository, digest, copies).await
    }

    async fn resolve(&self, name: &ImageName) -> Result<Digest, RegistryError> {
        self.remote.resolve(name).await
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
        home: ImageHome<'_>,
        image: &Digest,
    ) -> Result<Vec<SignatureFound>, RegistryError> {
        signature::find(&self.remote, &self.at(home, image)).await
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

    async fn prune_copies(&self, keep: &BTreeSet<Digest>) -> Result<(), RegistryError> {
        match &self.copies {
            Some(copies) => copies.collect(keep, Collect::Delete).await.map(drop),
            None => Ok(()),
        }
    }

    fn pull(&self, home: ImageHome<'_>) -> Pull {
        Pull::Repository(match home {
            ImageHome::Project(service) => {
                format!("{}/{}", self.place.endpoint, self.repository(service))
            }
            ImageHome::Elsewhere(repository) => repository.clone().into(),
        })
    }

    async fn bring(
        &self,
        home: ImageHome<'_>,
        image: &Digest,
        progress: Progress<'_>,
    ) -> Result<Pull, RegistryError> {
        let Some(copies) = &self.copies else {
            return Ok(self.pull(home));
        };
        let from = self.at(home, image);
        self.remote
            .bring_from(copies, &from, image, progress)
            .await?;
        Ok(copies.folder())
    }
}
