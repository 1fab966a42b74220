//! A proposal as the files of a project.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::discover::proposal::{
    BuildProposal, EngineProposal, HealthProposal, ImageProposal, Proposal, RegistryProposal,
    Remark, SecretProposal, ServiceProposal, ValueProposal,
};
use crate::discover::yaml::{Map, Yaml};
use crate::model::image::{ImageName, ImageRepository};
use crate::model::{EnvironmentName, ServiceName};

/// What stands where nothing says which image it is.
const UNKNOWN: &str = "change-me";

/// The files of a proposal, by their paths below the project's folder.
#[must_use]
pub fn files(proposal: &Proposal, environment: &EnvironmentName) -> Vec<(PathBuf, String)> {
    let mut head = vec![
        format!("A proposal, made from {}.", Remark::new(&proposal.from)),
        "Read it, then: shipit validate; shipit plan".to_owned(),
    ];
    head.extend(proposal.remarks.iter().map(ToString::to_string));
    let project = comments(head) + &project(proposal).document();
    let mut own = environment_file(proposal).document();
    if own.is_empty() {
        own = comments(vec![format!(
            "What holds in {environment} alone goes here."
        )]) + "{}\n";
    }
    vec![
        (PathBuf::from("shipit.yaml"), project),
        (
            PathBuf::from(format!("environments/{environment}.yaml")),
            own,
        ),
    ]
}

/// Lines as comments.
fn comments(lines: Vec<String>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str("# ");
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn project(proposal: &Proposal) -> Map {
    let mut map = Map::new();
    map.number("version", 1_u16);
    map.text("project", proposal.project.as_str());
    if let Some(of) = &proposal.registry {
        map.map("registry", registry(of));
    }
    map.map("cluster", cluster(&proposal.engine));

    let mut services = Map::new();
    for (name, service) in &proposal.services {
        let remarks = service.remarks.iter().map(ToString::to_string);
        let value = Yaml::Map(self::service(proposal, name, service));
        services.add_with(name.as_str(), value, remarks.collect());
    }
    map.map("services", services);
    map
}

fn environment_file(proposal: &Proposal) -> Map {
    let mut map = Map::new();
    if let EngineProposal::Kubernetes {
        is_blue_green: true,
        ..
    } = proposal.engine
    {
        map.text("strategy", "blue_green");
    }
    map.map("traffic", traffic(proposal));
    let mut secrets = Map::new();
    for (name, from) in &proposal.secrets {
        secrets.map(name, secret(from));
    }
    map.map("secrets", secrets);
    map
}

fn registry(of: &RegistryProposal) -> Map {
    let mut map = Map::new();
    match of {
        RegistryProposal::Oci {
            endpoint,
            repository,
        } => {
            map.text("kind", "oci");
            map.text("endpoint", endpoint);
            map.option("repository", repository.as_ref());
        }
        RegistryProposal::Ecr {
            region,
            account,
            repository,
            immutable_tags,
            scan_on_push,
        } => {
            map.text("kind", "ecr");
            map.text("region", region);
            map.text("account", account);
            map.option("repository", repository.as_ref());
            for (key, flag) in [
                ("immutable_tags", immutable_tags),
                ("scan_on_push", scan_on_push),
            ] {
                if let Some(flag) = flag {
                    map.number(key, *flag);
                }
            }
        }
    }
    map
}

fn cluster(engine: &EngineProposal) -> Map {
    let mut map = Map::new();
    match engine {
        EngineProposal::Docker { .. } => {
            map.text("kind", "host");
            map.text("runtime", "docker");
        }
        EngineProposal::Kubernetes {
            namespace, context, ..
        } => {
            map.text("kind", "kubernetes");
            map.option("context", context.as_ref());
            match namespace {
                Some(namespace) => map.text("namespace", literal(namespace)),
                None => map.number("create_namespaces", true),
            }
        }
    }
    map
}

fn secret(from: &SecretProposal) -> Map {
    let mut map = Map::new();
    match from {
        SecretProposal::Env(name) => map.text("env", name),
        SecretProposal::File(path) => map.text("file", path),
        SecretProposal::Kubernetes { name, key } => {
            let mut of = Map::new();
            of.text("secret", name);
            of.text("key", key);
            map.map("kubernetes", of);
        }
        SecretProposal::AwsParameter(name) => map.text("aws_parameter", name),
        SecretProposal::AwsSecret { name, key } => {
            let mut of = Map::new();
            of.text("name", name);
            if let Some(key) = key {
                of.text("key", key);
            }
            map.map("aws_secret", of);
        }
    }
    map
}

fn service(proposal: &Proposal, name: &ServiceName, service: &ServiceProposal) -> Map {
    let mut map = Map::new();
    match &service.image {
        ImageProposal::Built(of) => map.map("build", build(of)),
        ImageProposal::Named(text) => image(&mut map, text),
        ImageProposal::Unknown => image(&mut map, UNKNOWN),
    }
    match service.port {
        Some(port) if service.is_tcp => map.text("port", tcp_name(port)),
        Some(port) => map.number("port", port),
        None if !service.ports.is_empty() => map.text("port", "none"),
        None => {}
    }
    map.map("ports", ports(service));
    if let Some(replicas) = service.replicas.filter(|replicas| *replicas > 1) {
        map.number("replicas", replicas);
    }
    if is_exclusive(proposal, name, service) {
        map.text("strategy", "recreate");
    }

    map.list("command", &service.command);
    let mut env = Map::new();
    for (name, value) in &service.env {
        match value {
            ValueProposal::Plain(text) => env.text(name, literal(text)),
            ValueProposal::Secret(secret) => env.map(name, naming(secret)),
        }
    }
    map.map("env", env);
    let mut files = Map::new();
    for (inside, secret) in &service.files {
        files.map(inside, naming(secret));
    }
    map.map("files", files);
    map.map("volumes", volumes(proposal, name, service));

    map.map("health", health(&service.health));
    map.option("stop_grace", service.stop_grace.map(|it| it.to_string()));
    let mut resources = Map::new();
    for (key, amount) in &service.resources {
        resources.text(key, amount);
    }
    map.map("resources", resources);
    if let Some(user) = service.user {
        map.number("user", user);
    }
    map
}

fn naming(secret: &str) -> Map {
    let mut map = Map::new();
    map.text("secret", secret);
    map
}

/// An image by its name. What nobody has tagged is whatever is the newest, and that is said.
fn image(map: &mut Map, text: &str) {
    let text = text.strip_prefix("docker.io/library/").unwrap_or(text);
    let named = text.parse::<ImageName>();
    if named.is_ok_and(|name| !name.is_latest()) {
        return map.text("image", text);
    }
    let repository = text.strip_suffix(":latest").unwrap_or(text);
    let is_one = repository.parse::<ImageRepository>().is_ok();
    let mut parts = Map::new();
    parts.text("name", if is_one { repository } else { UNKNOWN });
    parts.text("tag", "latest");
    map.map("image", parts);
}

fn build(of: &BuildProposal) -> Map {
    let mut map = Map::new();
    map.text("kind", "docker");
    map.text("context", &of.context);
    map.option("dockerfile", of.dockerfile.as_ref());
    map.option("target", of.target.as_ref());
    let mut args = Map::new();
    for (name, value) in &of.args {
        args.text(name, literal(value));
    }
    map.map("args", args);
    map.list("platforms", &of.platforms);
    map
}

/// The name of a port at which something else than HTTP is spoken.
fn tcp_name(port: u16) -> String {
    format!("port-{port}")
}

fn ports(service: &ServiceProposal) -> Map {
    let mut map = Map::new();
    let tcp = |port: u16| {
        let mut parts = Map::new();
        parts.number("port", port);
        parts.text("protocol", "tcp");
        parts
    };
    if let Some(port) = service.port.filter(|_| service.is_tcp) {
        map.map(&tcp_name(port), tcp(port));
    }
    for (name, port) in &service.ports {
        if port.is_tcp {
            map.map(name.as_str(), tcp(port.number));
        } else {
            map.number(name.as_str(), port.number);
        }
    }
    map
}

fn health(health: &HealthProposal) -> Map {
    let mut map = Map::new();
    map.option("path", health.path.as_ref());
    map.list("run", &health.run);
    map.option("interval", health.interval.map(|it| it.to_string()));
    map.option("timeout", health.timeout.map(|it| it.to_string()));
    if let Some(failures) = health.failures {
        map.number("failures", failures);
    }
    map.option("start_within", health.start_within.map(|it| it.to_string()));
    map
}

/// Whether several instances had a volume already.
fn is_shared(proposal: &Proposal, name: &ServiceName, from: &str) -> bool {
    let services = proposal.services.iter();
    let mut mounts = services.flat_map(|(other, service)| {
        let volumes = service.volumes.values();
        volumes.map(move |volume| (other, service, volume))
    });
    mounts.any(|(other, service, volume)| {
        let has_several = other != name || service.replicas.is_some_and(|count| count > 1);
        has_several && (holds(from, volume) || holds(volume, from))
    })
}

/// What several instances had already, several may have; anything else is for one at a time.
fn volumes(proposal: &Proposal, name: &ServiceName, service: &ServiceProposal) -> Map {
    let mut map = Map::new();
    for (inside, from) in &service.volumes {
        if is_shared(proposal, name, from) {
            let mut parts = Map::new();
            parts.text("from", from);
            parts.number("shared", true);
            map.map(inside, parts);
        } else {
            map.text(inside, from);
        }
    }
    map
}

/// Whether one folder is another one, or lies above it.
fn holds(one: &str, other: &str) -> bool {
    one == other || (one.starts_with('/') && std::path::Path::new(other).starts_with(one))
}

fn is_exclusive(proposal: &Proposal, name: &ServiceName, service: &ServiceProposal) -> bool {
    let mut volumes = service.volumes.values();
    service.is_exclusive || volumes.any(|from| !is_shared(proposal, name, from))
}

fn traffic(proposal: &Proposal) -> Map {
    let mut map = Map::new();
    match &proposal.engine {
        EngineProposal::Docker { is_open } => {
            if *is_open {
                map.text("address", "0.0.0.0");
            }
            map.map("listeners", listeners(&proposal.services));
        }
        EngineProposal::Kubernetes { ingress: None, .. } => map.text("kind", "service"),
        EngineProposal::Kubernetes {
            ingress: Some(ingress),
            ..
        } => {
            map.text("kind", "ingress");
            map.option("class", ingress.class.as_ref());
            map.option("tls_secret", ingress.tls_secret.as_ref());
            let mut entries = Map::new();
            for (name, service) in &proposal.services {
                let is_asked = service.port.is_some() && !service.is_tcp;
                if let Some(host) = service.host.as_ref().filter(|_| is_asked) {
                    let mut entry = Map::new();
                    entry.text("host", literal(host));
                    entries.map(name.as_str(), entry);
                }
            }
            map.map("entries", entries);
        }
    }
    map
}

/// A listener for each port that was published, where it was, and a preview beside it.
fn listeners(services: &BTreeMap<ServiceName, ServiceProposal>) -> Map {
    let mut taken = BTreeSet::new();
    let mut live = BTreeMap::new();
    for (name, service) in services {
        let own = service.port.map(|port| service.published.unwrap_or(port));
        live.insert((name, None), own.map(|port| free(&mut taken, port)));
        for (port, of) in &service.ports {
            let published = of.published.map(|port| free(&mut taken, port));
            live.insert((name, Some(port)), published);
        }
    }

    let mut map = Map::new();
    for (name, service) in services {
        let mut own = Map::new();
        if let Some(Some(port)) = live.get(&(name, None)) {
            own.number("live", *port);
            own.number("preview", free(&mut taken, port.saturating_add(1)));
        }
        let mut ports = Map::new();
        for port in service.ports.keys() {
            if let Some(Some(at)) = live.get(&(name, Some(port))) {
                let mut listener = Map::new();
                listener.number("live", *at);
                ports.map(port.as_str(), listener);
            }
        }
        own.map("ports", ports);
        map.map(name.as_str(), own);
    }
    map
}

/// This port, or the next one that nobody has.
fn free(taken: &mut BTreeSet<u16>, from: u16) -> u16 {
    let mut ports = (from.max(1)..=u16::MAX).chain(1024..from.max(1024));
    let port = ports.find(|port| !taken.contains(port)).unwrap_or(from);
    taken.insert(port);
    port
}

/// A text in which nothing is a template.
fn literal(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        plain.push_str(&rest[..at]);
        let two = rest[at..].chars().nth(1);
        if let Some(sign @ ('{' | '%' | '#')) = two {
            plain.push_str("{{ '{");
            plain.push(sign);
            plain.push_str("' }}");
            rest = &rest[at + 2..];
        } else {
            plain.push('{');
            rest = &rest[at + 1..];
        }
    }
    plain + rest
}
