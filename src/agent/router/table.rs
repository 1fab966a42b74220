//! Where traffic goes, as plain data.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::port::PortName;
use crate::model::{ServiceName, Slot};

/// What a listener leads to: one port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// The service.
    pub service: ServiceName,
    /// Which of its ports; the one with the traffic without a name.
    pub port: Option<PortName>,
}

impl From<ServiceName> for Backend {
    fn from(service: ServiceName) -> Self {
        Self {
            service,
            port: None,
        }
    }
}

/// Where ready instances listen, by what they are behind.
pub type Endpoints = BTreeMap<Backend, Vec<SocketAddr>>;

/// One environment's whole routing. What is absent, or has no endpoint, has no ready instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Ready instances behind the live listeners.
    pub live: Endpoints,
    /// Ready instances behind the preview listeners.
    pub preview: Endpoints,
    /// Ready instances behind the listeners that slots have of their own.
    pub slots: BTreeMap<Slot, Endpoints>,
}
