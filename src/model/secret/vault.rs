//! Vault: the server, how to log in to it, and what is read there.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::model::is_loopback;

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

impl VaultServer {
    /// An address of this server as it is used, whoever wrote it. What is wrong with one says
    /// nothing of what is in it.
    pub fn address_of(&self, text: &str) -> Result<Url, AddressFault> {
        // Before anything else: what cannot be read may have a password in it, too.
        if text.contains(['@', '?', '#']) {
            return Err(AddressFault::Login);
        }
        let url = Url::parse(text).map_err(|_| AddressFault::Malformed)?;
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            _ if host.is_empty() => Err(AddressFault::Malformed),
            "https" => Ok(url),
            "http" if self.plain_http || is_loopback(host) => Ok(url),
            "http" => Err(AddressFault::InClear),
            _ => Err(AddressFault::Malformed),
        }
    }
}

/// What is wrong with a server's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// It is none.
    #[error("this is no address of a server")]
    Malformed,
    /// There is more in it than where the server is.
    #[error("an address has no login and no question in it")]
    Login,
    /// It is without TLS, and not of this machine.
    #[error("without TLS a login and secrets would go over the network in clear")]
    InClear,
}

impl AddressFault {
    /// What to do about it.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Malformed => "write it as `https://vault.example.com:8200`",
            Self::Login => {
                "write it as `https://vault.example.com:8200`; how to log in is said by \
                 `sources.vault.auth`"
            }
            Self::InClear => {
                "write `https://`; `sources: {vault: {plain_http: true}}` allows it all the same"
            }
        }
    }
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
    /// Whether that is a token that the secret id is wrapped in. It is unwrapped once: that
    /// somebody else was there before is an error.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_a_server_is_and_nothing_else() {
        let strict = VaultServer::default();
        let plain = VaultServer {
            plain_http: true,
            ..VaultServer::default()
        };
        for good in [
            "https://vault.example.com:8200",
            "https://vault.example.com/behind/",
            "http://127.0.0.1:8200",
            "http://[::1]:8200",
        ] {
            assert!(strict.address_of(good).is_ok(), "{good}");
        }
        for (wrong, fault) in [
            ("https://kim:pw@vault.example.com", AddressFault::Login),
            ("https://kim@vault.example.com", AddressFault::Login),
            ("https://kim:pw@", AddressFault::Login),
            ("kim:pw@vault.example.com:8200", AddressFault::Login),
            ("https://vault.example.com?token=pw", AddressFault::Login),
            ("https://vault.example.com#pw", AddressFault::Login),
            ("vault.example.com", AddressFault::Malformed),
            ("https://", AddressFault::Malformed),
            ("ftp://vault.example.com", AddressFault::Malformed),
            ("http://vault.example.com", AddressFault::InClear),
        ] {
            assert_eq!(strict.address_of(wrong), Err(fault), "{wrong}");
            let said = format!("{fault} {}", fault.help());
            assert!(!said.contains("pw"), "{said}");
        }
        assert!(plain.address_of("http://vault.example.com").is_ok());
    }
}
