//! Registries on the network, as many as are named: one client and one login for each.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use oci_spec::distribution::Reference;
use serde_json::Value;

use crate::driver::http;
use crate::driver::redacted::remember;
use crate::driver::registry::oci::auth::{Access, Granted, authorize};
use crate::driver::registry::oci::document::{blob, blobs, read};
use crate::driver::registry::oci::fault::{RegistryFault, Whose, again, failed, malformed};
use crate::driver::registry::oci::fetch;
use crate::driver::registry::oci::wire::Wire;
use crate::files::login::{self, Credentials, Places};
use crate::model::{Digest, Platform, is_loopback, platform};
use crate::port::registry::{BaseImage, BaseImages, Blob, INDEX, RegistryError, asked};
use crate::redact::Redactor;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Every kind of manifest that is understood.
pub(super) const MANIFESTS: [&str; 4] = [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX];
/// How long a server may be silent.
pub(super) const SILENCE: Duration = Duration::from_mins(1);
/// How long an answer that an image is there is relied on.
const FRESH: Duration = Duration::from_secs(10);
/// The largest configuration of a base image that is read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// A login to a registry.
#[derive(Debug, Clone, Default)]
pub struct LoggedIn {
    /// What opens it; none for whoever comes.
    pub credentials: Option<Credentials>,
    /// Why there is none although there may be one: told when the registry wants one.
    pub problem: Option<String>,
    /// Until when it holds; for ever without it.
    pub until: Option<Instant>,
}

/// Who logs in to a registry.
#[async_trait]
pub trait Login: Send + Sync {
    /// The login to a registry, or to the part of it that [`Login::scope`] says.
    async fn log_in(&self, registry: &str) -> Result<LoggedIn, RegistryError>;

    /// What a login for a repository holds for: the registry, or a part of it as `HOST/team`.
    fn scope(&self, registry: &str, repository: &str) -> String {
        let _ = repository;
        registry.to_owned()
    }
}

/// Logs in with what `docker login` or `podman login` wrote, or with a credential helper.
#[derive(Debug, Default, Clone, Copy)]
pub struct WrittenLogin;

#[async_trait]
impl Login for WrittenLogin {
    async fn log_in(&self, registry: &str) -> Result<LoggedIn, RegistryError> {
        let found = login::find(&Places::of_environment(), registry).await;
        Ok(LoggedIn {
            credentials: found.credentials,
            problem: found.problem.map(|problem| problem.to_string()),
            until: None,
        })
    }

    fn scope(&self, registry: &str, repository: &str) -> String {
        login::scope(&Places::of_environment(), registry, repository)
    }
}

/// How registries are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// The configuration's own registry: `registry.example.com`. The next two are for it alone.
    pub endpoint: String,
    /// A file with the certificates that may have signed the registry's own, beside those of the
    /// machine.
    pub ca: Option<PathBuf>,
    /// Whether it is spoken to without TLS.
    pub plain_http: bool,
    /// Hosts that may be given a login for a registry, whichever that is, besides its own:
    /// `auth.example.com`.
    pub auth_hosts: Vec<String>,
}

#[derive(Clone)]
pub(super) struct RegistryConnection {
    pub wire: Wire,
    whose: Whose,
    login: LoggedIn,
    /// What it is logged in for; none before it is.
    grant: Option<Grant>,
}

impl RegistryConnection {
    /// Sends a request again while it may get better. A token that the registry does not take any
    /// more, whatever time it was given for, is changed for another one, once.
    pub async fn again<T, F: Future<Output = Result<T, RegistryFault>>>(
        &self,
        what: impl Fn() -> String,
        send: impl Fn() -> F,
    ) -> Result<T, RegistryError> {
        let mut answer = again(&send).await;
        if let (Err(RegistryFault::Unauthorized { .. }), Some(grant)) = (&answer, &self.grant)
            && self.wire.has_token()
            && let Ok(granted) = again(|| grant.ask(self)).await
        {
            self.wire.renew(granted.authorization);
            answer = again(&send).await;
        }
        answer.map_err(|fault| self.failed(what(), &fault))
    }

    /// As the port's error, while `what` was being done.
    pub fn failed(&self, what: String, fault: &RegistryFault) -> RegistryError {
        failed(what, fault, self.whose, &self.login)
    }

    fn holds(&self) -> bool {
        self.login.until.is_none_or(|until| Instant::now() < until)
    }
}

/// What a login is asked for, and where what was granted for it is kept.
#[derive(Clone)]
struct Grant {
    purpose: Purpose,
    auth_hosts: Vec<String>,
    granted: Arc<Mutex<BTreeMap<Purpose, Granted>>>,
    redactor: Redactor,
}

impl Grant {
    /// Asks for a login, and keeps it for all who want the same.
    async fn ask(&self, connection: &RegistryConnection) -> Result<Granted, RegistryFault> {
        let (_, repository, access) = &self.purpose;
        let wire = connection.wire.clone().logged_in(None);
        let credentials = connection.login.credentials.as_ref();
        let granted = authorize(&wire, credentials, &self.auth_hosts, repository, *access).await?;
        let shown = granted.authorization.as_ref();
        if let Some(shown) = shown.and_then(|shown| shown.to_str().ok()) {
            // `Bearer TOKEN`, or `Basic` with user and password in base64.
            let token = shown.split_once(' ').map_or(shown, |(_, token)| token);
            remember(&self.redactor, token);
        }
        let mut all = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.purpose.clone(), granted.clone());
        Ok(granted)
    }
}

/// What a login is good for: a registry, a repository of it, and what is done there.
type Purpose = (String, String, Access);

/// Registries on the network.
pub struct Remote {
    login: Arc<dyn Login>,
    trust: Trust,
    connections: tokio::sync::Mutex<BTreeMap<String, RegistryConnection>>,
    /// What the registries have granted for these logins.
    /// What a login holds for, by the whole names of repositories.
    scopes: Mutex<HashMap<String, String>>,
    granted: Arc<Mutex<BTreeMap<Purpose, Granted>>>,
    /// What learns the tokens that they grant.
    redactor: Redactor,
    /// Where the layers of base images were seen.
    layers: Mutex<BTreeMap<Digest, Reference>>,
    /// The images that a registry has told to be there, and when.
    seen: Mutex<BTreeMap<String, Instant>>,
}

impl Default for Remote {
    fn default() -> Self {
        Self::new(Arc::new(WrittenLogin), Trust::default())
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
            granted: Arc::default(),
            scopes: Mutex::default(),
            redactor: Redactor::default(),
            layers: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// The same; the tokens that the registries give are hidden in all that is printed.
    #[must_use]
    pub fn hiding(self, redactor: Redactor) -> Self {
        Self { redactor, ..self }
    }

    fn whose(&self, registry: &str) -> Whose {
        if registry == self.trust.endpoint {
            Whose::Project
        } else {
            Whose::Others
        }
    }

    fn wire(&self, registry: &str, origin: &str) -> Result<Wire, RegistryError> {
        let whose = self.whose(registry);
        let own = whose == Whose::Project;
        let what = || format!("speaking to {registry}");
        let mut certificates = Vec::new();
        if let Some(ca) = self.trust.ca.as_ref().filter(|_| own) {
            let reading = format!("reading {}", ca.display());
            certificates = http::certificates(ca).map_err(|source| RegistryError::Io {
                what: reading,
                source,
            })?;
        }
        let plain = is_loopback(registry) || (own && self.trust.plain_http);
        let plain = plain && !(own && self.trust.ca.is_some());
        let scheme = if plain { "http" } else { "https" };
        Wire::new(&format!("{scheme}://{origin}"), certificates)
            .map_err(|fault| failed(what(), &fault, whose, &LoggedIn::default()))
    }

    /// A connection whose login still holds.
    async fn connection(&self, image: &Reference) -> Result<RegistryConnection, RegistryError> {
        let registry = image.registry();
        let scope = self.scope(registry, image.repository());
        let mut connections = self.connections.lock().await;
        if let Some(known) = connections.get(&scope).filter(|known| known.holds()) {
            return Ok(known.clone());
        }
        let made = RegistryConnection {
            login: self.login.log_in(&scope).await?,
            whose: self.whose(registry),
            wire: self.wire(registry, image.resolve_registry())?,
            grant: None,
        };
        connections.insert(scope.clone(), made.clone());
        // What was granted, was granted for the login before.
        self.all_granted()
            .retain(|(other, repository, _), _| self.scope(other, repository) != scope);
        Ok(made)
    }

    /// What a login for a repository holds for, looked for once.
    fn scope(&self, registry: &str, repository: &str) -> String {
        let name = format!("{registry}/{repository}");
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = scopes
            .entry(name)
            .or_insert_with(|| self.login.scope(registry, repository));
        scope.clone()
    }

    fn all_granted(&self) -> std::sync::MutexGuard<'_, BTreeMap<Purpose, Granted>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs in for what is to be done; a token that is good is used again.
    pub(super) async fn open(
        &self,
        image: &Reference,
        access: Access,
    ) -> Result<RegistryConnection, RegistryError> {
        let mut connection = self.connection(image).await?;
        let repository = image.repository();
        let purpose = (image.registry().to_owned(), repository.to_owned(), access);
        let known = self.all_granted().get(&purpose).cloned();
        let known = known.filter(|granted| Instant::now() < granted.until);
        let grant = Grant {
            purpose,
            auth_hosts: self.trust.auth_hosts.clone(),
            granted: Arc::clone(&self.granted),
            redactor: self.redactor.clone(),
        };
        let granted = if let Some(known) = known {
            known
        } else {
            let what = || format!("logging in to {}", image.registry());
            connection.again(what, || grant.ask(&connection)).await?
        };

        connection.wire = connection.wire.logged_in(granted.authorization);
        connection.grant = Some(grant);
        Ok(connection)
    }

    /// The same, anew: what was granted before is not good enough any more.
    pub(super) async fn open_anew(
        &self,
        image: &Reference,
        access: Access,
    ) -> Result<RegistryConnection, RegistryError> {
        let (registry, repository) = (image.registry(), image.repository());
        self.all_granted()
            .retain(|(other, of, _), _| (other.as_str(), of.as_str()) != (registry, repository));
        self.open(image, access).await
    }

    /// A manifest's bytes and digest; none when it is not there.
    pub(super) async fn manifest(
        &self,
        image: &Reference,
    ) -> Result<Option<(Vec<u8>, Digest)>, RegistryError> {
        let open = self.open(image, Access::Pull).await?;
        let what = || format!("reading {image}");
        let read = open.again(what, || open.wire.manifest(image)).await?;
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

    /// The digest that a registry gives for a name; none when there is no such image. What it told
    /// a moment ago is not asked again: a plan looks twice. Who approves a plan may take an hour,
    /// and then it is.
    pub(super) async fn digest(&self, image: &Reference) -> Result<Option<Digest>, RegistryError> {
        let is_fresh = |told: &Instant| told.elapsed() < FRESH;
        if let Some(Ok(known)) = image.digest().map(str::parse)
            && self.all_seen().get(&image.whole()).is_some_and(is_fresh)
        {
            return Ok(Some(known));
        }
        let open = self.open(image, Access::Pull).await?;
        let what = || format!("looking up {image}");
        let found = open.again(what, || open.wire.digest(image)).await?;
        if let Some(digest) = &found {
            let (registry, repository) = (image.registry(), image.repository());
            let name = format!("{registry}/{repository}@{digest}");
            self.all_seen().insert(name, Instant::now());
        }
        Ok(found)
    }

    fn all_seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The images to build on for these platforms, or for this machine's own; none when there is no
    /// such name.
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

    /// The images for these platforms, or for this machine's own, that a manifest or an index
    /// stands for.
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
        if manifest["manifests"].is_array() {
            return Err(malformed(&name, &"it is an index in an index"));
        }
        if manifest["schemaVersion"] == 1 {
            let reason = "it is a manifest of schema 1, which Docker wrote before 1.10: push it \
                          again with a newer one";
            return Err(malformed(&name, &reason));
        }
        let config = blob(&manifest["config"])?;
        if config.size > CONFIG_LIMIT {
            return Err(malformed(&name, &"its configuration is too large"));
        }

        let open = self.open(image, Access::Pull).await?;
        let (registry, repository) = (image.registry().to_owned(), image.repository().to_owned());
        let from = Reference::with_digest(registry, repository, config.digest.to_string());
        let what = || format!("reading the configuration of {name}");
        let ask = || open.wire.blob(&from, config.size);
        let bytes = open.again(what, ask).await?;
        let found = Digest::of(&bytes);
        if found != config.digest {
            let (digest, place) = (config.digest, name);
            return Err(RegistryError::Corrupt {
                digest,
                found,
                place,
            });
        }

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
        let open = self.open(&from, Access::Pull).await?;
        fetch::fetch(&open, &from, layer, to).await
    }
}
