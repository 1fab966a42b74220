//! A certificate that is read again when it has changed where it comes from. One that cannot be used
//! leaves the one before in use.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
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
        let pem = content(certificate)?;
        let (read, chain) =
            Certificate::read(&pem).map_err(|error| of(certificate, &error.to_string()))?;
        // What the parser says could have a part of the key in it.
        let secret = PrivateKeyDer::from_pem_slice(&content(key)?)
            .map_err(|_| of(key, "there is no private key in PEM in it"))?;

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
            chain: certificates_of(&pem),
            stamps,
        })
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
        there
            .map(Stamp::from)
            .map_err(|error| of(path, &error.to_string()))
    };
    let [certificate, key] = files.paths();
    Ok([stamp(certificate)?, stamp(key)?])
}

fn content(path: &Path) -> Result<Vec<u8>, CertificateError> {
    files::read(path, LARGEST).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => CertificateError::Denied {
            file: path.display().to_string(),
        },
        _ => of(path, &error.to_string()),
    })
}

fn of(path: &Path, reason: &str) -> CertificateError {
    CertificateError::File {
        file: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

/// The certificates of a file alone: some have their key in it as well.
fn certificates_of(pem: &[u8]) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(pem);
    let blocks = text.split(BEGIN).skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once(END)?.0));
    // Between lines of a certificate there is nothing else, and least of all a key.
    let blocks = blocks.filter(|inside| !inside.contains('-'));
    let each = blocks.flat_map(|inside| [BEGIN, inside, END, "\n"]);
    each.collect()
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

        let read = Loaded::read(&self.source, provider).await.and_then(usable);
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

/// What may take the place of another one.
fn usable(loaded: Loaded) -> Result<Loaded, CertificateError> {
    match loaded.certificate.fault(Timestamp::now()) {
        None => Ok(loaded),
        Some(reason) => Err(CertificateError::File {
            file: "the new certificate".to_owned(),
            reason,
        }),
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
