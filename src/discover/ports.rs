//! Ports: which gets the traffic, and what is known of the others.

use crate::discover::proposal::{PortProposal, ServiceProposal};

/// Ports at which databases and brokers speak something else than HTTP.
const NOT_HTTP: [u16; 24] = [
    21, 22, 25, 53, 110, 143, 465, 587, 993, 995, 1433, 1521, 1883, 3306, 4222, 5432, 5671, 5672,
    6379, 8883, 9092, 11211, 26379, 27017,
];

/// A port of a container, and where the machine published it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Published {
    pub inside: u16,
    pub outside: Option<u16>,
    /// Whether it was open beyond this machine.
    pub is_open: bool,
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
