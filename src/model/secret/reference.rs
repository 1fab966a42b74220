//! Where a secret is read from, and which version of it.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Period;
use crate::model::secret::{AwsParameter, AwsSecret, VaultSecret};

/// Where a secret's value is read from, while a plan is made and while applying. A source that has
/// versions names the one that is read; the newest without it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// A file's content, without the last line end. The agent reads it again at each start of an
    /// instance.
    File(PathBuf),
    /// An environment variable of the process that applies.
    Env(String),
    /// What a program prints, without the last line end.
    Run(ProgramSecret),
    /// A value in a file that is encrypted with SOPS.
    Sops(SopsSecret),
    /// A value in a KV store of Vault.
    Vault(VaultSecret),
    /// A secret of Amazon's Secrets Manager.
    AwsSecret(AwsSecret),
    /// A parameter of Amazon's Systems Manager.
    AwsParameter(AwsParameter),
    /// A Secret of the cluster that somebody else makes. The pod names it: its value is read by
    /// nobody here.
    Kubernetes(ClusterSecret),
}

impl SecretRef {
    /// Whether its source can be asked for a version.
    #[must_use]
    pub const fn has_versions(&self) -> bool {
        match self {
            Self::File(_) | Self::Env(_) | Self::Run(_) | Self::Sops(_) | Self::Kubernetes(_) => {
                false
            }
            Self::Vault(_) | Self::AwsSecret(_) | Self::AwsParameter(_) => true,
        }
    }

    /// The version that is read; none for the newest, and for a source without versions.
    #[must_use]
    pub fn version(&self) -> Option<SecretVersion> {
        match self {
            Self::File(_) | Self::Env(_) | Self::Run(_) | Self::Sops(_) | Self::Kubernetes(_) => {
                None
            }
            Self::Vault(secret) => secret.version.map(SecretVersion::Number),
            Self::AwsSecret(secret) => secret.version.clone().map(SecretVersion::Id),
            Self::AwsParameter(parameter) => parameter.version.map(SecretVersion::Number),
        }
    }

    /// The same secret in this version, or in the newest. A source that counts otherwise stays as
    /// it is.
    #[must_use]
    pub fn at(&self, version: Option<&SecretVersion>) -> Self {
        let (number, id) = match version {
            Some(SecretVersion::Number(number)) => (Some(*number), None),
            Some(SecretVersion::Id(id)) => (None, Some(id.clone())),
            None => (None, None),
        };
        match self {
            Self::File(_) | Self::Env(_) | Self::Run(_) | Self::Sops(_) | Self::Kubernetes(_) => {
                self.clone()
            }
            Self::Vault(secret) => Self::Vault(VaultSecret {
                version: number,
                ..secret.clone()
            }),
            Self::AwsSecret(secret) => Self::AwsSecret(AwsSecret {
                version: id,
                ..secret.clone()
            }),
            Self::AwsParameter(parameter) => Self::AwsParameter(AwsParameter {
                version: number,
                name: parameter.name.clone(),
            }),
        }
    }
}

/// A version of a secret, as its source counts or names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SecretVersion {
    /// A number: a later one is larger.
    Number(u64),
    /// A name that says nothing of an order.
    Id(String),
}

/// Whether another version or value of a secret makes a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// It does.
    #[default]
    Release,
    /// It does not by itself. The next release has it, whatever that is made for.
    Ignore,
}

impl Rotation {
    /// Whether it does.
    #[must_use]
    pub const fn is_release(&self) -> bool {
        matches!(self, Self::Release)
    }
}

/// How many characters of a version's name are shown: enough to see that it is another one.
const SHOWN: usize = 8;

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "version {number}"),
            Self::Id(id) => {
                let shown: String = id.chars().take(SHOWN).collect();
                write!(f, "version {shown}")
            }
        }
    }
}

/// A program that prints a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProgramSecret {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Period,
}

/// A value in a file that is encrypted with SOPS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SopsSecret {
    /// The file, relative to the project's folder: YAML, JSON, INI, or variables (`.env`).
    pub file: PathBuf,
    /// The value's key, with a dot between the keys of maps and the numbers of lists:
    /// `database.hosts.0.password`.
    pub key: String,
}

/// A Secret of the cluster that somebody else makes, and the key of a value in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSecret {
    /// The Secret's name. It is in the namespace of each slot.
    pub secret: String,
    /// The value's key: `tls.crt`.
    pub key: String,
}
