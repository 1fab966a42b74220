//! The embedded router: an HTTP reverse proxy whose targets are replaced in one assignment.
//!
//! A service has a live and a preview listener, and may have some for further ports; what is
//! spoken there is HTTP, in TLS where the route has certificates (`tls`), or anything else over TCP
//! (`tcp`). Where they lead is one table per environment, behind one atomic pointer: a request reads
//! it once, so it sees the old table or the new one and never a mix. A switch drops no client
//! connection; the next request on it goes to the new endpoints, and what is in flight finishes on
//! the old ones, counted, so that [`Router::drained`] can say when they may be stopped.
//!
//! Built on hyper; this folder adds what a proxy needs around it. Start with `proxy` for the way of
//! one request, then `active_table` for the switch and `upstream` for connections to instances.

mod access;
mod config;
mod connection;
mod error;
mod holder;
mod request;
mod route_key;
mod routes;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
pub mod tls;
mod upstream;

#[cfg(any(test, fuzzing))]
pub(crate) use connection::line_ends::hostile;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

pub use error::{PortHolder, RouteError};
pub use route_key::RouteKey;
pub use table::{Backend, Endpoints, Table};

use crate::agent::Descriptors;
use crate::agent::log::file::LogFile;
use crate::model::certificate::ServedCertificate;
pub use crate::model::route::Listener;
use crate::model::route::Listeners;
use crate::port::engine::Scope;
use crate::redact::Redactor;
use access::AccessLog;
use config::Shared;
use routes::Routes;

/// Who listens on an address of this machine, or on a part of it; none when nobody does. Reads
/// files; call it off the async threads.
#[must_use]
pub fn holder_of(address: SocketAddr) -> Option<PortHolder> {
    holder::find_other(address, &std::collections::BTreeSet::new())
}

/// What a router is started with.
#[derive(Debug, Default)]
pub struct Options {
    /// Where requests are logged; nowhere when there is none.
    pub access_log: Option<LogFile>,
    /// Listeners that the process was started with (systemd's socket activation). A route whose
    /// address is one of theirs uses it instead of binding. They stay bound for the life of the
    /// router.
    pub inherited: Vec<TcpListener>,
    /// How many file descriptors there are.
    pub descriptors: Descriptors,
    /// What knows the values that must not be in the log.
    pub redactor: Redactor,
}

/// A handle to the router; a clone is the same router. Needs a Tokio runtime around its calls.
#[derive(Debug, Clone)]
pub struct Router {
    shared: Arc<Shared>,
    routes: Arc<Routes>,
}

impl Router {
    /// A router without routes.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared::new(
                AccessLog::new(options.access_log, options.redactor),
                options.descriptors,
            )),
            routes: Arc::new(Routes::new(options.inherited)),
        }
    }

    /// Opens a service's listeners, or changes them: changed limits hold for the next request, and
    /// a new address is bound before the old one is closed. When an address cannot be had, nothing
    /// changes.
    pub async fn open(&self, key: RouteKey, route: &Listeners) -> Result<(), RouteError> {
        self.open_all(&[(key, route)]).await
    }

    /// The same for several services in one step: they may take over each other's addresses. No
    /// connection is refused at an address that one of them leaves and another takes.
    pub async fn open_all(&self, changes: &[(RouteKey, &Listeners)]) -> Result<(), RouteError> {
        self.routes.open(&self.shared, changes).await
    }

    /// Closes a service's listeners. Their ports are free when this returns; requests in flight
    /// have the route's `drain` to finish.
    pub async fn close(&self, key: &RouteKey) {
        self.routes.close(key).await;
    }

    /// Remembers why a route that an earlier agent had is not open, until it is.
    pub fn is_unopened(&self, key: &RouteKey, error: &RouteError) {
        self.routes.is_unopened(key, error.to_string());
    }

    /// Why a route that an earlier agent had is not open; none when it is.
    #[must_use]
    pub fn why_unopened(&self, key: &RouteKey) -> Option<String> {
        self.routes.why_unopened(key)
    }

    /// The certificates that a route shows; none where it speaks no TLS.
    #[must_use]
    pub fn certificates(&self, key: &RouteKey) -> Vec<ServedCertificate> {
        self.routes.certificates(key)
    }

    /// The switch: from now on every new request of this environment goes where `table` says.
    pub fn set(&self, scope: &Scope, table: Table) {
        self.shared.registry.set(scope, table);
    }

    /// Waits until nothing is in flight to these endpoints: no request, no streaming body, no
    /// upgraded connection. False when that did not happen in time.
    pub async fn drained(&self, endpoints: &[SocketAddr], within: Duration) -> bool {
        tokio::time::timeout(within, self.shared.registry.until_idle(endpoints))
            .await
            .is_ok()
    }

    /// How many requests and upgraded connections an endpoint serves through this router right now.
    #[must_use]
    pub fn in_flight(&self, endpoint: SocketAddr) -> usize {
        self.shared.registry.in_flight(endpoint)
    }

    /// How many access log lines were dropped because the disk did not keep up.
    #[must_use]
    pub fn dropped_log_lines(&self) -> u64 {
        self.shared.access.dropped()
    }

    /// Stops accepting, lets what is in flight finish within this time, cuts what is left, writes
    /// out the access log. The router opens no route after this.
    pub async fn shutdown(&self, within: Duration) {
        self.routes.shutdown(within).await;
        self.shared.access.flush().await;
    }
}
