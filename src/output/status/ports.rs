//! The ports of services besides the one with the traffic: where each is reached.

use std::net::{Ipv4Addr, SocketAddr};

use crate::model::facts::WorkloadFacts;
use crate::model::outcome::Url;
use crate::model::port::PortName;
use crate::model::route::{ListenAddress, Listener, Listeners, Route};
use crate::model::{ServiceName, Slot};
use crate::output::Page;
use crate::output::status::StatusView;

/// A row for each such port in each slot; nothing when there is none.
pub(super) fn table(status: &StatusView) -> Page {
    let mut rows = Vec::new();
    for (slot, there) in &status.facts.slots {
        for (service, workload) in &there.workloads {
            let mut names: Vec<&PortName> = workload
                .instances
                .iter()
                .flat_map(|instance| instance.ports.keys())
                .collect();
            names.sort_unstable();
            names.dedup();
            rows.extend(names.into_iter().map(|port| {
                [
                    slot.to_string(),
                    service.to_string(),
                    port.to_string(),
                    url(status, *slot, service, port),
                    own(status, *slot, service, port),
                    instances(workload, port),
                ]
            }));
        }
    }

    let header = ["SLOT", "SERVICE", "PORT", "URL", "SLOT'S OWN", "INSTANCES"];
    let mut page = Page::default();
    if !rows.is_empty() {
        page.blank();
        page.extend(Page::table(header, rows));
    }
    page
}

/// Where the slot is reached by its role.
fn url(status: &StatusView, slot: Slot, service: &ServiceName, port: &PortName) -> String {
    let urls = if status.facts.traffic.reaches(slot) {
        &status.live
    } else {
        &status.preview
    };
    let is_it = |url: &&Url| url.service == *service && url.port.as_ref() == Some(port);
    let found = urls.iter().find(is_it);
    found.map(|url| url.url.clone()).unwrap_or_default()
}

/// Where the slot is reached whichever role it has.
fn own(status: &StatusView, slot: Slot, service: &ServiceName, port: &PortName) -> String {
    let listeners = status.facts.routes.get(service).and_then(Route::listeners);
    let each = listeners.map(Listeners::each).unwrap_or_default();
    let is_it =
        |it: &&ListenAddress<'_>| it.port == Some(port) && it.listener == Listener::Slot(slot);
    let found = each.iter().find(is_it);
    found.map(|it| it.address.to_string()).unwrap_or_default()
}

/// Where each instance listens.
fn instances(workload: &WorkloadFacts, port: &PortName) -> String {
    let ports = workload.instances.iter();
    let ports = ports.filter_map(|instance| instance.ports.get(port));
    let addresses = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).to_string());
    addresses.collect::<Vec<_>>().join(" ")
}
