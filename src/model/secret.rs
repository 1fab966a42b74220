//! Secrets: where they come from, and a value that does not show itself.

use std::fmt;
use std::path::PathBuf;

/// Where a secret's value is read from, while applying and not before.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// A file's content, without the last line end. The agent reads it again at each start of an
    /// instance.
    File(PathBuf),
    /// An environment variable of the process that applies.
    Env(String),
    /// A field of a secret in Vault.
    Vault(VaultRef),
}

/// A field of a secret in Vault.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct VaultRef {
    /// The secret's path, mount included: `secret/data/storefront`.
    pub path: String,
    /// The field in it.
    pub key: String,
}

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

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
