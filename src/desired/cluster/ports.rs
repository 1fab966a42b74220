//! The ports of a service in the objects that it is: of its containers, of its Services, and as its
//! variables.

use serde_json::{Value, json};

use crate::config::schema::ServiceConfig;
use crate::model::port::{PortName, ServicePort};

/// A service's ports: the one that gets the traffic comes first, the others follow by their names.
pub(super) struct Ports {
    traffic: Option<(PortName, ServicePort)>,
    others: Vec<(PortName, ServicePort)>,
    /// Whether the containers are shipit's own, which name their ports.
    are_named: bool,
}

impl Ports {
    pub(super) fn of(service: &ServiceConfig) -> Self {
        Self {
            traffic: service.traffic_port(),
            others: service.other_ports().into_iter().collect(),
            are_named: service.manifests.is_none(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &(PortName, ServicePort)> {
        self.traffic.iter().chain(&self.others)
    }

    /// The number of the port of this name; without a name of the one that gets the traffic.
    pub(super) fn number(&self, name: Option<&PortName>) -> Option<u16> {
        let found = match name {
            Some(name) => self.all().find(|(own, _)| own == name),
            None => self.traffic.as_ref(),
        };
        found.map(|(_, port)| port.number)
    }

    /// The variables by which a container is told of them.
    pub(super) fn variables(&self) -> Vec<Value> {
        let traffic = self.traffic.iter();
        let traffic = traffic.map(|(_, port)| ("PORT".to_owned(), port));
        let others = self.others.iter();
        let others = others.map(|(name, port)| (name.variable(), port));
        traffic
            .chain(others)
            .map(|(name, port)| json!({"name": name, "value": port.number.to_string()}))
            .collect()
    }

    /// As a container lists them.
    pub(super) fn of_container(&self) -> Vec<Value> {
        let listed = self.all().map(|(name, port)| {
            json!({"name": name.as_str(), "containerPort": port.number, "protocol": "TCP"})
        });
        listed.collect()
    }

    /// As a Service lists them. A Service is changed before the switch, and has pods of more than
    /// one release behind it: it leads to each of them by the port's name, at the number that its
    /// own release has.
    pub(super) fn of_service(&self) -> Vec<Value> {
        let listed = self.all().map(|(name, port)| {
            let target: Value = if self.are_named {
                name.as_str().into()
            } else {
                port.number.into()
            };
            json!({"name": name.as_str(), "port": port.number, "targetPort": target,
                "protocol": "TCP"})
        });
        listed.collect()
    }
}
