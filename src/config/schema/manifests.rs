//! Where manifests come from.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::short::{self, Short};

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Manifests {
    /// A glob of template files.
    Files(String),
    /// A tool that renders them.
    Rendered(Rendered),
}

impl Short for Manifests {
    type Long = Rendered;

    const EXPECTED: &'static str = "a glob of files, or a map with `kustomize` or `helm`";

    fn long(long: Rendered) -> Self {
        Self::Rendered(long)
    }

    fn text(text: String) -> Self {
        Self::Files(text)
    }
}

impl<'de> Deserialize<'de> for Manifests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

/// A tool of the user's own that renders manifests. Exactly one of `kustomize` and `helm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rendered {
    /// The folder that `kustomize build` or `kubectl kustomize` renders, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<String>,
    /// The chart that `helm template` renders, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helm: Option<String>,
    /// `helm`: the file of values, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// `helm`: what becomes of a chart's hooks, which shipit does not run. Its tests are left out
    /// anyway.
    pub hooks: ChartHooks,
    /// `helm`: what becomes of the definitions in a chart's `crds/`.
    pub crds: ChartCrds,
}

/// What becomes of a chart's hooks: Helm runs them beside the chart's objects, and shipit runs
/// none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChartHooks {
    /// A chart with hooks is refused.
    #[default]
    Refuse,
    /// They are not run.
    LeaveOut,
}

/// What becomes of the definitions in a chart's `crds/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChartCrds {
    /// They are made before the chart's objects, and never deleted. A service's chart may have
    /// none: they belong to the whole cluster.
    #[default]
    Include,
    /// They are there already.
    LeaveOut,
}
