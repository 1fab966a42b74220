//! Listeners of a service's ports besides the one with the traffic.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::schema::{
    EnvironmentConfig, HostTraffic, ServiceConfig, TlsConfig, TrafficConfig,
};
use crate::config::suggest::suggest;
use crate::model::limits::Limits;
use crate::model::port::{PortName, ServicePort};
use crate::model::route::{ListenAddress, Listener, Listeners, PortListeners};
use crate::model::{ServiceName, Slot};

/// The listeners of one port. Each is there when it is written, and moves with the service's other
/// traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PortListenersConfig {
    /// The address of the live listener, where it is not `traffic.address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Where live traffic arrives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<u16>,
    /// Where only the preview slot answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<u16>,
    /// Where the slot blue answers, whichever has live traffic; on this machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue: Option<u16>,
    /// Where the slot green answers, whichever has live traffic; on this machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub green: Option<u16>,
}

impl PortListenersConfig {
    fn sides(&self) -> [(&'static str, Option<u16>); 4] {
        [
            ("live", self.live),
            ("preview", self.preview),
            ("blue", self.blue),
            ("green", self.green),
        ]
    }

    fn resolve(&self, traffic: &HostTraffic, port: ServicePort) -> PortListeners {
        let live = self.address.unwrap_or(traffic.address);
        let at = |ip: IpAddr| move |port: u16| SocketAddr::from((ip, port));
        PortListeners {
            protocol: port.protocol,
            live: self.live.map(at(live)),
            former: Vec::new(),
            preview: self.preview.map(at(traffic.preview_address())),
            slots: slots(self.blue, self.green),
        }
    }

    fn check(&self, findings: &mut Findings<'_>, path: &[&str]) {
        if self.sides().iter().all(|(_, port)| port.is_none()) {
            let help = "write `live`, or `blue` and `green` for an address of each slot's own";
            findings.add(path, "nothing listens here", help);
        }
        for (side, _) in self.sides().iter().filter(|(_, port)| *port == Some(0)) {
            let help = "write a number from 1 to 65535";
            findings.add(&[path, &[side]].concat(), "0 is not a port", help);
        }
        if self.address.is_some() && self.live.is_none() {
            let message = "it is the live listener's, and there is none";
            findings.add(&[path, &["address"]].concat(), message, TAKE_OUT);
        }
    }
}

/// Where each slot answers by itself: on this machine only.
pub(super) fn slots(blue: Option<u16>, green: Option<u16>) -> BTreeMap<Slot, SocketAddr> {
    let at = |port: u16| (Ipv4Addr::LOCALHOST, port).into();
    [(Slot::Blue, blue), (Slot::Green, green)]
        .into_iter()
        .filter_map(|(slot, port)| Some((slot, at(port?))))
        .collect()
}

impl HostTraffic {
    /// The listeners of further ports are those of ports that are there.
    pub(super) fn check_ports(
        &self,
        findings: &mut Findings<'_>,
        environment: &EnvironmentConfig,
        (name, service): (&ServiceName, &ServiceConfig),
    ) {
        let others = service.other_ports();
        let of_traffic = service.traffic_port().map(|(port, _)| port);
        for (port, listeners) in &self.listeners(name).ports {
            let at = [
                "traffic",
                "listeners",
                name.as_str(),
                "ports",
                port.as_str(),
            ];
            if of_traffic.as_ref() == Some(port) {
                let message = format!("`{port}` is the port of {name} with the traffic");
                let help = format!("write its ports as `live` and `preview` of {name} itself");
                findings.add(&at, message, help);
            } else if !others.contains_key(port) {
                let known: Vec<&str> = others.keys().map(PortName::as_str).collect();
                let help = suggest(
                    port.as_str(),
                    &known,
                    "ports besides the one with the traffic",
                );
                findings.add(&at, format!("{name} has no port `{port}`"), help);
            } else if matches!(environment.traffic, TrafficConfig::Nginx(..)) {
                let message = "nginx has the traffic here, and leads to one HTTP port of a service";
                let help = "take it out, or write `traffic: {kind: embedded}`: shipit's own router \
                            leads to all";
                findings.add(&at, message, help);
            }
            listeners.check(findings, &at);
        }
    }
}

impl EnvironmentConfig {
    /// A service's listeners; none for a worker, and where no router on this machine has the
    /// traffic.
    #[must_use]
    pub fn listeners(&self, name: &ServiceName, service: &ServiceConfig) -> Option<Listeners> {
        let (_, port) = service.traffic_port()?;
        let traffic = self.traffic.host()?;
        let own = traffic.listeners(name);
        let live = own.live.unwrap_or(port.number);
        let preview = own.preview.unwrap_or_else(|| live.saturating_add(1));

        let others = service.other_ports();
        let ports = own.ports.iter().filter_map(|(name, listeners)| {
            let port = others.get(name)?;
            Some((name.clone(), listeners.resolve(traffic, *port)))
        });
        let (live, preview) = (
            (traffic.address, live).into(),
            (traffic.preview_address(), preview).into(),
        );
        Some(Listeners {
            protocol: port.protocol,
            slots: slots(own.blue, own.green),
            redirect: own.redirect.map(|port| (traffic.address, port).into()),
            tls: self.traffic.tls().map(TlsConfig::resolve),
            ports: ports.collect(),
            trusted_proxies: traffic.trusted_proxies.clone(),
            ..Listeners::plain(live, preview, Limits::clone(&traffic.limits))
        })
    }
}

/// Where one of a service's addresses stands in the configuration, as far as it is written.
pub(in crate::config) fn written_at<'a>(
    environment: &EnvironmentConfig,
    (name, service): (&'a ServiceName, &ServiceConfig),
    listen: &ListenAddress<'a>,
) -> Vec<&'a str> {
    let side = match listen.listener {
        Listener::Live => "live",
        Listener::Preview => "preview",
        Listener::Slot(slot) => slot.as_str(),
        Listener::Redirect => "redirect",
    };
    let name = name.as_str();
    if let Some(port) = listen.port {
        return vec!["traffic", "listeners", name, "ports", port.as_str(), side];
    }
    let traffic = environment.traffic.host();
    let mut listeners = traffic.into_iter().flat_map(|host| host.listeners.keys());
    if listeners.any(|it| it.as_str() == name) {
        vec!["traffic", "listeners", name, side]
    } else if service.port.is_some() {
        vec!["services", name, "port"]
    } else {
        vec!["services", name, "ports"]
    }
}
