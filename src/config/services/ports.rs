//! The ports of a service.

use std::collections::BTreeMap;

use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::schema::{EnvironmentConfig, ServiceConfig, TrafficConfig, TrafficPort};
use crate::config::suggest::suggest;
use crate::model::ServiceName;
use crate::model::port::PortName;

/// What is a port's number.
const NUMBERS: &str = "write a number from 1 to 65535";

pub(super) fn check(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) {
    numbers(findings, name, service);
    traffic(findings, name, service);
    protocols(findings, environment, name, service);
    asked(findings, name, service);
}

/// Each port is there, and is there once.
fn numbers(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    let mut taken: BTreeMap<u16, &str> = BTreeMap::new();
    if let Some(TrafficPort::Number(number)) = service.port {
        let at = ["services", name, "port"];
        if number == 0 {
            findings.add(&at, "0 is not a port", NUMBERS);
        }
        taken.insert(number, "port");
        let http = PortName::http();
        if service.ports.contains_key(&http) {
            let at = ["services", name, "ports", http.as_str()];
            let help = "keep one of them; `port: null` takes the other one away";
            findings.add(&at, "`port` is the one that is called `http`", help);
        }
    }

    for (port, config) in &service.ports {
        let at = ["services", name, "ports", port.as_str()];
        let number = crate::model::port::ServicePort::from(config).number;
        if number == 0 {
            findings.add(&at, "0 is not a port", NUMBERS);
        } else if let Some(other) = taken.insert(number, port.as_str())
            && !(other == "port" && *port == PortName::http())
        {
            let message = format!("{number} is `{other}` already");
            findings.add(&at, message, "give each port a number of its own");
        }
    }
}

/// Which port gets the traffic is never guessed: what is for metrics alone would be open to
/// everybody.
fn traffic(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    let known: Vec<&str> = service.ports.keys().map(PortName::as_str).collect();
    match &service.port {
        Some(TrafficPort::Named(port)) if !known.contains(&port.as_str()) => {
            let message = format!("there is no port `{port}` under `ports`");
            let help = match known.as_slice() {
                [] => NUMBERS.to_owned(),
                _ => suggest(port.as_str(), &known, "ports"),
            };
            findings.add(&["services", name, "port"], message, help);
        }
        None if !known.is_empty() && service.traffic_port().is_none() => {
            let first = known.first().unwrap_or(&"http");
            let help = format!(
                "call it `http`, or write `port: {first}`; `port: none` for a service that gets \
                 none"
            );
            let message = "nothing says which of its ports gets the traffic";
            findings.add(&["services", name, "ports"], message, help);
        }
        _ => {}
    }
}

/// What is not HTTP comes in on a cluster through a Service, and on a host through a listener: one
/// that is not the port with the traffic has none unless it is written.
fn protocols(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) {
    let ports = service.other_ports();
    let tcp = ports.iter().filter(|(_, port)| !port.protocol.is_http());
    let listeners = environment.traffic.host().map(|host| &host.listeners);
    let own = listeners.and_then(|all| all.iter().find(|(it, _)| it.as_str() == name));
    let is_led_to = |port: &PortName| own.is_some_and(|(_, own)| own.ports.contains_key(port));
    let is_host = environment.cluster.host().is_some();
    for (port, it) in tcp.filter(|(port, _)| is_host && !is_led_to(port)) {
        let number = it.number;
        findings.add(
            &["services", name, "ports", port.as_str(), "protocol"],
            "nothing leads to this port",
            format!(
                "write `traffic: {{listeners: {{{name}: {{ports: {{{port}: {{live: \
                 {number}}}}}}}}}}}`, or take it out here with `ports: {{{port}: null}}`"
            ),
        );
    }

    let Some((_, port)) = service.traffic_port() else {
        return;
    };
    let (TrafficConfig::Ingress(routed, _) | TrafficConfig::Gateway(routed, _)) =
        &environment.traffic
    else {
        return;
    };
    let is_routed = name
        .parse::<ServiceName>()
        .is_ok_and(|name| routed.entries.contains_key(&name));
    if is_routed && !port.protocol.is_http() {
        let message = "what is not HTTP has no host and no path: it comes in by a Service";
        findings.refuse(&["traffic", "entries", name], &["host", "path"], message);
    }
}

/// The port that a health check asks for a path speaks HTTP.
fn answers(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    let (health, all) = (&service.health, service.all_ports());
    let liveness = health.liveness.as_ref();
    let traffic = service.traffic_port().map(|(name, _)| name);
    let own = health.port.as_ref().or(traffic.as_ref());
    let alive = liveness.and_then(|it| it.port.as_ref()).or(own);
    let (own_at, alive_at) = (
        ["services", name, "health", "path"],
        ["services", name, "health", "liveness", "path"],
    );
    for (at, path, port) in [
        (&own_at[..], health.path.as_ref(), own),
        (
            &alive_at[..],
            liveness.and_then(|it| it.path.as_ref()),
            alive,
        ),
    ] {
        let asked = port.filter(|_| path.is_some());
        if let Some(port) = asked
            && all.get(port).is_some_and(|it| !it.protocol.is_http())
        {
            findings.add(
                at,
                format!("its port `{port}` answers no HTTP"),
                "take the path out (`null` in an environment): a connection is asked for then",
            );
        }
    }
}

/// The port that a health check asks is there, and is asked.
fn asked(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    answers(findings, name, service);
    let health = &service.health;
    let all = service.all_ports();
    let known: Vec<&str> = all.keys().map(PortName::as_str).collect();
    let liveness = health.liveness.as_ref();
    let own = health
        .port
        .as_ref()
        .map(|port| (port, health.run.is_some()));
    let alive = liveness.and_then(|it| Some((it.port.as_ref()?, it.path.is_none())));
    let (own_at, alive_at) = (
        ["services", name, "health", "port"],
        ["services", name, "health", "liveness", "port"],
    );
    for (at, asked, message) in [
        (&own_at[..], own, "a command under `run` asks no port"),
        (&alive_at[..], alive, "a port of its own goes with a `path`"),
    ] {
        let Some((port, is_idle)) = asked else {
            continue;
        };
        if is_idle {
            findings.add(at, message, TAKE_OUT);
        } else if !known.contains(&port.as_str()) {
            let message = format!("{name} has no port `{port}`");
            let help = suggest(port.as_str(), &known, "ports");
            findings.add(at, message, help);
        }
    }
}
