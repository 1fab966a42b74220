//! Images that somebody else keeps: looked up by a tag, looked for by their digest, and brought to
//! this machine. Nothing is ever changed there.

use std::time::Duration;

use oci_spec::distribution::Reference;

use crate::driver::registry::layout::{Layout, Reading};
use crate::driver::registry::oci::remote::Remote;
use crate::driver::registry::oci::{copies, signature};
use crate::model::image::{ImageName, ImageRepository};
use crate::model::signature::SignatureFound;
use crate::model::{Digest, Platform};
use crate::port::Progress;
use crate::port::registry::{BaseImage, RegistryError};

/// How long a tag may take to be looked up, with all that a registry asks for before.
const LOOK_UP: Duration = Duration::from_mins(1);

impl Remote {
    /// The digest that a name has now.
    pub(in crate::driver::registry) async fn resolve(
        &self,
        name: &ImageName,
    ) -> Result<Digest, RegistryError> {
        self.resolve_within(name, LOOK_UP).await
    }

    /// The same within so long.
    pub(super) async fn resolve_within(
        &self,
        name: &ImageName,
        limit: Duration,
    ) -> Result<Digest, RegistryError> {
        if let Some(digest) = &name.digest {
            return Ok(digest.clone());
        }
        let (registry, repository) = (name.repository.registry(), name.repository.name());
        let tag = name.tag.clone().unwrap_or_default();
        let image = Reference::with_tag(registry.to_owned(), repository.to_owned(), tag.clone());
        let asked = tokio::time::timeout(limit, self.digest(&image)).await;
        let found = asked.unwrap_or_else(|_| Err(late(registry, limit)))?;
        found.ok_or_else(|| RegistryError::Remote {
            what: format!("looking it up at {registry}"),
            reason: format!("there is no tag {tag} of {repository}, or no such repository"),
            help: format!(
                "`skopeo list-tags docker://{registry}/{repository}` lists what there is"
            ),
        })
    }

    /// Whether an image can be started here. It may be among the copies already; else the registry
    /// is asked, and without copies the engine finds out itself whether it is for its machine.
    pub(in crate::driver::registry) async fn verify(
        &self,
        repository: &ImageRepository,
        image: &Digest,
        copies: Option<&Layout>,
    ) -> Result<(), RegistryError> {
        match copies {
            None => self.is_there(repository, image).await,
            Some(copies) if copies.has_for_us(image, Reading::Changed).await => Ok(()),
            Some(_) => self.is_there_for_us(repository, image).await,
        }
    }

    /// Asks the registry whether an image is there.
    pub(super) async fn is_there(
        &self,
        repository: &ImageRepository,
        image: &Digest,
    ) -> Result<(), RegistryError> {
        let name = by_digest(repository, image);
        match self.digest(&name).await? {
            Some(found) if found == *image => Ok(()),
            Some(found) => Err(RegistryError::Corrupt {
                digest: image.clone(),
                found,
                place: repository.registry().to_owned(),
            }),
            None => Err(gone(repository, image)),
        }
    }

    /// Asks the registry whether an image is there, and one for this machine.
    async fn is_there_for_us(
        &self,
        repository: &ImageRepository,
        image: &Digest,
    ) -> Result<(), RegistryError> {
        self.is_there(repository, image).await?;
        let none_for_us = |reason: String| RegistryError::Remote {
            what: format!("looking for {repository}@{image} for {}", Platform::own()),
            reason,
            help: "name an image that is made for the platform of this machine".to_owned(),
        };
        match copies::fetch(self, &by_digest(repository, image)).await {
            Ok(fetched) => other_platform(&fetched.image).map_or(Ok(()), |other| {
                Err(none_for_us(format!("it is made for {other}")))
            }),
            Err(RegistryError::Missing { .. }) => {
                Err(none_for_us("it is made for other platforms".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// What may be an image's signature.
    pub(in crate::driver::registry) async fn signatures(
        &self,
        repository: &ImageRepository,
        image: &Digest,
    ) -> Result<Vec<SignatureFound>, RegistryError> {
        signature::find(self, &by_digest(repository, image)).await
    }

    /// Brings an image to a folder of this machine. One that is there and whole needs no network.
    pub(in crate::driver::registry) async fn bring(
        &self,
        copies: &Layout,
        repository: &ImageRepository,
        image: &Digest,
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        self.bring_from(copies, &by_digest(repository, image), image, progress)
            .await
    }

    /// The same by its name at its registry.
    pub(super) async fn bring_from(
        &self,
        copies: &Layout,
        from: &Reference,
        image: &Digest,
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        if copies.has_for_us(image, Reading::All).await {
            return Ok(());
        }
        copies::bring(self, copies, from, progress).await
    }
}

fn late(registry: &str, limit: Duration) -> RegistryError {
    RegistryError::Remote {
        what: format!("looking it up at {registry}"),
        reason: format!("no answer within {}", humantime::format_duration(limit)),
        help: "run the command again; an image by its digest need not be looked up".to_owned(),
    }
}

/// An image of a repository.
pub(super) fn by_digest(repository: &ImageRepository, image: &Digest) -> Reference {
    let (registry, name) = (repository.registry(), repository.name());
    Reference::with_digest(registry.to_owned(), name.to_owned(), image.to_string())
}

fn gone(repository: &ImageRepository, image: &Digest) -> RegistryError {
    let registry = repository.registry();
    RegistryError::Remote {
        what: format!("looking for {repository}@{image}"),
        reason: format!("{registry} does not have it, or not any more"),
        help:
            "look at the digest and the repository's name; whoever keeps an image may delete it: \
               copy what must stay into a registry of your own (`skopeo copy --all`)"
                .to_owned(),
    }
}

/// The platform that an image is for, when that is known and not this machine's.
fn other_platform(image: &BaseImage) -> Option<Platform> {
    let says = image.platform()?;
    let own = Platform::own();
    let fits = own.choose([(says.clone(), ())]);
    fits.is_none().then_some(says)
}
