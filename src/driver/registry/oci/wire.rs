//! The requests of the distribution protocol: each with a bound on what is read of its answer and a
//! limit of time, with the login for the registry alone, and on connections that they share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use oci_spec::distribution::Reference;
use reqwest::redirect::Policy;
use reqwest::{
    Certificate, Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url,
};

use crate::driver::http::{self as servers, BodyFault};
use crate::driver::registry::oci::fault::{RegistryFault, message};
use crate::driver::registry::oci::guard::{Guard, place};
use crate::driver::registry::oci::remote::{MANIFESTS, SILENCE};
use crate::driver::registry::oci::upload::location;
use crate::driver::retry::retry_after;
use crate::files::login::Credentials;
use crate::model::Digest;
use crate::port::registry::INDEX;

/// The largest manifest that is read: what every registry has to take, and none has to take more.
const MANIFEST_LIMIT: usize = 4 << 20;
/// What a registry says the digest of a manifest is (distribution-spec, "Pulling manifests").
const CONTENT_DIGEST: &str = "docker-content-digest";
/// How much of an error's text is read.
const ERROR_LIMIT: usize = 4 << 10;

/// A registry, and the login to it.
#[derive(Clone)]
pub(super) struct Wire {
    http: Client,
    origin: Url,
    guard: Guard,
    certificates: Vec<Certificate>,
    /// Clients for token servers, by whether the server was named by somebody besides the registry.
    tokens: Arc<Mutex<BTreeMap<bool, Client>>>,
    /// What every request to it has; whoever has this login has what it is renewed to, too.
    authorization: Arc<Mutex<Option<HeaderValue>>>,
    /// Whether the registry has ever answered.
    answered: Arc<AtomicBool>,
}

impl Wire {
    /// To the registry at this address. Nothing is asked of it yet.
    pub fn new(origin: &str, certificates: Vec<Certificate>) -> Result<Self, RegistryFault> {
        let malformed = |error: url::ParseError| RegistryFault::Malformed {
            host: origin.to_owned(),
            reason: error.to_string(),
        };
        let origin = Url::parse(origin).map_err(malformed)?;
        let guard = Guard::new(&origin);
        let http = builder(&certificates, &guard).redirect(guard.policy());
        Ok(Self {
            http: http.build()?,
            origin,
            guard,
            certificates,
            tokens: Arc::default(),
            authorization: Arc::default(),
            answered: Arc::default(),
        })
    }

    /// Whether the registry has ever answered: one that has is waited for.
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Keeps in mind that it answered.
    pub fn note_answer(&self, answered: bool) {
        self.answered.fetch_or(answered, Ordering::Relaxed);
    }

    /// The registry's own address.
    pub const fn origin(&self) -> &Url {
        &self.origin
    }

    /// The same, with this on each request to the registry itself.
    pub fn logged_in(self, authorization: Option<HeaderValue>) -> Self {
        Self {
            authorization: Arc::new(Mutex::new(authorization)),
            ..self
        }
    }

    /// Another token is good from here on.
    pub fn renew(&self, authorization: Option<HeaderValue>) {
        *self.authorization() = authorization;
    }

    /// Whether its login is a token, which may be called back before its time is over.
    pub fn has_token(&self) -> bool {
        let login = self.authorization();
        login
            .as_ref()
            .is_some_and(|login| login.as_bytes().starts_with(b"Bearer "))
    }

    fn authorization(&self) -> MutexGuard<'_, Option<HeaderValue>> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that may speak to this token server, and follows nobody from there.
    pub fn token_client(&self, server: &Url, is_named: bool) -> Result<Client, RegistryFault> {
        let guard = self.guard.of_tokens(is_named);
        guard.may_go(server)?;
        let mut clients = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&is_named) {
            return Ok(known.clone());
        }
        let made = builder(&self.certificates, &guard)
            .redirect(Policy::none())
            .build()?;
        clients.insert(is_named, made.clone());
        Ok(made)
    }

    /// A request about the registry itself, or below: `/v2/`.
    pub fn api(&self, path: &str) -> Result<RequestBuilder, RegistryFault> {
        let url = self.address(path)?;
        Ok(self.at(Method::GET, url)?.timeout(SILENCE))
    }

    /// A request about a repository: `blobs/uploads/`, `manifests/TAG`.
    pub fn about(
        &self,
        method: Method,
        image: &Reference,
        path: &str,
    ) -> Result<RequestBuilder, RegistryFault> {
        let url = self.address(&format!("{}/{path}", image.repository()))?;
        Ok(self.at(method, url)?.timeout(SILENCE))
    }

    fn address(&self, path: &str) -> Result<Url, RegistryFault> {
        let url = self.origin.join(&format!("/v2/{path}"));
        url.map_err(|error| RegistryFault::Malformed {
            host: place(&self.origin),
            reason: error.to_string(),
        })
    }

    /// A request to an address that the registry gave. The login goes with it to the registry
    /// alone.
    pub fn at(&self, method: Method, url: Url) -> Result<RequestBuilder, RegistryFault> {
        self.guard.may_go(&url)?;
        let own = url.origin() == self.origin.origin();
        let request = self.http.request(method, url);
        Ok(match self.authorization().clone().filter(|_| own) {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        })
    }

    /// Whether a blob is there.
    pub async fn has(&self, image: &Reference, blob: &Digest) -> Result<bool, RegistryFault> {
        let request = self.about(Method::HEAD, image, &format!("blobs/{blob}"))?;
        is_there(send(request).await?).await
    }

    /// Whether a manifest is there.
    pub async fn has_manifest(&self, image: &Reference) -> Result<bool, RegistryFault> {
        is_there(send(self.to_manifest(Method::HEAD, image)?).await?).await
    }

    /// The digest that a manifest has; none when it is not there. A registry that does not say it
    /// with a HEAD, which none counts as a pull, is asked for the manifest.
    pub async fn digest(&self, image: &Reference) -> Result<Option<Digest>, RegistryFault> {
        let answer = send(self.to_manifest(Method::HEAD, image)?).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
            let found = self.manifest(image).await?;
            return Ok(found.map(|bytes| Digest::of(&bytes)));
        }
        let answer = taken(answer).await?;
        let said = answer.headers().get(CONTENT_DIGEST);
        let said = said.and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        let wanted = image.digest();
        match said {
            Some(digest) if wanted.is_none_or(|wanted| wanted == digest.as_str()) => {
                Ok(Some(digest))
            }
            _ => {
                let found = self.manifest(image).await?;
                Ok(found.map(|bytes| Digest::of(&bytes)))
            }
        }
    }

    fn to_manifest(
        &self,
        method: Method,
        image: &Reference,
    ) -> Result<RequestBuilder, RegistryFault> {
        let name = image.digest().or_else(|| image.tag()).unwrap_or_default();
        let request = self.about(method, image, &format!("manifests/{name}"))?;
        Ok(request.header(ACCEPT, MANIFESTS.join(", ")))
    }

    /// A manifest's bytes; none when it is not there.
    pub async fn manifest(&self, image: &Reference) -> Result<Option<Vec<u8>>, RegistryFault> {
        let answer = send(self.to_manifest(Method::GET, image)?).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        bounded(taken(answer).await?, MANIFEST_LIMIT)
            .await
            .map(Some)
    }

    /// What refers to an image, as an index; none where the registry has no such list
    /// (distribution-spec, "Listing Referrers").
    pub async fn referrers(&self, image: &Reference) -> Result<Option<Vec<u8>>, RegistryFault> {
        let digest = image.digest().unwrap_or_default();
        let request = self.about(Method::GET, image, &format!("referrers/{digest}"))?;
        let answer = send(request.header(ACCEPT, INDEX)).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        bounded(taken(answer).await?, MANIFEST_LIMIT)
            .await
            .map(Some)
    }

    /// A small blob's bytes, by its digest; an error when there are more of them than there should
    /// be.
    pub async fn blob(&self, blob: &Reference, size: u64) -> Result<Vec<u8>, RegistryFault> {
        let name = blob.digest().unwrap_or_default();
        let answer = send(self.about(Method::GET, blob, &format!("blobs/{name}"))?).await?;
        bounded(
            taken(answer).await?,
            usize::try_from(size).unwrap_or(usize::MAX),
        )
        .await
    }

    /// A blob as it comes. What reads it looks at its size and at the clock.
    pub async fn stream(
        &self,
        image: &Reference,
        blob: &Digest,
    ) -> Result<Response, RegistryFault> {
        taken(self.ask_for(image, blob, None).await?).await
    }

    /// A blob from this byte on, or from its beginning, and from which; none when the server gives
    /// another part of it, or none.
    pub async fn rest(
        &self,
        image: &Reference,
        blob: &Digest,
        from: u64,
    ) -> Result<Option<(Response, u64)>, RegistryFault> {
        let answer = self.ask_for(image, blob, Some(from)).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(None);
        }
        let answer = taken(answer).await?;
        let begin = format!("bytes {from}-");
        let range = answer.headers().get(CONTENT_RANGE);
        let is_it = range.is_some_and(|range| range.as_bytes().starts_with(begin.as_bytes()));
        Ok(match answer.status() {
            StatusCode::PARTIAL_CONTENT if is_it => Some((answer, from)),
            StatusCode::PARTIAL_CONTENT => None,
            _ => Some((answer, 0)),
        })
    }

    async fn ask_for(
        &self,
        image: &Reference,
        blob: &Digest,
        from: Option<u64>,
    ) -> Result<Response, RegistryFault> {
        let url = self.address(&format!("{}/blobs/{blob}", image.repository()))?;
        let mut request = self.at(Method::GET, url)?;
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let answer = tokio::time::timeout(SILENCE, send(request)).await;
        answer.map_err(|_| silent(SILENCE))?
    }

    /// Puts a manifest under a tag or its digest.
    pub async fn put(
        &self,
        image: &Reference,
        manifest: &[u8],
        media_type: &str,
    ) -> Result<(), RegistryFault> {
        let name = image.digest().or_else(|| image.tag()).unwrap_or_default();
        let request = self.about(Method::PUT, image, &format!("manifests/{name}"))?;
        let request = request
            .header(CONTENT_TYPE, media_type)
            .body(manifest.to_vec());
        taken(send(request).await?).await.map(drop)
    }

    /// Sends a small blob.
    pub async fn push(&self, image: &Reference, bytes: Vec<u8>) -> Result<(), RegistryFault> {
        let digest = Digest::of(&bytes);
        let request = self.about(Method::POST, image, "blobs/uploads/")?;
        let answer = taken(send(request.header(CONTENT_LENGTH, 0)).await?).await?;
        let mut session = location(&answer)?;
        session
            .query_pairs_mut()
            .append_pair("digest", digest.as_str());
        let request = self.at(Method::PUT, session)?.timeout(SILENCE);
        let request = request
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(bytes);
        taken(send(request).await?).await.map(drop)
    }

    /// Has a blob of another repository of the same registry; says whether that was done.
    pub async fn mount(&self, image: &Reference, from: &Reference, blob: &Digest) -> bool {
        let path = format!("blobs/uploads/?mount={blob}&from={}", from.repository());
        let Ok(request) = self.about(Method::POST, image, &path) else {
            return false;
        };
        let answer = send(request.header(CONTENT_LENGTH, 0)).await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::CREATED)
    }
}

fn builder(certificates: &[Certificate], guard: &Guard) -> ClientBuilder {
    servers::client()
        .tls_certs_merge(certificates.to_vec())
        .dns_resolver(guard.clone())
}

/// User and password, as a header has them.
pub(super) fn password(credentials: Option<&Credentials>) -> Option<HeaderValue> {
    let Some(Credentials::Password { user, password }) = credentials else {
        return None;
    };
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    secret(&text)
}

/// A token, as a header has it.
pub(super) fn bearer(token: &str, wire: &Wire) -> Result<HeaderValue, RegistryFault> {
    secret(&format!("Bearer {token}")).ok_or_else(|| RegistryFault::Malformed {
        host: place(&wire.origin),
        reason: "the token for it has characters that no header may have".to_owned(),
    })
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Sends a request.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, RegistryFault> {
    Ok(request.send().await?)
}

/// Whether the answer to a HEAD says that there is something.
async fn is_there(answer: Response) -> Result<bool, RegistryFault> {
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(false),
        _ => taken(answer).await.map(|_| true),
    }
}

/// An answer that says that it was done, or the error that it says.
pub(super) async fn taken(answer: Response) -> Result<Response, RegistryFault> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }

    let mut url = answer.url().clone();
    url.set_query(None);
    let wait = retry_after(answer.headers(), SystemTime::now());
    let message = message(status, &beginning(answer).await);
    if status == StatusCode::UNAUTHORIZED {
        let host = place(&url);
        return Err(RegistryFault::Unauthorized { host, message });
    }

    Err(RegistryFault::Refused {
        status: status.as_u16(),
        url: url.to_string(),
        message,
        wait,
    })
}

/// A whole body, when it is no larger than this.
pub(super) async fn bounded(answer: Response, limit: usize) -> Result<Vec<u8>, RegistryFault> {
    let host = place(answer.url());
    let read = servers::body(answer, limit).await;
    read.map_err(|fault| match fault {
        BodyFault::TooLarge => RegistryFault::TooLarge { host, limit },
        BodyFault::Broken(error) => error.into(),
    })
}

/// The first bytes of an error's body: what there is of them, and no more than helps.
async fn beginning(mut answer: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = async {
        while bytes.len() < ERROR_LIMIT
            && let Ok(Some(part)) = answer.chunk().await
        {
            bytes.extend_from_slice(&part[..part.len().min(ERROR_LIMIT - bytes.len())]);
        }
    };
    let _ = tokio::time::timeout(SILENCE, read).await;
    bytes
}

/// Nothing came for so long.
pub(super) fn silent(silence: Duration) -> RegistryFault {
    let text = format!("nothing came for {} s", silence.as_secs());
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(wire: &Wire, url: &str) -> Option<String> {
        let url = Url::parse(url).expect("an address");
        let request = wire.at(Method::GET, url).expect("it may go there");
        let request = request.build().expect("a request");
        request
            .headers()
            .get(AUTHORIZATION)
            .map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn the_login_is_told_to_the_registry_alone() {
        let wire = Wire::new("https://registry.example.com", Vec::new()).expect("a client");
        assert_eq!(header(&wire, "https://registry.example.com/v2/"), None);
        let kim = Credentials::Password {
            user: "shop".to_owned(),
            password: "letmein".to_owned(),
        };
        let token = bearer("t", &wire).expect("a header");
        let with_password = wire.clone().logged_in(password(Some(&kim)));
        let with_token = wire.logged_in(Some(token));
        let own = "https://registry.example.com:443/v2/shop/blobs/uploads/1?_state=x";
        assert_eq!(
            header(&with_password, own).as_deref(),
            Some("Basic c2hvcDpsZXRtZWlu")
        );
        assert_eq!(header(&with_token, own).as_deref(), Some("Bearer t"));
        for other in [
            "https://storage.example.com/x",
            "https://registry.example.com:8443/x",
        ] {
            assert_eq!(
                (header(&with_password, other), header(&with_token, other)),
                (None, None),
                "{other}"
            );
        }
    }

    #[test]
    fn an_upload_does_not_go_where_the_registry_is_not() {
        let wire = Wire::new("https://registry.example.com", Vec::new()).expect("a client");
        for inside in [
            "http://registry.example.com/x",
            "https://127.0.0.1/x",
            "https://169.254.169.254/x",
        ] {
            let url = Url::parse(inside).expect("an address");
            let kept = wire.at(Method::PUT, url);
            assert!(matches!(kept, Err(RegistryFault::Kept(_))), "{inside}");
        }
    }
}
