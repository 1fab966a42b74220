//! Folders that outlive a container.

use schemars::JsonSchema;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

use crate::model::short::{self, Short};

/// What is mounted into a container: a folder of this machine, or a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum VolumeConfig {
    /// For one instance at a time.
    Own(String),
    /// With what holds for it.
    Detailed(DetailedVolume),
}

/// A volume, and what holds for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedVolume {
    /// A folder of this machine or, with the runtime `docker`, a volume's name.
    pub from: String,
    /// Whether several instances may have it at once: of two releases during a deployment, of two
    /// services, or replicas. A database's files are lost that way.
    #[serde(default)]
    pub shared: bool,
}

impl VolumeConfig {
    /// A folder of this machine, or a volume's name.
    #[must_use]
    pub fn from(&self) -> &str {
        match self {
            Self::Own(from) => from,
            Self::Detailed(volume) => &volume.from,
        }
    }

    /// Whether several instances may have it at once.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Detailed(volume) => volume.shared,
        }
    }
}

impl Short for VolumeConfig {
    type Long = DetailedVolume;

    const EXPECTED: &'static str = "a folder or a volume, or a map with `from`";

    fn long(long: DetailedVolume) -> Self {
        Self::Detailed(long)
    }

    fn text(text: String) -> Self {
        Self::Own(text)
    }
}

impl<'de> Deserialize<'de> for VolumeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}
