//! A registry that speaks the OCI distribution protocol: Harbor, Docker's own, and others.
//!
//! A blob that is there is not sent again; a base image's layers are mounted from its repository where that is
//! possible. The manifest goes last, so that a push that dies on the way leaves nothing that a reader could take for
//! an image. `credentials` reads what `docker login` wrote. Start with [`Oci`].

mod credentials;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use oci_spec::image::ImageManifest;
use tokio::sync::OnceCell;
use tokio_util::io::ReaderStream;

use crate::model::{ContentHash, Digest, ServiceName};
use crate::port::Progress;
use crate::port::engine::Pull;
use crate::port::registry::{BaseImage, Blob, BuiltImage, Collected, Registry, RegistryError, inputs_tag};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// How often a request is sent.
const TRIES: u32 = 4;
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_mins(1);
/// The largest configuration of a base image that is read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// Where a registry's images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The registry: `registry.example.com`, `localhost:5000`.
    pub endpoint: String,
    /// Each service's repository there.
    pub repositories: BTreeMap<ServiceName, String>,
}

/// A registry on the network.
pub struct Oci {
    place: Place,
    client: Client,
    auth: OnceCell<RegistryAuth>,
    /// Where the layers of base images were seen.
    bases: Mutex<BTreeMap<Digest, Reference>>,
}

impl Oci {
    /// The registry at this place. Nothing is asked of it yet.
    #[must_use]
    pub fn new(place: Place) -> Self {
        let client = Client::new(ClientConfig {
            protocol: if is_loopback(&place.endpoint) { ClientProtocol::Http } else { ClientProtocol::Https },
            use_monolithic_push: true,
            connect_timeout: Some(Duration::from_secs(5)),
            read_timeout: Some(SILENCE),
            user_agent: concat!("shipit/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Self { place, client, auth: OnceCell::new(), bases: Mutex::default() }
    }

    fn repository(&self, service: &ServiceName) -> String {
        self.place.repositories.get(service).cloned().unwrap_or_else(|| service.to_string())
    }

    fn tagged(&self, service: &ServiceName, tag: &str) -> Reference {
        Reference::with_tag(self.place.endpoint.clone(), self.repository(service), tag.to_owned())
    }

    fn image(&self, service: &ServiceName, digest: &Digest) -> Reference {
        Reference::with_digest(self.place.endpoint.clone(), self.repository(service), digest.to_string())
    }

    /// Logs in for what is to be done; a token that is good is used again.
    async fn auth(
        &self,
        image: &Reference,
        operation: RegistryOperation,
    ) -> Result<&RegistryAuth, RegistryError> {
        let auth = self.auth.get_or_try_init(|| async { credentials::of(image.registry()).await }).await?;
        let what = || format!("logging in to {}", image.registry());
        retry(what, || self.client.auth(image, auth, operation)).await?;
        Ok(auth)
    }

    async fn has(&self, image: &Reference, blob: &Digest) -> Result<bool, RegistryError> {
        let digest = blob.to_string();
        retry(
            || format!("looking for {digest} in {}", image.repository()),
            || self.client.blob_exists(image, &digest),
        )
        .await
    }

    async fn upload(&self, image: &Reference, blob: &Blob) -> Result<u64, RegistryError> {
        if self.has(image, &blob.digest).await? {
            return Ok(0);
        }
        let digest = blob.digest.to_string();
        let Some(file) = &blob.file else {
            let from = self.bases.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.digest).cloned();
            let missing = || RegistryError::Missing { what: format!("layer {digest}"), place: self.place() };
            let from = from.filter(|from| from.registry() == image.registry()).ok_or_else(missing)?;
            let what = || format!("mounting {digest} from {}", from.repository());
            retry(what, || self.client.mount_blob(image, &from, &digest)).await?;
            return Ok(0);
        };
        let send = || async {
            let file = tokio::fs::File::open(file).await.map_err(OciDistributionError::from)?;
            let stream = ReaderStream::with_capacity(file, 256 << 10).map_err(OciDistributionError::from);
            self.client.push_blob_stream(image, stream, &digest, Some(blob.size)).await
        };
        retry(|| format!("pushing {digest} to {}", image.repository()), send).await?;
        Ok(blob.size)
    }

    /// A manifest's bytes and digest; none when it is not there.
    async fn manifest(&self, image: &Reference) -> Result<Option<(Vec<u8>, Digest)>, RegistryError> {
        let auth = self.auth(image, RegistryOperation::Pull).await?;
        let what = || format!("reading {image}");
        let pulled =
            retry(what, || self.client.pull_manifest_raw(image, auth, &[MANIFEST, DOCKER_MANIFEST])).await;
        match absent(pulled)? {
            None => Ok(None),
            Some((bytes, _)) => {
                let digest = Digest::of(&bytes);
                match image.digest() {
                    Some(wanted) if wanted != digest.to_string() => Err(RegistryError::Corrupt {
                        digest: wanted.parse().unwrap_or_else(|_| digest.clone()),
                        found: digest,
                        place: self.place(),
                    }),
                    _ => Ok(Some((bytes.to_vec(), digest))),
                }
            }
        }
    }

    async fn label(
        &self,
        service: &ServiceName,
        manifest: &[u8],
        media_type: &str,
        tags: &[String],
    ) -> Result<(), RegistryError> {
        let pushes = tags.iter().map(|tag| {
            let image = self.tagged(service, tag);
            async move {
                let kind = http::HeaderValue::from_str(media_type)
                    .unwrap_or_else(|_| http::HeaderValue::from_static(MANIFEST));
                let send = || self.client.push_manifest_raw(&image, manifest.to_vec(), kind.clone());
                retry(|| format!("pushing {image}"), send).await
            }
        });
        try_join_all(pushes).await.map(drop)
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

/// Whether a registry is on this very machine: then it may speak without TLS.
fn is_loopback(endpoint: &str) -> bool {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Sends a request again while it may get better, with pauses that grow and differ.
async fn retry<T, F: Future<Output = Result<T, OciDistributionError>>>(
    what: impl Fn() -> String,
    send: impl Fn() -> F,
) -> Result<T, RegistryError> {
    let mut attempt = 0_u32;
    loop {
        let error = match send().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        attempt += 1;
        if attempt >= TRIES || !is_transient(&error) {
            return Err(failed(what(), &error));
        }
        let random = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
        tokio::time::sleep(Duration::from_millis(200 << attempt) * (256 + random) / 512).await;
    }
}

fn is_transient(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(error) => {
            error.is_timeout() || error.is_request() || error.is_body()
        }
        OciDistributionError::ServerError { code, .. } => *code == 429 || *code >= 500,
        _ => false,
    }
}

fn is_absent(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => true,
        OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(
                error.code,
                OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
            )
        }),
        _ => false,
    }
}

/// None instead of an error that says that there is no such thing.
fn absent<T>(result: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(what: String, error: &OciDistributionError) -> RegistryError {
    if is_absent(error) {
        return RegistryError::Missing { what, place: "the registry".to_owned() };
    }
    let text = match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            format!("{error}; `docker login` (or `skopeo login`) writes the credentials that shipit reads")
        }
        OciDistributionError::RequestError(inner) => {
            let mut text = inner.to_string();
            let mut next = std::error::Error::source(inner);
            while let Some(error) = next {
                text = format!("{text}: {error}");
                next = error.source();
            }
            text
        }
        other => other.to_string(),
    };
    RegistryError::Io { what, source: std::io::Error::other(text) }
}

fn malformed(what: &str, reason: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Malformed {
        what: what.to_owned(),
        place: "the registry".to_owned(),
        reason: reason.to_string(),
    }
}

fn blob(descriptor: &oci_spec::image::Descriptor) -> Result<Blob, RegistryError> {
    let digest = descriptor.digest().to_string();
    let digest = digest.parse().map_err(|_| malformed(&digest, &"only sha256 is understood"))?;
    Ok(Blob { media_type: descriptor.media_type().to_string(), digest, size: descriptor.size(), file: None })
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
        let auth = self.auth(&image, RegistryOperation::Pull).await?;
        let found =
            retry(|| format!("looking for {image}"), || self.client.fetch_manifest_digest(&image, auth))
                .await;
        match absent(found)? {
            None => Ok(None),
            Some(digest) => {
                digest.parse().map(Some).map_err(|_| malformed(&digest, &"only sha256 is understood"))
            }
        }
    }

    async fn push(
        &self,
        service: &ServiceName,
        image: &BuiltImage,
        tags: &[String],
        progress: Progress<'_>,
    ) -> Result<Digest, RegistryError> {
        let digest = image.digest();
        let to = self.image(service, &digest);
        self.auth(&to, RegistryOperation::Push).await?;
        let blobs = std::iter::once(&image.config).chain(&image.layers);
        let sent: u64 = try_join_all(blobs.map(|blob| self.upload(&to, blob))).await?.iter().sum();
        self.label(service, &image.manifest, &image.media_type, tags).await?;
        let repository = to.repository();
        progress(&format!("pushed {sent} bytes in {} layers to {repository}", image.layers.len()));
        Ok(digest)
    }

    async fn tag(
        &self,
        service: &ServiceName,
        digest: &Digest,
        tags: &[String],
    ) -> Result<(), RegistryError> {
        let image = self.image(service, digest);
        let missing = || RegistryError::Missing { what: format!("image {digest}"), place: self.place() };
        let (manifest, _) = self.manifest(&image).await?.ok_or_else(missing)?;
        self.auth(&image, RegistryOperation::Push).await?;
        let kind: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let kind = kind["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        self.label(service, &manifest, &kind, tags).await
    }

    async fn base(&self, reference: &str) -> Result<Option<BaseImage>, RegistryError> {
        let Some(image) = self.reference(reference) else { return Ok(None) };
        let Some((bytes, digest)) = self.manifest(&image).await? else { return Ok(None) };
        let manifest: ImageManifest =
            serde_json::from_slice(&bytes).map_err(|error| malformed(reference, &error))?;
        let config = blob(manifest.config())?;
        if config.size > CONFIG_LIMIT {
            return Err(malformed(reference, &"its configuration is too large"));
        }
        let pull = || async {
            let mut bytes = Vec::new();
            self.client
                .pull_blob(&image, manifest.config().digest().to_string().as_str(), &mut bytes)
                .await?;
            Ok(bytes)
        };
        let bytes = retry(|| format!("reading the configuration of {reference}"), pull).await?;
        let layers: Vec<Blob> = manifest.layers().iter().map(blob).collect::<Result<_, _>>()?;
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &layers {
            bases.insert(layer.digest.clone(), image.clone());
        }
        Ok(Some(BaseImage { digest, config: bytes, layers }))
    }

    /// The registry holds every blob against its digest as it takes it; what is asked is that all of them are there.
    async fn verify(&self, service: &ServiceName, digest: &Digest) -> Result<(), RegistryError> {
        let image = self.image(service, digest);
        let missing = |what: String| RegistryError::Missing { what, place: self.place() };
        let (manifest, _) = self.manifest(&image).await?.ok_or_else(|| missing(format!("image {image}")))?;
        let manifest: ImageManifest =
            serde_json::from_slice(&manifest).map_err(|error| malformed(&image.to_string(), &error))?;
        let blobs: Vec<Blob> = std::iter::once(manifest.config())
            .chain(manifest.layers())
            .map(blob)
            .collect::<Result<_, _>>()?;
        let there = try_join_all(blobs.iter().map(|blob| self.has(&image, &blob.digest))).await?;
        match blobs.iter().zip(there).find(|(_, there)| !there) {
            Some((blob, _)) => Err(missing(format!("{} of {image}", blob.digest))),
            None => Ok(()),
        }
    }

    /// What a registry keeps is its own rule's affair: others may use these images, too.
    async fn collect(&self, _: &BTreeSet<Digest>) -> Result<Collected, RegistryError> {
        Ok(Collected::default())
    }

    fn pull(&self, service: &ServiceName) -> Pull {
        Pull::Repository(format!("{}/{}", self.place.endpoint, self.repository(service)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for endpoint in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "localhost"] {
            assert!(is_loopback(endpoint), "{endpoint}");
        }
        for endpoint in
            ["registry.example.com", "localhost.example.com:5000", "10.0.0.1:5000", "127.0.0.1.example.com"]
        {
            assert!(!is_loopback(endpoint), "{endpoint}");
        }
    }
}
