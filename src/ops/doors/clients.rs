//! Who may ask the server from another machine: an authority of its own, certificates, tokens.
//!
//! A client is a file; that it is revoked counts from the next call on. Keys and tokens are given
//! to whoever issues them, once, and are kept nowhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::DoorError;
use crate::files;
use crate::model::client::{Client, Proof, Verb};
use crate::model::{ContentHash, Period};
use crate::policy::rights::invalid;

/// The largest of its files, in bytes.
const LARGEST: u64 = 64 << 10;

/// How every token begins.
pub const TOKEN: &str = "shipit_";

/// How long the authority is valid.
const AUTHORITY: Period = Period::from_secs(20 * 365 * 24 * 60 * 60);

/// How long the server's own certificate is; it is made anew at each start.
const SERVER: Period = Period::from_secs(397 * 24 * 60 * 60);

/// How long another process may be making the authority.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a clock may be behind.
const BEHIND: Duration = Duration::from_hours(1);

/// What a client is given.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub may: Vec<Verb>,
    /// Where: globs of `PROJECT/ENVIRONMENT`.
    pub within: Vec<String>,
    /// For how long.
    pub valid: Period,
}

/// The authority and the clients of a server.
#[derive(Debug, Clone)]
pub struct Clients {
    folder: PathBuf,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The authority's certificate.
    pub authority: String,
}

fn failed(what: &'static str) -> impl Fn(String) -> DoorError {
    move |reason| DoorError::Setup {
        what: what.to_owned(),
        reason,
    }
}

impl Clients {
    /// Those of a server whose data is in this folder.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self {
            folder: data.join("clients"),
        }
    }

    /// Issues a certificate for a client.
    ///
    /// # Errors
    /// There is a client of this name, or its file cannot be written.
    pub fn certificate(&self, request: &ClientRequest) -> Result<Issued, DoorError> {
        let failed = failed("issuing a certificate");
        self.is_free(&request.name)?;
        let authority = self.authority()?;
        let now = Timestamp::now();
        let expires = until(now, request.valid);
        let mut params = params(&request.name, now, expires);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(|error| failed(error.to_string()))?;
        let made = params
            .signed_by(&key, &authority.issuer)
            .map_err(|error| failed(error.to_string()))?;

        self.write(&record(
            request,
            Proof::Certificate,
            &fingerprint(made.der()),
            (now, expires),
        ))?;
        Ok(Issued {
            certificate: made.pem(),
            key: key.serialize_pem(),
            authority: authority.certificate,
        })
    }

    /// Issues a token for a client.
    ///
    /// # Errors
    /// There is a client of this name, or its file cannot be written.
    pub fn token(&self, request: &ClientRequest) -> Result<String, DoorError> {
        self.is_free(&request.name)?;
        let mut random = [0; 32];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| failed("making a token")("there is no randomness".to_owned()))?;
        let token = format!("{TOKEN}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let now = Timestamp::now();
        let times = (now, until(now, request.valid));
        self.write(&record(
            request,
            Proof::Token,
            &fingerprint(token.as_bytes()),
            times,
        ))?;
        Ok(token)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn list(&self) -> Result<Vec<Client>, DoorError> {
        let failed = failed("reading the clients");
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| failed(error.to_string()))?,
        };
        let mut clients = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(error.to_string()))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let bytes =
                    files::read(&path, LARGEST).map_err(|error| failed(error.to_string()))?;
                let client = serde_json::from_slice(&bytes);
                clients
                    .push(client.map_err(|error| failed(format!("{}: {error}", path.display())))?);
            }
        }
        clients.sort_by(|one: &Client, other| one.name.cmp(&other.name));
        Ok(clients)
    }

    /// The client that a certificate or a token is of, whether or not it is valid.
    ///
    /// # Errors
    /// They cannot be read.
    fn find(&self, proof: Proof, fingerprint: &str) -> Result<Option<Client>, DoorError> {
        let is_it = |client: &Client| client.proof == proof && client.fingerprint == fingerprint;
        Ok(self.list()?.into_iter().find(is_it))
    }

    /// The same, as long as it is valid.
    ///
    /// # Errors
    /// It is revoked or expired, or they cannot be read.
    pub fn valid(&self, proof: Proof, fingerprint: &str) -> Result<Option<Client>, DoorError> {
        let found = self.find(proof, fingerprint)?;
        match found
            .as_ref()
            .and_then(|client| invalid(client, Timestamp::now()))
        {
            Some(reason) => Err(DoorError::Forbidden(reason)),
            None => Ok(found),
        }
    }

    /// Revokes a client: from its next call on it is none.
    ///
    /// # Errors
    /// There is none of this name, or its file cannot be written.
    pub fn revoke(&self, name: &str) -> Result<Client, DoorError> {
        let found = self.list()?.into_iter().find(|client| client.name == name);
        let client =
            found.ok_or_else(|| DoorError::Unknown(format!("there is no client {name}")))?;
        let revoked = Client {
            revoked: client.revoked.or_else(|| Some(Timestamp::now())),
            ..client
        };
        self.write(&revoked)?;
        Ok(revoked)
    }

    /// A certificate for the server itself, for these names of its machine.
    ///
    /// # Errors
    /// A name is none, or the authority cannot be read.
    pub fn of_server(&self, names: &[String]) -> Result<Issued, DoorError> {
        let failed = failed("making the server's certificate");
        let authority = self.authority()?;
        let now = Timestamp::now();
        let mut params = params("shipit serve", now, until(now, SERVER));
        let with_names =
            CertificateParams::new(names.to_vec()).map_err(|error| failed(error.to_string()))?;
        params.subject_alt_names = with_names.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(|error| failed(error.to_string()))?;
        let made = params
            .signed_by(&key, &authority.issuer)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Issued {
            certificate: made.pem(),
            key: key.serialize_pem(),
            authority: authority.certificate,
        })
    }

    /// The authority, which is made when there is none.
    fn authority(&self) -> Result<Authority, DoorError> {
        let failed = failed("using the authority");
        files::private_folder(&self.folder).map_err(|error| failed(error.to_string()))?;
        // It is made once, whoever comes first.
        let lock = files::lock_within(&self.folder.join("lock"), PATIENCE);
        let _lock = lock.map_err(|error| failed(error.to_string()))?;
        let (key_path, certificate_path) = (
            self.folder.join("authority.key"),
            self.folder.join("authority.crt"),
        );
        let known =
            files::read_if_there(&key_path, LARGEST).map_err(|error| failed(error.to_string()))?;
        let key = match known {
            Some(text) => KeyPair::from_pem(&String::from_utf8_lossy(&text)),
            // What another key signs, the certificate that clients have is not of.
            None if certificate_path.exists() => {
                return Err(failed(format!(
                    "{} is gone, and its certificate is there: restore it, or delete both and \
                     issue new certificates",
                    key_path.display()
                )));
            }
            None => KeyPair::generate(),
        }
        .map_err(|error| failed(error.to_string()))?;

        let mut params = params(
            "shipit's authority",
            Timestamp::now(),
            until(Timestamp::now(), AUTHORITY),
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !certificate_path.exists() {
            let made = params
                .self_signed(&key)
                .map_err(|error| failed(error.to_string()))?;
            for (path, text) in [
                (&key_path, key.serialize_pem()),
                (&certificate_path, made.pem()),
            ] {
                files::replace(path, text.as_bytes()).map_err(|error| failed(error.to_string()))?;
            }
        }
        let certificate = files::read_text(&certificate_path, LARGEST);
        Ok(Authority {
            certificate: certificate.map_err(|error| failed(error.to_string()))?,
            issuer: Issuer::new(params, key),
        })
    }

    fn is_free(&self, name: &str) -> Result<(), DoorError> {
        let may_stand = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty()
            || name.len() > 60
            || name.starts_with('.')
            || !name.chars().all(may_stand)
        {
            let reason = "a client's name has letters, digits, `-`, `_` and `.`, 60 at the most";
            return Err(DoorError::Impossible(reason.to_owned()));
        }
        if self.path(name).exists() {
            let reason = format!(
                "there is a client {name}: its name stays in the history; take another one"
            );
            return Err(DoorError::Impossible(reason));
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    fn write(&self, client: &Client) -> Result<(), DoorError> {
        let failed = failed("writing a client");
        files::private_folder(&self.folder).map_err(|error| failed(error.to_string()))?;
        let text = serde_json::to_vec_pretty(client).map_err(|error| failed(error.to_string()))?;
        files::replace(&self.path(&client.name), &text).map_err(|error| failed(error.to_string()))
    }
}

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// SHA-256 in hexadecimal digits: by it a certificate or a token is known.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> String {
    ContentHash::of(bytes).hex().to_owned()
}

fn until(now: Timestamp, period: Period) -> Timestamp {
    let length = SignedDuration::try_from(period.get()).unwrap_or(SignedDuration::MAX);
    now.checked_add(length).unwrap_or(Timestamp::MAX)
}

fn record(
    request: &ClientRequest,
    proof: Proof,
    fingerprint: &str,
    (issued, expires): (Timestamp, Timestamp),
) -> Client {
    Client {
        name: request.name.clone(),
        proof,
        fingerprint: fingerprint.to_owned(),
        may: request.may.clone(),
        within: request.within.clone(),
        issued,
        expires,
        revoked: None,
    }
}

fn params(name: &str, from: Timestamp, until: Timestamp) -> CertificateParams {
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or(0);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(from) - BEHIND;
    params.not_after = at(until);
    params
}
