//! One request: checked, rewritten, sent to an instance, and its response passed on.

pub(in crate::agent::router) mod answer;
pub(in crate::agent::router) mod download;
pub(in crate::agent::router) mod framing;
pub(in crate::agent::router) mod headers;
pub(in crate::agent::router) mod hop_by_hop;
pub(in crate::agent::router) mod host;
pub(in crate::agent::router) mod identity;
pub(in crate::agent::router) mod proxy;
mod redirect;
pub(in crate::agent::router) mod replay;
mod trailers;
pub(in crate::agent::router) mod upgrade;
pub(in crate::agent::router) mod upload;
pub(in crate::agent::router) mod watched;
