//! How a service says that it can take traffic.

use crate::model::Period;

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
    /// This command must exit with 0. It sees the service's environment, `PORT` included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Vec<String>>,
    /// How often to ask.
    pub interval: Period,
    /// How long one answer may take.
    pub timeout: Period,
    /// After how many failures in a row a ready instance is taken out of traffic and restarted.
    pub failures: u32,
    /// How long a new instance has until its first good answer.
    pub start_within: Period,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            run: None,
            interval: Period::from_secs(1),
            timeout: Period::from_secs(1),
            failures: 3,
            start_within: Period::from_secs(60),
        }
    }
}
