//! The routes that are open, and how one becomes another without a gap.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::router::door::Door;
use crate::agent::router::front::{Front, Shared};
use crate::agent::router::listen::listen;
use crate::agent::router::{Holder, Listener, RouteError, RouteKey};
use crate::model::TrustedProxies;
use crate::model::route::Route;
use crate::model::trusted_proxies::Network;

/// How long cut connections have to end; they are dropped, so this is about scheduling only.
const CUT: Duration = Duration::from_secs(1);

/// One route's doors, by address.
type Doors = HashMap<SocketAddr, Door>;

/// The routes that are open.
#[derive(Debug)]
pub struct Routes {
    inherited: Vec<TcpListener>,
    open: Mutex<BTreeMap<RouteKey, Doors>>,
    cut: CancellationToken,
    closing: TaskTracker,
}

impl Routes {
    /// None yet.
    pub fn new(inherited: Vec<TcpListener>) -> Self {
        Self {
            inherited,
            open: Mutex::default(),
            cut: CancellationToken::new(),
            closing: TaskTracker::new(),
        }
    }

    /// Opens a route or changes it. New addresses are bound before anything else happens; then every door
    /// leads to the new route; then the doors that it has no use for are closed.
    pub async fn open(
        &self,
        shared: &Arc<Shared>,
        key: RouteKey,
        route: &Route,
    ) -> Result<(), RouteError> {
        if route.live == route.preview {
            return Err(RouteError::SameAddress {
                address: route.live,
                route: key,
            });
        }
        let mut open = self.open.lock().await;
        if self.closing.is_closed() {
            return Err(RouteError::ShuttingDown { route: key });
        }
        let mut wanted = vec![(route.preview, Listener::Preview)];
        // A proxy of somebody else's listens there.
        if route.proxy.is_none() {
            wanted.push((route.live, Listener::Live));
        }
        wanted.extend(
            route
                .slots
                .iter()
                .map(|(slot, address)| (*address, Listener::Slot(*slot))),
        );
        let mut bound = HashMap::new();
        for (address, listener) in wanted.clone() {
            if !open
                .get(&key)
                .is_some_and(|doors| doors.contains_key(&address))
            {
                bound.insert(address, self.bind(&open, address, listener, &key).await?);
            }
        }
        let doors = open.entry(key.clone()).or_default();
        for (address, listener) in wanted.clone() {
            let front = front(shared, &key, listener, route);
            match (bound.remove(&address), doors.get(&address)) {
                (Some(listener), _) => {
                    doors.insert(address, Door::open(listener, front, self.cut.child_token()));
                }
                (None, Some(door)) => door.lead_to(front),
                (None, None) => {}
            }
        }
        let unused =
            doors.extract_if(|address, _| !wanted.iter().any(|(wanted, _)| wanted == address));
        for (_, door) in unused.collect::<Vec<_>>() {
            self.retire(door).await;
        }
        Ok(())
    }

    /// Closes a route.
    pub async fn close(&self, key: &RouteKey) {
        let doors = self.open.lock().await.remove(key);
        for door in doors.into_iter().flat_map(HashMap::into_values) {
            self.retire(door).await;
        }
    }

    /// Closes all routes for good, and waits for what is in flight.
    pub async fn shutdown(&self, within: Duration) {
        let mut open = self.open.lock().await;
        self.closing.close();
        for door in std::mem::take(&mut *open)
            .into_values()
            .flat_map(HashMap::into_values)
        {
            self.retire(door).await;
        }
        if tokio::time::timeout(within, self.closing.wait())
            .await
            .is_err()
        {
            self.cut.cancel();
            let _ = tokio::time::timeout(CUT, self.closing.wait()).await;
        }
    }

    async fn retire(&self, door: Door) {
        self.closing.spawn(door.close().await);
    }

    async fn bind(
        &self,
        open: &BTreeMap<RouteKey, Doors>,
        address: SocketAddr,
        listener: Listener,
        key: &RouteKey,
    ) -> Result<tokio::net::TcpListener, RouteError> {
        if let Some((holder, _)) = open.iter().find(|(_, doors)| doors.contains_key(&address)) {
            let holder = Holder::Route(holder.clone());
            return Err(RouteError::Taken {
                address,
                listener,
                route: key.clone(),
                holder,
            });
        }
        listen(&self.inherited, address, listener, key).await
    }
}

fn front(shared: &Arc<Shared>, key: &RouteKey, listener: Listener, route: &Route) -> Front {
    Front {
        key: key.clone(),
        listener,
        limits: route.limits.clone(),
        trusted: trusted(route, listener),
        board: shared.registry.board(&key.scope),
        shared: Arc::clone(shared),
    }
}

/// The proxy in front of the slots' own listeners is on this machine, and they are reached from nowhere else.
fn trusted(route: &Route, listener: Listener) -> TrustedProxies {
    let own = route.trusted_proxies.iter().copied();
    match (listener, &route.proxy) {
        (Listener::Slot(_), Some(_)) => own.chain(Network::this_machine()).collect(),
        _ => own.collect(),
    }
}
