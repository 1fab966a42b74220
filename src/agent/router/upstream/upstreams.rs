//! The active table of every environment and every instance, so that an address is one endpoint
//! wherever it appears.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::agent::router::upstream::Upstream;
use crate::agent::router::upstream::active_table::{ActiveTable, Backends, Resolved};
use crate::agent::router::{Endpoints, Table};
use crate::port::engine::Scope;

/// Boards and instances. An instance lives while a table or a request has it; its idle connections
/// end with it.
#[derive(Debug, Default)]
pub struct Upstreams {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: HashMap<Scope, Arc<ActiveTable>>,
    upstreams: HashMap<SocketAddr, Weak<Upstream>>,
}

impl Upstreams {
    /// The environment's active table.
    pub fn active_table(&self, scope: &Scope) -> Arc<ActiveTable> {
        self.inner().active_table(scope)
    }

    /// Replaces an environment's table.
    pub fn set(&self, scope: &Scope, table: Table) {
        let mut inner = self.inner();
        inner
            .upstreams
            .retain(|_, upstream| upstream.strong_count() > 0);
        let leads_nowhere = table.live.is_empty() && table.preview.is_empty();
        let slots = table
            .slots
            .into_iter()
            .map(|(slot, endpoints)| (slot, inner.resolve(endpoints)))
            .collect();
        let (live, preview) = (inner.resolve(table.live), inner.resolve(table.preview));
        let resolved = Resolved {
            live,
            preview,
            slots,
        };

        inner.active_table(scope).set(resolved);
        if leads_nowhere {
            inner.forget(scope);
        }
    }

    /// How much is in flight to an address.
    pub fn in_flight(&self, address: SocketAddr) -> usize {
        self.upstream(address)
            .map_or(0, |upstream| upstream.in_flight())
    }

    /// Waits until nothing is in flight to any of these, all at one time.
    pub async fn until_idle(&self, addresses: &[SocketAddr]) {
        let upstreams: Vec<_> = addresses
            .iter()
            .filter_map(|address| self.upstream(*address))
            .collect();
        while upstreams.iter().any(|upstream| upstream.in_flight() > 0) {
            for upstream in &upstreams {
                upstream.until_idle().await;
            }
        }
    }

    /// Closes all connections to instances that nothing is on: they are worth less than what waits
    /// for their place.
    pub fn close_idle(&self) {
        for upstream in self.inner().upstreams.values().filter_map(Weak::upgrade) {
            upstream.close_idle();
        }
    }

    fn upstream(&self, address: SocketAddr) -> Option<Arc<Upstream>> {
        self.inner().upstreams.get(&address)?.upgrade()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn active_table(&mut self, scope: &Scope) -> Arc<ActiveTable> {
        let active_table = self
            .tables
            .entry(scope.clone())
            .or_insert_with(|| Arc::new(ActiveTable::new()));
        Arc::clone(active_table)
    }

    /// A table that no listener uses and that routes nowhere is as good as none.
    fn forget(&mut self, scope: &Scope) {
        if self
            .tables
            .get(scope)
            .is_some_and(|active_table| Arc::strong_count(active_table) == 1)
        {
            self.tables.remove(scope);
        }
    }

    fn resolve(&mut self, endpoints: Endpoints) -> Backends {
        endpoints
            .into_iter()
            .map(|(backend, addresses)| (backend, self.upstreams(&addresses)))
            .collect()
    }

    /// An address that is named twice is one endpoint.
    fn upstreams(&mut self, addresses: &[SocketAddr]) -> Vec<Arc<Upstream>> {
        let distinct: BTreeSet<_> = addresses.iter().copied().collect();
        distinct
            .into_iter()
            .map(|address| self.upstream(address))
            .collect()
    }

    fn upstream(&mut self, address: SocketAddr) -> Arc<Upstream> {
        if let Some(known) = self.upstreams.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        let upstream = Arc::new(Upstream::new(address));
        self.upstreams.insert(address, Arc::downgrade(&upstream));
        upstream
    }
}
