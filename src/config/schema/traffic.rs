//! How traffic comes to the services: through a router on this machine, or through objects of a
//! cluster.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::kinds::by_kind;
use crate::config::schema::{
    EmbeddedTraffic, EnvironmentConfig, HostTraffic, Marks, NginxTraffic, TlsConfig,
    check_redirects,
};
use crate::config::suggest::suggest;
use crate::model::ServiceName;
use crate::model::port::Protocol;

by_kind! {
    /// How traffic comes to the services.
    pub enum TrafficConfig by default Embedded(HostTraffic, EmbeddedTraffic) {
        /// The agent's own router.
        "embedded" => Embedded(host: HostTraffic, embedded: EmbeddedTraffic),
        /// nginx on this machine.
        "nginx" => Nginx(host: HostTraffic, nginx: NginxTraffic),
        /// The selector of a Kubernetes Service.
        "service" => Service(service: ServiceTraffic),
        /// The backend of a Kubernetes Ingress.
        "ingress" => Ingress(routed: RoutedTraffic, ingress: IngressTraffic),
        /// The weights of a Gateway API `HTTPRoute`.
        "gateway" => Gateway(routed: RoutedTraffic, gateway: GatewayTraffic),
    }
}

/// A Service has an address of its own, and takes whatever comes there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceTraffic {
    /// From where the Service can be reached.
    #[serde(rename = "type")]
    pub reach: ServiceReach,
    /// With `type: load_balancer`: whose load balancer it is, as `service.k8s.aws/nlb`; the
    /// cluster's default without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<String>,
    /// Annotations of every live Service. Values may be templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub annotations: Marks,
    /// Labels of every live Service. Values may be templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub labels: Marks,
    /// Where each service is asked, and what its Service has besides.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub entries: BTreeMap<ServiceName, ServiceEntry>,
}

/// From where a Service can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceReach {
    /// From inside of the cluster.
    #[default]
    ClusterIp,
    /// Through a port of every node as well.
    NodePort,
    /// Through a load balancer of the cloud as well.
    LoadBalancer,
}

/// Where one service is asked, and what its Service has besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceEntry {
    /// Where checks and the prober ask for live traffic. Without it the address of the load
    /// balancer, or the Service's own, if that can be reached from where shipit runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where checks ask a slot before it has live traffic, a template that sees `slot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_url: Option<String>,
    /// Annotations of its Service, laid over those of all.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub annotations: Marks,
    /// Labels of its Service, laid over those of all.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub labels: Marks,
}

/// What is routed by host and path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RoutedTraffic {
    /// Annotations of every live object. Values may be templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub annotations: Marks,
    /// Labels of every live object. Values may be templates.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub labels: Marks,
    /// The host and path of each service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub entries: BTreeMap<ServiceName, TrafficEntry>,
}

/// One service's entry point.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrafficEntry {
    /// The host name; every host without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path's beginning; `/` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where checks and the prober ask for live traffic, when that is not what host and path say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where checks ask a slot before it has live traffic, a template that sees `slot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_url: Option<String>,
    /// Annotations of its live object, laid over those of all.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub annotations: Marks,
    /// Labels of its live object, laid over those of all.
    #[serde(skip_serializing_if = "Marks::is_empty")]
    pub labels: Marks,
}

/// What only an Ingress has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IngressTraffic {
    /// The class of the controller; the cluster's default without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Who answers the class, where a switch is made in a way of its own; without it the backend
    /// is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<IngressController>,
    /// The Secret with the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
}

/// A controller whose Ingress is switched in a way of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IngressController {
    /// The AWS Load Balancer Controller. Both slots have a target group of pods, and a switch
    /// changes their weights, so that the new one has been registered and found healthy before.
    Alb,
}

/// What only an `HTTPRoute` has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GatewayTraffic {
    /// The Gateway that takes the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

/// Which Gateway takes the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the route without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Which of its listeners; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
}

impl TrafficConfig {
    /// What a router on this machine has, whichever it is.
    #[must_use]
    pub const fn host(&self) -> Option<&HostTraffic> {
        match self {
            Self::Embedded(host, _) | Self::Nginx(host, _) => Some(host),
            Self::Service(_) | Self::Ingress(..) | Self::Gateway(..) => None,
        }
    }

    /// TLS of the agent's own router, where it has it.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsConfig> {
        match self {
            Self::Embedded(_, embedded) => embedded.tls.as_ref(),
            Self::Nginx(..) | Self::Service(_) | Self::Ingress(..) | Self::Gateway(..) => None,
        }
    }

    /// The host, the path and the addresses of a service on a cluster, as far as the kind has them.
    /// What is said of all Ingresses or routes is not for the Service by which anything but HTTP
    /// comes in.
    #[must_use]
    pub fn entry(&self, service: &ServiceName, protocol: Protocol) -> TrafficEntry {
        match self {
            Self::Embedded(..) | Self::Nginx(..) => TrafficEntry::default(),
            Self::Service(traffic) => {
                let entry = traffic.entries.get(service).cloned().unwrap_or_default();
                TrafficEntry {
                    url: entry.url,
                    preview_url: entry.preview_url,
                    annotations: over(&traffic.annotations, entry.annotations),
                    labels: over(&traffic.labels, entry.labels),
                    ..TrafficEntry::default()
                }
            }
            Self::Ingress(routed, _) | Self::Gateway(routed, _) => {
                let entry = routed.entries.get(service).cloned().unwrap_or_default();
                if !protocol.is_http() {
                    return entry;
                }
                TrafficEntry {
                    annotations: over(&routed.annotations, entry.annotations),
                    labels: over(&routed.labels, entry.labels),
                    ..entry
                }
            }
        }
    }

    pub(in crate::config) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        Self::check_engine(findings, environment);
        match &environment.traffic {
            Self::Embedded(host, embedded) => {
                host.check(findings, environment);
                embedded.check(findings);
                check_redirects(findings, environment, host, embedded.tls.is_some());
            }
            Self::Nginx(host, nginx) => {
                host.check(findings, environment);
                nginx.check(findings);
                check_redirects(findings, environment, host, false);
                NginxTraffic::check_slot_ports(findings, environment, host);
            }
            Self::Service(traffic) => {
                have_ports(findings, environment, "entries", traffic.entries.keys());
                traffic.check(findings, environment);
            }
            Self::Ingress(routed, ingress) => {
                have_ports(findings, environment, "entries", routed.entries.keys());
                routed.check(findings);
                ingress.check(findings, environment, routed);
            }
            Self::Gateway(routed, traffic) => {
                have_ports(findings, environment, "entries", routed.entries.keys());
                routed.check(findings);
                traffic.check(findings);
            }
        }
    }

    /// Whether the engine has what routes the traffic.
    fn check_engine(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
        let is_host = environment.cluster.host().is_some();
        let path = ["traffic", "kind"];
        match &environment.traffic {
            Self::Embedded(..) | Self::Nginx(..) if !is_host => findings.add(
                &path,
                "a cluster has no router of shipit's own",
                "write `traffic: {kind: service}`, or `ingress`, or `gateway`",
            ),
            Self::Service(_) | Self::Ingress(..) | Self::Gateway(..) if is_host => {
                findings.add(
                    &path,
                    "only a Kubernetes cluster has this",
                    "use `embedded`",
                );
            }
            Self::Embedded(..)
            | Self::Nginx(..)
            | Self::Service(_)
            | Self::Ingress(..)
            | Self::Gateway(..) => {}
        }
    }
}

impl GatewayTraffic {
    fn check(&self, findings: &mut Findings<'_>) {
        if self.gateway.is_none() {
            findings.add(
                &["traffic", "gateway"],
                "nothing says which Gateway takes the traffic",
                "write `traffic: {kind: gateway, gateway: {name: NAME}}`",
            );
        }
    }
}

/// What is said of one, laid over what is said of all.
fn over(all: &Marks, own: Marks) -> Marks {
    all.clone().into_iter().chain(own).collect()
}

/// Traffic comes to services with a port alone.
pub(super) fn have_ports<'a>(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    key: &str,
    services: impl Iterator<Item = &'a ServiceName>,
) {
    let known = environment.with_ports();
    for name in services.map(ServiceName::as_str) {
        if !known.contains(&name) {
            findings.add(
                &["traffic", key, name],
                format!("there is no service {name} with a port"),
                suggest(name, &known, "services with a port"),
            );
        }
    }
}
