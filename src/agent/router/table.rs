//! Where traffic goes, as plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use crate::model::{ServiceName, Slot};

/// One environment's whole routing. A service that is absent, or has no endpoint, has no ready
/// instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Ready instances behind the live listeners.
    pub live: BTreeMap<ServiceName, Vec<SocketAddr>>,
    /// Ready instances behind the preview listeners.
    pub preview: BTreeMap<ServiceName, Vec<SocketAddr>>,
    /// Ready instances behind the listeners that slots have of their own.
    pub slots: BTreeMap<Slot, BTreeMap<ServiceName, Vec<SocketAddr>>>,
}

/// Through which of a service's two listeners a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    /// Live traffic.
    Live,
    /// Preview traffic.
    Preview,
    /// A slot's own traffic, whichever has the live one.
    Slot(Slot),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::Preview => "preview",
            Self::Slot(slot) => slot.as_str(),
        })
    }
}
