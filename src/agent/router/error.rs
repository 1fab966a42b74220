//! Why a route cannot be opened.

use std::fmt;
use std::net::SocketAddr;

use crate::agent::router::tls::CertificateError;
use crate::agent::router::{Listener, RouteKey};

/// Why a route was not opened. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Somebody else listens there.
    #[error("{address}, the {listener} listener of {route}, is taken by {holder}")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// Which of the route's listeners.
        listener: Listener,
        /// Whose listener it should be.
        route: RouteKey,
        /// Who has it.
        holder: PortHolder,
    },
    /// The system does not let this process listen there.
    #[error("{address}, the {listener} listener of {route}, cannot be opened: {reason}")]
    Unusable {
        /// The address.
        address: SocketAddr,
        /// Which of the route's listeners.
        listener: Listener,
        /// Whose listener it should be.
        route: RouteKey,
        /// The system's words.
        reason: String,
    },
    /// Live and preview cannot share an address.
    #[error("{route} has {address} for both its live and its preview listener")]
    SameAddress {
        /// The address.
        address: SocketAddr,
        /// Whose listeners they should be.
        route: RouteKey,
    },
    /// A certificate cannot be shown, and without it nothing listens.
    #[error("{route} was not opened: {reason}")]
    Certificate {
        /// Whose listeners they should be.
        route: RouteKey,
        /// What is wrong.
        reason: CertificateError,
    },
    /// The router shuts down.
    #[error("{route} was not opened: the router is shutting down")]
    ShuttingDown {
        /// Whose listeners they should be.
        route: RouteKey,
    },
}

impl RouteError {
    /// What to do about it.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => {
                "look at the files that `traffic.tls` names on the agent's machine, and whether the \
                 agent's user may read them"
            }
            Self::Taken { .. }
            | Self::Unusable { .. }
            | Self::SameAddress { .. }
            | Self::ShuttingDown { .. } => {
                "stop what has the address, or set other ones under `traffic.listeners`"
            }
        }
    }
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    /// Another route of this router.
    Route(RouteKey),
    /// Another process.
    Process {
        /// Its id.
        pid: u32,
        /// Its name, as the kernel has it.
        name: String,
    },
    /// It cannot be told, for a process of another user most of all.
    Unknown,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(key) => write!(f, "the route of {key}"),
            Self::Process { pid, name } => write!(f, "{name} (process {pid})"),
            Self::Unknown => f.write_str("another process"),
        }
    }
}
