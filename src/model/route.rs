//! The listeners through which traffic comes to a service.

use std::net::SocketAddr;

use crate::model::{ByteSize, Period, ServiceName};

/// One service's way in: a live and a preview listener, and the router's limits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Route {
    /// Whose listeners these are.
    pub service: ServiceName,
    /// Where live traffic arrives.
    pub live: SocketAddr,
    /// Where only the preview slot answers.
    pub preview: SocketAddr,
    /// The router's limits.
    pub limits: Limits,
}

/// What the router allows a client.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest request body; a larger one is answered with 413.
    pub body: ByteSize,
    /// How long the service has until its response's first byte; then 504.
    pub response_timeout: Period,
    /// How long a client has to send its request's head.
    pub header_timeout: Period,
    /// How long a request waits for a ready instance when there is none; then 503.
    pub hold: Period,
    /// How long requests in flight have to finish on the old slot after a switch.
    pub drain: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::from_mib(100),
            response_timeout: Period::from_secs(60),
            header_timeout: Period::from_secs(10),
            hold: Period::from_secs(5),
            drain: Period::from_secs(30),
        }
    }
}
