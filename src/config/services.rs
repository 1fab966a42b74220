//! What a service's keys must hold together, whatever engine it runs on.

mod files;
mod ports;

use crate::config::findings::Findings;
use crate::config::schema::{BuildConfig, EnvEntry, EnvironmentConfig, Runtime, ServiceConfig};
use crate::config::suggest::{meant, suggest};
use crate::model::promotion::Strategy;
use crate::model::workload::{ABOUT_ITSELF, FILES_VARIABLE};
use crate::model::{EnvironmentName, Period};

pub(super) fn check(
    findings: &mut Findings<'_>,
    own: &EnvironmentName,
    environment: &EnvironmentConfig,
    (name, service): (&str, &ServiceConfig),
) {
    if let Some(other) = slip(environment, name, service) {
        let message = "there is no such service, and nothing says which image a new one runs";
        let help = format!("did you mean `{other}`?");
        return findings.add(&["services", name], message, help);
    }
    BuildConfig::check(findings, environment, name, service);
    image(findings, own, name, service);
    numbers(findings, name, service);
    ports::check(findings, environment, name, service);
    strategy(findings, environment, name, service);
    periods(findings, name, service);
    health(findings, name, service);
    liveness(findings, name, service);
    socket(findings, environment, name, service);
    secrets(findings, environment, name, service);
    variables(findings, name, service);
    files::check(findings, environment, name, service);
}

/// The service that is meant by one without an image whose name is nearly another's: a slip in a
/// file that is laid over the project's. What else is wrong with it says nothing.
fn slip<'a>(
    environment: &'a EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) -> Option<&'a str> {
    let has_image = |service: &ServiceConfig| service.build.is_some() || service.image.is_some();
    if has_image(service) {
        return None;
    }
    let others = environment.services.iter();
    let others: Vec<&str> = others
        .filter(|(_, other)| has_image(other))
        .map(|(name, _)| name.as_str())
        .collect();
    meant(name, &others)
}

/// An image is built, or it is there already.
fn image(findings: &mut Findings<'_>, own: &EnvironmentName, name: &str, service: &ServiceConfig) {
    let at = ["services", name, "image"];
    match (&service.build, &service.image) {
        (Some(_), None) => {}
        (None, None) => findings.add(
            &["services", name],
            "nothing says which image it runs",
            "add `build: {kind: pack, copy: {…}}`, or `image: nginx:1.27` for one that is there \
             already",
        ),
        (Some(_), Some(_)) => findings.add(
            &at,
            "`build` and `image` are both given",
            "keep one of them; `build: null` takes the other one away",
        ),
        (None, Some(image)) if image.from() == Some(own) => findings.add(
            &["services", name, "image", "from"],
            format!("{own} cannot have its own image"),
            "name another environment",
        ),
        (None, Some(image)) => image.check(findings, &at),
    }
}

/// What is said of a path that no request can have.
pub(super) const NO_PATH: &str = "no request has a path with blanks or control characters";
pub(super) const PLAIN_PATH: &str = "write a blank as `%20`";

/// Whether a request can have this path.
pub(super) fn is_of_a_request(path: &str) -> bool {
    !path
        .chars()
        .any(|sign| sign.is_whitespace() || sign.is_control())
}

/// Names that no process would see as they are written.
fn variables(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    for variable in service.env.keys() {
        let path = ["services", name, "env", variable];
        if variable.is_empty() || variable.contains(['=', '\0']) {
            let message = "a variable's name is not empty, and has no `=` in it";
            findings.add(&path, message, "write `NAME: value`");
        } else if is_set_by_shipit(service, variable) {
            let message = format!("shipit itself sets {variable}, and this would change nothing");
            findings.add(&path, message, "take it out, or give it another name");
        }
        if let EnvEntry::Text(text) = &service.env[variable]
            && text.0.contains('\0')
        {
            findings.add(
                &path,
                "no variable holds a NUL",
                "encode the value, in base64 for one",
            );
        }
    }
}

fn is_set_by_shipit(service: &ServiceConfig, variable: &str) -> bool {
    let is_of_a_port = match variable {
        "PORT" => service.traffic_port().is_some(),
        _ => service
            .other_ports()
            .keys()
            .any(|port| port.variable() == variable),
    };
    let is_of_files = variable == FILES_VARIABLE && !service.files.is_empty();
    is_of_a_port || is_of_files || ABOUT_ITSELF.contains(&variable)
}

fn numbers(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    if service.replicas == 0 {
        let message = "a service has one instance at the least";
        findings.add(&["services", name, "replicas"], message, "write 1 or more");
    }
}

/// A release is in one slot or in two, as a whole. What is left to a service is whether it may run
/// twice.
fn strategy(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) {
    let (message, help) = match (environment.strategy, service.strategy) {
        (Strategy::BlueGreen, Some(Strategy::Rolling)) => (
            "a service of a blue/green environment comes up beside the live one: there is nothing \
             to replace instance by instance",
            "take it out, or write `recreate` for a service that must never run twice at once",
        ),
        (Strategy::Rolling | Strategy::Recreate, Some(Strategy::BlueGreen)) => (
            "only an environment as a whole is blue/green",
            "write `rolling` or `recreate`, or `strategy: blue_green` for the environment",
        ),
        (Strategy::BlueGreen, None | Some(Strategy::BlueGreen | Strategy::Recreate))
        | (
            Strategy::Rolling | Strategy::Recreate,
            None | Some(Strategy::Rolling | Strategy::Recreate),
        ) => return,
    };
    findings.add(&["services", name, "strategy"], message, help);
}

/// What is asked without a pause, or given no time, is no check.
fn periods(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    let health = &service.health;
    let own = [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("start_within", health.start_within),
    ];
    for (key, period) in own {
        if period == Period::ZERO {
            let at = ["services", name, "health", key];
            findings.add(&at, "no time at all", "write how long, as `1s`");
        }
    }
    let liveness = health.liveness.as_ref();
    let liveness = liveness.map(|it| [("interval", it.interval), ("timeout", it.timeout)]);
    for (key, period) in liveness.into_iter().flatten() {
        if period == Period::ZERO {
            let at = ["services", name, "health", "liveness", key];
            findings.add(&at, "no time at all", "write how long, as `1s`");
        }
    }
}

fn health(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    let health = &service.health;
    let path = ["services", name, "health"];
    let liveness = health.liveness.as_ref();
    let liveness = liveness.and_then(|liveness| liveness.path.as_ref());
    for (path, at) in [
        (
            health.path.as_ref(),
            &["services", name, "health", "path"][..],
        ),
        (
            liveness,
            &["services", name, "health", "liveness", "path"][..],
        ),
    ] {
        if let Some(path) = path
            && !path.starts_with('/')
        {
            let help = format!("write `/{path}`");
            findings.add(at, "a path to ask begins with `/`", help);
        } else if let Some(path) = path
            && !is_of_a_request(path)
        {
            findings.add(at, NO_PATH, PLAIN_PATH);
        }
    }

    if health.path.is_some() && health.run.is_some() {
        findings.add(&path, "`path` and `run` are both given", "keep one of them");
    }
    let asks_a_path = health.path.is_some() || liveness.is_some();
    if health.host.is_some() && !asks_a_path {
        let help = "take the key out; `host: null` does it for one environment";
        let at = ["services", name, "health", "host"];
        findings.add(&at, "a host is sent with a `path` alone", help);
    }

    let is_asked = service.traffic_port().is_some() || health.port.is_some();
    if health.path.is_some() && !is_asked {
        let message = "a service without a port has no path to ask";
        findings.add(&path, message, "add `port`, or use `run`");
    }
}

fn liveness(findings: &mut Findings<'_>, name: &str, service: &ServiceConfig) {
    let health = &service.health;
    let Some(liveness) = &health.liveness else {
        return;
    };
    let path = ["services", name, "health", "liveness"];
    if liveness.path.is_some() && liveness.run.is_some() {
        findings.add(&path, "`path` and `run` are both given", "keep one of them");
    }
    let has_port = service.traffic_port().is_some() || health.port.is_some();
    if liveness.path.is_some() && !has_port && liveness.port.is_none() {
        let message = "a service without a port has no path to ask";
        findings.add(&path, message, "add `port`, or use `run`");
    }

    let own = liveness.path.is_some() || liveness.run.is_some();
    let inherited = health.path.is_some() || health.run.is_some();
    if !own && !inherited && !has_port {
        findings.add(
            &path,
            "there is nothing to ask a service without a port",
            "add `run`, or take `liveness` out: it is restarted when it ends",
        );
    }
}

/// A socket can be handed to a process of the machine alone, and says nothing of a service that
/// does not look at it.
fn socket(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) {
    if service.socket.is_own() {
        return;
    }
    let path = ["services", name, "socket"];
    let host = environment.cluster.host();
    if host.is_none_or(|host| host.runtime != Runtime::Process) {
        findings.add(
            &path,
            "only the runtime `process` of a host can hand a socket over",
            "take `socket` out, or write `cluster: {kind: host, runtime: process}`",
        );
    }

    if service.traffic_port().is_none() {
        let message = "a service without a port has no socket";
        findings.add(&path, message, "add `port`, or take `socket` out");
    }

    if service.health.path.is_none() && service.health.run.is_none() {
        findings.add(
            &path,
            "a socket that is open before the service answers nothing",
            "add `health: {path: /healthz}`, or a command under `health.run`",
        );
    }
}

fn secrets(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) {
    let known: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
    for (variable, entry) in &service.env {
        if let EnvEntry::Secret(entry) = entry
            && !known.contains(&entry.secret.as_str())
        {
            findings.add(
                &["services", name, "env", variable],
                format!("there is no secret `{}` in this environment", entry.secret),
                suggest(&entry.secret, &known, "secrets"),
            );
        }
    }
}
