//! What a listener stands for, and what all listeners share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::HeaderValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::agent::Descriptors;
use crate::agent::router::access::AccessLog;
use crate::agent::router::connection::budget::{Budget, Side};
use crate::agent::router::connection::clients::Clients;
use crate::agent::router::tls::Tls;
use crate::agent::router::upstream::active_table::ActiveTable;
use crate::agent::router::upstream::upstreams::Upstreams;
use crate::agent::router::{Backend, Listener, RouteKey};
use crate::model::TrustedProxies;
use crate::model::limits::Limits;
use crate::model::port::Protocol;

/// What all listeners share.
#[derive(Debug)]
pub struct Shared {
    /// Where traffic goes.
    pub registry: Upstreams,
    /// Where requests are logged.
    pub access: AccessLog,
    /// What traffic may have of this process.
    pub budget: Arc<Budget>,
    /// Who has how much of it.
    pub clients: Arc<Clients>,
    ids: Ids,
}

impl Shared {
    /// Nothing routed yet.
    pub fn new(access: AccessLog, descriptors: Descriptors) -> Self {
        Self {
            registry: Upstreams::default(),
            access,
            budget: Arc::new(Budget::new(descriptors)),
            clients: Arc::default(),
            ids: Ids::new(),
        }
    }

    /// A request id that no other request has.
    pub fn request_id(&self) -> HeaderValue {
        self.ids.next()
    }
}

/// Request ids: random per router, then counted. Cheaper than a random one for each request.
#[derive(Debug)]
struct Ids {
    router: String,
    count: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        let router = uuid::Uuid::new_v4().simple().to_string();
        Self {
            router,
            count: AtomicU64::new(1),
        }
    }

    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{count:x}", self.router);
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }
}

/// What a listener stands for. Replaced as a whole when its route changes, so it holds for the next
/// request.
#[derive(Debug)]
pub struct ListenerConfig {
    /// The route.
    pub key: RouteKey,
    /// What it leads to.
    pub backend: Backend,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Which of its listeners.
    pub listener: Listener,
    /// What connections are accepted with; in the clear without it.
    pub tls: Option<Arc<Tls>>,
    /// The port of the live listener, to which a redirect leads.
    pub live_port: u16,
    /// The route's limits.
    pub limits: Limits,
    /// The proxies whose word about a client is passed on.
    pub trusted: TrustedProxies,
    /// The environment's table.
    pub active_table: Arc<ActiveTable>,
    /// What all listeners share.
    pub shared: Arc<Shared>,
}

impl ListenerConfig {
    /// The listener's part of what traffic may have.
    pub fn side(&self) -> &Side {
        self.shared.budget.side(self.listener)
    }

    /// How many connections a client may have.
    pub fn most_connections(&self) -> u32 {
        self.limits
            .client_connections
            .unwrap_or_else(|| self.side().part())
    }

    /// How many requests of a client may be in flight.
    pub fn most_requests(&self) -> u32 {
        self.limits
            .client_requests
            .unwrap_or_else(|| self.side().part())
    }

    /// How many connections of a client may have left HTTP.
    pub fn most_upgrades(&self) -> u32 {
        let half = self.most_requests().div_ceil(2);
        self.limits.client_upgrades.unwrap_or(half)
    }

    /// How many connections a client at this address may have. A trusted proxy brings those of
    /// many.
    pub fn connections_of(&self, address: IpAddr) -> u32 {
        if self.trusted.contains(address) {
            return u32::MAX;
        }
        self.most_connections()
    }

    /// Whether both lead to the same instances.
    pub fn means(&self, other: &Self) -> bool {
        (&self.key, &self.backend, self.listener) == (&other.key, &other.backend, other.listener)
    }

    /// How many requests an instance is given at a time.
    pub fn most_at_instance(&self) -> usize {
        let limit = self.limits.instance_requests;
        limit.unwrap_or_else(|| self.side().at_instance()) as usize
    }

    /// A place for a connection to an instance, when there is one in time. Connections that nothing
    /// is on make room.
    pub async fn place_at_instance(&self, until: Instant) -> Option<OwnedSemaphorePermit> {
        if let Some(place) = self.side().instance_now() {
            return Some(place);
        }
        self.shared.registry.close_idle();
        self.side().instance(until).await
    }
}
