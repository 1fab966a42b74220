//! Traffic through a router on this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::traffic::have_ports;
use crate::config::schema::{EnvironmentConfig, PortListenersConfig, Publish};
use crate::model::limits::Limits;
use crate::model::port::PortName;
use crate::model::{Period, ServiceName, TrustedProxies};

/// What a router on this machine has, whichever it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostTraffic {
    /// The address of all live listeners.
    pub address: IpAddr,
    /// The address of all preview listeners. What is not live yet is nobody's business: without
    /// this key it is `address` where that is of this machine only, else `127.0.0.1` or `::1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_address: Option<IpAddr>,
    /// The proxies in front of the router, as networks: `[10.0.0.0/8]`. What they say of a client
    /// (`X-Forwarded-For` and its family) reaches the services; what anybody else says is dropped.
    /// Without this key nobody is trusted, not even this machine.
    #[serde(skip_serializing_if = "TrustedProxies::is_empty")]
    pub trusted_proxies: TrustedProxies,
    /// The ports by service. Without it live is the service's `port`, and preview the one above it.
    pub listeners: BTreeMap<ServiceName, ListenersConfig>,
    /// The router's limits.
    pub limits: Limits,
    /// A key that names the slot with live traffic, for whoever routes by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
}

impl Default for HostTraffic {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            preview_address: None,
            trusted_proxies: TrustedProxies::nobody(),
            listeners: BTreeMap::new(),
            limits: Limits::default(),
            publish: None,
        }
    }
}

/// A service's ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenersConfig {
    /// Where live traffic arrives.
    pub live: Option<u16>,
    /// Where only the preview slot answers.
    pub preview: Option<u16>,
    /// Where the slot blue answers, whichever has live traffic.
    pub blue: Option<u16>,
    /// Where the slot green answers, whichever has live traffic.
    pub green: Option<u16>,
    /// Where plain HTTP arrives that is sent on to the live port (308), which has `tls`. Nothing
    /// does without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<u16>,
    /// The same for its ports besides the one with the traffic, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, PortListenersConfig>,
}

impl HostTraffic {
    /// Where preview listeners are: on this machine, unless the configuration says otherwise.
    #[must_use]
    pub fn preview_address(&self) -> IpAddr {
        let loopback = match self.address {
            own if own.is_loopback() => own,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        self.preview_address.unwrap_or(loopback)
    }

    /// A service's ports, as far as they are given.
    #[must_use]
    pub fn listeners(&self, service: &ServiceName) -> ListenersConfig {
        self.listeners.get(service).cloned().unwrap_or_default()
    }

    pub(super) fn check(&self, findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        have_ports(findings, environment, "listeners", self.listeners.keys());
        for (service, own) in &self.listeners {
            let ports = [
                ("live", own.live),
                ("preview", own.preview),
                ("blue", own.blue),
                ("green", own.green),
                ("redirect", own.redirect),
            ];
            for (side, _) in ports.iter().filter(|(_, port)| *port == Some(0)) {
                let at = ["traffic", "listeners", service.as_str(), side];
                findings.add(&at, "0 is not a port", "write a number from 1 to 65535");
            }
        }
        for service in &environment.services {
            self.check_ports(findings, environment, service);
        }
        limits(findings, &self.limits);
        if let Some(publish) = &self.publish {
            publish.check(findings);
        }
    }
}

/// What would let nobody in.
fn limits(findings: &mut Findings<'_>, limits: &Limits) {
    let path = |key: &'static str| ["traffic", "limits", key];
    let counts = [
        ("instance_requests", limits.instance_requests),
        ("client_connections", limits.client_connections),
        ("client_requests", limits.client_requests),
    ];
    for (key, _) in counts.iter().filter(|(_, count)| *count == Some(0)) {
        findings.add(&path(key), "0 lets nobody in", "write 1 or more");
    }

    let times = [
        ("body_timeout", limits.body_timeout),
        ("response_timeout", limits.response_timeout),
        ("header_timeout", limits.header_timeout),
        ("min_rate_over", limits.min_rate_over),
        ("upgrade_idle", limits.upgrade_idle),
        ("tcp_idle", limits.tcp_idle),
    ];
    for (key, _) in times.iter().filter(|(_, time)| *time == Period::ZERO) {
        let help = "write a time, as `30s`";
        findings.add(&path(key), "no time at all lets nobody through", help);
    }
}
