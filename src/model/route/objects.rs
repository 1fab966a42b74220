//! A service's entry point on a cluster: objects, of which a switch changes one.

use std::collections::BTreeMap;

use crate::model::port::Protocol;
use crate::model::{LiveTraffic, Manifest, ObjectKey, Slot};

/// Stands in a URL for an address that is not known yet.
pub const ANY_ADDRESS: &str = "*";

/// A service's entry point on a cluster: what stands still, and the one object that a switch
/// changes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObjectsRoute {
    /// What is there as long as the service is: its slots' own Services, grants. No switch touches
    /// it, so that no router ever loses a backend.
    pub fixed: Vec<Manifest>,
    /// The live object while no slot has its traffic.
    pub off: Manifest,
    /// The live object by the slot that has its traffic. It is the same object each time.
    pub to: BTreeMap<Slot, Manifest>,
    /// The Service that reaches a slot's pods: `NAMESPACE/NAME`.
    pub targets: BTreeMap<Slot, String>,
    /// The port of all these Services that gets the traffic.
    pub port: u16,
    /// What is spoken there.
    #[serde(default, skip_serializing_if = "Protocol::is_http")]
    pub protocol: Protocol,
    /// Where live traffic arrives, when the configuration says so or its host tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_url: Option<String>,
    /// How the address of a load balancer is asked, once there is one: a URL with `*` in its place.
    /// None where there will be none, and where it would be asked for a certificate of a name that
    /// is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_url: Option<String>,
    /// Where a slot answers by itself, when the configuration says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slot_urls: BTreeMap<Slot, String>,
}

impl ObjectsRoute {
    pub(super) fn entries_lost(&self, next: Option<&Self>) -> Vec<String> {
        let entries = next.map(Self::entries).unwrap_or_default();
        let own = self.entries().into_iter();
        let lost = own.filter(|entry| !entries.contains(entry));
        lost.chain(next.and_then(|next| self.pods_lost(next)))
            .collect()
    }

    /// That the pods of the live release are led to at a number which they do not have: they are
    /// led to by a number, and it is another one.
    fn pods_lost(&self, next: &Self) -> Option<String> {
        let (own, next) = (self.pod_port()?, next.pod_port()?);
        (own != next).then(|| format!("port {own} of its pods"))
    }

    /// The number by which the slots' Services lead to the port with the traffic; none where they
    /// go by its name.
    fn pod_port(&self) -> Option<u64> {
        let services = self.fixed.iter().filter(|one| one.kind() == "Service");
        let mut ports = services.filter_map(|one| one.body().pointer("/spec/ports/0/targetPort"));
        ports.next()?.as_u64()
    }

    /// The live object, and the host that it answers to.
    fn entries(&self) -> Vec<String> {
        let key = self.off.key();
        let place = key.namespace.as_deref().unwrap_or_default();
        let group = key.group().to_owned();
        let object = match group.as_str() {
            "" => format!("{} in {place}", key.short()),
            group => format!("{} ({group}) in {place}", key.short()),
        };
        let url = self.live_url.iter().cloned();
        let balancer = self.balancer().into_iter();
        let objects = [object].into_iter().chain(url).chain(balancer);
        objects.chain(self.ports()).collect()
    }

    /// The ports at which a live Service answers.
    fn ports(&self) -> Vec<String> {
        if self.off.kind() != "Service" {
            return Vec::new();
        }
        let ports = self.off.body()["spec"]["ports"].as_array();
        let numbers = ports.into_iter().flatten();
        numbers
            .filter_map(|port| port["port"].as_u64())
            .map(|number| format!("port {number} of {}", self.off.key().short()))
            .collect()
    }

    /// The load balancer of a live Service: with another class it is another one, at another
    /// address.
    fn balancer(&self) -> Option<String> {
        let spec = &self.off.body()["spec"];
        if self.off.kind() != "Service" || spec["type"] != "LoadBalancer" {
            return None;
        }
        let class = spec["loadBalancerClass"].as_str();
        let class = class.map_or_else(String::new, |class| format!(" ({class})"));
        let service = self.off.key().short();
        Some(format!("the load balancer{class} of {service}"))
    }

    /// What names its objects.
    pub fn keys(&self) -> impl Iterator<Item = ObjectKey> {
        self.fixed.iter().chain([&self.off]).map(Manifest::key)
    }

    /// The live object for this traffic.
    #[must_use]
    pub fn live(&self, traffic: LiveTraffic) -> &Manifest {
        match traffic {
            LiveTraffic::Off => &self.off,
            LiveTraffic::All(slot) => self.to.get(&slot).unwrap_or(&self.off),
        }
    }
}
