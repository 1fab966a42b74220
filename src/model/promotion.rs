//! How a release comes to live traffic.

use crate::model::Period;
use crate::model::check::Check;

/// How a new release replaces the old one.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Beside the old one, then one switch of traffic. The rollback is a switch too.
    #[default]
    BlueGreen,
    /// Instance by instance, in the same slot.
    Rolling,
    /// The old one is stopped first. There is a gap; requests are held as long as the router allows.
    Recreate,
}

/// Who switches traffic.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `apply` does, once the checks before it hold.
    #[default]
    Auto,
    /// `shipit promote` does; `apply` ends with the release ready beside the live one.
    Manual,
}

/// The rules of a promotion.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Promotion {
    /// Who switches traffic.
    pub mode: Mode,
    /// Must hold on the preview slot before the switch.
    pub before: Vec<Check>,
    /// Must hold on live traffic after the switch; a failure switches back.
    pub after: Vec<Check>,
    /// How long the old slot stays warm after the switch.
    pub keep_previous: Period,
    /// The requests that are sent through the live listener during the switch.
    pub probe: Probe,
}

impl Default for Promotion {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            before: Vec::new(),
            after: Vec::new(),
            keep_previous: Period::from_secs(600),
            probe: Probe::default(),
        }
    }
}

/// The prober: what measures that a switch lost nothing.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// Requests a second to each service with a port; 0 turns the prober off.
    pub rate: u32,
    /// The path that is asked; the health path without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A request that takes longer has failed.
    pub timeout: Period,
    /// How long it goes on after the switch, at the least.
    pub linger: Period,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            rate: 50,
            path: None,
            timeout: Period::from_secs(5),
            linger: Period::from_millis(500),
        }
    }
}
