//! Certificates of a router: where each comes from, and what it says of itself.
//!
//! Nothing here knows a private key: a source says where the key is, and whoever accepts
//! connections reads it there.

mod parse;

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::model::{Digest, Period};

/// The largest file with a certificate or a key, in bytes.
pub const LARGEST: u64 = 256 << 10;
/// How long before its end a certificate is worth a word: a month, in which those who renew by hand
/// can do it.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What the router's HTTP listeners need to speak TLS.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tls {
    /// Where the certificates come from. The first one is shown to whoever names no host, or one
    /// that none of them is for. Never empty.
    pub certificates: Vec<CertificateSource>,
    /// How long browsers are told to ask this host by HTTPS alone; they are told nothing without
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Period>,
}

/// Where a certificate and its key come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// From files of the agent's machine, which somebody else writes and renews.
    Files(CertificateFiles),
}

/// Files of the agent's machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl fmt::Display for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => write!(f, "{}", files.certificate.display()),
        }
    }
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Certificate {
    /// The hash of the certificate, as `openssl x509 -fingerprint -sha256` has it but for the
    /// colons.
    pub fingerprint: Digest,
    /// The hosts and addresses that it is for.
    pub names: Vec<String>,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// A certificate that a listener shows, with what is wrong where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ServedCertificate {
    /// Where it comes from.
    pub source: CertificateSource,
    /// What it says.
    #[serde(flatten)]
    pub certificate: Certificate,
    /// The certificate and those that lead to its authority, in PEM: whoever asks the listener over
    /// its address can hold the answer against it.
    pub chain: String,
    /// Why what is there now is not what is shown; none when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Why a file has no certificate that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// There is none in it.
    #[error("there is no certificate in it: PEM begins with `-----BEGIN CERTIFICATE-----`")]
    Missing,
    /// It is not PEM, or what is inside of it is no certificate.
    #[error("its certificate cannot be read: {0}")]
    Unreadable(String),
    /// No host can be asked by it.
    #[error("it names no host: subjectAltName is what clients look at")]
    NoName,
}

/// Whether a certificate can be used at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It can.
    Valid,
    /// It can, and not for long.
    EndsSoon,
    /// Not yet.
    NotYet,
    /// Not any more.
    Expired,
}

impl Certificate {
    /// What the first certificate of a file says, and all of them. The others lead to its
    /// authority.
    pub fn read(pem: &[u8]) -> Result<(Self, Vec<CertificateDer<'static>>), CertificateFault> {
        let unreadable = |error: String| CertificateFault::Unreadable(error);
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        // What the parser says of it could be a part of a key that stands in the same file.
        let chain = chain.map_err(|_| unreadable("it is no PEM".to_owned()))?;
        let leaf = chain.first().ok_or(CertificateFault::Missing)?;
        Ok((Self::of(leaf)?, chain))
    }

    /// What a certificate says.
    pub fn of(der: &CertificateDer<'_>) -> Result<Self, CertificateFault> {
        let unreadable = |error: String| CertificateFault::Unreadable(error);
        let parsed = parse::certificate(der).map_err(|error| unreadable(error.to_string()))?;
        if parsed.names.is_empty() {
            return Err(CertificateFault::NoName);
        }

        let at = |seconds: i64| {
            Timestamp::from_second(seconds).map_err(|error| unreadable(error.to_string()))
        };
        Ok(Self {
            fingerprint: Digest::of(der),
            names: parsed.names,
            from: at(parsed.from)?,
            until: at(parsed.until)?,
        })
    }

    /// Whether it can be used at this moment.
    #[must_use]
    pub fn validity(&self, now: Timestamp) -> Validity {
        if now < self.from {
            Validity::NotYet
        } else if now >= self.until {
            Validity::Expired
        } else if self.until.duration_since(now) < SOON {
            Validity::EndsSoon
        } else {
            Validity::Valid
        }
    }

    /// Whether it is for a host: `*.example.com` is for all that have one label more.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.names.iter().any(|name| {
            name.eq_ignore_ascii_case(host)
                || name.strip_prefix("*.").is_some_and(|parent| {
                    host.split_once('.').is_some_and(|(label, rest)| {
                        !label.is_empty() && rest.eq_ignore_ascii_case(parent)
                    })
                })
        })
    }

    /// Why it cannot be used now; none when it can.
    #[must_use]
    pub fn fault(&self, now: Timestamp) -> Option<String> {
        match self.validity(now) {
            Validity::Valid | Validity::EndsSoon => None,
            Validity::NotYet => Some(format!("it begins at {} only", self.from)),
            Validity::Expired => Some(format!("it has expired at {}", self.until)),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.until.strftime("%Y-%m-%d");
        write!(f, "{} until {day}", self.names.join(", "))
    }
}

impl CertificateFiles {
    /// Both files.
    #[must_use]
    pub fn paths(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of rcgen's for these names and years.
    fn pem(names: &[&str], years: (i32, i32)) -> String {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_certificate_says_its_names_and_its_time() {
        let text = pem(&["shop.test", "*.shop.test", "127.0.0.1"], (2026, 2027));
        let (one, chain) = Certificate::read(text.as_bytes()).expect("a certificate");
        assert_eq!(chain.len(), 1);
        assert_eq!(one.fingerprint, Digest::of(&chain[0]));
        assert_eq!(one.names, ["shop.test", "*.shop.test", "127.0.0.1"]);
        assert_eq!(
            one.to_string(),
            "shop.test, *.shop.test, 127.0.0.1 until 2027-01-01"
        );

        let validity = |now: &str| one.validity(at(now));
        assert_eq!(validity("2025-12-31T23:59:59Z"), Validity::NotYet);
        assert_eq!(validity("2026-01-01T00:00:00Z"), Validity::Valid);
        assert_eq!(validity("2026-12-15T00:00:00Z"), Validity::EndsSoon);
        assert_eq!(validity("2027-01-01T00:00:00Z"), Validity::Expired);
        assert!(one.fault(at("2026-12-15T00:00:00Z")).is_none());
        let fault = one.fault(at("2028-01-01T00:00:00Z")).expect("expired");
        assert_eq!(fault, "it has expired at 2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_wildcard_is_for_one_label_more_and_no_deeper() {
        let text = pem(&["shop.test", "*.shop.test"], (2026, 2027));
        let (one, _) = Certificate::read(text.as_bytes()).expect("a certificate");
        for host in ["shop.test", "SHOP.test.", "www.shop.test"] {
            assert!(one.covers(host), "{host}");
        }
        for host in ["", ".shop.test", "a.b.shop.test", "test", "shop.test.evil"] {
            assert!(!one.covers(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_told_apart() {
        let fault = |text: &str| Certificate::read(text.as_bytes()).expect_err("a fault");
        assert_eq!(fault(""), CertificateFault::Missing);
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        assert_eq!(fault(&key), CertificateFault::Missing, "a key");
        let junk = "-----BEGIN CERTIFICATE-----\naGFsbG8=\n-----END CERTIFICATE-----\n";
        assert!(matches!(fault(junk), CertificateFault::Unreadable(_)));
        assert_eq!(fault(&pem(&[], (2026, 2027))), CertificateFault::NoName);
    }
}
