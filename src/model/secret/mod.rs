//! Secrets: where they come from (`reference`), servers that keep them (`vault`, `aws`), and a
//! value that does not show itself.

mod aws;
mod reference;
mod vault;

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

pub use aws::{AwsParameter, AwsSecret};
pub use reference::{ClusterSecret, ProgramSecret, Rotation, SecretRef, SecretVersion, SopsSecret};
pub use vault::{
    AddressFault, AppRole, Credential, JwtRole, KubernetesRole, KvVersion, VaultAuth, VaultSecret,
    VaultServer,
};

/// A secret's value. It can be read by who needs it ([`SecretValue::expose`]) and shows as `***`
/// otherwise.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// Wraps a value.
    #[must_use]
    pub const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself: only for the process that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// How many bytes a secret has at the most.
pub const SECRET_LIMIT: u64 = 64 << 10;

/// A secret's text without the last line end, which editors and programs put there. Whoever reads
/// one goes by this, so that the value is the same wherever it is read.
#[must_use]
pub fn without_line_end(text: &str) -> &str {
    text.strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(text)
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a hash of a secret is keyed with, so that it tells nothing about the value to whoever reads
/// it.
#[derive(Clone)]
pub struct HashKey(pub Vec<u8>);

impl HashKey {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let parts = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        Self(parts.iter().flat_map(|part| *part.as_bytes()).collect())
    }

    /// The hash of each value, by its name.
    #[must_use]
    pub fn hashes(&self, values: &BTreeMap<String, SecretValue>) -> BTreeMap<String, String> {
        let hash = |(name, value): (&String, &SecretValue)| {
            (name.clone(), self.hash(value.expose().as_bytes()))
        };
        values.iter().map(hash).collect()
    }

    /// A keyed hash: the first half of an HMAC with SHA-256, as hexadecimal digits.
    #[must_use]
    pub fn hash(&self, bytes: &[u8]) -> String {
        let mut pad = [0_u8; 64];
        for (to, from) in pad.iter_mut().zip(&self.0) {
            *to = *from;
        }
        let inner = Sha256::new()
            .chain_update(pad.map(|byte| byte ^ 0x36))
            .chain_update(bytes)
            .finalize();
        let outer = Sha256::new()
            .chain_update(pad.map(|byte| byte ^ 0x5c))
            .chain_update(inner)
            .finalize();
        outer
            .iter()
            .take(16)
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }
}
