//! Vault: the server, how to log in to it, and what is read there.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value in a KV store of Vault (or `OpenBao`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSecret {
    /// The path with its mount, as the command `vault kv get` takes it: `secret/storefront`.
    pub path: String,
    /// The key of the value there.
    pub key: String,
    /// The version that is read, of a store that has versions (KV 2); the newest without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// How much of `path` is the mount: `secret`. Vault is asked without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The store's own version. Without it Vault is asked, or it is 2 where `mount` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvVersion>,
}

/// Whether a store of Vault keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(with = "u8")]
pub enum KvVersion {
    /// It keeps the newest value alone.
    One,
    /// It keeps versions.
    Two,
}

impl TryFrom<u8> for KvVersion {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            other => Err(format!("there is no KV {other}: write 1 or 2")),
        }
    }
}

impl From<KvVersion> for u8 {
    fn from(version: KvVersion) -> Self {
        match version {
            KvVersion::One => 1,
            KvVersion::Two => 2,
        }
    }
}

/// A server of Vault, and how to log in to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VaultServer {
    /// Its address: `https://vault.example.com:8200`. Without it `VAULT_ADDR` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The namespace in which secrets and logins are; `VAULT_NAMESPACE` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A file with the certificates that may have signed the server's, relative to the project's
    /// folder; `VAULT_CACERT` without it. They count beside those of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether it may be spoken to without TLS: a login and secrets go over the network in clear
    /// then. This machine's own addresses need no such word.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// How to log in. Without it the token is in `VAULT_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<VaultAuth>,
}

/// How to log in to Vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VaultAuth {
    /// With a token that is there already. It is neither renewed nor revoked.
    Token(Credential),
    /// As an `AppRole`.
    Approle(AppRole),
    /// As a pod, by the token of its service account.
    Kubernetes(KubernetesRole),
    /// By a token that an issuer has signed, as build servers get one.
    Jwt(JwtRole),
}

/// Where something is that opens a source: never in the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// A variable of the process that applies. No program that is started for the project sees it.
    Env(String),
    /// A file, relative to the project's folder.
    File(PathBuf),
}

/// An `AppRole` of Vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppRole {
    /// The role's id, which is no secret.
    pub role_id: String,
    /// Where the secret id is.
    pub secret_id: Credential,
    /// Whether that is a token that the secret id is wrapped in. It is unwrapped once: that somebody
    /// else was there before is an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wrapped: bool,
    /// Where the method is mounted; `approle` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
}

/// A role for pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesRole {
    /// The role's name.
    pub role: String,
    /// The file with the token; that of the pod that shipit runs in without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Where the method is mounted; `kubernetes` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
}

/// A role for signed tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtRole {
    /// The role's name.
    pub role: String,
    /// Where the token is.
    pub token: Credential,
    /// Where the method is mounted; `jwt` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
}
