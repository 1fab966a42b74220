//! What a typed configuration must hold besides its types: that what is named is there, that ports
//! are free, and that no driver is asked for what it cannot do yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::findings::Findings;
use crate::config::node::Node;
use crate::config::problem::Problem;
use crate::config::schema::{
    EnvironmentConfig, ImageConfig, SecretConfig, ServiceConfig, SourcesConfig, written_at,
};
use crate::config::suggest::suggest;
use crate::config::{
    approvals, branches, engines, hooks, limits, named, notify, own_rules, services, tasks,
};
use crate::model::check::{Check, SignatureCheck};
use crate::model::port::PortName;
use crate::model::{EnvironmentName, ServiceName};

/// What to do where a request would not be answered.
const CONNECT: &str = "write `tcp: {}` to have a connection accepted";

/// What is wrong with one environment.
pub(super) fn validate(
    name: &EnvironmentName,
    environment: &EnvironmentConfig,
    tree: &Node,
) -> Vec<Problem> {
    let mut findings = Findings::of(tree);
    if environment.version != 1 {
        let message = format!("version {} is not known", environment.version);
        findings.add(&["version"], message, "this shipit reads version 1");
    }
    if environment.services.is_empty() {
        findings.add(
            &["services"],
            "there is no service",
            "add one, or look at `shipit init`",
        );
    }

    engines::check(&mut findings, environment);
    SecretConfig::check(&mut findings, environment);
    SourcesConfig::check(&mut findings, environment);
    let (policy, freezes) = (&environment.policy, &environment.freezes);
    own_rules::check(&mut findings, policy, freezes, environment.ticket.as_ref());
    let (approvers, wanted) = (&environment.approvers, environment.approvals.as_ref());
    approvals::check(&mut findings, approvers, wanted);
    limits::check(&mut findings, name, environment);
    for (service_name, service) in &environment.services {
        let service = (service_name.as_str(), service);
        services::check(&mut findings, name, environment, service);
    }

    tasks::check(&mut findings, environment);
    notify::check(&mut findings, environment);
    hooks::check(&mut findings, environment);
    for (stage, checks) in [
        ("before", &environment.promotion.before),
        ("after", &environment.promotion.after),
    ] {
        for (index, check) in checks.iter().enumerate() {
            check_check(
                &mut findings,
                environment,
                &["promotion", stage, &index.to_string()],
                check,
            );
        }
    }
    findings.done()
}

fn check_check(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    path: &[&str],
    check: &Check,
) {
    let service = match check {
        Check::Http(check) => &check.service,
        Check::Tcp(check) => &check.service,
        Check::Scan(_) => {
            if environment.registry.ecr().is_none() {
                findings.add(
                    path,
                    "this registry scans no images",
                    "`registry: {kind: ecr}` does",
                );
            }
            return;
        }
        Check::Signature(check) => return signature(findings, environment, path, check),
        Check::Run(check) => {
            if check.command.is_empty() {
                findings.add(path, "there is no command", "write `run: ./smoke.sh`");
            }
            return;
        }
    };

    if let Some((service, port)) = check.port() {
        return at_port(findings, environment, (path, check), service, port);
    }
    let ports = environment.with_ports();
    match service {
        Some(name) if !ports.contains(&name.as_str()) => {
            let help = suggest(name.as_str(), &ports, "services with a port");
            findings.add(
                path,
                format!("there is no service {name} with a port"),
                help,
            );
        }
        None if ports.len() != 1 => {
            let message = format!(
                "{} services have a port, so the check must say which one it asks",
                ports.len()
            );
            findings.add(path, message, "add `service: NAME`");
        }
        _ => {}
    }
    if let Check::Http(http) = check {
        let at = [path, &["http", "path"]].concat();
        if !http.path.starts_with('/') {
            let help = format!("write `/{}`", http.path);
            findings.add(&at, "a path to ask begins with `/`", help);
        } else if !services::is_of_a_request(&http.path) {
            findings.add(&at, services::NO_PATH, services::PLAIN_PATH);
        }
        speaks_http(findings, environment, path, service.as_ref());
    }
}

/// A port that a check names is one of the service's besides the one with the traffic.
fn at_port(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    (path, check): (&[&str], &Check),
    service: Option<&ServiceName>,
    port: &PortName,
) {
    let Some(name) = service else {
        let message = "a port is one of a service's, and no service is named";
        return findings.add(path, message, "add `service: NAME`");
    };
    let services = &environment.services;
    let Some(service) = services.get(name) else {
        let known: Vec<&str> = services.keys().map(ServiceName::as_str).collect();
        let help = suggest(name.as_str(), &known, "services");
        return findings.add(path, format!("there is no service {name}"), help);
    };

    let is_of_traffic = service.traffic_port().is_some_and(|(own, _)| own == *port);
    let others = service.other_ports();
    match others.get(port) {
        None if is_of_traffic => {
            let message = format!("`{port}` is the port of {name} with the traffic");
            findings.add(path, message, "take `port` out: that one is asked anyway");
        }
        None => {
            let known: Vec<&str> = others.keys().map(PortName::as_str).collect();
            let help = suggest(
                port.as_str(),
                &known,
                "ports besides the one with the traffic",
            );
            findings.add(path, format!("{name} has no port `{port}`"), help);
        }
        Some(asked) if matches!(check, Check::Http(_)) && !asked.protocol.is_http() => {
            let message = format!("its port `{port}` answers no HTTP");
            findings.add(path, message, CONNECT);
        }
        Some(_) => {}
    }
}

/// A request can be sent to what answers one.
fn speaks_http(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    path: &[&str],
    asked: Option<&ServiceName>,
) {
    let services = environment.services.iter();
    let mut asked = services.filter(|(name, service)| match asked {
        Some(asked) => *name == asked,
        None => service.traffic_port().is_some(),
    });
    let port = asked.next().and_then(|(_, service)| service.traffic_port());
    if let Some((name, port)) = port
        && !port.protocol.is_http()
    {
        let message = format!("its port `{name}` answers no HTTP");
        findings.add(path, message, CONNECT);
    }
}

/// Where nobody would ask for a signature, none may be demanded.
fn signature(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    path: &[&str],
    check: &SignatureCheck,
) {
    if check.keys.is_empty() {
        findings.add(
            path,
            "there is no key",
            "write `signature: {keys: [cosign.pub]}`",
        );
    }

    let services = &mut environment.services.values();
    let has_own = services.any(ServiceConfig::is_of_the_project);
    if environment.registry.remote().is_none() && has_own {
        let help = "`registry: {kind: oci}` and `{kind: ecr}` do";
        findings.add(path, "this registry keeps no signatures", help);
    }
    if path.contains(&"after") {
        let help = "put it under `promotion.before`";
        findings.add(path, "it would be too late after the switch", help);
    }

    if !environment.strategy.has_preview() {
        let help = "write `strategy: blue_green`";
        findings.add(
            path,
            "only a release beside the live one can wait for its signature",
            help,
        );
    }
}

/// What is wrong between environments: branches that lead nowhere, and listeners on the same
/// address. `files` are all environments that have a file, whether it could be read or not.
pub(super) fn across(
    base: &EnvironmentConfig,
    base_tree: &Node,
    files: &BTreeSet<EnvironmentName>,
    environments: &BTreeMap<EnvironmentName, EnvironmentConfig>,
    trees: &BTreeMap<EnvironmentName, Node>,
) -> Vec<Problem> {
    let mut findings = Findings::of(base_tree);
    if files.is_empty() {
        findings.add(
            &["project"],
            "there is no environment",
            "write environments/staging.yaml; it may be empty",
        );
    }

    let names: Vec<&str> = files.iter().map(EnvironmentName::as_str).collect();
    for (branch, rule) in &base.branches.rules {
        let at = ["branches", branch, "environment"];
        named::environments(&mut findings, &at, &rule.environment, &names);
    }
    branches::check(&mut findings, &base.branches);
    notify::environments(&mut findings, base, &names);
    hooks::environments(&mut findings, base, &names);
    let mut problems = findings.done();
    problems.extend(images_of_others(&names, environments, trees));
    problems.extend(shared_listeners(environments, trees));
    problems
}

/// Images of environments that are not there.
fn images_of_others(
    names: &[&str],
    environments: &BTreeMap<EnvironmentName, EnvironmentConfig>,
    trees: &BTreeMap<EnvironmentName, Node>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (environment, configuration) in environments {
        let mut findings = Findings::of(&trees[environment]);
        for (service, definition) in &configuration.services {
            let from = definition.image.as_ref().and_then(ImageConfig::from);
            let at = ["services", service.as_str(), "image", "from"];
            named::environments(&mut findings, &at, from, names);
        }
        problems.extend(findings.done());
    }
    problems
}

/// Two services of an environment cannot listen on the same port. Environments may: which of them
/// are on one machine is not written here, and found out by the plan.
fn shared_listeners(
    environments: &BTreeMap<EnvironmentName, EnvironmentConfig>,
    trees: &BTreeMap<EnvironmentName, Node>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let on_host = environments
        .iter()
        .filter(|(_, configuration)| configuration.cluster.host().is_some());
    for (environment, configuration) in on_host {
        let mut taken: BTreeMap<std::net::SocketAddr, String> = BTreeMap::new();
        // One that runs nothing is a slip in a name, and listens nowhere.
        let services = configuration.services.iter();
        let services = services.filter(|(_, one)| one.build.is_some() || one.image.is_some());
        for (service, definition) in services {
            let Some(listeners) = configuration.listeners(service, definition) else {
                continue;
            };
            for listen in listeners.each() {
                let (side, address) = (listen.listener, listen.address);
                let owner = match listen.port {
                    Some(port) => format!("{side} of {port} of {service} in {environment}"),
                    None => format!("{side} of {service} in {environment}"),
                };
                let Some(other) = taken.insert(address, owner.clone()) else {
                    continue;
                };
                let mut findings = Findings::of(&trees[environment]);
                let path = written_at(configuration, (service, definition), &listen);
                let message = format!("{address} would be {owner}, and is {other} already");
                let help = format!(
                    "give {service} its own ports under `traffic.listeners` of {environment}"
                );
                findings.add(&path, message, help);
                problems.extend(findings.done());
            }
        }
    }

    problems
}
