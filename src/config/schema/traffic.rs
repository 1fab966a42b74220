//! How traffic comes to the services.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::route::Limits;
use crate::model::{ServiceName, TrustedProxies};

/// How traffic comes to the services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// What routes it.
    pub kind: TrafficKind,
    /// `embedded` and `nginx`: the address of all live listeners.
    pub address: IpAddr,
    /// `embedded` and `nginx`: the address of all preview listeners. What is not live yet is nobody's business: without
    /// this key it is `address` where that is of this machine only, else `127.0.0.1` or `::1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_address: Option<IpAddr>,
    /// `embedded` and `nginx`: the proxies in front of the router, as networks: `[10.0.0.0/8]`. What they say of a
    /// client (`X-Forwarded-For` and its family) reaches the services; what anybody else says is dropped. Without this
    /// key nobody is trusted, not even this machine.
    #[serde(skip_serializing_if = "TrustedProxies::is_empty")]
    pub trusted_proxies: TrustedProxies,
    /// `embedded`: the ports by service. Without it live is the service's `port`, and preview the one above it.
    pub listeners: BTreeMap<ServiceName, Listeners>,
    /// `embedded`: the router's limits.
    pub limits: Limits,
    /// `nginx`: what shipit writes for it, and how it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nginx: Option<Nginx>,
    /// `embedded` and `nginx`: a key that names the slot with live traffic, for whoever routes by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
    /// `ingress` and `gateway`: the host and path of each service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub entries: BTreeMap<ServiceName, Entry>,
    /// `ingress`: the class of the controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// `ingress`: the Secret with the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
    /// `gateway`: the Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

impl Traffic {
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
}

/// What shipit writes for nginx, and how nginx is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nginx {
    /// The file that it writes, a template that sees `service`; nginx has to include it.
    pub config: String,
    /// The hosts that the server answers for, in nginx's words: `[shop.example.com, "*.shop.example.com"]`; others get
    /// 421. Every host without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<String>,
    /// The template of that file, relative to the project's folder. It sees `project`, `environment`, `service`,
    /// `listen`, `upstream`, `slot`, `vars`, `server_names`, `trusted_proxies`, `identity_headers` and `limits`. Without it the file is a server that passes everything on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// The command that takes `-t` and `-s reload`.
    pub command: Vec<String>,
}

impl Default for Nginx {
    fn default() -> Self {
        Self {
            config: "/etc/nginx/conf.d/{{ project }}-{{ environment }}-{{ service }}.conf"
                .to_owned(),
            server_names: Vec::new(),
            template: None,
            command: vec!["nginx".to_owned()],
        }
    }
}

/// A key of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The members of etcd: `http://127.0.0.1:2379`.
    pub etcd: Vec<String>,
    /// The key, a template; its value is `blue`, `green` or `off`.
    #[serde(default = "live_key")]
    pub key: String,
    /// Who writes the key, where etcd asks for a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the user's password, on the machine of the agent, as an absolute path. It is read at each switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The authority that signed the certificates of etcd, a file in PEM on the machine of the agent, as an absolute
    /// path; the machine's own without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

fn live_key() -> String {
    "/{{ project }}/{{ environment }}/live".to_owned()
}

/// One service's way in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Entry {
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

impl Default for Traffic {
    fn default() -> Self {
        Self {
            kind: TrafficKind::Embedded,
            address: IpAddr::from([127, 0, 0, 1]),
            preview_address: None,
            trusted_proxies: TrustedProxies::nobody(),
            listeners: BTreeMap::new(),
            limits: Limits::default(),
            nginx: None,
            publish: None,
            entries: BTreeMap::new(),
            class: None,
            tls_secret: None,
            gateway: None,
        }
    }
}

/// What routes traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrafficKind {
    /// The agent's own router.
    #[default]
    Embedded,
    /// nginx on this machine.
    Nginx,
    /// The selector of a Kubernetes Service.
    Service,
    /// The backend of a Kubernetes Ingress.
    Ingress,
    /// The weights of a Gateway API `HTTPRoute`.
    Gateway,
}

/// A service's ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// Where live traffic arrives.
    pub live: Option<u16>,
    /// Where only the preview slot answers.
    pub preview: Option<u16>,
    /// Where the slot blue answers, whichever has live traffic.
    pub blue: Option<u16>,
    /// Where the slot green answers, whichever has live traffic.
    pub green: Option<u16>,
}
