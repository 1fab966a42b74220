//! Endpoints: instances as the router sees them, with how many requests are under way to each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// One instance.
pub(super) struct Endpoint {
    pub address: SocketAddr,
    in_flight: AtomicUsize,
    idle: Notify,
}

impl Endpoint {
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            // Registered before looking, so that the last request's end is not missed.
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A request under way. Counted from its making to its dropping.
pub(super) struct Flight(Arc<Endpoint>);

impl Flight {
    pub fn to(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(endpoint))
    }

    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// All endpoints that somebody still uses: the same address is the same endpoint, through every switch.
#[derive(Default)]
pub(super) struct Endpoints(Mutex<HashMap<SocketAddr, Weak<Endpoint>>>);

impl Endpoints {
    pub fn get(&self, address: SocketAddr) -> Arc<Endpoint> {
        let mut endpoints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(&address).and_then(Weak::upgrade) {
            return endpoint;
        }
        endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
        let endpoint = Arc::new(Endpoint { address, in_flight: AtomicUsize::new(0), idle: Notify::new() });
        endpoints.insert(address, Arc::downgrade(&endpoint));
        endpoint
    }
}
