//! The listeners through which traffic comes to a service.

mod objects;
mod ports;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::certificate::Tls;
use crate::model::limits::Limits;
use crate::model::port::{PortName, Protocol};
use crate::model::{LiveTraffic, ServiceName, Slot, TrustedProxies};

pub use objects::{ANY_ADDRESS, ObjectsRoute};
pub use ports::{ListenAddress, Listener, PortListeners};

/// One service's entry point: where live traffic comes in, and where only the preview slot answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Route {
    /// Whose entry point it is.
    pub service: ServiceName,
    /// What it is.
    #[serde(flatten)]
    pub kind: RouteKind,
}

/// What an entry point is, by the engine that has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// On a host: listeners.
    Listeners(Box<Listeners>),
    /// On a cluster: objects.
    Objects(Box<ObjectsRoute>),
}

/// The listeners of a service on a host, and the router's limits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listeners {
    /// What is spoken at the port with the traffic.
    #[serde(default, skip_serializing_if = "Protocol::is_http")]
    pub protocol: Protocol,
    /// Where live traffic arrives.
    pub live: SocketAddr,
    /// Where live traffic arrived before, and still does: until the release that moves it has been
    /// verified. The last one is the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<SocketAddr>,
    /// Where only the preview slot answers.
    pub preview: SocketAddr,
    /// Where plain HTTP arrives that is sent on to `live`, which has TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<SocketAddr>,
    /// What HTTP is wrapped in, at every address but that of `redirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The router's limits.
    pub limits: Limits,
    /// The proxies in front of the router, whose word about a client is passed on.
    #[serde(default, skip_serializing_if = "TrustedProxies::is_empty")]
    pub trusted_proxies: TrustedProxies,
    /// Where each slot answers by itself, whichever has live traffic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<Slot, SocketAddr>,
    /// The listeners of the service's other ports, of those that have some.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, PortListeners>,
    /// The proxy that listens where live traffic arrives, instead of the embedded router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Box<Proxy>>,
    /// Where the slot with live traffic is made known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publication>,
}

/// Where a proxy says which slot it leads to: a request to this path is answered with the slot's
/// name.
pub const MARK: &str = "/.shipit/slot";

/// A proxy of somebody else's in front of the slots.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proxy {
    /// The file that is the proxy's to read and shipit's to write.
    pub config: PathBuf,
    /// The command that takes `-t` (test) and `-s reload`.
    pub command: Vec<String>,
    /// The file's text by the slot that has live traffic.
    pub to: BTreeMap<Slot, String>,
    /// The file's text while no slot has it.
    pub off: String,
}

impl Proxy {
    /// The file's text for this traffic.
    #[must_use]
    pub fn text(&self, traffic: LiveTraffic) -> &str {
        match traffic {
            LiveTraffic::Off => &self.off,
            LiveTraffic::All(slot) => self.to.get(&slot).unwrap_or(&self.off),
        }
    }
}

/// A key of etcd that names the slot with live traffic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Publication {
    /// The members: `http://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// The key; its value is `blue`, `green` or `off`.
    pub key: String,
    /// Who writes it, where etcd asks for a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The authority that signed the members' certificates, in PEM; those of the machine without
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A user of etcd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The file of the agent's machine that has the password; the agent reads it at each switch.
    pub password_file: PathBuf,
}

impl Route {
    /// The entry point of a service on a host.
    #[must_use]
    pub fn of_listeners(service: ServiceName, listeners: Listeners) -> Self {
        let kind = RouteKind::Listeners(Box::new(listeners));
        Self { service, kind }
    }

    /// The entry point of a service on a cluster.
    #[must_use]
    pub fn of_objects(service: ServiceName, objects: ObjectsRoute) -> Self {
        let kind = RouteKind::Objects(Box::new(objects));
        Self { service, kind }
    }

    /// Its listeners; none on a cluster.
    #[must_use]
    pub fn listeners(&self) -> Option<&Listeners> {
        match &self.kind {
            RouteKind::Listeners(listeners) => Some(listeners),
            RouteKind::Objects(_) => None,
        }
    }

    /// Its listeners, to change them; none on a cluster.
    pub fn listeners_mut(&mut self) -> Option<&mut Listeners> {
        match &mut self.kind {
            RouteKind::Listeners(listeners) => Some(listeners),
            RouteKind::Objects(_) => None,
        }
    }

    /// Its objects; none on a host.
    #[must_use]
    pub fn objects(&self) -> Option<&ObjectsRoute> {
        match &self.kind {
            RouteKind::Listeners(_) => None,
            RouteKind::Objects(objects) => Some(objects),
        }
    }

    /// Where the router listens for live traffic: nowhere, when a proxy does or objects do.
    #[must_use]
    pub fn live_addresses(&self) -> Vec<SocketAddr> {
        self.listeners()
            .map_or_else(Vec::new, Listeners::live_addresses)
    }

    /// Where live traffic arrived before, and still does, at any of its ports.
    #[must_use]
    pub fn former(&self) -> Vec<SocketAddr> {
        self.listeners()
            .map_or_else(Vec::new, Listeners::all_former)
    }

    /// Whether one of its addresses has a part of another route's.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let both = self.listeners().zip(other.listeners());
        both.is_some_and(|(own, other)| own.overlaps(other))
    }

    /// What listens until the release that comes with the `next` route has live traffic: the next
    /// one, and where live traffic arrives now. Where the two cannot be had together everything
    /// stays as it is.
    #[must_use]
    pub fn until(&self, next: &Self) -> Self {
        match (self.listeners(), next.listeners()) {
            (Some(own), Some(next)) => Self::of_listeners(self.service.clone(), own.until(next)),
            _ => next.clone(),
        }
    }

    /// Without the addresses at which live traffic arrived before.
    #[must_use]
    pub fn settled(&self) -> Self {
        self.with(Listeners::settled)
    }

    /// Without the addresses that were opened for releases that never had live traffic: it arrives
    /// where it did before the first of them.
    #[must_use]
    pub fn unmoved(&self) -> Self {
        self.with(Listeners::unmoved)
    }

    fn with(&self, change: impl FnOnce(&Listeners) -> Listeners) -> Self {
        let mut route = self.clone();
        if let Some(listeners) = route.listeners_mut() {
            *listeners = change(listeners);
        }
        route
    }

    /// Where live traffic arrives, and would find nothing any more with the `next` route, or
    /// without one: the addresses of the live listener, the live object and the host that it
    /// answers to.
    #[must_use]
    pub fn entries_lost(&self, next: Option<&Self>) -> Vec<String> {
        match &self.kind {
            RouteKind::Listeners(own) => own.entries_lost(next.and_then(Self::listeners)),
            RouteKind::Objects(own) => own.entries_lost(next.and_then(Self::objects)),
        }
    }
}

impl Listeners {
    /// A live and a preview listener alone.
    #[must_use]
    pub const fn plain(live: SocketAddr, preview: SocketAddr, limits: Limits) -> Self {
        Self {
            protocol: Protocol::Http,
            live,
            former: Vec::new(),
            preview,
            redirect: None,
            tls: None,
            limits,
            trusted_proxies: TrustedProxies::nobody(),
            slots: BTreeMap::new(),
            ports: BTreeMap::new(),
            proxy: None,
            publish: None,
        }
    }

    /// How whoever asks at an address of this protocol begins its URL.
    #[must_use]
    pub const fn scheme(&self, protocol: Protocol) -> &'static str {
        match (&self.tls, protocol) {
            (Some(_), Protocol::Http) => "https",
            _ => protocol.scheme(),
        }
    }

    /// Where the router listens for live traffic: nowhere, when a proxy does.
    #[must_use]
    pub fn live_addresses(&self) -> Vec<SocketAddr> {
        if self.proxy.is_some() {
            return Vec::new();
        }
        self.live_and_former().collect()
    }

    /// Where live traffic arrives, whoever listens there.
    fn live_and_former(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.live).chain(self.former.iter().copied())
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.shared_with(other).is_some()
    }

    /// Its first address of which another service's listeners have a part.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Option<ListenAddress<'_>> {
        let others = other.each();
        let is_theirs = |own: &ListenAddress<'_>| {
            others
                .iter()
                .any(|other| overlap(own.address, other.address))
        };
        self.each().into_iter().find(is_theirs)
    }

    /// What listens until the release that comes with the `next` listeners has live traffic.
    #[must_use]
    pub fn until(&self, next: &Self) -> Self {
        let is_moved = self.live != next.live || self.proxy.is_some() != next.proxy.is_some();
        if self.proxy.is_some() || next.proxy.is_some() {
            return if is_moved { self } else { next }.clone();
        }

        let mut former = self.live_addresses();
        former.retain(|address| !next.live_addresses().contains(address));
        former.sort_by_key(|address| *address == self.live);
        let between = Self {
            former,
            ports: self.ports_until(next),
            ..next.clone()
        };
        if between.claimed_twice().is_some() {
            return self.clone();
        }
        between
    }

    fn settled(&self) -> Self {
        Self {
            former: Vec::new(),
            ports: self.settled_ports(),
            ..self.clone()
        }
    }

    fn unmoved(&self) -> Self {
        Self {
            live: self.former.first().copied().unwrap_or(self.live),
            former: Vec::new(),
            ports: self.unmoved_ports(),
            ..self.clone()
        }
    }

    fn entries_lost(&self, next: Option<&Self>) -> Vec<String> {
        let own = self.each().into_iter();
        let live = own.filter(|it| it.listener == Listener::Live);
        let lost = live.filter(|it| next.is_none_or(|next| !next.answers(it)));
        lost.map(|it| match it.port {
            Some(port) => format!("{} ({port})", it.address),
            None => it.address.to_string(),
        })
        .collect()
    }

    /// Whether live traffic that is sent to an address arrives at the same port.
    fn answers(&self, other: &ListenAddress<'_>) -> bool {
        let other_address = other.address;
        let covers = |own: SocketAddr| {
            let is_covered = own.ip().is_unspecified() && own.is_ipv4() == other_address.is_ipv4();
            let is_same = is_covered || own.ip() == other_address.ip();
            own.port() == other_address.port() && is_same
        };
        let own = self.each().into_iter();
        own.filter(|own| (own.port, own.listener) == (other.port, other.listener))
            .any(|own| covers(own.address))
    }
}

/// Whether two addresses have a part in common, so that one listener keeps another from being
/// opened. `[::]` is every IPv4 address as well, as long as nobody has set it otherwise on this
/// machine. Port 0 is any that is free.
#[must_use]
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    covers(one, other) || covers(other, one)
}

/// Whether whoever connects to `part` arrives at a listener on `whole`, too, when there is no
/// other.
#[must_use]
pub fn covers(whole: SocketAddr, part: SocketAddr) -> bool {
    let is_same = whole.ip().to_canonical() == part.ip().to_canonical();
    let is_any =
        whole.ip().is_unspecified() && (whole.is_ipv6() || part.ip().to_canonical().is_ipv4());
    whole.port() == part.port() && whole.port() != 0 && (is_same || is_any)
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RouteKind::Listeners(listeners) => {
                let by = match listeners.proxy {
                    Some(_) => " by nginx",
                    None => "",
                };
                let secure = if listeners.tls.is_some() { "TLS, " } else { "" };
                write!(f, "{secure}live on {}{by}", listeners.live)?;
                for former in &listeners.former {
                    write!(f, " and still on {former}")?;
                }
                write!(f, ", preview on {}", listeners.preview)?;
                if let Some(redirect) = listeners.redirect {
                    write!(f, ", plain HTTP on {redirect} is sent on")?;
                }
                let mut slots = listeners.slots.iter();
                slots.try_for_each(|(slot, address)| write!(f, ", {slot} on {address}"))?;
                let mut ports = listeners.ports.iter();
                ports.try_for_each(|(name, port)| write!(f, "; {name} {port}"))
            }
            RouteKind::Objects(objects) => {
                write!(f, "{}", objects.off.key().short())?;
                for slot in Slot::ALL {
                    write!(f, ", {slot} at {}", objects.targets[&slot])?;
                }
                Ok(())
            }
        }
    }
}
