//! Where images are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::Text;
use crate::model::Period;

/// Where images are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools)] // each is a key of its own
pub struct Registry {
    /// Which kind of registry.
    pub kind: RegistryKind,
    /// `layout`: the folder, relative to the project's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `oci` and `ecr`: where pushes go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `oci` and `ecr`: a file with the certificates that may have signed the registry's own, relative to the
    /// project's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// `oci` and `ecr`: whether the registry is spoken to without TLS. One on this machine always may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// Hosts that may be given a login for a registry besides that registry's own: its token server, where that is on
    /// another host. A name is for the usual port, `auth.example.com:8443` for another one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_hosts: Vec<String>,
    /// `ecr`: whether Amazon's password is sent to `endpoint` although that is none of Amazon's addresses. It opens every
    /// repository of the account that this identity may use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_gets_credentials: bool,
    /// `oci` and `ecr`: whether each image gets a document attached that says where it comes from (in-toto, SLSA).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provenance: bool,
    /// `oci` and `ecr`: whether each image gets a document attached that says what is in it (CycloneDX).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sbom: bool,
    /// `ecr`: the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `ecr`: the account's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// `oci` and `ecr`: the repository's name, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// `ecr`: whether a tag may be moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable_tags: Option<bool>,
    /// `ecr`: whether images are scanned when they are pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_on_push: Option<bool>,
    /// `oci` and `ecr`: how many tagged images are kept. `ecr`: and how long untagged ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<RegistryRetention>,
    /// `ecr`: the whole lifecycle policy, instead of `retention`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy: Option<serde_json::Value>,
    /// `ecr`: who may do what with the repositories: a policy document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
    /// `ecr`: the key that images are encrypted with; the registry's own without it. It cannot be changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// `ecr`: tags of the repositories.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Text>,
    /// `ecr`: other registries whose images are fetched through this one and kept, by the prefix of their repositories
    /// here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pull_through: BTreeMap<String, PullThrough>,
    /// `ecr`: where images are copied to when they are pushed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replication: Vec<Replication>,
}

/// Another registry whose images are fetched through this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PullThrough {
    /// Its address: `registry-1.docker.io`, `quay.io`. Another one means another rule.
    pub upstream: String,
    /// The secret of Secrets Manager that has the user and the password, by its ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Where images are copied to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    /// The region.
    pub to: String,
    /// The account's number; the registry's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The beginnings of the repositories' names; those of the environment without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
}

impl Replication {
    /// The region and the account, as one text.
    #[must_use]
    pub fn place(&self, registry: &Registry) -> String {
        let account = self.account.as_ref().or(registry.account.as_ref());
        format!("{}/{}", self.to, account.map_or("", String::as_str))
    }
}

impl Registry {
    /// The layout's folder, relative to the project's.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("state/registry"))
    }
}

/// The kinds of registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistryKind {
    /// An OCI image layout folder.
    #[default]
    Layout,
    /// Any registry that speaks the OCI distribution protocol.
    Oci,
    /// Amazon ECR.
    Ecr,
}

/// How long a registry keeps images by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryRetention {
    /// How many tagged images of each repository. With `oci`, of those that shipit made: a run takes away the others that
    /// nobody needs.
    pub tagged: Option<u32>,
    /// How long untagged ones.
    pub untagged: Option<Period>,
}
