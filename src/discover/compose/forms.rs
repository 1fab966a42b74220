//! What Compose writes in a short and in a long form.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::discover::compose::fill::{fill, fill_all};
use crate::discover::document::{entries, items, number, pairs, text, text_at, texts};
use crate::discover::ports::{Published, is_loopback, short};
use crate::discover::proposal::{BuildProposal, ImageProposal, ServiceProposal};
use crate::discover::secret::looks_secret;
use crate::discover::volumes::{self, Mount};
use crate::model::Platform;
use crate::model::quantity::Quantity;

/// Why a key has no counterpart.
pub(in crate::discover) fn reason(key: &str) -> &'static str {
    match key {
        "depends_on" | "links" => {
            "the services of a release start together, and each is waited for by its health check"
        }
        "networks" | "network_mode" => {
            "containers are in Docker's own bridge, or in `cluster.network`"
        }
        "privileged" | "cap_add" | "devices" | "security_opt" | "pid" | "ipc" | "userns_mode"
        | "cgroup_parent" | "group_add" => {
            "a container has no more rights than Docker gives by itself"
        }
        "labels" => "nothing here reads labels of containers",
        "container_name" | "hostname" => "instances are named by their release",
        "user" | "working_dir" => "the image says it",
        "extends" | "include" => {
            "it is not followed: give the output of `docker compose config` with --from -"
        }
        "configs" => "`files:` gives a service texts of the project",
        "logging" => "`shipit logs` reads what is printed",
        "tmpfs" | "shm_size" => "a container writes into its own layer",
        "stop_signal" => "an instance is asked to end by its image's STOPSIGNAL, or SIGTERM",
        "develop" => "nothing is watched here: `shipit apply` builds what has changed",
        _ => "nothing here answers to it",
    }
}

pub(super) fn build(service: &mut ServiceProposal, of: &Value) -> ImageProposal {
    let context = text(of).or_else(|| text_at(of, "context"));
    let mut context = context.unwrap_or_else(|| ".".to_owned());
    if context.contains("://") || context.starts_with("git@") || context.starts_with('/') {
        service.left_out(
            &format!("build context {context}"),
            "what is built is in the project's folder",
        );
        ".".clone_into(&mut context);
    }
    let mut proposal = BuildProposal {
        context,
        dockerfile: text_at(of, "dockerfile"),
        target: text_at(of, "target"),
        ..BuildProposal::default()
    };

    for (name, value) in pairs(of.get("args")) {
        match value {
            Some(value) if !looks_secret(&name, &value) && !value.contains('\0') => {
                proposal.args.insert(name, value);
            }
            _ => service.left_out(
                &format!("build argument {name}"),
                "it has no value here, or looks like a secret: `build.secrets` gives one to a \
                 `RUN`",
            ),
        }
    }
    let platforms = of.get("platforms").map(texts).unwrap_or_default();
    let known = platforms
        .into_iter()
        .filter(|it| it.parse::<Platform>().is_ok());
    proposal.platforms = known.collect();

    let known = ["context", "dockerfile", "target", "args", "platforms"];
    for key in entries(Some(of)).into_keys() {
        if !known.contains(&key.as_str()) {
            service.left_out(&format!("build.{key}"), "nothing here answers to it");
        }
    }
    ImageProposal::Built(proposal)
}

/// The ports, published or not. What is no port is named.
pub(super) fn published(service: &mut ServiceProposal, definition: &Value) -> Vec<Published> {
    let mut all = Vec::new();
    for item in items(definition.get("ports")) {
        let read = match item {
            Value::Object(_) => long(item),
            other => text(other).map(|line| short(&line)).unwrap_or_default(),
        };
        if read.is_empty() {
            let shown = text(item).unwrap_or_else(|| item.to_string());
            let why = "it is no range of TCP ports that can be carried over";
            service.left_out(&format!("port {shown}"), why);
        }
        all.extend(read);
    }
    for item in items(definition.get("expose")) {
        let inside = text(item).map(|line| short(&line)).unwrap_or_default();
        all.extend(inside.into_iter().map(|port| Published {
            outside: None,
            ..port
        }));
    }
    all
}

fn long(item: &Value) -> Vec<Published> {
    let is_tcp = text_at(item, "protocol").is_none_or(|protocol| protocol == "tcp");
    let inside = item.get("target").and_then(number);
    let inside = inside.and_then(|port| u16::try_from(port).ok());
    let Some(inside) = inside.filter(|port| is_tcp && *port > 0) else {
        return Vec::new();
    };
    let outside = item.get("published").and_then(number);
    let host = text_at(item, "host_ip").unwrap_or_default();
    vec![Published {
        inside,
        outside: outside.and_then(|port| u16::try_from(port).ok()),
        is_open: !is_loopback(&host),
    }]
}

/// A mount as it is written.
struct Written {
    from: String,
    inside: String,
    is_read_only: bool,
}

/// Adds a service's mounts, or says why not.
pub(super) fn mounts(service: &mut ServiceProposal, definition: &Value, named: &Volumes) {
    for item in items(definition.get("volumes")) {
        let (mut filled, mut missing) = (item.clone(), BTreeSet::new());
        fill_all(&mut filled, &mut missing, &[]);
        let shown = text(item).unwrap_or_else(|| item.to_string());
        let of = format!("volume {shown}");
        // A path with a gap in it is the path of something else.
        if let Some(name) = missing.first() {
            service.left_out(&of, &format!("${{{name}}} in it is not filled in"));
            continue;
        }
        if let Some(why) = unmountable(&filled) {
            service.left_out(&of, why);
            continue;
        }
        let Some(mount) = written(&filled) else {
            service.left_out(&of, "it is no mount");
            continue;
        };
        let Some(from) = named.name(&mount.from) else {
            let why = "the name that `volumes` gives to it is not filled in";
            service.left_out(&of, why);
            continue;
        };
        let mount = Mount {
            from: &from,
            inside: &mount.inside,
            is_read_only: mount.is_read_only,
        };
        volumes::add(service, &mount);
    }
}

/// Why a mount in the long form cannot be one here.
fn unmountable(item: &Value) -> Option<&'static str> {
    let kind = text_at(item, "type");
    if !matches!(kind.as_deref(), None | Some("volume" | "bind")) {
        return Some("it is neither a volume nor a folder of the machine");
    }
    let subpath = item.pointer("/volume/subpath");
    subpath.map(|_| "a part of a volume cannot be mounted")
}

/// The volumes that a file names, by the names that Docker knows them by.
pub(super) struct Volumes<'a> {
    project: String,
    defined: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Volumes<'a> {
    /// Those of a project: Compose puts its name in front of each that has no other name.
    pub fn of(project: &str, document: &'a Map<String, Value>) -> Self {
        let is_sign = |sign: &char| sign.is_ascii_alphanumeric() || "-_".contains(*sign);
        let project: String = project.to_lowercase().chars().filter(is_sign).collect();
        Self {
            project: project.trim_start_matches(['-', '_']).to_owned(),
            defined: entries(document.get("volumes"))
                .into_iter()
                .map(|(name, of)| (name.as_str(), of))
                .collect(),
        }
    }

    /// What a mount is from: a folder, or a volume by Docker's name. None when nobody knows.
    fn name(&self, from: &str) -> Option<String> {
        let Some(definition) = self.defined.get(from) else {
            return Some(from.to_owned());
        };
        let external = definition.get("external");
        let name = text_at(definition, "name");
        let name = name.or_else(|| text_at(external?, "name"));
        if let Some(name) = name {
            let filled = fill(&name);
            return filled.missing.is_empty().then_some(filled.text);
        }
        let is_others = external.is_some_and(|it| it != &Value::Bool(false));
        Some(if is_others {
            from.to_owned()
        } else {
            format!("{}_{from}", self.project)
        })
    }

    /// Whether Compose puts the project's name in front of one.
    pub fn has_own(&self) -> bool {
        let mut names = self.defined.keys();
        names.any(|name| self.name(name).is_some_and(|real| real != *name))
    }
}

/// `[FROM:]INSIDE[:MODE]`, or a map.
fn written(item: &Value) -> Option<Written> {
    if let Some(line) = text(item) {
        let parts: Vec<&str> = line.splitn(3, ':').collect();
        let (from, inside, mode) = match parts[..] {
            [inside] => ("", inside, ""),
            [from, inside] => (from, inside, ""),
            [from, inside, mode] => (from, inside, mode),
            _ => return None,
        };
        return Some(Written {
            from: from.to_owned(),
            inside: inside.to_owned(),
            is_read_only: mode.split(',').any(|word| word == "ro"),
        });
    }
    Some(Written {
        from: text_at(item, "source").unwrap_or_default(),
        inside: text_at(item, "target")?,
        is_read_only: item.get("read_only").and_then(Value::as_bool) == Some(true),
    })
}

/// What a container may use at the most.
pub(super) fn resources(service: &mut ServiceProposal, definition: &Value) {
    let limits = definition.pointer("/deploy/resources/limits");
    let limits = limits.unwrap_or(&Value::Null);
    let cpus = text_at(limits, "cpus").or_else(|| text_at(definition, "cpus"));
    let memory = text_at(limits, "memory").or_else(|| text_at(definition, "mem_limit"));
    if let Some(cpus) = cpus {
        amount(service, "cpu_limit", &cpus, Some(cpus.clone()));
    }
    if let Some(memory) = memory {
        amount(service, "memory_limit", &memory, bytes(&memory));
    }
}

fn amount(service: &mut ServiceProposal, key: &'static str, was: &str, is: Option<String>) {
    let quantity = is.as_ref().map(|text| text.parse::<Quantity>());
    let is_memory = key == "memory_limit";
    let is_amount = matches!(quantity, Some(Ok(it))
        if if is_memory { it >= Quantity::LEAST_MEMORY }
        else { (Quantity::LEAST_CORE..=Quantity::MOST_CORES).contains(&it) });
    match is.filter(|_| is_amount) {
        Some(text) => {
            service.resources.insert(key, text);
        }
        None => service.left_out(&format!("{key} {was}"), "it is no amount"),
    }
}

/// Docker's sizes count in 1024s: `512m` is `512Mi`.
fn bytes(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let end = text.find(|sign: char| !sign.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = match unit {
        "" | "b" => "",
        "k" | "kb" => "Ki",
        "m" | "mb" => "Mi",
        "g" | "gb" => "Gi",
        _ => return None,
    };
    (!number.is_empty()).then(|| format!("{number}{unit}"))
}
