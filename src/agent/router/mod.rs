//! The embedded router: an HTTP reverse proxy whose targets are swapped in one assignment.
//!
//! Built on hyper, hyper-util and nothing of its own below HTTP. One live and one preview listener per
//! service; HTTP/1.1 and h2c from clients, pooled HTTP/1.1 to the instances. A client's connection outlives
//! every switch: its next request goes wherever the table points then. Start with [`Router`], then [`proxy`].

mod access;
mod body;
mod endpoint;
mod headers;
mod listener;
mod occupant;
mod proxy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use access::AccessLog;

use crate::agent::router::endpoint::{Endpoint, Endpoints};
use crate::agent::router::listener::Listener;
use crate::agent::router::proxy::Upstream;
use crate::model::ServiceName;
use crate::model::route::{Limits, Route};
use crate::port::engine::Scope;

/// Whose listeners: one service of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// The environment.
    pub scope: Scope,
    /// The service.
    pub service: ServiceName,
}

/// One environment's whole routing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The ready instances that get live traffic, per service.
    pub live: BTreeMap<ServiceName, Vec<SocketAddr>>,
    /// The ready instances of the preview slot, per service.
    pub preview: BTreeMap<ServiceName, Vec<SocketAddr>>,
}

/// Why listeners could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The address is in use.
    #[error("{address} for {service} is taken{}", by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
    Taken {
        /// Whose it should be.
        service: ServiceName,
        /// The address.
        address: SocketAddr,
        /// The process that has it, as far as that can be seen.
        by: Option<String>,
    },
    /// The address cannot be listened on.
    #[error("{address} for {service} cannot be listened on: {source}")]
    Bind {
        /// Whose it should be.
        service: ServiceName,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Which of a service's two listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Live,
    Preview,
}

/// The router. Cheap to clone; all clones are the same router.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    upstream: Upstream,
    access: AccessLog,
    endpoints: Endpoints,
    environments: Mutex<HashMap<Scope, Arc<Switchboard>>>,
    listeners: tokio::sync::Mutex<HashMap<RouteKey, Pair>>,
    /// Listening sockets that came with the process, from systemd's socket activation.
    inherited: Mutex<Vec<std::net::TcpListener>>,
}

/// A service's listeners.
struct Pair {
    live: Listener,
    preview: Listener,
}

/// Where one environment's requests go. Replaced as a whole, so that no request sees half a switch.
struct Switchboard {
    table: ArcSwap<Targets>,
    /// Told at each replacement, for requests that wait for an instance.
    changed: Notify,
}

#[derive(Default)]
struct Targets {
    live: BTreeMap<ServiceName, Vec<Arc<Endpoint>>>,
    preview: BTreeMap<ServiceName, Vec<Arc<Endpoint>>>,
}

impl Targets {
    fn of(&self, side: Side, service: &ServiceName) -> &[Arc<Endpoint>] {
        let targets = match side {
            Side::Live => &self.live,
            Side::Preview => &self.preview,
        };
        targets.get(service).map_or(&[], Vec::as_slice)
    }
}

impl Router {
    /// A router without listeners. `inherited` are sockets that are used where their address is wanted.
    #[must_use]
    pub fn new(access: AccessLog, inherited: Vec<std::net::TcpListener>) -> Self {
        let inner = Inner {
            upstream: Upstream::default(),
            access,
            endpoints: Endpoints::default(),
            environments: Mutex::default(),
            listeners: tokio::sync::Mutex::default(),
            inherited: Mutex::new(inherited),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sets up a service's listeners. Those that are there stay, with the new limits; a changed address is bound
    /// before the old one is given up.
    pub async fn open(&self, key: RouteKey, route: &Route) -> Result<(), RouteError> {
        let mut listeners = self.inner.listeners.lock().await;
        let old = listeners.remove(&key);
        let (live, preview) = match old {
            Some(pair) => (Some(pair.live), Some(pair.preview)),
            None => (None, None),
        };
        let (live, left_live) = split(live, route.live);
        let (preview, left_preview) = split(preview, route.preview);
        let opened = self.both(&key, route, live, preview);
        match opened {
            Ok(pair) => {
                listeners.insert(key, pair);
                for left in [left_live, left_preview].into_iter().flatten() {
                    tokio::spawn(left.close(route.limits.drain.get()));
                }
                Ok(())
            }
            Err((error, live, preview)) => {
                // What was there stays there.
                if let (Some(live), Some(preview)) = (live.or(left_live), preview.or(left_preview)) {
                    listeners.insert(key, Pair { live, preview });
                }
                Err(error)
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn both(
        &self,
        key: &RouteKey,
        route: &Route,
        live: Option<Listener>,
        preview: Option<Listener>,
    ) -> Result<Pair, (RouteError, Option<Listener>, Option<Listener>)> {
        let kept = (live.is_some(), preview.is_some());
        let live = match self.one(key, Side::Live, route.live, &route.limits, live) {
            Ok(listener) => listener,
            Err(error) => return Err((error, None, preview)),
        };
        match self.one(key, Side::Preview, route.preview, &route.limits, preview) {
            Ok(preview) => Ok(Pair { live, preview }),
            Err(error) => Err((error, kept.0.then_some(live), None)),
        }
    }

    fn one(
        &self,
        key: &RouteKey,
        side: Side,
        address: SocketAddr,
        limits: &Limits,
        there: Option<Listener>,
    ) -> Result<Listener, RouteError> {
        if let Some(listener) = there {
            listener.limit(limits.clone());
            return Ok(listener);
        }
        Listener::open(Arc::clone(&self.inner), key.clone(), side, address, limits.clone())
    }

    /// Takes a service's listeners away. Requests under way finish, as long as draining may take.
    pub async fn close(&self, key: &RouteKey) {
        let pair = self.inner.listeners.lock().await.remove(key);
        if let Some(Pair { live, preview }) = pair {
            let drain = live.drain();
            tokio::spawn(live.close(drain));
            tokio::spawn(preview.close(drain));
        }
    }

    /// The switch: from this call on every new request of the environment goes by the new table.
    pub fn set(&self, scope: &Scope, table: &Table) {
        let resolve = |side: &BTreeMap<ServiceName, Vec<SocketAddr>>| {
            side.iter()
                .map(|(service, addresses)| {
                    (
                        service.clone(),
                        addresses.iter().map(|address| self.inner.endpoints.get(*address)).collect(),
                    )
                })
                .collect()
        };
        let targets = Targets { live: resolve(&table.live), preview: resolve(&table.preview) };
        let switchboard = self.inner.switchboard(scope);
        switchboard.table.store(Arc::new(targets));
        switchboard.changed.notify_waiters();
    }

    /// Waits until no request is under way to any of these instances; false when that takes too long.
    pub async fn drained(&self, endpoints: &[SocketAddr], within: Duration) -> bool {
        let deadline = Instant::now() + within;
        for address in endpoints {
            let endpoint = self.inner.endpoints.get(*address);
            if tokio::time::timeout_at(deadline, endpoint.idle()).await.is_err() {
                return false;
            }
        }
        true
    }

    /// How many requests are under way to an instance, upgraded connections included.
    #[must_use]
    pub fn in_flight(&self, endpoint: SocketAddr) -> usize {
        self.inner.endpoints.get(endpoint).in_flight()
    }

    /// Closes every listener and lets requests under way finish.
    pub async fn shutdown(&self, within: Duration) {
        let pairs: Vec<Pair> = self.inner.listeners.lock().await.drain().map(|(_, pair)| pair).collect();
        let closing =
            pairs.into_iter().flat_map(|pair| [pair.live.close(within), pair.preview.close(within)]);
        futures_util::future::join_all(closing).await;
    }
}

/// A listener on the right address stays; one on another is left over.
fn split(listener: Option<Listener>, address: SocketAddr) -> (Option<Listener>, Option<Listener>) {
    match listener {
        Some(listener) if listener.address() == address => (Some(listener), None),
        other => (None, other),
    }
}

impl Inner {
    fn switchboard(&self, scope: &Scope) -> Arc<Switchboard> {
        let mut environments = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Switchboard { table: ArcSwap::default(), changed: Notify::new() };
        Arc::clone(environments.entry(scope.clone()).or_insert_with(|| Arc::new(fresh())))
    }

    /// A socket that came with the process for this address.
    fn inherited(&self, address: SocketAddr) -> Option<std::net::TcpListener> {
        let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        let index =
            inherited.iter().position(|socket| socket.local_addr().is_ok_and(|there| there == address))?;
        Some(inherited.swap_remove(index))
    }
}
