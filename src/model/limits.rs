//! The limits that a router holds its clients and services to.

use crate::model::{ByteSize, Period};

/// What the router allows a client.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest request body; a larger one is answered with 413.
    pub body: ByteSize,
    /// How long a client has to send a request's whole body; then 408.
    pub body_timeout: Period,
    /// How long the service has until its response's first byte; then 504. So long a body may make
    /// no progress meanwhile; then 408.
    pub response_timeout: Period,
    /// How long a client has to send its request's head.
    pub header_timeout: Period,
    /// The slowest that a client may send a body or take a response, in bytes a second; one that is
    /// slower is cut off. `0B`: as slow as it likes.
    pub min_rate: ByteSize,
    /// Over which time the slowest is measured. Towards the client it is twice as long: the kernel
    /// takes bytes in lumps.
    pub min_rate_over: Period,
    /// How long nothing may come either way on a connection that has left HTTP, as a WebSocket has.
    pub upgrade_idle: Period,
    /// How long nothing may come either way on a connection to a `tcp` port.
    pub tcp_idle: Period,
    /// How long a request waits for a ready instance when there is none, or for one that has room;
    /// then 503. A connection to a `tcp` port waits as long, and is reset then.
    pub hold: Period,
    /// How long requests in flight have to finish on the old slot after a switch, and connections
    /// to a `tcp` port; those are closed then.
    pub drain: Period,
    /// How many requests an instance is given at a time; more wait for `hold`. Without it a quarter
    /// of what the agent's file descriptors allow in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_requests: Option<u32>,
    /// How many connections one client may have; more are refused with 429. As many again may be to
    /// `tcp` ports; more are reset. A client is an address, of IPv6 a /64. Trusted proxies have no
    /// such limit. Without it a quarter of what the agent's file descriptors allow in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_connections: Option<u32>,
    /// How many requests of one client may be in flight; more are refused with 429. Without it as
    /// `client_connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_requests: Option<u32>,
    /// How many of them may be connections that have left HTTP. Without it half of
    /// `client_requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_upgrades: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::from_mib(100),
            body_timeout: Period::from_secs(3600),
            response_timeout: Period::from_secs(60),
            header_timeout: Period::from_secs(10),
            min_rate: ByteSize::from_bytes(240),
            min_rate_over: Period::from_secs(30),
            upgrade_idle: Period::from_secs(3600),
            tcp_idle: Period::from_secs(3600),
            hold: Period::from_secs(5),
            drain: Period::from_secs(30),
            instance_requests: None,
            client_connections: None,
            client_requests: None,
            client_upgrades: None,
        }
    }
}
