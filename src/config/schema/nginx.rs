//! nginx on this machine: what shipit writes for it, and how it is told.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::findings::Findings;
use crate::config::schema::{EnvironmentConfig, HostTraffic};

/// What only nginx has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NginxTraffic {
    /// What shipit writes for it, and how it is told.
    pub nginx: Nginx,
}

/// What shipit writes for nginx, and how nginx is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nginx {
    /// The file that it writes, a template that sees `service`; nginx has to include it.
    pub config: String,
    /// The hosts that the server answers for, in nginx's words: `[shop.example.com,
    /// "*.shop.example.com"]`; others get
    /// 421. Every host without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<String>,
    /// The template of that file, relative to the project's folder. It sees `project`,
    /// `environment`, `service`, `listen`, `upstream`, `slot`, `vars`, `server_names`,
    /// `trusted_proxies`, `identity_headers` and `limits`. Without it the file is a server that
    /// passes everything on.
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

impl NginxTraffic {
    pub(super) fn check(&self, findings: &mut Findings<'_>) {
        let names = self.nginx.server_names.iter();
        for name in names.filter(|name| !is_server_name(name)) {
            findings.add(
                &["traffic", "nginx", "server_names"],
                format!("`{name}` is no name of a host"),
                "write `shop.example.com`, or `*.example.com` for all below it",
            );
        }
    }

    /// nginx finds a slot by its port.
    pub(super) fn check_slot_ports(
        findings: &mut Findings<'_>,
        environment: &EnvironmentConfig,
        traffic: &HostTraffic,
    ) {
        let services = environment.services.iter();
        for (name, (port_name, port)) in
            services.filter_map(|(name, service)| Some((name, service.traffic_port()?)))
        {
            if !port.protocol.is_http() {
                let message = format!(
                    "nginx has the traffic here, and `{port_name}` of {name} speaks no HTTP"
                );
                let help = "write `traffic: {kind: embedded}`: shipit's own router leads to it";
                findings.add(&["traffic", "kind"], message, help);
                continue;
            }
            let port = port.number;
            let own = traffic.listeners(name);
            if own.blue.is_none() || own.green.is_none() {
                let help = format!(
                    "write `traffic: {{listeners: {{{name}: {{live: {port}, blue: 9001, green: \
                     9002}}}}}}`",
                );
                let message = format!("nginx needs a port for each slot of {name}");
                findings.add(&["traffic", "kind"], message, help);
            }
        }
    }
}

/// A host's name, or `*.` and one: what nginx takes without reading it as something else.
fn is_server_name(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let fits = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    name.split('.').all(fits)
}
