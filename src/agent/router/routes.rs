//! The routes that are open, and how one becomes another without a gap.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::router::config::{ListenerConfig, Shared};
use crate::agent::router::connection::acceptor::Acceptor;
use crate::agent::router::connection::listen::{listen, origin};
use crate::agent::router::tls::Tls;
use crate::agent::router::{Backend, PortHolder, RouteError, RouteKey};
use crate::model::TrustedProxies;
use crate::model::certificate::ServedCertificate;
use crate::model::route::{ListenAddress, Listener, Listeners, covers, overlap};
use crate::model::trusted_proxies::Network;

/// How long cut connections have to end; they are dropped, so this is about scheduling only.
const CUT: Duration = Duration::from_secs(1);

/// How long a connection whose first packet went to one socket may take until it is accepted there,
/// when the next one goes to another socket already: a round trip to most clients.
const HANDSHAKE: Duration = Duration::from_millis(100);

/// One route's acceptors, by address.
type Acceptors = HashMap<SocketAddr, Acceptor>;

/// What routes accept connections with, of those that have TLS.
type Secured = BTreeMap<RouteKey, Arc<Tls>>;

/// The routes that are open.
#[derive(Debug)]
pub struct Routes {
    inherited: Vec<std::net::TcpListener>,
    open: Mutex<BTreeMap<RouteKey, Acceptors>>,
    secured: std::sync::Mutex<Secured>,
    /// Those that could not be opened again, and why.
    unopened: std::sync::Mutex<BTreeMap<RouteKey, String>>,
    cut: CancellationToken,
    closing: TaskTracker,
}

impl Routes {
    /// None yet.
    pub fn new(inherited: Vec<std::net::TcpListener>) -> Self {
        Self {
            inherited,
            open: Mutex::default(),
            secured: std::sync::Mutex::default(),
            unopened: std::sync::Mutex::default(),
            cut: CancellationToken::new(),
            closing: TaskTracker::new(),
        }
    }

    /// Opens routes or changes them, all in one step. New addresses are bound before anything else
    /// happens; then every acceptor leads to its new route, whichever had it before; then the
    /// acceptors that nothing has a use for are closed.
    pub async fn open(
        &self,
        shared: &Arc<Shared>,
        changes: &[(RouteKey, &Listeners)],
    ) -> Result<(), RouteError> {
        let mut open = self.open.lock().await;
        let secured = self.secure(changes).await?;
        let wanted: Vec<Wanted<'_>> = changes
            .iter()
            .flat_map(|(key, route)| Wanted::all(key, route, secured.get(key)))
            .collect();
        if let Some((key, _)) = changes.first().filter(|_| self.closing.is_closed()) {
            return Err(RouteError::ShuttingDown { route: key.clone() });
        }
        for (key, route) in changes {
            same_address(key, route)?;
        }
        claimed_twice(&wanted)?;
        let mut bound = self.bind(&open, &wanted).await?;

        let mut acceptors = Acceptors::new();
        for (key, _) in changes {
            acceptors.extend(open.remove(key).unwrap_or_default());
        }
        for it in &wanted {
            let config = it.config(shared);
            let acceptor = match (acceptors.remove(&it.address), bound.remove(&it.address)) {
                (Some(acceptor), _) => {
                    acceptor.set_config(config);
                    acceptor
                }
                (None, Some(listener)) => {
                    let origin = origin(&self.inherited, it.address);
                    Acceptor::open(listener, origin, config, self.cut.child_token())
                }
                (None, None) => continue,
            };
            let own = open.entry(it.key.clone()).or_default();
            own.insert(it.address, acceptor);
        }
        self.let_go(shared, &mut open, &wanted, acceptors).await;
        drop(wanted);

        let mut known = self.known();
        for (key, _) in changes {
            known.remove(key);
            self.unopened().remove(key);
        }
        known.extend(secured);
        Ok(())
    }

    /// What these routes accept connections with. What is there already stays: it goes on with the
    /// certificate that it has, whatever has become of the files.
    async fn secure(&self, changes: &[(RouteKey, &Listeners)]) -> Result<Secured, RouteError> {
        let mut secured = Secured::new();
        for (key, route) in changes {
            let Some(wanted) = &route.tls else { continue };
            let known = self
                .known()
                .get(key)
                .filter(|known| known.is(wanted))
                .cloned();
            let tls = match known {
                Some(known) => known,
                None => Tls::open(wanted)
                    .await
                    .map_err(|reason| RouteError::Certificate {
                        route: key.clone(),
                        reason,
                    })?,
            };
            secured.insert(key.clone(), tls);
        }
        Ok(secured)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Secured> {
        let known = self.secured.lock();
        known.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Remembers why a route that was there before is not, until it is.
    pub fn is_unopened(&self, key: &RouteKey, reason: String) {
        self.unopened().insert(key.clone(), reason);
    }

    /// Why a route that was there before is not; none when it is.
    pub fn why_unopened(&self, key: &RouteKey) -> Option<String> {
        self.unopened().get(key).cloned()
    }

    fn unopened(&self) -> std::sync::MutexGuard<'_, BTreeMap<RouteKey, String>> {
        let unopened = self.unopened.lock();
        unopened.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The certificates that a route shows.
    pub fn certificates(&self, key: &RouteKey) -> Vec<ServedCertificate> {
        let known = self.known().get(key).cloned();
        known.map(|tls| tls.served()).unwrap_or_default()
    }

    /// What becomes of acceptors whose addresses are not wanted by themselves any more. A socket
    /// that closes resets the connections whose handshake is under way. So one whose address is a
    /// part of a wanted one stays, and stands for that; and one that a wanted address is a part of
    /// has no new connections for it from now on, and closes a little later.
    async fn let_go(
        &self,
        shared: &Arc<Shared>,
        open: &mut BTreeMap<RouteKey, Acceptors>,
        wanted: &[Wanted<'_>],
        acceptors: Acceptors,
    ) {
        let mut closing = Vec::new();
        let mut is_followed = false;
        for (address, acceptor) in acceptors {
            if let Some(it) = wanted.iter().find(|it| covers(it.address, address)) {
                acceptor.set_config(it.config(shared));
                let own = open.entry(it.key.clone()).or_default();
                own.insert(address, acceptor);
                continue;
            }
            is_followed |= wanted.iter().any(|it| overlap(it.address, address));
            closing.push(acceptor);
        }

        if is_followed {
            tokio::time::sleep(HANDSHAKE).await;
        }
        for acceptor in closing {
            self.retire(acceptor).await;
        }
    }

    /// Closes a route.
    pub async fn close(&self, key: &RouteKey) {
        let acceptors = self.open.lock().await.remove(key);
        self.known().remove(key);
        self.unopened().remove(key);
        for acceptor in acceptors.into_iter().flat_map(HashMap::into_values) {
            self.retire(acceptor).await;
        }
    }

    /// Closes all routes for good, and waits for what is in flight.
    pub async fn shutdown(&self, within: Duration) {
        let mut open = self.open.lock().await;
        self.closing.close();
        for acceptor in std::mem::take(&mut *open)
            .into_values()
            .flat_map(HashMap::into_values)
        {
            self.retire(acceptor).await;
        }
        if tokio::time::timeout(within, self.closing.wait())
            .await
            .is_err()
        {
            self.cut.cancel();
            let _ = tokio::time::timeout(CUT, self.closing.wait()).await;
        }
    }

    async fn retire(&self, acceptor: Acceptor) {
        self.closing.spawn(acceptor.close().await);
    }

    /// Binds the addresses that no acceptor of these routes has.
    async fn bind(
        &self,
        open: &BTreeMap<RouteKey, Acceptors>,
        wanted: &[Wanted<'_>],
    ) -> Result<HashMap<SocketAddr, Arc<TcpListener>>, RouteError> {
        let is_changed = |key: &RouteKey| wanted.iter().any(|it| it.key == key);
        let (own, others): (Vec<_>, Vec<_>) = open.iter().partition(|(key, _)| is_changed(key));
        let mut own: HashMap<SocketAddr, Arc<TcpListener>> = own
            .into_iter()
            .flat_map(|(_, acceptors)| acceptors)
            .map(|(address, acceptor)| (*address, Arc::clone(acceptor.listener())))
            .collect();

        let mut bound = HashMap::new();
        for it in wanted {
            if own.contains_key(&it.address) {
                continue;
            }
            let has_part = |(_, acceptors): &&(&RouteKey, &Acceptors)| {
                acceptors
                    .keys()
                    .any(|address| overlap(*address, it.address))
            };
            if let Some((holder, _)) = others.iter().find(has_part) {
                return Err(it.taken_by(holder));
            }
            let parts = own
                .iter()
                .filter(|(address, _)| overlap(**address, it.address));
            let parts: Vec<_> = parts.map(|(_, listener)| Arc::clone(listener)).collect();
            let listener = listen(&self.inherited, it.address, it.listener, it.key, &parts).await?;
            let listener = Arc::new(listener);
            own.insert(it.address, Arc::clone(&listener));
            bound.insert(it.address, listener);
        }
        Ok(bound)
    }
}

/// An address that a route is to listen on.
struct Wanted<'a> {
    address: SocketAddr,
    listener: Listener,
    about: ListenAddress<'a>,
    key: &'a RouteKey,
    route: &'a Listeners,
    tls: Option<&'a Arc<Tls>>,
}

impl<'a> Wanted<'a> {
    /// All of a route's.
    fn all(
        key: &'a RouteKey,
        route: &'a Listeners,
        tls: Option<&'a Arc<Tls>>,
    ) -> impl Iterator<Item = Self> {
        route.routed().into_iter().map(move |about| Self {
            tls: tls.filter(|_| about.is_secured()),
            address: about.address,
            listener: about.listener,
            about,
            key,
            route,
        })
    }

    /// What a listener stands for there.
    fn config(&self, shared: &Arc<Shared>) -> ListenerConfig {
        let (key, route) = (self.key, self.route);
        ListenerConfig {
            key: key.clone(),
            backend: Backend {
                service: key.service.clone(),
                port: self.about.port.cloned(),
            },
            protocol: self.about.protocol,
            listener: self.listener,
            tls: self.tls.cloned(),
            live_port: route.live.port(),
            limits: route.limits.clone(),
            trusted: trusted(route, self.listener),
            active_table: shared.registry.active_table(&key.scope),
            shared: Arc::clone(shared),
        }
    }

    /// Whether both lead to the same instances.
    fn means(&self, other: &Self) -> bool {
        let what = |it: &Self| (it.key, it.about.port, it.listener);
        what(self) == what(other)
    }

    fn taken_by(&self, holder: &RouteKey) -> RouteError {
        RouteError::Taken {
            address: self.address,
            listener: self.listener,
            route: self.key.clone(),
            holder: PortHolder::Route(holder.clone()),
        }
    }
}

fn same_address(key: &RouteKey, route: &Listeners) -> Result<(), RouteError> {
    if route.live == route.preview {
        return Err(RouteError::SameAddress {
            address: route.live,
            route: key.clone(),
        });
    }
    Ok(())
}

/// Two listeners of different meaning cannot have a part of an address in common.
fn claimed_twice(wanted: &[Wanted<'_>]) -> Result<(), RouteError> {
    for (at, it) in wanted.iter().enumerate() {
        let is_other = |other: &&Wanted<'_>| !other.means(it) && overlap(other.address, it.address);
        if let Some(other) = wanted[..at].iter().find(is_other) {
            return Err(it.taken_by(other.key));
        }
    }
    Ok(())
}

/// The proxy in front of the slots' own listeners is on this machine, and they are reached from
/// nowhere else.
fn trusted(route: &Listeners, listener: Listener) -> TrustedProxies {
    let own = route.trusted_proxies.iter().copied();
    match (listener, &route.proxy) {
        (Listener::Slot(_), Some(_)) => own.chain(Network::this_machine()).collect(),
        _ => own.collect(),
    }
}
