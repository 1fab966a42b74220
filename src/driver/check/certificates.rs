//! How a listener is known that is asked by its address: by the certificate that it is known to
//! show.
//!
//! The certificates of a live listener are for hosts, and it is asked by an address; they may be
//! signed by nobody but themselves. The engine says which ones it shows, and the answer is held
//! against those. One that is renewed meanwhile is taken when the same authority has signed it for
//! the same host. Everything else is refused.

use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::model::certificate::Certificate;

/// How many certificates are known at once; beyond it the oldest are forgotten.
const KNOWN: usize = 256;

/// The certificates that listeners are known to show.
#[derive(Debug)]
pub(super) struct Shown {
    known: RwLock<Vec<Known>>,
    provider: Arc<CryptoProvider>,
}

/// One of them.
#[derive(Debug)]
struct Known {
    leaf: CertificateDer<'static>,
    names: Vec<String>,
    /// Those that have signed it.
    authorities: Vec<CertificateDer<'static>>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
            provider: Arc::new(aws_lc_rs::default_provider()),
        }
    }
}

impl Shown {
    /// Knows these chains from now on, each in PEM. What is no chain is left out.
    pub fn add(&self, chains: &[String]) {
        for chain in chains {
            let read = CertificateDer::pem_slice_iter(chain.as_bytes());
            let Ok(mut read) = read.collect::<Result<Vec<_>, _>>() else {
                continue;
            };
            let Some(Ok(said)) = read.first().map(Certificate::of) else {
                continue;
            };
            let authorities = read.split_off(1);
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.iter().any(|one| read.contains(&one.leaf)) {
                continue;
            }
            if known.len() >= KNOWN {
                known.remove(0);
            }
            known.extend(read.into_iter().map(|leaf| Known {
                leaf,
                names: said.names.clone(),
                authorities: authorities.clone(),
            }));
        }
    }

    /// A client that knows listeners by them.
    pub fn client(self: &Arc<Self>) -> ClientConfig {
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Verifier(Arc::clone(self)));
        ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites of these versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth()
    }

    fn knows(&self, certificate: &CertificateDer<'_>) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|one| one.leaf == *certificate)
    }

    /// Whether an authority of a known certificate has signed this one, for one of its hosts.
    fn is_renewed(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|one| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(one.authorities.iter().cloned());
            let provider = Arc::clone(&self.provider);
            let built = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
            let Ok(judge) = built else { return false };
            // Any host below a wildcard stands for all of them.
            let hosts = one.names.iter().map(|name| name.replace('*', "any"));
            let mut hosts = hosts.filter_map(|host| ServerName::try_from(host).ok());
            hosts.any(|host| {
                let verified = judge.verify_server_cert(certificate, between, &host, &[], now);
                verified.is_ok()
            })
        })
    }
}

/// Holds an answer against what is known.
#[derive(Debug)]
struct Verifier(Arc<Shown>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.0.knows(certificate) || self.0.is_renewed(certificate, between, now) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An authority, and what it signs for a host.
    struct Authority(rcgen::Issuer<'static, rcgen::KeyPair>, rcgen::Certificate);

    impl Authority {
        fn new() -> Self {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let own = params.self_signed(&key).expect("an authority");
            Self(rcgen::Issuer::new(params, key), own)
        }

        fn sign(&self, host: &str) -> rcgen::Certificate {
            let params = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("a name");
            let key = rcgen::KeyPair::generate().expect("a key");
            params.signed_by(&key, &self.0).expect("a certificate")
        }
    }

    fn is_taken(shown: &Arc<Shown>, certificate: &rcgen::Certificate) -> bool {
        let address = ServerName::try_from("127.0.0.1").expect("an address");
        let judge = Verifier(Arc::clone(shown));
        let now = UnixTime::now();
        let verified = judge.verify_server_cert(certificate.der(), &[], &address, &[], now);
        verified.is_ok()
    }

    #[test]
    fn what_is_shown_is_known_and_so_is_what_renews_it_and_nothing_else() {
        let (own, other) = (Authority::new(), Authority::new());
        let leaf = own.sign("*.shop.test");
        let shown = Arc::new(Shown::default());
        assert!(!is_taken(&shown, &leaf), "nothing is known yet");
        shown.add(&[leaf.pem() + &own.1.pem(), "no PEM".to_owned()]);

        assert!(is_taken(&shown, &leaf), "whatever the address");
        assert!(is_taken(&shown, &own.sign("*.shop.test")), "renewed");
        assert!(!is_taken(&shown, &own.sign("elsewhere.test")));
        assert!(!is_taken(&shown, &other.sign("*.shop.test")));
    }
}
