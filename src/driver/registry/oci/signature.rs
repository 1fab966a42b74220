//! What may be an image's signature: the payloads under cosign's tag, and the artifacts among the
//! referrers. Whether it is one, is judged elsewhere.

use oci_spec::distribution::Reference;
use serde_json::Value;

use crate::driver::registry::oci::auth::Access;
use crate::driver::registry::oci::document::{blob, parse};
use crate::driver::registry::oci::fault::absent;
use crate::driver::registry::oci::list_tag;
use crate::driver::registry::oci::remote::Remote;
use crate::model::Digest;
use crate::model::signature::{ANNOTATION, ARTIFACT, BUNDLE, Form, PAYLOAD, SignatureFound};
use crate::port::registry::RegistryError;

/// The largest payload or bundle that is read.
const LIMIT: u64 = 256 << 10;
/// The most signatures of one image, of each kind, that are read.
const MOST: usize = 32;

/// Looks for the signatures of an image, by its digest.
pub(super) async fn find(
    remote: &Remote,
    image: &Reference,
) -> Result<Vec<SignatureFound>, RegistryError> {
    let mut found = Vec::new();
    if let Some(Ok(digest)) = image.digest().map(str::parse) {
        let tag = format!("{}.sig", list_tag(&digest));
        let (registry, repository) = (image.registry().to_owned(), image.repository().to_owned());
        let tagged = Reference::with_tag(registry, repository, tag.clone());
        if let Some((manifest, _)) = absent(remote.manifest(&tagged).await)?.flatten() {
            found.extend(read(remote, image, &tag, &manifest).await?);
        }
    }
    for digest in referrers(remote, image).await? {
        let artifact = image.clone_with_digest(digest.to_string());
        let manifest = absent(remote.manifest(&artifact).await)?.flatten();
        if let Some((manifest, _)) = manifest {
            found.extend(read(remote, image, digest.as_str(), &manifest).await?);
        }
    }
    Ok(found)
}

/// The artifacts that may hold signatures, by the registry's own list or by the tag that stands for
/// it.
async fn referrers(remote: &Remote, image: &Reference) -> Result<Vec<Digest>, RegistryError> {
    let listed = absent(super::referrers(remote, image).await)?;
    let entries = listed.into_iter().flatten();
    let signs = |kind: &str| kind == ARTIFACT || kind.starts_with(BUNDLE);
    let artifacts = entries.filter(|entry| entry.artifact.as_deref().is_some_and(signs));
    Ok(artifacts.map(|entry| entry.digest).take(MOST).collect())
}

/// The signatures in an artifact.
async fn read(
    remote: &Remote,
    image: &Reference,
    place: &str,
    manifest: &[u8],
) -> Result<Vec<SignatureFound>, RegistryError> {
    let manifest = parse(manifest).unwrap_or_default();
    let mut found = Vec::new();
    for layer in manifest["layers"]
        .as_array()
        .into_iter()
        .flatten()
        .take(MOST)
    {
        let kind = layer["mediaType"].as_str().unwrap_or_default();
        let signature = layer["annotations"][ANNOTATION].as_str().map(str::to_owned);
        let form = match signature {
            Some(signature) if kind == PAYLOAD => bytes(remote, image, layer)
                .await?
                .map(|payload| Form::Payload(payload, signature)),
            _ if kind.starts_with(BUNDLE) => bytes(remote, image, layer).await?.map(Form::Bundle),
            _ => Err("it is neither a payload with its signature nor a bundle".to_owned()),
        };

        found.push(SignatureFound {
            place: place.to_owned(),
            form: form.unwrap_or_else(Form::Unreadable),
        });
    }
    Ok(found)
}

/// A small blob's bytes, compared with its digest; or why they are not to be had.
async fn bytes(
    remote: &Remote,
    image: &Reference,
    layer: &Value,
) -> Result<Result<Vec<u8>, String>, RegistryError> {
    let Ok(blob) = blob(layer) else {
        return Ok(Err("only sha256 is understood".to_owned()));
    };
    if blob.size > LIMIT {
        return Ok(Err(format!("it is larger than {} KiB", LIMIT >> 10)));
    }

    let from = image.clone_with_digest(blob.digest.to_string());
    let open = remote.open(&from, Access::Pull).await?;
    let what = || format!("reading {from}");
    let read = open.again(what, || open.wire.blob(&from, blob.size)).await;
    let Some(bytes) = absent(read)? else {
        return Ok(Err(format!("{} is not there", blob.digest)));
    };
    if Digest::of(&bytes) != blob.digest {
        return Ok(Err(format!("{} is corrupt", blob.digest)));
    }
    Ok(Ok(bytes))
}
