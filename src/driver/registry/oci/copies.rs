//! Copies of images in a folder of this machine, for engines that speak to no registry.

use std::fs;

use oci_spec::distribution::Reference;
use serde_json::Value;

use crate::driver::registry::layout::Layout;
use crate::driver::registry::oci::document;
use crate::driver::registry::oci::remote::{MANIFEST, Remote};
use crate::model::Digest;
use crate::port::Progress;
use crate::port::registry::{BaseImage, Blob, Built, BuiltImage, RegistryError};

/// Fetches what of an image is not in the layout yet; every blob is compared with its digest. Of an
/// index it is the image for this machine, which the index is kept with.
pub(super) async fn bring(
    remote: &Remote,
    copies: &Layout,
    from: &Reference,
    progress: Progress<'_>,
) -> Result<(), RegistryError> {
    let fetched = fetch(remote, from).await?;
    let copy = copy(from, fetched.image, fetched.manifest)?;
    let built = Built {
        images: vec![copy],
        index: fetched.index,
    };

    let digest = built.digest();
    progress(&format!(
        "bringing {} from {}",
        digest.short(),
        from.registry()
    ));
    copies.store(&built, Vec::new(), &|_| {}).await
}

/// The image for this machine, as the registry has it.
pub(super) struct Fetched {
    pub image: BaseImage,
    manifest: Vec<u8>,
    /// The index that it was found in, if the reference names one.
    index: Option<Vec<u8>>,
}

/// What a digest stands for on this machine, without its layers.
pub(super) async fn fetch(remote: &Remote, from: &Reference) -> Result<Fetched, RegistryError> {
    let document = remote.must(from).await?;
    let digest = Digest::of(&document);
    let found = remote
        .images(from, (document.clone(), digest.clone()), &[])
        .await?;
    let own = found.images.into_values().next();
    let own = own.ok_or_else(|| RegistryError::Missing {
        what: format!("image {from}"),
        place: from.registry().to_owned(),
    })?;

    let (manifest, index) = if own.digest == digest {
        (document, None)
    } else {
        let own = from.clone_with_digest(own.digest.to_string());
        (remote.must(&own).await?, Some(document))
    };
    Ok(Fetched {
        image: own,
        manifest,
        index,
    })
}

/// The image as it is pushed into the layout, with its configuration in a file of its own.
fn copy(
    from: &Reference,
    image: BaseImage,
    manifest: Vec<u8>,
) -> Result<BuiltImage, RegistryError> {
    let folder = crate::files::temporary::folder().map_err(|source| RegistryError::Io {
        what: "making a folder for the image".to_owned(),
        source,
    })?;
    let config = folder.path().join("config");
    fs::write(&config, &image.config).map_err(|source| RegistryError::Io {
        what: format!("writing {}", config.display()),
        source,
    })?;

    let said = document::read(from, &manifest)?;
    Ok(BuiltImage {
        media_type: text(&said["mediaType"], MANIFEST),
        config: Blob {
            media_type: text(&said["config"]["mediaType"], ""),
            digest: Digest::of(&image.config),
            size: image.config.len() as u64,
            file: Some(config),
        },
        layers: image.layers,
        manifest,
        folder: Some(folder),
    })
}

fn text(value: &Value, otherwise: &str) -> String {
    value.as_str().unwrap_or(otherwise).to_owned()
}
