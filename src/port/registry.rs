//! The registry: where images are kept, by digest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::future::try_join_all;

use crate::model::build::BuildSpec;
use crate::model::garbage::{Collect, Collected};
use crate::model::image::{ImageHome, ImageName};
use crate::model::signature::SignatureFound;
use crate::model::{ContentHash, Digest, Platform, ServiceName};
use crate::port::Progress;
use crate::port::engine::Pull;

/// A blob on its way to a registry: bytes in a file, or bytes that the registry has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its OCI media type.
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// Where its bytes are; none for a layer of the base, which the registry has.
    pub file: Option<PathBuf>,
}

/// What a build made, not yet pushed: one image, or an index with an image for each platform.
#[derive(Debug)]
pub struct Built {
    /// The images; one without an index.
    pub images: Vec<BuiltImage>,
    /// The index's exact bytes, where platforms were named; its digest names the image then.
    pub index: Option<Vec<u8>>,
}

impl Built {
    /// What names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.document().0)
    }

    /// The document whose digest names it, and its media type.
    #[must_use]
    pub fn document(&self) -> (&[u8], &str) {
        match (&self.index, self.images.first()) {
            (Some(index), _) => (index, INDEX),
            (None, Some(image)) => (&image.manifest, &image.media_type),
            (None, None) => (&[], INDEX),
        }
    }
}

impl From<BuiltImage> for Built {
    fn from(image: BuiltImage) -> Self {
        Self {
            images: vec![image],
            index: None,
        }
    }
}

/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One image that was built.
#[derive(Debug)]
pub struct BuiltImage {
    /// The manifest's exact bytes; its digest names the image.
    pub manifest: Vec<u8>,
    /// The manifest's OCI media type.
    pub media_type: String,
    /// The configuration.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
    /// The folder that holds the blobs' files; it goes when this value goes.
    pub folder: Option<tempfile::TempDir>,
}

impl BuiltImage {
    /// What names the image.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// An image in a registry, with what a build on top of it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The manifest's digest.
    pub digest: Digest,
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
}

/// What a base image's reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImages {
    /// What a build on it is held to: the image for this machine, or, where platforms are named,
    /// whatever the reference names: an index, mostly.
    pub digest: Digest,
    /// The images, by the platforms that were asked for. One that is not there is left out.
    pub images: BTreeMap<Platform, BaseImage>,
}

impl BaseImages {
    /// From a reference that leads to one image: where no platform is named it is taken for what it
    /// is, else it is for the platform that its configuration says.
    #[must_use]
    pub fn alone(image: BaseImage, platforms: &[Platform]) -> Self {
        let digest = image.digest.clone();
        let platform = if platforms.is_empty() {
            Some(Platform::own())
        } else {
            image.platform()
        };
        let wanted =
            platform.filter(|platform| platforms.is_empty() || platforms.contains(platform));
        Self {
            digest,
            images: wanted
                .map(|platform| (platform, image))
                .into_iter()
                .collect(),
        }
    }

    /// From an index with those of its images that were asked for; none when it has none for this
    /// machine, and no platform is named.
    #[must_use]
    pub fn of_index(
        index: Digest,
        images: BTreeMap<Platform, BaseImage>,
        platforms: &[Platform],
    ) -> Option<Self> {
        let digest = if platforms.is_empty() {
            images.values().next()?.digest.clone()
        } else {
            index
        };
        Some(Self { digest, images })
    }
}

/// The images that are asked for: of the platforms that are named, or of this machine.
#[must_use]
pub fn asked(platforms: &[Platform]) -> Vec<Platform> {
    if platforms.is_empty() {
        vec![Platform::own()]
    } else {
        platforms.to_vec()
    }
}

impl BaseImage {
    /// What its configuration says that it is for.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        #[derive(serde::Deserialize)]
        struct Says {
            os: String,
            architecture: String,
            variant: Option<String>,
        }
        let says: Says = serde_json::from_slice(&self.config).ok()?;
        Some(Platform::new(
            &says.os,
            &says.architecture,
            says.variant.as_deref(),
        ))
    }
}

/// Why a registry did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A blob is not what its digest says.
    #[error("{digest} in {place} is corrupt: its bytes have the digest {found}")]
    Corrupt {
        /// What it should be.
        digest: Digest,
        /// What it is.
        found: Digest,
        /// Where it is kept.
        place: String,
    },
    /// Something that should be there is not.
    #[error("{what} is not in {place}")]
    Missing {
        /// What.
        what: String,
        /// Where it was looked for.
        place: String,
    },
    /// A document is not what the specification says.
    #[error("{what} in {place} cannot be read: {reason}")]
    Malformed {
        /// What.
        what: String,
        /// Where it is kept.
        place: String,
        /// Why.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A registry on the network refused, or cannot be reached.
    #[error("{what}: {reason}")]
    Remote {
        /// What was being done.
        what: String,
        /// Why it was not.
        reason: String,
        /// What to do.
        help: String,
    },
    /// It was waited for too long.
    #[error("{what} was not done within {seconds} s")]
    Timeout {
        /// What was being done.
        what: String,
        /// The limit.
        seconds: u64,
    },
}

impl RegistryError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &str {
        match self {
            Self::Corrupt { .. } => {
                "nothing was started; remove the corrupt file, or have whoever runs the registry \
                 look at it, and apply again: the image is built anew"
            }
            Self::Missing { .. } => "apply again to build it anew, or bring it there",
            Self::Malformed { .. } => {
                "move the file away; images are built anew as they are needed"
            }
            Self::Io { .. } => {
                "look at the disk and the folder's permissions, then run the command again"
            }
            Self::Remote { help, .. } => help,
            Self::Timeout { .. } => {
                "look for another shipit that hangs, then run the command again"
            }
        }
    }
}

/// Why no signatures are found where none are kept.
#[must_use]
pub fn keeps_no_signatures(of: impl std::fmt::Display) -> RegistryError {
    RegistryError::Remote {
        what: format!("looking for signatures of {of}"),
        reason: "this registry keeps none".to_owned(),
        help: "`registry: {kind: oci}` and `{kind: ecr}` do".to_owned(),
    }
}

/// A registry.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;

    /// Whether an image is there, as far as that is quickly seen. By its digest alone: what a tag
    /// names is what somebody has pushed who may push, and nothing that a build has made.
    async fn has(&self, service: &ServiceName, image: &Digest) -> Result<bool, RegistryError>;

    /// Stores an image and labels it with `tags`; an index after all of its images. Blobs that are
    /// there are not written again. Returns when a reader would find all of it; a push that dies on
    /// the way leaves nothing that a reader could take for it.
    async fn push(
        &self,
        service: &ServiceName,
        image: &Built,
        tags: &[String],
        progress: Progress<'_>,
    ) -> Result<Digest, RegistryError>;

    /// Labels an image that is there. An existing tag moves.
    async fn tag(
        &self,
        service: &ServiceName,
        digest: &Digest,
        tags: &[String],
    ) -> Result<(), RegistryError>;

    /// An image by tag (`web:staging`) or digest, for a build on top of it for these platforms, or
    /// for this machine's own without any; none when it is not there.
    async fn base(
        &self,
        reference: &str,
        platforms: &[Platform],
    ) -> Result<Option<BaseImages>, RegistryError>;

    /// The digest that a name has now, by a tag that somebody else may move. Nothing is fetched.
    async fn resolve(&self, name: &ImageName) -> Result<Digest, RegistryError>;

    /// Whether an image can be started. One of the project's is whole: every blob of it is there,
    /// for every platform, and is what its digest says. Of one that somebody else keeps its
    /// registry says that it is there; where it is brought to this machine it is for it, too.
    async fn verify(&self, home: ImageHome<'_>, digest: &Digest) -> Result<(), RegistryError>;

    /// Finds what nobody needs, and deletes it if it shall: every image of shipit's making but
    /// those in `keep`, those that they are built on, and those younger than an hour (somebody may
    /// be about to use them); and every blob that no image left uses.
    async fn collect(
        &self,
        keep: &BTreeSet<Digest>,
        how: Collect,
    ) -> Result<Collected, RegistryError>;

    /// Whether images are brought to this machine before they are started.
    fn keeps_copies(&self) -> bool {
        false
    }

    /// Takes the copies away that were brought to this machine and that nobody needs.
    async fn prune_copies(&self, keep: &BTreeSet<Digest>) -> Result<(), RegistryError> {
        let _ = keep;
        Ok(())
    }

    /// Whether each image gets a document that says where it comes from.
    fn wants_provenance(&self) -> bool {
        false
    }

    /// Whether each image gets a document that says what is in it.
    fn wants_sbom(&self) -> bool {
        false
    }

    /// Fetches a layer of a base image that was asked for before into a file, and holds it against
    /// its digest.
    async fn fetch(&self, layer: &Blob, to: &Path) -> Result<(), RegistryError> {
        let _ = to;
        Err(RegistryError::Missing {
            what: format!("layer {}", layer.digest),
            place: self.place(),
        })
    }

    /// Attaches a document to an image that is there: an artifact whose subject it is.
    async fn attach(
        &self,
        service: &ServiceName,
        image: &Digest,
        kind: &str,
        document: &[u8],
    ) -> Result<(), RegistryError> {
        let _ = (service, image, kind, document);
        Ok(())
    }

    /// What may be an image's signature. Whether it is one, is not looked at.
    async fn signatures(
        &self,
        home: ImageHome<'_>,
        image: &Digest,
    ) -> Result<Vec<SignatureFound>, RegistryError> {
        let _ = image;
        Err(keeps_no_signatures(home))
    }

    /// Whether a tag may be moved to another image.
    fn moves_tags(&self) -> bool {
        true
    }

    /// Where the engine fetches an image from.
    fn pull(&self, home: ImageHome<'_>) -> Pull;

    /// Where the engine fetches this image from: where it is, or, for an engine that speaks to no
    /// registry, a folder that it was brought to.
    async fn bring(
        &self,
        home: ImageHome<'_>,
        image: &Digest,
        progress: Progress<'_>,
    ) -> Result<Pull, RegistryError> {
        let _ = (image, progress);
        Ok(self.pull(home))
    }
}

/// The tag that says of an image from which inputs it was built: for people, and for what collects
/// images that nobody needs. Nothing is ever started because of it.
#[must_use]
pub fn inputs_tag(inputs: &ContentHash) -> String {
    format!("src-{}", inputs.hex())
}

/// How much of an image's base is fetched to be looked into, as it is packed.
const MOST_FETCHED: u64 = 1 << 30;

/// An image's layers, with the files of those that its base has brought. One that is too large to
/// be fetched, or that no registry is known to have, stays without.
pub async fn layers(
    image: &BuiltImage,
    registry: &dyn Registry,
) -> Result<Vec<Blob>, RegistryError> {
    let mut layers = image.layers.clone();
    let Some(folder) = image.folder.as_ref().map(tempfile::TempDir::path) else {
        return Ok(layers);
    };

    let mut left = MOST_FETCHED;
    for layer in layers.iter_mut().rev().filter(|layer| layer.file.is_none()) {
        let file = folder.join(format!("fetched-{}", layer.digest.hex()));
        // The push has fetched it when the image's own registry lacked it.
        if !file.exists() {
            let Some(rest) = left.checked_sub(layer.size) else {
                continue;
            };
            left = rest;
            match registry.fetch(layer, &file).await {
                Err(RegistryError::Missing { .. }) => continue,
                other => other?,
            }
        }
        layer.file = Some(file);
    }
    Ok(layers)
}

/// Base images by the reference that names them.
pub type Bases = BTreeMap<String, BaseImages>;

/// The images that a build starts from, side by side. One that is not there is left out: the
/// builder knows whether it can do without. One whose registry does not answer is left out, too,
/// for a tool that may have images of its own.
pub async fn bases(
    references: &[String],
    spec: &BuildSpec,
    registry: &dyn Registry,
) -> Result<Bases, RegistryError> {
    let has_own = matches!(spec, BuildSpec::Dockerfile(_));
    let found = references.iter().map(|reference| async move {
        let base = match registry.base(reference, spec.platforms()).await {
            Err(RegistryError::Remote { .. }) if has_own => None,
            other => other?,
        };
        Ok::<_, RegistryError>(base.map(|base| (reference.clone(), base)))
    });
    Ok(try_join_all(found).await?.into_iter().flatten().collect())
}

/// The repository in which an image is signed: where somebody keeps it, however the engine comes by
/// it. None for the project's own images in a folder, which nobody signs there.
pub fn signed_at(registry: &dyn Registry, home: ImageHome<'_>) -> Option<String> {
    match (home, registry.pull(home)) {
        (ImageHome::Elsewhere(repository), _) => Some(repository.clone().into()),
        (ImageHome::Project(_), Pull::Repository(repository)) => Some(repository),
        (ImageHome::Project(_), Pull::Layout(_)) => None,
    }
}
