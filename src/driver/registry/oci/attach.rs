//! Documents attached to an image: artifacts whose subject it is (distribution-spec, "Listing
//! Referrers"). A registry that does not list them itself has them listed under the tag that the
//! specification gives for that.

use oci_spec::distribution::Reference;
use serde_json::{Value, json};

use crate::driver::registry::oci::auth::Access;
use crate::driver::registry::oci::document::parse;
use crate::driver::registry::oci::fault::absent;
use crate::driver::registry::oci::remote::{MANIFEST, RegistryConnection};
use crate::driver::registry::oci::{Oci, has, list_tag, referrers};
use crate::model::{Digest, ServiceName};
use crate::port::registry::{INDEX, RegistryError};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

pub(super) async fn attach(
    oci: &Oci,
    service: &ServiceName,
    subject: &Digest,
    kind: &str,
    document: &[u8],
) -> Result<(), RegistryError> {
    let image = oci.image(service, subject);
    let manifest = oci.remote.must(&image).await?;
    let media_type = parse(&manifest).unwrap_or_default();
    let media_type = media_type["mediaType"].as_str().unwrap_or(MANIFEST);
    let open = oci.remote.open(&image, Access::Push).await?;
    let blob = |bytes: &[u8], media_type: &str| json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
    for bytes in [document, b"{}"] {
        send(&open, &image, bytes).await?;
    }
    let artifact = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": blob(b"{}", EMPTY),
        "layers": [blob(document, kind)],
        "subject": blob(&manifest, media_type),
    });

    let artifact = artifact.to_string().into_bytes();
    let digest = Digest::of(&artifact);
    oci.put(&oci.image(service, &digest), &artifact, MANIFEST)
        .await?;
    list(oci, service, subject, &artifact, kind).await
}

async fn send(
    open: &RegistryConnection,
    image: &Reference,
    bytes: &[u8],
) -> Result<(), RegistryError> {
    let digest = Digest::of(bytes);
    if has(open, image, &digest).await? {
        return Ok(());
    }
    let what = || format!("pushing {digest} to {}", image.repository());
    open.again(what, || open.wire.push(image, bytes.to_vec()))
        .await
}

/// Lists the artifact by tag, where the registry does not list it itself.
async fn list(
    oci: &Oci,
    service: &ServiceName,
    subject: &Digest,
    artifact: &[u8],
    kind: &str,
) -> Result<(), RegistryError> {
    let image = oci.image(service, subject);
    let digest = Digest::of(artifact);
    let listed = referrers(&oci.remote, &image).await?;
    if listed.iter().any(|entry| entry.digest == digest) {
        return Ok(());
    }

    let tag = oci.tagged(service, &list_tag(subject));
    let there = absent(oci.remote.manifest(&tag).await)?.flatten();
    let there: Value = there
        .and_then(|(bytes, _)| parse(&bytes).ok())
        .unwrap_or_default();
    let mut entries = there["manifests"].as_array().cloned().unwrap_or_default();
    entries
        .push(json!({"mediaType": MANIFEST, "digest": digest, "size": artifact.len(), "artifactType": kind}));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
    oci.put(&tag, index.as_bytes(), INDEX).await
}
