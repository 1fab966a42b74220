//! A certificate that is read again when it has changed where it comes from. One that cannot be
//! used leaves the one before in use.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::MissedTickBehavior;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as TlsError, InconsistentKeys};

use crate::agent::router::tls::{CertificateError, Provider};
use crate::files;
use crate::model::certificate::{
    Certificate, CertificateFiles, CertificateSource, LARGEST, ServedCertificate,
};

/// How often a source is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate and its key, as they were read.
pub struct Loaded {
    /// What it says.
    pub certificate: Certificate,
    /// What handshakes are signed with.
    pub key: Arc<CertifiedKey>,
    chain: String,
    stamps: [Stamp; 2],
}

/// What a file is known by while nobody writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<Metadata> for Stamp {
    fn from(there: Metadata) -> Self {
        Self {
            file: (there.dev(), there.ino()),
            size: there.size(),
            modified: (there.mtime(), there.mtime_nsec()),
            changed: (there.ctime(), there.ctime_nsec()),
        }
    }
}

impl Loaded {
    /// Reads a source.
    pub async fn read(
        source: &CertificateSource,
        provider: &Provider,
    ) -> Result<Self, CertificateError> {
        let CertificateSource::Files(files) = source;
        let (files, provider) = (files.clone(), Arc::clone(provider));
        let read = tokio::task::spawn_blocking(move || Self::read_files(&files, &provider));
        let lost = |error: tokio::task::JoinError| CertificateError::Internal(error.to_string());
        read.await.map_err(lost)?
    }

    fn read_files(files: &CertificateFiles, provider: &Provider) -> Result<Self, CertificateError> {
        let [certificate, key] = files.paths();
        let stamps = stamps(files)?;
        let (read, chain) = Certificate::read(&content(certificate)?)
            .map_err(|error| of(certificate, &error.to_string()))?;
        let shown = encoded(&chain);
        let secret = content(key)?;
        // What the parser says could have a part of the key in it.
        let secret =
            PrivateKeyDer::from_pem_slice(&secret).map_err(|_| of(key, why_no_key(&secret)))?;

        let signing = CertifiedKey::from_der(chain, secret, provider);
        let signing = signing.map_err(|error| match error {
            TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::OtherKey {
                    certificate: certificate.display().to_string(),
                    key: key.display().to_string(),
                }
            }
            TlsError::InvalidCertificate(_) => of(certificate, &error.to_string()),
            _ => of(
                key,
                "this kind of private key cannot be used: take RSA or ECDSA",
            ),
        })?;
        // Who writes the files may be in the middle of it.
        if stamps != self::stamps(files)? {
            return Err(of(certificate, "it is being written"));
        }
        Ok(Self {
            certificate: read,
            key: Arc::new(signing),
            chain: shown,
            stamps,
        })
    }

    /// The same, if it can be used at this moment; the error is about a file of this name.
    pub fn usable(self, name: &str, now: Timestamp) -> Result<Self, CertificateError> {
        match self.certificate.fault(now) {
            None => Ok(self),
            Some(reason) => Err(CertificateError::File {
                file: name.to_owned(),
                reason,
            }),
        }
    }

    /// The same for people.
    pub fn served(&self, source: &CertificateSource, problem: Option<String>) -> ServedCertificate {
        ServedCertificate {
            source: source.clone(),
            certificate: self.certificate.clone(),
            chain: self.chain.clone(),
            problem,
        }
    }
}

fn stamps(files: &CertificateFiles) -> Result<[Stamp; 2], CertificateError> {
    let stamp = |path: &Path| {
        let there = path.metadata();
        there.map(Stamp::from).map_err(|error| unread(path, &error))
    };
    let [certificate, key] = files.paths();
    Ok([stamp(certificate)?, stamp(key)?])
}

fn content(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let bytes = files::read(path, LARGEST).map_err(|error| unread(path, &error))?;
    // Some editors begin a text with it.
    let bytes = match bytes.strip_prefix("\u{feff}".as_bytes()) {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    Ok(bytes)
}

/// Why no key was found. Nothing of the file is in it.
fn why_no_key(content: &[u8]) -> &'static str {
    let has = |words: &str| {
        content
            .windows(words.len())
            .any(|it| it == words.as_bytes())
    };
    if has("ENCRYPTED") {
        return "its private key is encrypted with a passphrase, which nobody is there to type when \
                the router starts: `openssl pkey -in KEY -out NEW` writes it without";
    }
    // A sequence in DER.
    if content.first() == Some(&0x30) {
        return "it is in DER, and PEM is wanted: `openssl pkey -inform DER -in KEY -out NEW`";
    }
    "there is no private key in PEM in it"
}

/// Why a file was not read: it, or a folder on the way to it, may be another user's alone.
fn unread(path: &Path, error: &io::Error) -> CertificateError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => CertificateError::Denied {
            file: path.display().to_string(),
        },
        _ => of(path, &error.to_string()),
    }
}

fn of(path: &Path, reason: &str) -> CertificateError {
    CertificateError::File {
        file: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

/// Certificates in PEM. They are written anew: in the file may be a key, wherever it stands.
fn encoded(chain: &[CertificateDer<'_>]) -> String {
    let each = chain
        .iter()
        .map(|one| pem::Pem::new("CERTIFICATE", one.to_vec()));
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_many_config(&each.collect::<Vec<_>>(), lines)
}

/// A certificate that is read again when it has changed.
pub struct Watched {
    source: CertificateSource,
    current: ArcSwap<Loaded>,
    problem: Mutex<Option<String>>,
}

impl Watched {
    /// Reads it, and looks at its source as long as this is there.
    pub async fn begin(
        source: CertificateSource,
        provider: &Provider,
    ) -> Result<Arc<Self>, CertificateError> {
        let loaded = Loaded::read(&source, provider).await?;
        let watched = Arc::new(Self {
            source,
            current: ArcSwap::from_pointee(loaded),
            problem: Mutex::default(),
        });
        tokio::spawn(watch(Arc::downgrade(&watched), Arc::clone(provider)));
        Ok(watched)
    }

    /// What is shown now.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// The same for people, with what is wrong at its source.
    pub fn served(&self) -> ServedCertificate {
        self.current().served(&self.source, self.problem())
    }

    fn problem(&self) -> Option<String> {
        let problem = self.problem.lock();
        problem.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the source again when it is not as it was. What went wrong is tried again, whether the
    /// source has changed or not: it may have been this machine's trouble.
    async fn look(&self, provider: &Provider) {
        let current = self.current();
        let CertificateSource::Files(files) = &self.source;
        let files = files.clone();
        let found = tokio::task::spawn_blocking(move || stamps(&files)).await;
        if self.problem().is_none() && matches!(found, Ok(Ok(found)) if found == current.stamps) {
            return;
        }

        let read = Loaded::read(&self.source, provider).await;
        let read = read.and_then(|loaded| loaded.usable("the new certificate", Timestamp::now()));
        let problem = match read {
            Ok(loaded) => {
                if loaded.certificate != current.certificate {
                    tracing::info!(
                        source = %self.source, before = %current.certificate,
                        now = %loaded.certificate, "another certificate is shown from now on"
                    );
                }
                self.current.store(Arc::new(loaded));
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(problem) = &problem
            && known.as_ref() != Some(problem)
        {
            tracing::error!(
                %problem, shown = %current.certificate,
                "a new certificate cannot be used; the one before stays in use"
            );
        }
        *known = problem;
    }
}

/// Looks again and again, as long as anybody shows it.
async fn watch(watched: Weak<Watched>, provider: Provider) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(watched) = watched.upgrade() else {
            return;
        };
        watched.look(&provider).await;
    }
}
