//! Infrastructure that a plan makes and changes: repositories, a cluster, what its pods run on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::loss::Holding;
use crate::model::{ContentHash, Digest, Fingerprint};

/// The settings of a resource by their names.
pub type Settings = BTreeMap<String, Value>;

/// A kind of resource.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// A registry's repository.
    Repository,
    /// Another registry whose images are fetched through this one.
    PullThrough,
    /// Where a registry's images are copied to.
    Replication,
    /// A Kubernetes cluster.
    Cluster,
    /// Machines of a cluster.
    NodeGroup,
    /// Which pods of a cluster run on Fargate.
    FargateProfile,
    /// What the provider installs in a cluster.
    Addon,
    /// What one of the provider's identities may do inside of a cluster.
    AccessEntry,
}

impl ResourceKind {
    const ALL: [Self; 8] = [
        Self::Repository,
        Self::PullThrough,
        Self::Replication,
        Self::Cluster,
        Self::NodeGroup,
        Self::FargateProfile,
        Self::Addon,
        Self::AccessEntry,
    ];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::PullThrough => "pull_through",
            Self::Replication => "replication",
            Self::Cluster => "cluster",
            Self::NodeGroup => "node_group",
            Self::FargateProfile => "fargate_profile",
            Self::Addon => "addon",
            Self::AccessEntry => "access_entry",
        }
    }

    /// Whether it belongs to a cluster, or is one.
    #[must_use]
    pub const fn is_of_cluster(self) -> bool {
        !matches!(
            self,
            Self::Repository | Self::PullThrough | Self::Replication
        )
    }

    /// The settings that cannot be changed: another value means another resource.
    #[must_use]
    pub fn is_fixed(self, setting: &str) -> bool {
        match self {
            Self::Repository => setting == "kms_key",
            Self::PullThrough => setting == "upstream",
            Self::Replication | Self::Addon | Self::AccessEntry => false,
            Self::Cluster => matches!(setting, "role" | "subnets"),
            Self::NodeGroup => {
                matches!(setting, "role" | "subnets" | "instance_types" | "disk_size")
            }
            Self::FargateProfile => matches!(setting, "namespaces" | "subnets" | "role"),
        }
    }
}

/// Names a resource: `fargate_profile.apps`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name, as its provider knows it.
    pub name: String,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.as_str(), self.name)
    }
}

/// Why a text names no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no resource: KIND.NAME")]
pub struct ResourceKeyError(String);

impl FromStr for ResourceKey {
    type Err = ResourceKeyError;
    fn from_str(text: &str) -> Result<Self, ResourceKeyError> {
        let parse = || {
            let (kind, name) = text.split_once('.').filter(|(_, name)| !name.is_empty())?;
            let kind = ResourceKind::ALL
                .into_iter()
                .find(|known| known.as_str() == kind)?;
            Some(Self {
                kind,
                name: name.to_owned(),
            })
        };
        parse().ok_or_else(|| ResourceKeyError(text.to_owned()))
    }
}

impl serde::Serialize for ResourceKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ResourceKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A resource as it should be. A setting that is not named is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resource {
    /// Which.
    pub key: ResourceKey,
    /// Its settings.
    pub settings: Settings,
}

/// An image that a repository has.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredImage {
    /// What it is.
    pub digest: Digest,
    /// What it is labelled with.
    pub tags: Vec<String>,
    /// Since when it is there.
    pub pushed_at: Timestamp,
    /// How much it takes there, in bytes; none where that is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// What goes with a repository: its images.
#[must_use]
pub fn images_held(key: &ResourceKey, images: &[StoredImage]) -> Vec<Holding> {
    let count = match images.len() {
        0 => return Vec::new(),
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    let bytes: Option<u64> = images.iter().map(|image| image.size).sum();
    vec![Holding::Data {
        what: format!("{count} in {}", key.name),
        size: bytes.map(about),
        policy: None,
    }]
}

/// So many bytes for a reader: rounded up.
fn about(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, factor)| bytes >= *factor);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(unit, factor)| format!("{} {unit}", bytes.div_ceil(*factor)),
    )
}

/// Which environment's marks a resource has.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MadeBy {
    /// Its project.
    pub project: String,
    /// The environment.
    pub environment: String,
}

impl fmt::Display for MadeBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.environment)
    }
}

/// What a provider found of a resource.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResourceFacts {
    /// Which.
    pub key: ResourceKey,
    /// Its settings now; none when it is not there.
    pub settings: Option<Settings>,
    /// Whether it was asked for; a resource of the environment's that was not is one that left the
    /// configuration.
    pub wanted: bool,
    /// Whether it is what lets whoever runs this into the cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_callers: bool,
    /// What a reader should know of it besides, in words.
    pub notes: Vec<String>,
    /// The images of a repository.
    pub images: Vec<StoredImage>,
    /// Of one that would be deleted or replaced: what goes with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Holding>,
    /// Whose marks it has; none when it has none of shipit's, or its kind can have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// Who else uses it, in words, as far as configurations and states say. Only looked at where it
    /// may be deleted with its environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}

impl ResourceFacts {
    /// Whether it would be deleted, or replaced for a setting that cannot be changed.
    #[must_use]
    pub fn is_leaving(&self, wanted: &[Resource]) -> bool {
        let Some(settings) = &self.settings else {
            return false;
        };
        let differs = |(name, value): (&String, &Value)| {
            self.key.kind.is_fixed(name) && settings.get(name).unwrap_or(&Value::Null) != value
        };
        match wanted.iter().find(|resource| resource.key == self.key) {
            Some(resource) => resource.settings.iter().any(differs),
            None => !self.wanted,
        }
    }

    /// A resource that is not there.
    #[must_use]
    pub const fn absent(key: ResourceKey) -> Self {
        Self {
            key,
            settings: None,
            wanted: true,
            is_callers: false,
            notes: Vec::new(),
            images: Vec::new(),
            holds: Vec::new(),
            made_by: None,
            used_by: Vec::new(),
        }
    }

    /// Over the settings as they are now; none when it is not there.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.settings.as_ref().map(Fingerprint::of_json)
    }
}

/// A setting as a person reads it.
#[must_use]
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => {
            let text = other.to_string();
            if text.len() > 400 {
                format!("document {}", ContentHash::of(text.as_bytes()).short())
            } else {
                text
            }
        }
    }
}
