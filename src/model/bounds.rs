//! What a repository's own files may ask for on a server, as its operator allows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether commands are run that the repository names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Commands {
    /// None: no build by a Dockerfile, no `run` of a check or a secret, no task, no Helm.
    #[default]
    Never,
    /// All of them, as the server's user.
    Allowed,
}

/// What the files of a repository may ask for. What is not allowed is refused before anything of
/// them is resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Allowances {
    /// Globs of secrets, each with its source in front: `env:SHOP_*`, `file:/run/secrets/shop/*`,
    /// `vault:shop/*`.
    pub secrets: Vec<String>,
    /// Registries and what their repositories begin with, `registry.example.com/shop`; `layout` is
    /// a folder of the checkout, `ecr` Amazon's.
    pub registries: Vec<String>,
    /// Clusters: `host`, `eks`, `kubernetes`, or `kubernetes:CONTEXT`.
    pub clusters: Vec<String>,
    /// Whether commands are run.
    pub commands: Commands,
}

/// What a repository may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Bounds {
    /// `everything`: its files are trusted as the server's own.
    Everything(String),
    /// No more than this.
    Only(Allowances),
}

/// The word for a repository that is trusted.
pub const EVERYTHING: &str = "everything";

impl crate::model::short::Short for Bounds {
    type Long = Allowances;

    const EXPECTED: &'static str =
        "`everything`, or a map with `secrets`, `registries`, `clusters` and `commands`";

    fn long(long: Allowances) -> Self {
        Self::Only(long)
    }

    fn text(text: String) -> Self {
        Self::Everything(text)
    }
}

impl<'de> Deserialize<'de> for Bounds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::model::short::read(deserializer)
    }
}
