//! Ports: which gets the traffic, and what is known of the others.

use std::collections::BTreeSet;

use crate::discover::proposal::{EngineProposal, PortProposal, Proposal, ServiceProposal};

/// Ports at which databases and brokers speak something else than HTTP.
const NOT_HTTP: [u16; 24] = [
    21, 22, 25, 53, 110, 143, 465, 587, 993, 995, 1433, 1521, 1883, 3306, 4222, 5432, 5671, 5672,
    6379, 8883, 9092, 11211, 26379, 27017,
];

/// The most ports of one range.
const RANGE: u16 = 100;

/// A port of a container, and where the machine published it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Published {
    pub inside: u16,
    pub outside: Option<u16>,
    /// Whether it was open beyond this machine.
    pub is_open: bool,
}

/// Which services could be reached from other machines, and which from their own alone.
#[derive(Default)]
pub(super) struct Reach {
    open: BTreeSet<String>,
    closed: BTreeSet<String>,
}

impl Reach {
    /// A service that other machines could reach.
    pub fn open(&mut self, service: &str) {
        self.open.insert(service.to_owned());
    }

    pub fn add(&mut self, service: &str, published: &[Published]) {
        for port in published.iter().filter(|port| port.outside.is_some()) {
            let names = if port.is_open {
                &mut self.open
            } else {
                &mut self.closed
            };
            names.insert(service.to_owned());
        }
    }

    /// All listeners have one address: what was open is closed rather than the other way round.
    pub fn tell(self, proposal: &mut Proposal) {
        let is_open = self.closed.is_empty() && !self.open.is_empty();
        proposal.engine = EngineProposal::Docker { is_open };
        if !is_open && !self.open.is_empty() {
            let names: Vec<String> = self.open.into_iter().collect();
            proposal.remark(format!(
                "{} could be reached from other machines, and the listeners are of this machine \
                 alone: `traffic: {{address: 0.0.0.0}}` opens all of them",
                names.join(", ")
            ));
        }
    }
}

/// `[HOST:][OUTSIDE:]INSIDE[/PROTOCOL]`, each of the two a port or a range.
pub(super) fn short(line: &str) -> Vec<Published> {
    let (line, protocol) = line.split_once('/').unwrap_or((line, "tcp"));
    if protocol != "tcp" {
        return Vec::new();
    }
    let (rest, inside) = line.rsplit_once(':').unwrap_or(("", line));
    let (host, outside) = rest.rsplit_once(':').unwrap_or(("", rest));
    let Some(inside) = range(inside) else {
        return Vec::new();
    };
    let outside = range(outside);
    let is_open = !is_loopback(host.trim_matches(['[', ']']));
    let fits = outside.as_ref().is_some_and(|it| it.len() == inside.len());
    let ports = inside.into_iter().enumerate();
    ports
        .map(|(at, inside)| Published {
            inside,
            outside: outside.as_ref().filter(|_| fits).map(|it| it[at]),
            is_open,
        })
        .collect()
}

fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let is_one = first > 0 && first <= last && last - first < RANGE;
    is_one.then(|| (first..=last).collect())
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether a port is known for something else than HTTP.
pub(super) fn is_not_http(port: u16) -> bool {
    NOT_HTTP.contains(&port)
}

/// Gives a service its ports. The first published one gets the traffic, one at which HTTP may be
/// spoken before others.
pub(super) fn assign(service: &mut ServiceProposal, ports: &[Published]) {
    let mut ports = ports.to_vec();
    ports.sort_by_key(|port| (port.inside, port.outside.is_none()));
    ports.dedup_by_key(|port| port.inside);

    let is_published = |port: &&Published| port.outside.is_some();
    let is_http = |port: &&Published| is_published(port) && !is_not_http(port.inside);
    let traffic = ports.iter().find(is_http);
    let traffic = traffic.or_else(|| ports.iter().find(is_published)).copied();
    if let Some(traffic) = traffic {
        service.port = Some(traffic.inside);
        service.published = traffic.outside;
        service.is_tcp = is_not_http(traffic.inside);
    }
    for port in ports {
        if traffic.is_some_and(|traffic| traffic.inside == port.inside) {
            continue;
        }
        let name = format!("port-{}", port.inside);
        let Ok(name) = name.parse() else { continue };
        let proposal = PortProposal {
            number: port.inside,
            is_tcp: is_not_http(port.inside) && port.outside.is_some(),
            published: port.outside,
        };
        service.ports.insert(name, proposal);
    }
}
