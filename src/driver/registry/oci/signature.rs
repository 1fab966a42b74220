//! What may be an image's signature: the payloads under cosign's tag, and the artifacts among the referrers. Whether it
//! is one, is judged elsewhere.

use futures_util::TryStreamExt as _;
use oci_client::RegistryOperation;
use oci_client::manifest::OciDescriptor;
use serde_json::Value;

use crate::driver::registry::oci::Oci;
use crate::driver::registry::oci::remote::{absent, blob, retry};
use crate::model::signature::{ANNOTATION, ARTIFACT, BUNDLE, Form, Found, PAYLOAD};
use crate::model::{Digest, ServiceName};
use crate::port::registry::{Blob, RegistryError};

/// The largest payload or bundle that is read.
const LIMIT: u64 = 256 << 10;
/// The most signatures of one image, of each kind, that are read.
const MOST: usize = 32;

pub(super) async fn find(
    oci: &Oci,
    service: &ServiceName,
    image: &Digest,
) -> Result<Vec<Found>, RegistryError> {
    let tag = format!("{}.sig", image.to_string().replace(':', "-"));
    let tagged = absent(oci.remote.manifest(&oci.tagged(service, &tag)).await)?.flatten();
    let mut found = Vec::new();
    if let Some((manifest, _)) = tagged {
        found.extend(read(oci, service, &tag, &manifest).await?);
    }
    for digest in referrers(oci, service, image).await? {
        let manifest = absent(oci.remote.manifest(&oci.image(service, &digest)).await)?.flatten();
        if let Some((manifest, _)) = manifest {
            found.extend(read(oci, service, digest.as_str(), &manifest).await?);
        }
    }
    Ok(found)
}

/// The artifacts that may hold signatures, by the registry's own list or by the tag that stands for it.
async fn referrers(oci: &Oci, service: &ServiceName, image: &Digest) -> Result<Vec<Digest>, RegistryError> {
    let name = oci.image(service, image);
    let open = oci.remote.open(&name, RegistryOperation::Pull).await?;
    let ask = || open.client.pull_referrers(&name, None);
    let listed = absent(retry(|| format!("asking what refers to {name}"), ask).await)?;
    let entries = listed.into_iter().flat_map(|index| index.manifests);
    let signs = |kind: &str| kind == ARTIFACT || kind.starts_with(BUNDLE);
    let artifacts = entries.filter(|entry| entry.artifact_type.as_deref().is_some_and(signs));
    Ok(artifacts.filter_map(|entry| entry.digest.parse().ok()).take(MOST).collect())
}

/// The signatures in an artifact.
async fn read(
    oci: &Oci,
    service: &ServiceName,
    place: &str,
    manifest: &[u8],
) -> Result<Vec<Found>, RegistryError> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let mut found = Vec::new();
    for layer in manifest["layers"].as_array().into_iter().flatten().take(MOST) {
        let kind = layer["mediaType"].as_str().unwrap_or_default();
        let signature = layer["annotations"][ANNOTATION].as_str().map(str::to_owned);
        let form = match signature {
            Some(signature) if kind == PAYLOAD => {
                bytes(oci, service, layer).await?.map(|payload| Form::Payload(payload, signature))
            }
            _ if kind.starts_with(BUNDLE) => bytes(oci, service, layer).await?.map(Form::Bundle),
            _ => Err("it is neither a payload with its signature nor a bundle".to_owned()),
        };
        found.push(Found { place: place.to_owned(), form: form.unwrap_or_else(Form::Unreadable) });
    }
    Ok(found)
}

/// A small blob's bytes, held against its digest; or why they are not to be had.
async fn bytes(
    oci: &Oci,
    service: &ServiceName,
    layer: &Value,
) -> Result<Result<Vec<u8>, String>, RegistryError> {
    let Ok(blob) = blob(layer) else { return Ok(Err("only sha256 is understood".to_owned())) };
    if blob.size > LIMIT {
        return Ok(Err(format!("it is larger than {} KiB", LIMIT >> 10)));
    }
    let Some(bytes) = absent(fetch(oci, service, &blob).await)? else {
        return Ok(Err(format!("{} is not there", blob.digest)));
    };
    if Digest::of(&bytes) != blob.digest {
        return Ok(Err(format!("{} is corrupt", blob.digest)));
    }
    Ok(Ok(bytes))
}

/// No more of it than it should have.
async fn fetch(oci: &Oci, service: &ServiceName, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
    let from = oci.image(service, &blob.digest);
    let open = oci.remote.open(&from, RegistryOperation::Pull).await?;
    let descriptor = OciDescriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    };
    let pull = || async {
        let mut stream = open.client.pull_blob_stream(&from, &descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(part) = stream.try_next().await? {
            if (bytes.len() + part.len()) as u64 > blob.size {
                break;
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    };
    retry(|| format!("reading {from}"), pull).await
}
