//! The requests that the client library does not make, or not so that one can tell what came of them: with the same
//! trust and the same login, on connections that they share.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use oci_client::Reference;
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};

use crate::driver::registry::oci::remote::{MANIFESTS, SILENCE};
use crate::model::Digest;

/// The largest manifest that is read.
const MANIFEST_LIMIT: usize = 8 << 20;
/// How much of an error's text is read.
const ERROR_LIMIT: usize = 4 << 10;

/// A registry, and the login to it.
#[derive(Clone)]
pub(super) struct Wire {
    http: Client,
    origin: Url,
    authorization: Option<HeaderValue>,
}

impl Wire {
    /// To the registry at this address. Nothing is asked of it yet.
    pub fn new(origin: &str, certificates: Vec<Certificate>) -> Result<Self, OciDistributionError> {
        let origin = Url::parse(origin)
            .map_err(|error| OciDistributionError::UrlParseError(error.to_string()))?;
        let http = Client::builder()
            .tls_certs_merge(certificates)
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("shipit/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            http: http.build()?,
            origin,
            authorization: None,
        })
    }

    /// With a token that the registry has given for these credentials, or with the credentials themselves.
    pub fn logged_in(mut self, auth: &RegistryAuth, token: Option<&str>) -> Self {
        let text = match (token, auth) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, RegistryAuth::Basic(user, password)) => Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{password}"))
            )),
            _ => None,
        };
        self.authorization = text.and_then(|text| HeaderValue::from_str(&text).ok());
        if let Some(value) = &mut self.authorization {
            value.set_sensitive(true);
        }
        self
    }

    /// A request about a repository: `blobs/uploads/`, `manifests/TAG`.
    pub fn about(
        &self,
        method: Method,
        image: &Reference,
        path: &str,
    ) -> Result<RequestBuilder, OciDistributionError> {
        let url = self
            .origin
            .join(&format!("/v2/{}/{path}", image.repository()));
        let url = url.map_err(|error| OciDistributionError::UrlParseError(error.to_string()))?;
        Ok(self.at(method, url).timeout(SILENCE))
    }

    /// A request to where the registry has said. Another host than the registry itself is not told the login
    /// (distribution-spec, "Authorization headers across host boundaries").
    pub fn at(&self, method: Method, url: Url) -> RequestBuilder {
        let own = url.origin() == self.origin.origin();
        let request = self.http.request(method, url);
        match self.authorization.as_ref().filter(|_| own) {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// Whether a blob is there.
    pub async fn has(
        &self,
        image: &Reference,
        blob: &Digest,
    ) -> Result<bool, OciDistributionError> {
        let answer = send(self.about(Method::HEAD, image, &format!("blobs/{blob}"))?).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => taken(answer).await.map(|_| true),
        }
    }

    /// A manifest's bytes; none when it is not there.
    pub async fn manifest(
        &self,
        image: &Reference,
    ) -> Result<Option<Vec<u8>>, OciDistributionError> {
        let name = image.digest().or_else(|| image.tag()).unwrap_or_default();
        let request = self.about(Method::GET, image, &format!("manifests/{name}"))?;
        let answer = send(request.header(ACCEPT, MANIFESTS.join(", "))).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        limited(taken(answer).await?, MANIFEST_LIMIT)
            .await
            .map(Some)
    }

    /// A small blob's bytes, by its digest; no more of it than it should have.
    pub async fn blob(&self, blob: &Reference, size: u64) -> Result<Vec<u8>, OciDistributionError> {
        let name = blob.digest().unwrap_or_default();
        let answer = send(self.about(Method::GET, blob, &format!("blobs/{name}"))?).await?;
        limited(
            taken(answer).await?,
            usize::try_from(size).unwrap_or(usize::MAX),
        )
        .await
    }

    /// Puts a manifest under a tag or its digest.
    pub async fn put(
        &self,
        image: &Reference,
        manifest: &[u8],
        media_type: &str,
    ) -> Result<(), OciDistributionError> {
        let name = image.digest().or_else(|| image.tag()).unwrap_or_default();
        let request = self.about(Method::PUT, image, &format!("manifests/{name}"))?;
        let request = request
            .header(CONTENT_TYPE, media_type)
            .body(manifest.to_vec());
        taken(send(request).await?).await.map(drop)
    }
}

/// Sends a request. An error's text has no address: that of an upload may let anybody in who reads it.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, OciDistributionError> {
    request
        .send()
        .await
        .map_err(|error| error.without_url().into())
}

/// An answer that says that it was done, or the error that it says.
pub(super) async fn taken(answer: Response) -> Result<Response, OciDistributionError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let mut url = answer.url().clone();
    url.set_query(None);
    let url = url.to_string();
    if status == StatusCode::UNAUTHORIZED {
        return Err(OciDistributionError::UnauthorizedError { url });
    }
    let message = limited(answer, ERROR_LIMIT).await.unwrap_or_default();
    let message = String::from_utf8_lossy(&message).trim().to_owned();
    Err(OciDistributionError::ServerError {
        code: status.as_u16(),
        url,
        message,
    })
}

/// The first bytes of an answer's body.
pub(super) async fn limited(
    mut answer: Response,
    limit: usize,
) -> Result<Vec<u8>, OciDistributionError> {
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(part) = answer.chunk().await?
    {
        bytes.extend_from_slice(&part[..part.len().min(limit - bytes.len())]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(wire: &Wire, url: &str) -> Option<String> {
        let url = Url::parse(url).expect("an address");
        let request = wire.at(Method::GET, url).build().expect("a request");
        request
            .headers()
            .get(AUTHORIZATION)
            .map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn the_login_is_told_to_the_registry_alone() {
        let wire = Wire::new("https://registry.example.com", Vec::new()).expect("a client");
        assert_eq!(header(&wire, "https://registry.example.com/v2/"), None);
        let basic = RegistryAuth::Basic("shop".to_owned(), "letmein".to_owned());
        let with_password = wire.clone().logged_in(&basic, None);
        let with_token = wire.logged_in(&basic, Some("t"));
        let own = "https://registry.example.com:443/v2/shop/blobs/uploads/1?_state=x";
        assert_eq!(
            header(&with_password, own).as_deref(),
            Some("Basic c2hvcDpsZXRtZWlu")
        );
        assert_eq!(header(&with_token, own).as_deref(), Some("Bearer t"));
        for other in [
            "https://storage.example.com/x",
            "http://registry.example.com/x",
        ] {
            assert_eq!(
                (header(&with_password, other), header(&with_token, other)),
                (None, None),
                "{other}"
            );
        }
    }
}
