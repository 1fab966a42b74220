//! A Compose file, by the Compose specification.

mod fill;
mod forms;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::discover::compose::fill::{fill, fill_all};
pub(super) use crate::discover::compose::forms::reason;
use crate::discover::compose::forms::{Volumes, build, mounts, published, resources};
use crate::discover::document::{
    DiscoverError, entries, items, number, pairs, text, text_at, texts, words,
};
use crate::discover::durations::period;
use crate::discover::ports::Reach;
use crate::discover::proposal::{
    EngineProposal, ImageProposal, Proposal, SecretProposal, ServiceProposal,
};
use crate::discover::variables::Found;
use crate::discover::{health, ports};

/// What is read of a service. The others are named as left out.
const KNOWN: [&str; 19] = [
    "image",
    "build",
    "ports",
    "expose",
    "environment",
    "env_file",
    "volumes",
    "healthcheck",
    "command",
    "entrypoint",
    "deploy",
    "scale",
    "restart",
    "secrets",
    "stop_grace_period",
    "profiles",
    "mem_limit",
    "cpus",
    "platform",
];

/// Why a command is left out.
pub(super) const COMMAND: &str =
    "something in it looks like a secret: give it as a variable, and write the rest";

/// The most services of a file.
const MOST: usize = 200;

/// Whether a document is a Compose file.
pub(super) fn is_it(document: &Map<String, Value>) -> bool {
    document.get("services").is_some_and(Value::is_object)
}

/// The proposal of a Compose file; without a `name` of its own the project is called as the folder.
///
/// # Errors
/// It has no service.
pub(super) fn proposal(
    document: &Map<String, Value>,
    folder: &str,
    from: &str,
) -> Result<Proposal, DiscoverError> {
    let name = document.get("name").and_then(text);
    let engine = EngineProposal::Docker { is_open: false };
    let from_text = format!("{from}, a Compose file");
    let mut proposal = Proposal::new(name.as_deref().unwrap_or(folder), from_text, engine);
    let services = entries(document.get("services"));
    if services.len() > MOST {
        let reason = format!(
            "it has {} services, and {MOST} are the most",
            services.len()
        );
        return Err(DiscoverError::new(from, reason, "give a smaller file"));
    }

    let mut found = Found::default();
    let mut reach = Reach::default();
    let volumes = Volumes::of(name.as_deref().unwrap_or(folder), document);
    for (called, definition) in services {
        let definition = (called.as_str(), definition);
        one(&mut proposal, &mut found, &mut reach, &volumes, definition);
    }
    if volumes.has_own() {
        proposal.remark(
            "volumes are called as Docker knows them, with Compose's name of the project in front: \
             `docker volume ls` shows whether it was another one (COMPOSE_PROJECT_NAME, -p)",
        );
    }
    if proposal.services.is_empty() {
        let help = "add one under `services`; one with `profiles` is not started by itself";
        return Err(DiscoverError::new(from, "it has no service", help));
    }

    of_project(&mut proposal, &found, document);
    reach.tell(&mut proposal);
    Ok(proposal)
}

fn one(
    proposal: &mut Proposal,
    found: &mut Found,
    reach: &mut Reach,
    volumes: &Volumes<'_>,
    (called, definition): (&str, &Value),
) {
    let profiles = definition.get("profiles").map(texts).unwrap_or_default();
    if !profiles.is_empty() {
        let of = profiles.join(", ");
        proposal.remark(format!(
            "left out: the service {called} is started with the profile {of} alone"
        ));
        return;
    }

    let mut filled = definition.clone();
    let mut missing = BTreeSet::new();
    fill_all(&mut filled, &mut missing, &["environment", "volumes"]);
    let mut service = ServiceProposal::default();
    for name in &missing {
        service.remark(format!(
            "${{{name}}} is not filled in: the output of `docker compose config` is, and can be \
             given with --from -"
        ));
    }
    image(&mut service, &filled);
    let published = published(&mut service, &filled);
    reach.add(called, &published);
    ports::assign(&mut service, &published);

    command(&mut service, &filled);
    for (name, value) in pairs(definition.get("environment")) {
        variable(proposal, found, (called, &mut service), &name, value);
    }
    env_files(&mut service, &filled);
    mounts(&mut service, definition, volumes);
    service.is_exclusive &= !service.volumes.is_empty();
    secrets(proposal, found, (called, &mut service), &filled);

    if let Some(check) = filled.get("healthcheck") {
        health::of_command(&mut service, check, "test");
    }
    replicas(&mut service, &filled);
    resources(&mut service, &filled);
    let grace = text_at(&filled, "stop_grace_period");
    service.stop_grace = grace.and_then(|grace| period(&grace));
    left_out(&mut service, &filled);
    proposal.add(called, service);
}

fn image(service: &mut ServiceProposal, definition: &Value) {
    let name = text_at(definition, "image");
    service.image = match (definition.get("build"), name) {
        (Some(of), name) => {
            if let Some(name) = name {
                let why = "an image that is built is named by the registry and the service";
                service.left_out(&format!("image {name}"), why);
            }
            build(service, of)
        }
        (None, Some(name)) => {
            latest(service, &name);
            service.is_exclusive = keeps_data(&name);
            ImageProposal::Named(name)
        }
        (None, None) => {
            service.remark("nothing says which image it runs: write `image:` or `build:`");
            ImageProposal::Unknown
        }
    };
}

/// Servers of which no two may run on one folder, by the last part of their images' names.
const KEEP_DATA: [&str; 16] = [
    "cassandra",
    "clickhouse-server",
    "couchdb",
    "elasticsearch",
    "etcd",
    "influxdb",
    "mariadb",
    "minio",
    "mongo",
    "mysql",
    "neo4j",
    "opensearch",
    "postgres",
    "rabbitmq",
    "redis",
    "valkey",
];

/// Whether an image is one of a server that keeps data, whoever else has its volume.
fn keeps_data(image: &str) -> bool {
    let repository = image.split('@').next().unwrap_or_default();
    let last = repository.rsplit('/').next().unwrap_or_default();
    let name = last.split(':').next().unwrap_or_default();
    KEEP_DATA.contains(&name)
}

/// That an image is whatever is the newest.
pub(super) fn latest(service: &mut ServiceProposal, name: &str) {
    let is_named = name
        .parse::<crate::model::image::ImageName>()
        .is_ok_and(|name| !name.is_latest());
    if !is_named {
        service.remark(format!(
            "image {name}: it has no tag but `latest`, or is no name of an image: name a version"
        ));
    }
}

/// What starts it. Here `command` stands for the image's entrypoint as well.
fn command(service: &mut ServiceProposal, definition: &Value) {
    let of = |key: &str| definition.get(key).map(words).unwrap_or_default();
    let (entrypoint, command) = (of("entrypoint"), of("command"));
    if entrypoint.is_empty() && !command.is_empty() {
        service.remark(
            "command: here it stands for the image's entrypoint as well: write that in front, if \
             the image has one",
        );
    }
    service.command = [entrypoint, command].concat();
    if super::secret::is_in_command(&service.command) {
        service.command.clear();
        service.left_out("command", COMMAND);
    }
}

fn variable(
    proposal: &mut Proposal,
    found: &mut Found,
    (called, service): (&str, &mut ServiceProposal),
    name: &str,
    value: Option<String>,
) {
    let Some(value) = value else {
        return found.variable(proposal, (called, service), name, None);
    };
    let filled = fill(&value);
    if filled.missing.is_empty() {
        return found.variable(proposal, (called, service), name, Some(&filled.text));
    }
    service.remark(format!(
        "{name} was made of the variables {}: give it as a whole",
        filled.missing.join(", ")
    ));
    found.variable(proposal, (called, service), name, None);
}

fn env_files(service: &mut ServiceProposal, definition: &Value) {
    let Some(files) = definition.get("env_file") else {
        return;
    };
    let mut paths = texts(files);
    paths.extend(
        items(Some(files))
            .iter()
            .filter_map(|it| text_at(it, "path")),
    );
    for path in paths {
        service.left_out(
            &format!("env_file {path}"),
            "it was not read: `env_file:` takes it once it is in the project's folder, and what is \
             secret in it belongs under `secrets:`",
        );
    }
}

/// Secrets are files in the container.
fn secrets(
    proposal: &mut Proposal,
    found: &mut Found,
    (called, service): (&str, &mut ServiceProposal),
    definition: &Value,
) {
    for item in items(definition.get("secrets")) {
        let Some(source) = text(item).or_else(|| text_at(item, "source")) else {
            continue;
        };
        let target = text_at(item, "target").unwrap_or_else(|| source.clone());
        let inside = if target.starts_with('/') {
            target
        } else {
            format!("/run/secrets/{target}")
        };
        let parts = inside.split('/').skip(1);
        let is_plain = |part: &str| {
            let is_odd = |sign: char| sign.is_control() || ":,\\".contains(sign);
            !part.is_empty() && part != ".." && part != "." && !part.contains(is_odd)
        };
        let is_kernels = ["/proc", "/sys", "/dev"]
            .iter()
            .any(|folder| inside.starts_with(folder));
        let mut others = service.files.keys().chain(service.volumes.keys());
        let is_taken = others.any(|other| {
            let (one, other) = (Path::new(&inside), Path::new(other));
            one.starts_with(other) || other.starts_with(one)
        });
        if is_kernels || is_taken || inside.len() > 1024 || !parts.clone().all(is_plain) {
            service.left_out(&format!("secret {source}"), "no file can be at its path");
            continue;
        }
        let name = found.file(proposal, called, &source);
        service.files.insert(inside, name);
    }
}

fn replicas(service: &mut ServiceProposal, definition: &Value) {
    let deploy = definition.get("deploy");
    let scale = definition.get("scale");
    let count = deploy.and_then(|deploy| deploy.get("replicas")).or(scale);
    let Some(count) = count.and_then(number) else {
        return;
    };
    match u16::try_from(count) {
        Ok(0) | Err(_) => service.left_out(
            &format!("replicas {count}"),
            "a service has 1 to 65535 instances",
        ),
        Ok(count) => service.replicas = Some(count),
    }
}

fn left_out(service: &mut ServiceProposal, definition: &Value) {
    if text_at(definition, "restart").as_deref() == Some("no") {
        service.left_out("restart: no", "a service that ends is started again");
    }
    let keys = entries(Some(definition)).into_keys();
    let unknown = keys.filter(|key| !KNOWN.contains(&key.as_str()) && !key.starts_with("x-"));
    for key in unknown {
        service.left_out(key, reason(key));
    }
}

/// What the file says of the whole.
fn of_project(proposal: &mut Proposal, found: &Found, document: &Map<String, Value>) {
    let known = [
        "services", "name", "version", "volumes", "networks", "secrets",
    ];
    for key in document.keys() {
        if !known.contains(&key.as_str()) && !key.starts_with("x-") {
            proposal
                .remarks
                .push(super::Remark::left_out(key, reason(key)));
        }
    }
    for (name, definition) in entries(document.get("volumes")) {
        if definition.get("driver").is_some() || definition.get("driver_opts").is_some() {
            proposal.remark(format!(
                "the volume {name} has a driver of its own: it has to be there before the first \
                 apply"
            ));
        }
    }
    for (called, definition) in entries(document.get("secrets")) {
        let name = found.known_file(called);
        let Some(from) = name.and_then(|name| proposal.secrets.get_mut(name)) else {
            continue;
        };
        let variable = text_at(definition, "environment");
        let is_name = |it: &String| !it.is_empty() && !it.contains(['$', '=', '\0', '{', '}']);
        if let Some(path) = text_at(definition, "file").filter(|path| !path.is_empty()) {
            *from = SecretProposal::File(path);
        } else if let Some(variable) = variable.filter(is_name) {
            *from = SecretProposal::Env(variable);
        }
    }
    if proposal.services.len() > 1 {
        proposal.remark(
            "in Compose services find each other by name; here by their listeners: look at \
             variables such as DB_HOST",
        );
    }
}
