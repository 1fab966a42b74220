//! How a release comes to live traffic.

use crate::model::check::Check;
use crate::model::plan::DeployMode;
use crate::model::{LiveTraffic, Period, Slot};

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
    /// The old one is stopped first. There is a gap; requests are held as long as the router
    /// allows.
    Recreate,
}

/// Where a release is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// Into a slot without live traffic, which a switch moves there when the release is ready.
    Beside(Slot),
    /// Into the live slot, in the place of what has live traffic.
    InPlace(Slot, DeployMode),
}

impl Strategy {
    /// Where a release is deployed while live traffic is so. The first release has nothing to be in
    /// the place of.
    #[must_use]
    pub const fn deployment(self, traffic: LiveTraffic) -> Deployment {
        match (self, traffic) {
            (Self::BlueGreen | Self::Rolling | Self::Recreate, LiveTraffic::Off) => {
                Deployment::Beside(Slot::Blue)
            }
            (Self::BlueGreen, LiveTraffic::All(live)) => Deployment::Beside(live.other()),
            (Self::Rolling, LiveTraffic::All(live)) => {
                Deployment::InPlace(live, DeployMode::Rolling)
            }
            (Self::Recreate, LiveTraffic::All(live)) => {
                Deployment::InPlace(live, DeployMode::Recreate)
            }
        }
    }

    /// Whether a release may wait in a slot of its own beside the live one.
    #[must_use]
    pub const fn has_preview(self) -> bool {
        match self {
            Self::BlueGreen => true,
            Self::Rolling | Self::Recreate => false,
        }
    }

    /// Whether nothing runs for a while, so that requests have to wait, and may fail.
    #[must_use]
    pub const fn has_a_gap(self) -> bool {
        match self {
            Self::BlueGreen | Self::Rolling => false,
            Self::Recreate => true,
        }
    }

    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue_green",
            Self::Rolling => "rolling",
            Self::Recreate => "recreate",
        }
    }
}

/// How the instances of one service follow those of the release before, where that is not left to
/// its environment's [`Strategy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStrategy {
    /// Instance by instance, in the live slot.
    Rolling,
    /// The old ones are stopped first: two releases of it never run at once, in whatever slots.
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
    /// How long the old slot is retained after the switch.
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
