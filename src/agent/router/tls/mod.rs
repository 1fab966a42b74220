//! TLS at the router's listeners: what they accept connections with, and the certificates that they
//! show.
//!
//! A certificate comes from a source, which is looked at again and again ([`Watched`]); a handshake
//! picks the one that is for the host that it names ([`Tls`]). A listener whose certificates cannot
//! be had is not opened: it never speaks in the clear instead.

mod handshake;
mod watched;

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};

pub use handshake::{HandshakeError, secure};

use crate::model::certificate::{CertificateSource, ServedCertificate, Tls as Wanted};
use watched::{Loaded, Watched};

/// What clients may go on with, the router's own choice first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file with the certificate, or with the key.
    #[error("{file}: {reason}")]
    File {
        /// Which one.
        file: String,
        /// In words. Nothing of a key is in them.
        reason: String,
    },
    /// This user may not read a file; another one may.
    #[error("{file}: this user may not read it")]
    Denied {
        /// Which one.
        file: String,
    },
    /// They are of two keys.
    #[error("{key} is not the key of {certificate}")]
    OtherKey {
        /// The file with the certificate.
        certificate: String,
        /// The file with the key.
        key: String,
    },
    /// What no file is to blame for.
    #[error("{0}")]
    Internal(String),
}

/// What connections are accepted with.
pub struct Tls {
    wanted: Wanted,
    config: Arc<ServerConfig>,
    watched: Vec<Arc<Watched>>,
    hsts: Option<HeaderValue>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads all certificates, and watches where they come from as long as this is there.
    pub async fn open(wanted: &Wanted) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut watched = Vec::new();
        for source in &wanted.certificates {
            watched.push(Watched::begin(source.clone(), &provider).await?);
        }

        let certificates = Certificates(watched.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| CertificateError::Internal(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();

        let hsts = wanted
            .hsts
            .map(|hsts| format!("max-age={}", hsts.get().as_secs()));
        Ok(Arc::new(Self {
            wanted: wanted.clone(),
            config: Arc::new(config),
            watched,
            hsts: hsts.and_then(|hsts| HeaderValue::try_from(hsts).ok()),
        }))
    }

    /// Whether it is what a route asks for.
    pub fn is(&self, wanted: &Wanted) -> bool {
        self.wanted == *wanted
    }

    /// What browsers are told about asking this host by HTTPS alone.
    pub const fn hsts(&self) -> Option<&HeaderValue> {
        self.hsts.as_ref()
    }

    /// The certificates that are shown, in the order of the route.
    pub fn served(&self) -> Vec<ServedCertificate> {
        self.watched.iter().map(|one| one.served()).collect()
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// Whether all certificates can be used from now on. The error names the first that cannot.
pub async fn check(wanted: &Wanted, now: Timestamp) -> Result<(), CertificateError> {
    for source in &wanted.certificates {
        examine(source, now).await?;
    }
    Ok(())
}

/// What a source's certificate says, when it can be used now.
pub async fn examine(
    source: &CertificateSource,
    now: Timestamp,
) -> Result<ServedCertificate, CertificateError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let loaded = Loaded::read(source, &provider).await?;
    let loaded = loaded.usable(&source.to_string(), now)?;
    Ok(loaded.served(source, None))
}

/// The certificates of a listener, by the host that a client names, and by the kinds of keys that
/// it knows: a host may have one with an elliptic curve and one with RSA.
struct Certificates(Vec<Arc<Watched>>);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.0.len()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = || self.0.iter().map(|one| one.current());
        let host = hello.server_name();
        let fits = |loaded: &Arc<Loaded>| host.is_some_and(|host| loaded.certificate.covers(host));
        let schemes = hello.signature_schemes();
        let is_known = |loaded: &Arc<Loaded>| loaded.key.key.choose_scheme(schemes).is_some();

        let chosen = current()
            .find(|loaded| fits(loaded) && is_known(loaded))
            .or_else(|| current().find(is_known))?;
        Some(Arc::clone(&chosen.key))
    }
}

/// The one provider of cryptography.
type Provider = Arc<CryptoProvider>;
