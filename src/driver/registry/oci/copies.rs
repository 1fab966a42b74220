//! Copies of images in a folder of this machine, for engines that speak to no registry.

use std::fs;

use serde_json::Value;

use crate::driver::registry::layout::Layout;
use crate::driver::registry::oci::remote::MANIFEST;
use crate::driver::registry::oci::{Oci, document};
use crate::model::{Digest, ServiceName};
use crate::port::Progress;
use crate::port::registry::{Blob, Built, BuiltImage, Registry as _, RegistryError};

/// Fetches what of an image is not in the layout yet; every blob is compared with its digest. Of an index it is the image
/// for this machine, which the index is kept with.
pub(super) async fn bring(
    registry: &Oci,
    copies: &Layout,
    service: &ServiceName,
    image: &Digest,
    progress: Progress<'_>,
) -> Result<(), RegistryError> {
    let from = registry.image(service, image);
    let missing = || RegistryError::Missing {
        what: format!("image {from}"),
        place: registry.place(),
    };
    let document = registry.remote.must(&from).await?;
    let found = registry
        .remote
        .images(&from, (document.clone(), image.clone()), &[])
        .await?;
    let own = found.images.into_values().next().ok_or_else(missing)?;
    let (manifest, index) = if own.digest == *image {
        (document, None)
    } else {
        (
            registry
                .remote
                .must(&registry.image(service, &own.digest))
                .await?,
            Some(document),
        )
    };
    let folder = tempfile::tempdir().map_err(|source| RegistryError::Io {
        what: "making a folder for the image".to_owned(),
        source,
    })?;
    let config = folder.path().join("config");
    let what = format!("writing {}", config.display());
    fs::write(&config, &own.config).map_err(|source| RegistryError::Io { what, source })?;
    let said = document::read(&from, &manifest)?;
    let text = |value: &Value, otherwise: &str| value.as_str().unwrap_or(otherwise).to_owned();
    let copy = BuiltImage {
        media_type: text(&said["mediaType"], MANIFEST),
        config: Blob {
            media_type: text(&said["config"]["mediaType"], ""),
            digest: Digest::of(&own.config),
            size: own.config.len() as u64,
            file: Some(config),
        },
        layers: own.layers,
        manifest,
        folder: Some(folder),
    };
    progress(&format!(
        "bringing {} from {}",
        image.short(),
        from.registry()
    ));
    copies
        .push(
            service,
            &Built {
                images: vec![copy],
                index,
            },
            &[],
            &|_| {},
        )
        .await
        .map(drop)
}
