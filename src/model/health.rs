//! How a service says that it can take traffic.

use crate::model::port::PortName;
use crate::model::{Host, Period};

/// A health check. Without `path` and `run` it is a TCP connection to the service's port, and for a
/// service without a port that the process stays up.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// An HTTP GET of this path must answer with a status of 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The header `Host` of every request for a `path`, that of `liveness` too. Without it the
    /// address that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Which of the service's `ports` is asked; the one that gets the traffic without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// This command must exit with 0. It sees the service's environment, `PORT` included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Vec<String>>,
    /// How often to ask.
    pub interval: Period,
    /// How long one answer may take.
    pub timeout: Period,
    /// After how many failures in a row a ready instance is taken out of traffic. It is not
    /// restarted for that, and is back in traffic with its first good answer. When all instances of
    /// a service fail, all of them stay in traffic: slow answers are better than none.
    pub failures: u32,
    /// How long a new instance has until its first good answer.
    pub start_within: Period,
    /// When an instance that was ready is taken for dead, and restarted. Without it one is only
    /// restarted when its process ends: what is slow under load is not ended together with the
    /// requests that it is answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Box<Liveness>>,
}

/// A check whose failure restarts an instance. Without `path` and `run` it asks what the health
/// check itself asks.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Liveness {
    /// An HTTP GET of this path must answer with a status of 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Which of the service's `ports` is asked for `path`; that of the health check without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// This command must exit with 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Vec<String>>,
    /// How often to ask.
    pub interval: Period,
    /// How long one answer may take.
    pub timeout: Period,
    /// After how many failures in a row the instance is restarted.
    pub failures: u32,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            path: None,
            port: None,
            run: None,
            interval: Period::from_secs(10),
            timeout: Period::from_secs(10),
            failures: 6,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            host: None,
            port: None,
            run: None,
            interval: Period::from_secs(1),
            timeout: Period::from_secs(1),
            failures: 3,
            start_within: Period::from_secs(60),
            liveness: None,
        }
    }
}
