//! Registries on the network, as many as are named: one client and one login for each.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::driver::registry::oci::credentials;
use crate::driver::registry::oci::wire::Wire;
use crate::model::{Digest, Platform, chain, is_loopback, platform};
use crate::port::pause;
use crate::port::registry::{BaseImage, BaseImages, Blob, INDEX, RegistryError, asked};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Every kind of manifest that is understood.
pub(super) const MANIFESTS: [&str; 4] = [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX];
/// How often a request is sent.
pub(super) const TRIES: u32 = 4;
/// How long a server may be silent.
pub(super) const SILENCE: Duration = Duration::from_mins(1);
/// The largest configuration of a base image that is read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// Who logs in to a registry.
#[async_trait]
pub trait Login: Send + Sync {
    /// The credentials for a registry, and until when they hold.
    async fn credentials(
        &self,
        registry: &str,
    ) -> Result<(RegistryAuth, Option<Instant>), RegistryError>;
}

/// Logs in with what `docker login` wrote, or with a credential helper.
#[derive(Debug, Default, Clone, Copy)]
pub struct DockerLogin;

#[async_trait]
impl Login for DockerLogin {
    async fn credentials(
        &self,
        registry: &str,
    ) -> Result<(RegistryAuth, Option<Instant>), RegistryError> {
        Ok((credentials::of(registry).await?, None))
    }
}

/// How a registry is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// For which registry this is: `registry.example.com`.
    pub endpoint: String,
    /// A file with the certificates that may have signed the registry's own, beside those of the machine.
    pub ca: Option<PathBuf>,
    /// Whether it is spoken to without TLS.
    pub plain_http: bool,
}

#[derive(Clone)]
pub(super) struct Connection {
    pub client: Client,
    pub wire: Wire,
    pub auth: RegistryAuth,
    until: Option<Instant>,
}

/// Registries on the network.
pub struct Remote {
    login: Arc<dyn Login>,
    trust: Trust,
    connections: tokio::sync::Mutex<BTreeMap<String, Connection>>,
    /// Where the layers of base images were seen.
    layers: Mutex<BTreeMap<Digest, Reference>>,
}

impl Default for Remote {
    fn default() -> Self {
        Self::new(Arc::new(DockerLogin), Trust::default())
    }
}

impl Remote {
    /// Registries to log in to. Nothing is asked of them yet.
    #[must_use]
    pub fn new(login: Arc<dyn Login>, trust: Trust) -> Self {
        Self {
            login,
            trust,
            connections: tokio::sync::Mutex::default(),
            layers: Mutex::default(),
        }
    }

    fn clients(&self, registry: &str, origin: &str) -> Result<(Client, Wire), RegistryError> {
        let own = registry == self.trust.endpoint;
        let plain = is_loopback(registry) || (own && self.trust.plain_http);
        let what = || format!("speaking to {registry}");
        let (mut extra_root_certificates, mut certificates) = (Vec::new(), Vec::new());
        if let Some(ca) = self.trust.ca.as_ref().filter(|_| own) {
            let reading = format!("reading {}", ca.display());
            let data = std::fs::read(ca).map_err(|source| RegistryError::Io {
                what: reading,
                source,
            })?;
            let bundle = reqwest::Certificate::from_pem_bundle(&data);
            certificates = bundle.map_err(|error| failed(what(), &error.into()))?;
            extra_root_certificates.push(Certificate {
                encoding: CertificateEncoding::Pem,
                data,
            });
        }
        let plain = plain && !(own && self.trust.ca.is_some());
        let (protocol, scheme) = if plain {
            (ClientProtocol::Http, "http")
        } else {
            (ClientProtocol::Https, "https")
        };
        let config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            extra_root_certificates,
            connect_timeout: Some(Duration::from_secs(5)),
            read_timeout: Some(SILENCE),
            user_agent: concat!("shipit/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        // Each reads the machine's authorities, which takes longer than many a request: side by side.
        let (client, wire) = std::thread::scope(|scope| {
            let wire = scope.spawn(|| Wire::new(&format!("{scheme}://{origin}"), certificates));
            let client = Client::try_from(config);
            (
                client,
                wire.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let failed = |error| failed(what(), &error);
        Ok((client.map_err(failed)?, wire.map_err(failed)?))
    }

    /// A connection whose login still holds.
    async fn connection(&self, image: &Reference) -> Result<Connection, RegistryError> {
        let registry = image.registry();
        let mut connections = self.connections.lock().await;
        let known = connections.get(registry);
        if let Some(known) =
            known.filter(|known| known.until.is_none_or(|until| Instant::now() < until))
        {
            return Ok(known.clone());
        }
        let (auth, until) = self.login.credentials(registry).await?;
        let (client, wire) = self.clients(registry, image.resolve_registry())?;
        let made = Connection {
            client,
            wire,
            auth,
            until,
        };
        connections.insert(registry.to_owned(), made.clone());
        Ok(made)
    }

    /// Logs in for what is to be done; a token that is good is used again.
    pub(super) async fn open(
        &self,
        image: &Reference,
        operation: RegistryOperation,
    ) -> Result<Connection, RegistryError> {
        let mut connection = self.connection(image).await?;
        let what = || format!("logging in to {}", image.registry());
        let token = retry(what, || {
            connection.client.auth(image, &connection.auth, operation)
        })
        .await?;
        connection.wire = connection
            .wire
            .logged_in(&connection.auth, token.as_deref());
        Ok(connection)
    }

    /// A manifest's bytes and digest; none when it is not there.
    pub(super) async fn manifest(
        &self,
        image: &Reference,
    ) -> Result<Option<(Vec<u8>, Digest)>, RegistryError> {
        let open = self.open(image, RegistryOperation::Pull).await?;
        let read = retry(|| format!("reading {image}"), || open.wire.manifest(image)).await?;
        let Some(bytes) = read else { return Ok(None) };
        let digest = Digest::of(&bytes);
        match image.digest() {
            Some(wanted) if wanted != digest.to_string() => Err(RegistryError::Corrupt {
                digest: wanted.parse().unwrap_or_else(|_| digest.clone()),
                found: digest,
                place: image.registry().to_owned(),
            }),
            _ => Ok(Some((bytes, digest))),
        }
    }

    /// The manifest of an image that has to be there.
    pub(super) async fn must(&self, image: &Reference) -> Result<Vec<u8>, RegistryError> {
        let missing = || RegistryError::Missing {
            what: format!("image {image}"),
            place: image.registry().to_owned(),
        };
        let (bytes, _) = self.manifest(image).await?.ok_or_else(missing)?;
        Ok(bytes)
    }

    /// The images to build on for these platforms, or for this machine's own; none when there is no such name.
    pub async fn base(
        &self,
        image: &Reference,
        platforms: &[Platform],
    ) -> Result<Option<BaseImages>, RegistryError> {
        let Some(document) = self.manifest(image).await? else {
            return Ok(None);
        };
        self.images(image, document, platforms).await.map(Some)
    }

    /// The images for these platforms, or for this machine's own, that a manifest or an index stands for.
    pub(super) async fn images(
        &self,
        image: &Reference,
        (bytes, digest): (Vec<u8>, Digest),
        platforms: &[Platform],
    ) -> Result<BaseImages, RegistryError> {
        let index = read(image, &bytes)?;
        if !index["manifests"].is_array() {
            let only = self.base_image(image, digest, &index).await?;
            return Ok(BaseImages::alone(only, platforms));
        }
        let place = || image.registry().to_owned();
        let mut images = BTreeMap::new();
        for platform in asked(platforms) {
            let Some(child) = platform.choose(platform::images(&index)) else {
                continue;
            };
            let repository = image.repository().to_owned();
            let child = Reference::with_digest(place(), repository, child.to_string());
            let bytes = self.must(&child).await?;
            let found = self
                .base_image(&child, Digest::of(&bytes), &read(&child, &bytes)?)
                .await?;
            images.insert(platform, found);
        }
        let what = || format!("an image {} for {}", image.whole(), Platform::own());
        let missing = || RegistryError::Missing {
            what: what(),
            place: place(),
        };
        BaseImages::of_index(digest, images, platforms).ok_or_else(missing)
    }

    /// One image, by its manifest.
    async fn base_image(
        &self,
        image: &Reference,
        digest: Digest,
        manifest: &Value,
    ) -> Result<BaseImage, RegistryError> {
        let name = image.whole();
        let config = blob(&manifest["config"])?;
        if config.size > CONFIG_LIMIT {
            return Err(malformed(&name, &"its configuration is too large"));
        }
        let open = self.open(image, RegistryOperation::Pull).await?;
        let pull = || async {
            let mut bytes = Vec::new();
            open.client
                .pull_blob(image, config.digest.as_str(), &mut bytes)
                .await?;
            Ok(bytes)
        };
        let bytes = retry(|| format!("reading the configuration of {name}"), pull).await?;
        let layers = blobs(manifest)?;
        let mut seen = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &layers {
            seen.insert(layer.digest.clone(), image.clone());
        }
        Ok(BaseImage {
            digest,
            config: bytes,
            layers,
        })
    }

    /// Where a base's layer is.
    pub(super) fn home(&self, layer: &Digest) -> Option<Reference> {
        self.layers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(layer)
            .cloned()
    }

    /// Fetches a base's layer into a file, and holds it against its digest.
    pub async fn fetch(&self, layer: &Blob, to: &Path) -> Result<(), RegistryError> {
        let missing = || RegistryError::Missing {
            what: format!("layer {}", layer.digest),
            place: "any registry".into(),
        };
        let from = self.home(&layer.digest).ok_or_else(missing)?;
        let open = self.open(&from, RegistryOperation::Pull).await?;
        let descriptor = OciDescriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.to_string(),
            size: i64::try_from(layer.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let pull = || async {
            let mut stream = open.client.pull_blob_stream(&from, &descriptor).await?;
            let mut file = tokio::fs::File::create(to).await?;
            let (mut hasher, mut size) = (Sha256::new(), 0_u64);
            while let Some(part) = stream.try_next().await? {
                size += part.len() as u64;
                if size > layer.size {
                    break;
                }
                hasher.update(&part);
                file.write_all(&part).await?;
            }
            file.flush().await?;
            Ok((Digest::from_sha256(hasher), size))
        };
        let (found, size) = retry(
            || format!("fetching {} from {}", layer.digest, from.whole()),
            pull,
        )
        .await?;
        if found == layer.digest && size == layer.size {
            return Ok(());
        }
        let (digest, place) = (layer.digest.clone(), from.whole());
        Err(RegistryError::Corrupt {
            digest,
            found,
            place,
        })
    }
}

/// A manifest or an index.
pub(super) fn read(image: &Reference, bytes: &[u8]) -> Result<Value, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(&image.whole(), &error))
}

/// A manifest's layers.
pub(super) fn blobs(manifest: &Value) -> Result<Vec<Blob>, RegistryError> {
    manifest["layers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(blob)
        .collect()
}

pub(super) fn blob(descriptor: &Value) -> Result<Blob, RegistryError> {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    let digest = digest
        .parse()
        .map_err(|_| malformed(digest, &"only sha256 is understood"))?;
    let media_type = descriptor["mediaType"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Ok(Blob {
        media_type,
        digest,
        size: descriptor["size"].as_u64().unwrap_or(0),
        file: None,
    })
}

/// Sends a request again while it may get better, with pauses that grow and differ.
pub(super) async fn retry<T, F: Future<Output = Result<T, OciDistributionError>>>(
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
        tokio::time::sleep(backoff(attempt)).await;
    }
}

/// Doubles with each attempt, each anywhere between half of it and all.
pub(super) fn backoff(attempt: u32) -> Duration {
    let full = Duration::from_millis(200 << attempt.min(6));
    pause::between(full / 2, full)
}

pub(super) fn is_transient(error: &OciDistributionError) -> bool {
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
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| {
                matches!(
                    error.code,
                    OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound
                )
            })
        }
        _ => false,
    }
}

/// None instead of an error that says that there is no such thing.
pub(super) fn absent<T>(result: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn failed(what: String, error: &OciDistributionError) -> RegistryError {
    if is_absent(error) {
        return RegistryError::Missing {
            what,
            place: "the registry".to_owned(),
        };
    }
    let text = match error {
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => {
            let help =
                "`docker login` (or `skopeo login`) writes the credentials that shipit reads"
                    .to_owned();
            return RegistryError::Remote {
                what,
                reason: error.to_string(),
                help,
            };
        }
        OciDistributionError::RequestError(inner) => chain(inner),
        other => other.to_string(),
    };
    let help = match error {
        OciDistributionError::RequestError(_) if text.contains("CaUsedAsEndEntity") => {
            "the registry shows a certificate that is an authority's own: have it sign one for the registry \
             (`basicConstraints=CA:FALSE`), and name the authority's under `registry.ca`"
        }
        OciDistributionError::RequestError(inner) if inner.is_connect() => {
            "look at `registry.endpoint`, at `registry.ca` for a certificate of your own, and whether the registry is up"
        }
        _ => "run the command again: what was pushed is not pushed again",
    };
    RegistryError::Remote {
        what,
        reason: text,
        help: help.to_owned(),
    }
}

pub(super) fn malformed(what: &str, reason: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Malformed {
        what: what.to_owned(),
        place: "the registry".to_owned(),
        reason: reason.to_string(),
    }
}
