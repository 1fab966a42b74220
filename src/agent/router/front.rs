//! What a listener stands for, and what all listeners share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::HeaderValue;

use crate::agent::router::access::{AccessLog, LogFile};
use crate::agent::router::board::Board;
use crate::agent::router::registry::Registry;
use crate::agent::router::{Listener, RouteKey};
use crate::model::route::Limits;

/// What all listeners share.
#[derive(Debug)]
pub struct Shared {
    /// Where traffic goes.
    pub registry: Registry,
    /// Where requests are logged.
    pub access: AccessLog,
    ids: Ids,
}

impl Shared {
    /// Nothing routed yet.
    pub fn new(log: Option<LogFile>) -> Self {
        Self {
            registry: Registry::default(),
            access: AccessLog::new(log),
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

/// What a listener stands for. Replaced as a whole when its route changes, so it holds for the next request.
#[derive(Debug)]
pub struct Front {
    /// The route.
    pub key: RouteKey,
    /// Which of its listeners.
    pub listener: Listener,
    /// The route's limits.
    pub limits: Limits,
    /// The environment's table.
    pub board: Arc<Board>,
    /// What all listeners share.
    pub shared: Arc<Shared>,
}
