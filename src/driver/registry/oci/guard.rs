//! Where a request may go that somebody else has named: a redirect, an upload's address, the next
//! page of a list, a token server. A registry that could name any of them would have this machine
//! ask its neighbours, itself, or the cloud's metadata service.
//!
//! What an address is written as is not enough: a name may lead anywhere, and elsewhere a moment
//! later. So the addresses themselves are looked at, where the connection is made.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// How often an answer may lead on to another address.
const MOST_REDIRECTS: usize = 5;

/// Where an address is, as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Zone {
    /// Anywhere in the world.
    Public,
    /// In a network of one's own.
    Private,
    /// This very machine.
    Machine,
    /// What is reached by standing beside it alone: the link, groups, the metadata services of
    /// clouds.
    Link,
}

impl Zone {
    const fn name(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Private => "an address of a private network",
            Self::Machine => "an address of this machine itself",
            Self::Link => "an address of the link or of a cloud's metadata service",
        }
    }

    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => v4(address),
            IpAddr::V6(address) => v6(address),
        }
    }
}

/// Metadata services that have an address like any other: Alibaba's and Azure's.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];
/// Amazon's and Google's.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn v4(address: Ipv4Addr) -> Zone {
    let [first, second, third, _] = address.octets();
    match (first, second, third) {
        _ if METADATA_V4.contains(&address) => Zone::Link,
        (0 | 127, ..) => Zone::Machine,
        (169, 254, _) | (192, 0, 0) | (224..=255, ..) => Zone::Link,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Zone::Private,
        _ => Zone::Public,
    }
}

fn v6(address: Ipv6Addr) -> Zone {
    let parts = address.segments();
    match parts {
        _ if METADATA_V6.contains(&address) => Zone::Link,
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Zone::Machine,
        // An address of the older kind in the clothes of the newer: mapped, compatible, translated,
        // or tunnelled.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => v4(older(high, low)),
        [0xfe80..=0xfebf | 0xff00..=0xffff, ..] => Zone::Link,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Zone::Private,
        _ => Zone::Public,
    }
}

fn older(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// What was not sent, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Kept {
    /// It would go without TLS, where the registry has it.
    #[error("{registry} sends this on to {to}, which is without TLS")]
    InClear { registry: String, to: String },
    /// It would go to a place that the registry itself is not in.
    #[error("{registry} sends this on to {host}, which leads to {address}, {}", zone.name())]
    Inside {
        registry: String,
        host: String,
        address: IpAddr,
        zone: Zone,
    },
    /// It would go on for ever.
    #[error("{registry} sends this on from place to place, more than {MOST_REDIRECTS} times")]
    Round { registry: String },
    /// It would go nowhere.
    #[error("{registry} sends this on to what is no address")]
    Nowhere { registry: String },
    /// A login would go to somebody who is not known to be the registry's.
    #[error(
        "{registry} wants the login for it to be sent to {host}, and nothing says that {host} may \
         have it"
    )]
    Elsewhere { registry: String, host: String },
}

/// Holds requests to one registry.
#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The registry's own address.
    origin: Url,
    /// Hosts that are spoken to wherever they are: the registry's own, and this machine's proxies.
    trusted: BTreeSet<String>,
    /// Whether private networks may be led to.
    private: bool,
    /// Where the registry itself was found to be: what it leads to may be there as well.
    own: Arc<Mutex<BTreeSet<Zone>>>,
}

impl Guard {
    /// For what this registry leads to.
    pub fn new(origin: &Url) -> Self {
        let mut own = BTreeSet::new();
        own.extend(literal(origin).map(Zone::of));
        let mut trusted = proxies();
        trusted.extend(origin.host_str().map(str::to_ascii_lowercase));
        Self(Arc::new(Inner {
            origin: origin.clone(),
            trusted,
            private: true,
            own: Arc::new(Mutex::new(own)),
        }))
    }

    /// For the token server of the same registry: nobody has to be able to say which neighbour is
    /// asked, so a private network is led to by somebody who is in one, or by the configuration.
    pub fn of_tokens(&self, is_named: bool) -> Self {
        let own = self.zones();
        let near = own.contains(&Zone::Private) || own.contains(&Zone::Machine);
        Self(Arc::new(Inner {
            origin: self.0.origin.clone(),
            trusted: proxies(),
            private: is_named || near,
            own: Arc::clone(&self.0.own),
        }))
    }

    fn registry(&self) -> String {
        place(&self.0.origin)
    }

    fn zones(&self) -> BTreeSet<Zone> {
        let own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.clone()
    }

    /// Whether something may be sent to this address, as far as its text tells.
    pub fn may_go(&self, to: &Url) -> Result<(), Kept> {
        let registry = self.registry();
        let Some(host) = to.host_str() else {
            return Err(Kept::Nowhere { registry });
        };
        match to.scheme() {
            "https" => {}
            "http" if self.0.origin.scheme() == "http" => {}
            "http" => {
                let to = place(to);
                return Err(Kept::InClear { registry, to });
            }
            _ => return Err(Kept::Nowhere { registry }),
        }
        match literal(to) {
            Some(address) => self.may_reach(host, address),
            None => Ok(()),
        }
    }

    fn may_reach(&self, host: &str, address: IpAddr) -> Result<(), Kept> {
        let zone = Zone::of(address);
        let may = match zone {
            Zone::Public => true,
            Zone::Private => self.0.private || self.zones().contains(&zone),
            Zone::Machine | Zone::Link => self.zones().contains(&zone),
        };
        if may || self.0.trusted.contains(&host.to_ascii_lowercase()) {
            return Ok(());
        }
        Err(Kept::Inside {
            registry: self.registry(),
            host: host.to_owned(),
            address,
            zone,
        })
    }

    /// Those of a name's addresses that may be connected to.
    fn choose(&self, name: &str, found: &[SocketAddr]) -> Result<Vec<SocketAddr>, Kept> {
        if self.0.origin.host_str() == Some(name) {
            let mut zones = found.iter().map(|address| Zone::of(address.ip()));
            // A name that has addresses here and there says nothing of where its registry is.
            if let Some(first) = zones.next()
                && zones.all(|zone| zone == first)
            {
                let mut own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
                // Where it was first is where it is: a name that moves later opens nothing.
                if own.is_empty() {
                    own.insert(first);
                }
            }
            return Ok(found.to_vec());
        }

        let (mut chosen, mut kept) = (Vec::new(), None);
        for address in found {
            match self.may_reach(name, address.ip()) {
                Ok(()) => chosen.push(*address),
                Err(reason) => kept = kept.or(Some(reason)),
            }
        }

        match kept {
            Some(kept) if chosen.is_empty() => Err(kept),
            _ => Ok(chosen),
        }
    }

    /// Follows what leads to a place where a request may go. The client takes the login off what
    /// goes to another host.
    pub fn policy(&self) -> Policy {
        let guard = self.clone();
        Policy::custom(move |attempt| {
            if attempt.previous().len() > MOST_REDIRECTS {
                let registry = guard.registry();
                return attempt.error(Kept::Round { registry });
            }
            match guard.may_go(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(kept) => attempt.error(kept),
            }
        })
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, name) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let chosen = guard.choose(&name, &found)?;
            Ok(Box::new(chosen.into_iter()) as Addrs)
        })
    }
}

/// Why a request was not sent, when it was one of these reasons.
pub(super) fn kept(error: &reqwest::Error) -> Option<Kept> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(kept) = error.downcast_ref::<Kept>() {
            return Some(kept.clone());
        }
        next = error.source();
    }
    None
}

/// The address that a URL names by its numbers.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

/// Host, and port where it is not the scheme's own.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The hosts of the proxies that the client may go through: whoever runs this has named them.
fn proxies() -> BTreeSet<String> {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let both = names
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()]);
    both.filter_map(|name| std::env::var(name).ok())
        .filter_map(|value| proxy_host(&value))
        .collect()
}

/// `http://proxy.example.com:3128`, or the same without its scheme.
fn proxy_host(value: &str) -> Option<String> {
    let with_scheme = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let url = Url::parse(&with_scheme).ok()?;
    url.host_str().map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    fn zone(text: &str) -> Zone {
        Zone::of(text.parse().expect(text))
    }

    #[test]
    fn every_form_of_an_address_is_seen_through() {
        for machine in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert_eq!(zone(machine), Zone::Machine, "{machine}");
        }
        for link in [
            "169.254.169.254",
            "fe80::1",
            "ff02::1",
            "224.0.0.1",
            "255.255.255.255",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert_eq!(zone(link), Zone::Link, "{link}");
        }
        for private in [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
        ] {
            assert_eq!(zone(private), Zone::Private, "{private}");
        }
        for public in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "100.63.0.1"] {
            assert_eq!(zone(public), Zone::Public, "{public}");
        }
    }

    #[test]
    fn nothing_is_sent_inside_by_a_registry_outside() {
        let guard = Guard::new(&url("https://registry.example.com"));
        for inside in [
            "https://127.0.0.1/x",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://[::1]/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/x",
            "https://[::ffff:169.254.169.254]/x",
            "http://storage.example.com/x",
            "ftp://storage.example.com/x",
        ] {
            assert!(guard.may_go(&url(inside)).is_err(), "{inside}");
        }
        for outside in ["https://storage.example.com/x", "https://10.0.0.1/x"] {
            assert_eq!(guard.may_go(&url(outside)), Ok(()), "{outside}");
        }
    }

    #[test]
    fn a_name_is_what_it_leads_to() {
        let guard = Guard::new(&url("https://registry.example.com"));
        let (inside, outside) = (
            SocketAddr::from(([169, 254, 169, 254], 0)),
            SocketAddr::from(([1, 1, 1, 1], 0)),
        );
        let kept = guard.choose("a.example.com", &[inside]);
        assert!(
            matches!(
                kept,
                Err(Kept::Inside {
                    zone: Zone::Link,
                    ..
                })
            ),
            "{kept:?}"
        );
        let both = guard.choose("a.example.com", &[inside, outside]);
        assert_eq!(both, Ok(vec![outside]), "the rest of them may be used");
        let own = guard.choose("registry.example.com", &[inside]);
        assert_eq!(own, Ok(vec![inside]), "the registry is where it is");
    }

    #[test]
    fn a_registry_that_says_it_is_here_and_there_opens_nothing() {
        let guard = Guard::new(&url("https://registry.example.com"));
        let at = |text: &str| SocketAddr::new(text.parse().expect("an address"), 0);
        let (public, link, machine) = (at("1.2.3.4"), at("169.254.169.254"), at("127.0.0.1"));
        let own = guard.choose("registry.example.com", &[public, link]);
        assert_eq!(own, Ok(vec![public, link]));
        assert!(guard.choose("other.example.com", &[link]).is_err());

        // What it says later opens no more.
        let own = guard.choose("registry.example.com", &[public]);
        own.expect("the registry itself");
        let own = guard.choose("registry.example.com", &[machine]);
        own.expect("the registry itself");
        assert!(guard.choose("other.example.com", &[machine]).is_err());
    }

    #[test]
    fn what_is_on_this_machine_may_lead_to_this_machine_and_not_to_the_cloud() {
        let guard = Guard::new(&url("http://localhost:5000"));
        let (machine, link) = (
            SocketAddr::from(([127, 0, 0, 1], 0)),
            SocketAddr::from(([169, 254, 169, 254], 0)),
        );
        guard.choose("localhost", &[machine]).expect("its own");
        assert_eq!(guard.may_go(&url("http://127.0.0.1:6000/x")), Ok(()));
        assert!(guard.may_go(&url("http://169.254.169.254/x")).is_err());
        assert!(guard.choose("meta.example.com", &[link]).is_err());
    }

    #[test]
    fn a_token_server_in_a_private_network_is_for_registries_in_one() {
        let private = url("https://10.0.0.2/token");
        let outside = Guard::new(&url("https://registry.example.com"));
        assert!(outside.of_tokens(false).may_go(&private).is_err());
        assert_eq!(outside.of_tokens(true).may_go(&private), Ok(()));
        let inside = Guard::new(&url("https://10.0.0.1"));
        assert_eq!(inside.of_tokens(false).may_go(&private), Ok(()));
        let machine = url("https://127.0.0.1/token");
        assert!(inside.of_tokens(true).may_go(&machine).is_err());
    }

    #[test]
    fn proxies_are_reached_wherever_they_are() {
        for value in [
            "http://Proxy.example.com:3128",
            "proxy.example.com:3128",
            "http://kim:pw@proxy.example.com",
        ] {
            let host = proxy_host(value);
            assert_eq!(host.as_deref(), Some("proxy.example.com"), "{value}");
        }
    }
}
