//! Copies of images in a folder of this machine, for engines that speak to no registry.

use std::fs;

use oci_spec::distribution::Reference;
use serde_json::Value;

use crate::driver::registry::layout::Layout;
use crate::driver::registry::oci::remote::MANIFEST;
use crate::driver::registry::oci::{Oci, document};
use crate::model::{Digest, ServiceName};
use crate::port::Progress;
use crate::port::registry::{BaseImage, Blob, Built, BuiltImage, Registry as _, RegistryError};

/// Fetches what of an image is not in the layout yet; every blob is compared with its digest. Of an
/// index it is the image for this machine, which the index is kept with.
pub(super) async fn bring(
    registry: &Oci,
    copies: &Layout,
    service: &ServiceName,
    image: &Digest,
    progress: Progress<'_>,
) -> Result<(), RegistryError> {
    let from = registry.image(service, image);
    let fetched = fetch(registry, service, image).await?;
    let copy = copy(&from, fetched.image, fetched.manifest)?;

    progress(&format!(
        "bringing {} from {}",
        image.short(),
        from.registry()
    ));
    let built = Built {
        images: vec![copy],
        index: fetched.index,
    };
    copies.push(service, &built, &[], &|_| {}).await.map(drop)
}

/// The image for this machine, as the registry has it.
struct Fetched {
    image: BaseImage,
    manifest: Vec<u8>,
    /// The index that it was found in, if the reference names one.
    index: Option<Vec<u8>>,
}

async fn fetch(
    registry: &Oci,
    service: &ServiceName,
    image: &Digest,
) -> Result<Fetched, RegistryError> {
    let (remote, from) = (&registry.remote, registry.image(service, image));
    let document = remote.must(&from).await?;
    let found = remote
        .images(&from, (document.clone(), image.clone()), &[])
        .await?;
    let own = found.images.into_values().next();
    let own = own.ok_or_else(|| RegistryError::Missing {
        what: format!("image {from}"),
        place: registry.place(),
    })?;

    let (manifest, index) = if own.digest == *image {
        (document, None)
    } else {
        let own = registry.image(service, &own.digest);
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
    let folder = tempfile::tempdir().map_err(|source| RegistryError::Io {
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
