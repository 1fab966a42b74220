//! An AWS Copilot `manifest.yml`: one service of ECS, for a cluster of Kubernetes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::discover::document::{
    DiscoverError, entries, number, pairs, text, text_at, texts, words,
};
use crate::discover::durations::period;
use crate::discover::proposal::{
    EngineProposal, HealthProposal, ImageProposal, IngressProposal, Proposal, SecretProposal,
    ServiceProposal, ValueProposal,
};
use crate::discover::variables::{Found, may_be_set, secret_name};
use crate::discover::{Remark, compose, health, secret};
use crate::model::secret::AwsParameter;

/// The largest amounts that ECS has, and more.
const MOST: u64 = 1 << 20;

/// What is read of a manifest. The others are named as left out.
const KNOWN: [&str; 12] = [
    "name",
    "type",
    "image",
    "http",
    "cpu",
    "memory",
    "count",
    "variables",
    "secrets",
    "command",
    "entrypoint",
    "platform",
];

pub(super) fn is_it(document: &Map<String, Value>) -> bool {
    document.get("name").is_some_and(Value::is_string)
        && document.get("type").is_some_and(Value::is_string)
}

/// The proposal of a manifest.
///
/// # Errors
/// It is of something that is no service.
pub(super) fn proposal(
    document: &Map<String, Value>,
    folder: &str,
    from: &str,
) -> Result<Proposal, DiscoverError> {
    let manifest = Value::Object(document.clone());
    let kind = text_at(&manifest, "type").unwrap_or_default();
    if ["Scheduled Job", "Static Site"].contains(&kind.as_str()) {
        let reason = format!("a `{kind}` is no service");
        let help = "give the manifest of a service";
        return Err(DiscoverError::new(from, reason, help));
    }

    let called = text_at(&manifest, "name").unwrap_or_default();
    let mut proposal = Proposal::new(
        folder,
        format!("{from}, a Copilot manifest"),
        EngineProposal::Kubernetes {
            namespace: None,
            context: None,
            ingress: None,
            is_blue_green: false,
        },
    );
    proposal.remark(
        "Copilot ran it on ECS, which shipit does not drive: this is for a cluster, and \
         `cluster: {kind: eks}` is Amazon's",
    );

    let mut service = ServiceProposal::default();
    let mut found = Found::default();
    image(&mut proposal, &mut service, &manifest);
    entry(&mut proposal, &mut service, &manifest, &kind);
    for (name, value) in pairs(manifest.get("variables")) {
        found.variable(
            &mut proposal,
            (&called, &mut service),
            &name,
            value.as_deref(),
        );
    }
    secrets(&mut proposal, &mut service, manifest.get("secrets"));
    amounts(&mut service, &manifest);

    let of = |key: &str| manifest.get(key).map(words).unwrap_or_default();
    service.command = [of("entrypoint"), of("command")].concat();
    if secret::is_in_command(&service.command) {
        service.command.clear();
        service.left_out("command", compose::COMMAND);
    }
    left_out(&mut proposal, &mut service, &manifest);
    proposal.add(&called, service);
    Ok(proposal)
}

/// What is built goes to a registry, which no manifest of Copilot's names.
fn image(proposal: &mut Proposal, service: &mut ServiceProposal, manifest: &Value) {
    let image = manifest.get("image").unwrap_or(&Value::Null);
    let port = image.get("port").and_then(number);
    service.port = port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    if let Some(location) = text_at(image, "location") {
        compose::latest(service, &location);
        service.image = ImageProposal::Named(location);
    } else {
        let of = image
            .get("build")
            .cloned()
            .unwrap_or(Value::from("Dockerfile"));
        service.image = built(service, &of);
        // What is pushed needs a place, and this one is said to be none.
        proposal.registry = Some(super::proposal::RegistryProposal::Oci {
            endpoint: "registry.example.com".to_owned(),
            repository: None,
        });
        proposal.remark(
            "registry: Copilot's repository is in ECR: `registry: {kind: ecr, region: …, account: \
             …}`",
        );
    }
    if let Some(check) = image.get("healthcheck") {
        health::of_command(service, check, "command");
    }
    let known = ["port", "location", "build", "healthcheck"];
    for key in entries(Some(image)).into_keys() {
        if !known.contains(&key.as_str()) {
            service.left_out(&format!("image.{key}"), "nothing here answers to it");
        }
    }
}

/// `build` is a path to a Dockerfile, or a map.
fn built(service: &mut ServiceProposal, of: &Value) -> ImageProposal {
    let path = text(of).or_else(|| text_at(of, "dockerfile"));
    let path = path.unwrap_or_else(|| "Dockerfile".to_owned());
    let context = text_at(of, "context");
    let (folder, file) = path.rsplit_once('/').unwrap_or((".", path.as_str()));
    let (context, dockerfile) = match context {
        // It is relative to the context then.
        Some(context) => {
            let below = path.strip_prefix(&format!("{context}/"));
            (context.clone(), below.unwrap_or(&path).to_owned())
        }
        None => (folder.to_owned(), file.to_owned()),
    };
    let is_here = !context.starts_with('/') && !context.is_empty();
    ImageProposal::Built(super::proposal::BuildProposal {
        context: if is_here { context } else { ".".to_owned() },
        dockerfile: Some(dockerfile),
        target: text_at(of, "target"),
        args: arguments(service, of),
        platforms: Vec::new(),
    })
}

/// The arguments of a build that can be carried over; the rest of it is named.
fn arguments(service: &mut ServiceProposal, of: &Value) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (name, value) in pairs(of.get("args")) {
        match value {
            Some(value) if !secret::looks_secret(&name, &value) && !value.contains('\0') => {
                args.insert(name, value);
            }
            _ => service.left_out(
                &format!("image.build.args.{name}"),
                "it has no value here, or looks like a secret: `build.secrets` gives one to a \
                 `RUN`",
            ),
        }
    }
    let known = ["dockerfile", "context", "target", "args"];
    for key in entries(Some(of)).into_keys() {
        if !known.contains(&key.as_str()) {
            let key = format!("image.build.{key}");
            service.left_out(&key, "nothing here answers to it");
        }
    }
    args
}

/// How it is reached: by a load balancer, where it has one.
fn entry(proposal: &mut Proposal, service: &mut ServiceProposal, manifest: &Value, kind: &str) {
    let Some(http) = manifest.get("http").filter(|http| http.is_object()) else {
        if kind == "Worker Service" {
            service.port = None;
            service.left_out(
                "type: Worker Service",
                "its queue and its permissions are made elsewhere",
            );
        }
        return;
    };
    if let EngineProposal::Kubernetes { ingress, .. } = &mut proposal.engine {
        *ingress = Some(IngressProposal::default());
    }
    if service.port.is_none() {
        service.remark("nothing says at which port it listens: write `port:`");
    }

    if let Some(check) = http.get("healthcheck") {
        check_of_balancer(service, check);
    }

    let alias = http.get("alias").map(texts).unwrap_or_default();
    service.host = alias.first().filter(|host| is_host(host)).cloned();
    if alias.len() > 1 || (service.host.is_none() && http.get("alias").is_some()) {
        service.left_out("http.alias", "one host is carried over, and no map of them");
    }
    if let Some(path) = text_at(http, "path").filter(|path| path != "/") {
        let key = format!("http.path {path}");
        service.left_out(&key, "`traffic.entries.NAME.path` says it");
    }
    for key in entries(Some(http)).into_keys() {
        if !["path", "healthcheck", "alias"].contains(&key.as_str()) {
            let why = "the Ingress's controller says it: `traffic.annotations`";
            service.left_out(&format!("http.{key}"), why);
        }
    }
}

/// The check of a load balancer, a path or a map. Here a service has one check.
fn check_of_balancer(service: &mut ServiceProposal, check: &Value) {
    let path = text(check).or_else(|| text_at(check, "path"));
    let path = path.unwrap_or_else(|| "/".to_owned());
    if service.port.is_none() || !health::is_asked(&path) {
        return service.left_out(
            "http.healthcheck",
            "no port or no path is known to be asked",
        );
    }
    if service.health != HealthProposal::default() {
        service.left_out(
            "image.healthcheck",
            "a service has one check, and this is the load balancer's",
        );
    }

    let time = |key: &str| text_at(check, key).and_then(|text| period(&text));
    let failures = check.get("unhealthy_threshold").and_then(number);
    service.health = HealthProposal {
        path: Some(path),
        interval: time("interval"),
        timeout: time("timeout"),
        failures: failures
            .filter(|count| (1..=1000).contains(count))
            .and_then(|count| u32::try_from(count).ok()),
        start_within: time("grace_period"),
        ..HealthProposal::default()
    };
    for key in entries(Some(check)).into_keys() {
        let why = match key.as_str() {
            "path" | "interval" | "timeout" | "unhealthy_threshold" | "grace_period" => continue,
            "success_codes" => "an answer of 200 to 399 is a good one here",
            "healthy_threshold" => "one good answer is enough here",
            _ => "nothing here answers to it",
        };
        service.left_out(&format!("http.healthcheck.{key}"), why);
    }
}

/// Whether a text is a host's name.
pub(super) fn is_host(host: &str) -> bool {
    let labels = host.split('.');
    host.len() <= 253
        && labels.clone().count() > 1
        && labels.into_iter().all(|label| {
            let is_sign =
                |sign: u8| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == b'-';
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(is_sign)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// A parameter's name, or a secret of the Secrets Manager.
fn secrets(proposal: &mut Proposal, service: &mut ServiceProposal, secrets: Option<&Value>) {
    for (name, of) in entries(secrets) {
        let named = secret_name(name);
        let manager = text_at(of, "secretsmanager");
        let is_plain = |name: &String| !name.is_empty() && !name.contains(['$', '\0']);
        let source = match (text(of), manager) {
            (Some(parameter), _)
                if AwsParameter::parse(&parameter).is_some() && !parameter.contains('$') =>
            {
                SecretProposal::AwsParameter(parameter)
            }
            (_, Some(manager)) if is_plain(&manager) => {
                // `NAME:KEY:STAGE:VERSION`, of which a whole name by Amazon's rules has colons, too.
                let is_whole = manager.starts_with("arn:");
                let (name, more) = match manager.split_once(':') {
                    Some((name, more)) if !is_whole => (name.to_owned(), more),
                    _ => (manager.clone(), ""),
                };
                let key = more.split(':').next().filter(|key| !key.is_empty());
                let key = key.map(str::to_owned);
                SecretProposal::AwsSecret { name, key }
            }
            _ => {
                service.remark(format!(
                    "{name}: where its value comes from is not carried over: here it is a variable"
                ));
                SecretProposal::Env(named.to_uppercase())
            }
        };
        if !may_be_set(service, name) {
            continue;
        }
        proposal.secrets.insert(named.clone(), source);
        service
            .env
            .insert(name.clone(), ValueProposal::Secret(named));
    }
}

fn amounts(service: &mut ServiceProposal, manifest: &Value) {
    // 1024 units are a processor, and memory is counted in MiB.
    let cpu = manifest.get("cpu").and_then(number);
    if let Some(cpu) = cpu.filter(|it| (2..=MOST).contains(it)) {
        let millis = cpu.saturating_mul(1000) / 1024;
        service
            .resources
            .insert("cpu", format!("{}m", millis.max(1)));
    }
    let memory = manifest.get("memory").and_then(number);
    if let Some(memory) = memory.filter(|it| (1..=MOST).contains(it)) {
        service.resources.insert("memory", format!("{memory}Mi"));
        service
            .resources
            .insert("memory_limit", format!("{memory}Mi"));
    }
    let count = manifest.get("count");
    match count.and_then(number).map(u16::try_from) {
        Some(Ok(count)) if count > 0 => service.replicas = Some(count),
        Some(_) => service.left_out("count", "a service has 1 to 65535 instances"),
        None if count.is_some() => {
            service.left_out("count", "`autoscale: {min: …, max: …}` says it");
        }
        None => {}
    }
}

fn left_out(proposal: &mut Proposal, service: &mut ServiceProposal, manifest: &Value) {
    for key in entries(Some(manifest)).into_keys() {
        if KNOWN.contains(&key.as_str()) {
            continue;
        }
        let why = match key.as_str() {
            "environments" => "environments/NAME.yaml says what one has of its own",
            "sidecars" => "`pod:` or manifests of your own add containers",
            "storage" => "manifests of your own have volumes",
            "network" => "the cluster has the network",
            "exec" => "`shipit exec` does it",
            "env_file" => "`env_file:` takes it once it is in the project's folder",
            "deployment" => "`strategy:` says it",
            _ => "nothing here answers to it",
        };
        if key == "environments" {
            let names = entries(manifest.get("environments")).into_keys();
            let names: Vec<&str> = names.map(String::as_str).collect();
            let key = format!("environments {}", names.join(", "));
            proposal.remarks.push(Remark::left_out(&key, why));
        } else {
            service.left_out(key, why);
        }
    }
}
