//! What a host's traffic may say: which keys go with which proxy, and limits that let somebody through.

use crate::config::findings::Findings;
use crate::config::schema::{Environment, Nginx, TrafficKind};
use crate::model::Period;
use crate::model::route::Limits;

/// What is wrong with it.
pub(super) fn on_host(findings: &mut Findings<'_>, environment: &Environment) {
    let traffic = &environment.traffic;
    match traffic.kind {
        TrafficKind::Embedded => {
            let keys = ["nginx"];
            findings.refuse(&["traffic"], &keys, "only `kind: nginx` has this");
        }
        TrafficKind::Nginx => {
            server_names(findings, traffic.nginx.as_ref());
            slot_ports(findings, environment);
        }
        TrafficKind::Service | TrafficKind::Ingress | TrafficKind::Gateway => findings.add(
            &["traffic", "kind"],
            "only a Kubernetes cluster has this",
            "use `embedded`",
        ),
    }
    limits(findings, &traffic.limits);
}

fn server_names(findings: &mut Findings<'_>, nginx: Option<&Nginx>) {
    let names = nginx.into_iter().flat_map(|nginx| &nginx.server_names);
    for name in names.filter(|name| !is_server_name(name)) {
        findings.add(
            &["traffic", "nginx", "server_names"],
            format!("`{name}` is no name of a host"),
            "write `shop.example.com`, or `*.example.com` for all below it",
        );
    }
}

fn slot_ports(findings: &mut Findings<'_>, environment: &Environment) {
    let services = environment.services.iter();
    for (name, port) in services.filter_map(|(name, service)| Some((name, service.port?))) {
        let own = environment.traffic.listeners.get(name).copied();
        let own = own.unwrap_or_default();
        if own.blue.is_none() || own.green.is_none() {
            let help = format!(
                "write `traffic: {{listeners: {{{name}: {{live: {port}, blue: 9001, green: 9002}}}}}}`",
            );
            findings.add(
                &["traffic", "kind"],
                format!("nginx needs a port for each slot of {name}"),
                help,
            );
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
    ];
    for (key, _) in times.iter().filter(|(_, time)| *time == Period::ZERO) {
        let help = "write a time, as `30s`";
        findings.add(&path(key), "no time at all lets nobody through", help);
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
