//! The containers of a Docker host, as its engine describes them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::discover::document::{DiscoverError, entries, number, pairs, text, text_at, texts};
use crate::discover::durations::{of_nanos, period};
use crate::discover::ports::{Published, Reach, assign, is_loopback};
use crate::discover::proposal::{EngineProposal, ImageProposal, Proposal, ServiceProposal};
use crate::discover::variables::Found;
use crate::discover::volumes::{Mount, add};
use crate::discover::{compose, health, secret};
use crate::model::image::ImageName;

/// Labels of Compose's, and that of shipit's own containers.
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const OWN: &str = "shipit";

/// The most containers of a host.
const MOST: usize = 500;

/// A container, and the image that it was made from, in the words of Docker's API.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// What `docker inspect` says of it.
    pub inspected: Value,
    /// What `docker image inspect` says of its image; nothing where that is gone.
    pub image: Value,
}

impl Container {
    fn name(&self) -> String {
        let name = text_at(&self.inspected, "Name").unwrap_or_default();
        name.trim_start_matches('/').to_owned()
    }

    fn label(&self, key: &str) -> Option<String> {
        text(self.inspected.get("Config")?.get("Labels")?.get(key)?)
    }

    fn is_own(&self) -> bool {
        let labels = self.inspected.pointer("/Config/Labels");
        let mut keys = entries(labels).into_keys();
        keys.any(|key| key.starts_with(OWN))
    }

    fn is_published(&self) -> bool {
        !entries(self.inspected.pointer("/HostConfig/PortBindings")).is_empty()
    }
}

/// The containers that are one service.
struct Group<'a> {
    called: String,
    members: Vec<&'a Container>,
    /// Whether there are two colours of it.
    is_coloured: bool,
}

/// The proposal of what runs; the project is called as Compose called it, or as the folder.
///
/// # Errors
/// Nothing runs but what shipit runs already.
pub fn of_containers(
    containers: &[Container],
    folder: &str,
    from: &str,
) -> Result<Proposal, DiscoverError> {
    let (own, others): (Vec<&Container>, Vec<&Container>) =
        containers.iter().partition(|container| container.is_own());
    if others.is_empty() {
        let help = "start what is to be taken over, or give its Compose file with --from";
        let reason = "no container runs there but shipit's own";
        return Err(DiscoverError::new(from, reason, help));
    }
    if others.len() > MOST {
        let reason = format!(
            "{} containers run there, and {MOST} are the most",
            others.len()
        );
        return Err(DiscoverError::new(
            from,
            reason,
            "give a Compose file with --from",
        ));
    }

    let projects = others.iter().filter_map(|it| it.label(COMPOSE_PROJECT));
    let project = projects.min().unwrap_or_else(|| folder.to_owned());
    let engine = EngineProposal::Docker { is_open: false };
    let mut proposal = Proposal::new(&project, format!("the containers at {from}"), engine);
    if !own.is_empty() {
        let names: Vec<String> = own.iter().map(|it| it.name()).collect();
        proposal.remark(format!("left out: {}: shipit runs them", names.join(", ")));
    }

    services(&mut proposal, &others);
    proposal.remark(
        "what runs has its ports: stop it just before the first apply, or give the listeners \
         others",
    );
    Ok(proposal)
}

/// Adds a service for each group.
fn services(proposal: &mut Proposal, containers: &[&Container]) {
    let mut found = Found::default();
    let mut reach = Reach::default();
    for group in groups(containers) {
        let ports = one(proposal, &mut found, &group);
        reach.add(&group.called, &ports);
    }
    reach.tell(proposal);
}

/// Containers by their service: as Compose says, or by their names without a colour.
fn groups<'a>(containers: &[&'a Container]) -> Vec<Group<'a>> {
    let names: Vec<String> = containers.iter().map(|it| it.name()).collect();
    let mut groups: BTreeMap<(String, String), Group<'a>> = BTreeMap::new();
    for container in containers {
        let name = container.name();
        let base = colourless(&name).filter(|base| {
            let of = |colour: &str| names.contains(&format!("{base}-{colour}"));
            of("blue") && of("green")
        });
        let project = container.label(COMPOSE_PROJECT).unwrap_or_default();
        let service = container.label(COMPOSE_SERVICE);
        let called = service.or_else(|| base.map(str::to_owned));
        let called = called.unwrap_or_else(|| name.clone());

        let group = groups.entry((project, called.clone()));
        let group = group.or_insert_with(|| Group {
            called,
            members: Vec::new(),
            is_coloured: base.is_some(),
        });
        group.members.push(container);
    }
    groups.into_values().collect()
}

fn colourless(name: &str) -> Option<&str> {
    name.strip_suffix("-blue")
        .or_else(|| name.strip_suffix("-green"))
}

fn one(proposal: &mut Proposal, found: &mut Found, group: &Group<'_>) -> Vec<Published> {
    let published = group.members.iter().find(|it| it.is_published());
    let Some(container) = published.or_else(|| group.members.first()) else {
        return Vec::new();
    };
    let (it, config) = (&container.inspected, &container.inspected["Config"]);
    let mut service = ServiceProposal::default();
    if group.is_coloured {
        let names: Vec<String> = group.members.iter().map(|it| it.name()).collect();
        service.remark(format!(
            "{} are its two colours: a release goes into one of two slots here, and this is {}",
            names.join(" and "),
            container.name()
        ));
    } else {
        service.replicas = u16::try_from(group.members.len()).ok();
    }

    image(&mut service, container);
    let ports = ports(it, &container.image);
    assign(&mut service, &ports);
    command(&mut service, container);

    let of_image = pairs(container.image.pointer("/Config/Env"));
    for (name, value) in pairs(config.get("Env")) {
        // What the image says itself is not said again.
        if of_image.contains(&(name.clone(), value.clone())) {
            continue;
        }
        let value = value.unwrap_or_default();
        found.variable(proposal, (&group.called, &mut service), &name, Some(&value));
    }
    for mount in super::document::items(it.get("Mounts")) {
        mounted(&mut service, mount);
    }
    check(
        &mut service,
        config,
        container.image.pointer("/Config/Healthcheck"),
    );
    limits(&mut service, it);
    rights(&mut service, it);
    of_its_own(&mut service, container);
    proposal.add(&group.called, service);
    ports
}

/// The image by a name that says which: a digest, where its tag moves.
fn image(service: &mut ServiceProposal, container: &Container) {
    let named = container.inspected.pointer("/Config/Image").and_then(text);
    let digests = container.image.get("RepoDigests").map(texts);
    let tags = container.image.get("RepoTags").map(texts);
    let is_fixed = |name: &String| {
        name.parse::<ImageName>()
            .is_ok_and(|name| !name.is_latest())
    };
    let candidates = named.into_iter().chain(tags.unwrap_or_default());
    let candidates: Vec<String> = candidates.filter(|it| !it.starts_with("sha256:")).collect();

    let fixed = candidates.iter().find(|it| is_fixed(it)).cloned();
    let pinned = digests.unwrap_or_default().into_iter().find(is_fixed);
    service.image = match (fixed.or(pinned), candidates.into_iter().next()) {
        (Some(name), _) => ImageProposal::Named(name),
        (None, Some(name)) => {
            compose::latest(service, &name);
            ImageProposal::Named(name)
        }
        (None, None) => {
            service.remark("its image has no name: write `build:`, or `image:`");
            ImageProposal::Unknown
        }
    };
}

fn ports(inspected: &Value, image: &Value) -> Vec<Published> {
    let number_of = |key: &str| key.strip_suffix("/tcp").and_then(|port| port.parse().ok());
    let bindings = inspected.pointer("/HostConfig/PortBindings");
    let mut all: Vec<Published> = Vec::new();
    for (key, bound) in entries(bindings) {
        let first = super::document::items(Some(bound)).first();
        let outside = first.and_then(|it| it.get("HostPort")).and_then(number);
        let host = first
            .and_then(|it| text_at(it, "HostIp"))
            .unwrap_or_default();
        if let Some(inside) = number_of(key).filter(|port| *port > 0) {
            all.push(Published {
                inside,
                outside: outside
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|it| *it > 0),
                is_open: !is_loopback(&host),
            });
        }
    }
    for exposed in [
        inspected.pointer("/Config/ExposedPorts"),
        image.pointer("/Config/ExposedPorts"),
    ] {
        let inside = entries(exposed)
            .into_keys()
            .filter_map(|key| number_of(key));
        all.extend(inside.filter(|port| *port > 0).map(|inside| Published {
            inside,
            outside: None,
            is_open: false,
        }));
    }
    all
}

/// The whole argument vector, where the image says another one.
fn command(service: &mut ServiceProposal, container: &Container) {
    let of = |config: Option<&Value>| {
        let words = |key: &str| {
            let value = config.and_then(|config| config.get(key));
            value.map(texts).unwrap_or_default()
        };
        [words("Entrypoint"), words("Cmd")].concat()
    };
    let own = of(container.inspected.get("Config"));
    if own == of(container.image.get("Config")) {
        return;
    }
    if secret::is_in_command(&own) {
        return service.left_out("command", compose::COMMAND);
    }
    service.command = own;
}

fn mounted(service: &mut ServiceProposal, mount: &Value) {
    let kind = text_at(mount, "Type").unwrap_or_default();
    let inside = text_at(mount, "Destination").unwrap_or_default();
    let key = if kind == "volume" { "Name" } else { "Source" };
    let from = text_at(mount, key).unwrap_or_default();
    let is_nameless = from.len() == 64 && from.bytes().all(|sign| sign.is_ascii_hexdigit());
    if kind == "tmpfs" {
        return service.left_out(
            &format!("tmpfs {inside}"),
            "a container writes into its own layer",
        );
    }
    if is_nameless {
        service.remark(format!(
            "the volume at {inside} has no name but its number: what is in it is kept as long as \
             that stands here (`docker volume rm` and `docker run --rm` take it away)"
        ));
    }
    add(
        service,
        &Mount {
            from: &from,
            inside: &inside,
            is_read_only: mount.get("RW").and_then(Value::as_bool) == Some(false),
        },
    );
}

/// A check that is not the image's own.
fn check(service: &mut ServiceProposal, config: &Value, of_image: Option<&Value>) {
    let Some(check) = config.get("Healthcheck").filter(|check| check.is_object()) else {
        return;
    };
    if Some(check) == of_image {
        service
            .remark("health: its image has a check of its own, which nobody asks here: write one");
    }
    health::of_command(service, check, "Test");
    let time = |key: &str| check.get(key).and_then(number).and_then(of_nanos);
    service.health.interval = time("Interval");
    service.health.timeout = time("Timeout");
    let failures = check
        .get("Retries")
        .and_then(number)
        .filter(|count| *count > 0);
    service.health.failures = failures.and_then(|count| u32::try_from(count).ok());
}

fn limits(service: &mut ServiceProposal, inspected: &Value) {
    let of = |key: &str| {
        let value = inspected.pointer(&format!("/HostConfig/{key}"));
        value.and_then(number).filter(|amount| *amount > 0)
    };
    // Docker itself refuses less than 6 MiB, and counts a processor in billionths.
    if let Some(memory) = of("Memory").filter(|bytes| *bytes >= 6 << 20) {
        let mebibyte = 1 << 20;
        let amount = if memory.is_multiple_of(mebibyte) {
            format!("{}Mi", memory / mebibyte)
        } else {
            memory.to_string()
        };
        service.resources.insert("memory_limit", amount);
    }
    if let Some(cpus) = of("NanoCpus").filter(|nanos| *nanos >= 1_000_000) {
        service
            .resources
            .insert("cpu_limit", format!("{}m", cpus / 1_000_000));
    }
}

/// What was said when the container was made and the image does not say.
fn of_its_own(service: &mut ServiceProposal, container: &Container) {
    let of = |path: &str| container.inspected.pointer(path);
    for (key, name) in [("User", "user"), ("WorkingDir", "working_dir")] {
        let said = of(&format!("/Config/{key}")).and_then(text);
        let of_image = container.image.pointer(&format!("/Config/{key}"));
        let said = said.filter(|it| !it.is_empty() && Some(it) != of_image.and_then(text).as_ref());
        if let Some(said) = said {
            service.left_out(&format!("{name} {said}"), compose::reason(name));
        }
    }
    if let Some(seconds) = of("/Config/StopTimeout").and_then(number) {
        service.stop_grace = period(&format!("{seconds}s"));
    }

    let is_set = |value: &Value| match value {
        Value::Bool(is_so) => *is_so,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => false,
    };
    for (key, name) in [
        ("ReadonlyRootfs", "read_only"),
        ("ExtraHosts", "extra_hosts"),
        ("Tmpfs", "tmpfs"),
        ("Ulimits", "ulimits"),
        ("Sysctls", "sysctls"),
        ("GroupAdd", "group_add"),
        ("Init", "init"),
        ("Dns", "dns"),
    ] {
        if of(&format!("/HostConfig/{key}")).is_some_and(is_set) {
            service.left_out(name, compose::reason(name));
        }
    }
}

fn rights(service: &mut ServiceProposal, inspected: &Value) {
    let of = |key: &str| inspected.pointer(&format!("/HostConfig/{key}"));
    if of("Privileged").and_then(Value::as_bool) == Some(true) {
        service.left_out(
            "privileged",
            "a container has no more rights than Docker gives by itself",
        );
    }
    for (key, name) in [("CapAdd", "cap_add"), ("Devices", "devices")] {
        if !super::document::items(of(key)).is_empty() {
            service.left_out(
                name,
                "a container has no more rights than Docker gives by itself",
            );
        }
    }
    let network = of("NetworkMode").and_then(text).unwrap_or_default();
    if !["", "default", "bridge"].contains(&network.as_str()) {
        let why = "`cluster.network` names one for all services";
        service.left_out(&format!("network {network}"), why);
    }
}
