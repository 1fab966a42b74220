//! A Kamal `deploy.yml`: its roles and its accessories are services.

use serde_json::{Map, Value};

use crate::discover::document::{
    DiscoverError, entries, items, pairs, text, text_at, texts, words,
};
use crate::discover::durations::period;
use crate::discover::health::is_asked;
use crate::discover::ports::{Reach, assign, short};
use crate::discover::proposal::{
    BuildProposal, EngineProposal, ImageProposal, Proposal, RegistryProposal, ServiceProposal,
};
use crate::discover::variables::Found;
use crate::discover::volumes::{Mount, add};
use crate::discover::{Remark, compose, erb, secret};
use crate::model::Platform;

/// Where Kamal's proxy finds an app that says no port.
const PORT: u16 = 80;

/// Where Kamal 1 asks one whose check says none.
const PORT_OF_1: u16 = 3000;

/// What is read of the file. The others are named as left out.
const KNOWN: [&str; 9] = [
    "service",
    "image",
    "servers",
    "proxy",
    "registry",
    "builder",
    "env",
    "volumes",
    "accessories",
];

/// The role that gets the traffic.
const WEB: &str = "web";

pub(super) fn is_it(document: &Map<String, Value>) -> bool {
    document.contains_key("service")
        && (document.contains_key("servers") || document.contains_key("image"))
}

/// The proposal of a `deploy.yml`.
///
/// # Errors
/// Its service has no name.
pub(super) fn proposal(
    document: &Map<String, Value>,
    from: &str,
) -> Result<Proposal, DiscoverError> {
    let whole = Value::Object(document.clone());
    let Some(name) = text_at(&whole, "service") else {
        let help = "write `service: NAME`";
        return Err(DiscoverError::new(from, "its service has no name", help));
    };
    let from = format!("{from}, a Kamal configuration");
    let engine = EngineProposal::Docker { is_open: true };
    let mut proposal = Proposal::new(&name, from, engine);

    let roles = roles(whole.get("servers"));
    registry(&mut proposal, &whole, roles.len());
    let mut found = Found::default();
    let mut reach = Reach::default();
    for role in &roles {
        app(&mut proposal, &mut found, &whole, (&name, role));
    }
    // Its proxy listens at any address.
    reach.open(&name);
    for (called, definition) in entries(whole.get("accessories")) {
        accessory(&mut proposal, &mut found, &mut reach, (called, definition));
    }
    reach.tell(&mut proposal);
    of_project(&mut proposal, document, &whole);
    Ok(proposal)
}

/// A role, with what it says of itself.
struct Role {
    name: String,
    hosts: Vec<String>,
    definition: Value,
}

/// The roles: hosts alone are those of `web`.
fn roles(servers: Option<&Value>) -> Vec<Role> {
    let one = |name: &str, of: &Value| {
        let hosts = of.get("hosts").unwrap_or(of);
        let named = |item: &Value| {
            let tagged = item.as_object().and_then(|tagged| tagged.keys().next());
            text(item).or_else(|| tagged.cloned())
        };
        let hosts = items(Some(hosts)).iter();
        Role {
            name: name.to_owned(),
            hosts: hosts.filter_map(named).collect(),
            definition: of.clone(),
        }
    };
    match servers {
        Some(Value::Object(roles)) if !roles.is_empty() => {
            let roles = roles.iter();
            roles.map(|(name, of)| one(name, of)).collect()
        }
        Some(hosts) => vec![one(WEB, hosts)],
        None => vec![one(WEB, &Value::Null)],
    }
}

fn app(proposal: &mut Proposal, found: &mut Found, whole: &Value, (name, role): (&str, &Role)) {
    let mut service = ServiceProposal {
        image: build(whole.get("builder")),
        ..ServiceProposal::default()
    };
    if !role.hosts.is_empty() {
        let hosts = role.hosts.join(", ");
        service.left_out(
            &format!("hosts {hosts}"),
            "the services run on the machine that shipit runs on",
        );
    }
    let has_traffic = match role.definition.get("proxy") {
        Some(Value::Bool(flag)) => *flag,
        Some(_) => true,
        None => role.name == WEB,
    };
    if has_traffic {
        let own = role.definition.get("proxy").filter(|it| it.is_object());
        let older = of_kamal_1(whole);
        proxy(
            &mut service,
            own.or_else(|| whole.get("proxy")).or(older.as_ref()),
        );
    }
    let cmd = role.definition.get("cmd").map(words).unwrap_or_default();
    command(&mut service, cmd);

    let called = if role.name == WEB { name } else { &role.name };
    variables(proposal, found, (called, &mut service), whole.get("env"));
    variables(
        proposal,
        found,
        (called, &mut service),
        role.definition.get("env"),
    );
    for line in items(whole.get("volumes")).iter().filter_map(text) {
        mount(&mut service, &line);
    }
    for key in entries(Some(&role.definition)).into_keys() {
        if !["hosts", "cmd", "proxy", "env"].contains(&key.as_str()) {
            service.left_out(key, "nothing here answers to it");
        }
    }
    proposal.add(called, service);
}

fn command(service: &mut ServiceProposal, words: Vec<String>) {
    if words.is_empty() {
        return;
    }
    let is_filled_in = words.iter().any(|word| erb::is_in(word));
    if is_filled_in || secret::is_in_command(&words) {
        return service.left_out(
            "cmd",
            "something in it is filled in, or looks like a secret",
        );
    }
    service.remark(
        "command: here it stands for the image's entrypoint as well: write that in front, if the \
         image has one",
    );
    service.command = words;
}

fn build(builder: Option<&Value>) -> ImageProposal {
    let builder = builder.unwrap_or(&Value::Null);
    let arch = builder.get("arch").map(texts).unwrap_or_default();
    let platforms = arch.into_iter().map(|arch| format!("linux/{arch}"));
    let args = pairs(builder.get("args")).into_iter();
    let plain = args.filter_map(|(name, value)| Some((name.clone(), argument(&name, value)?)));
    ImageProposal::Built(BuildProposal {
        context: text_at(builder, "context")
            .filter(|context| !context.starts_with('/') && !context.contains("://"))
            .unwrap_or_else(|| ".".to_owned()),
        dockerfile: text_at(builder, "dockerfile"),
        target: text_at(builder, "target"),
        args: plain.collect(),
        platforms: platforms
            .filter(|it| it.parse::<Platform>().is_ok())
            .collect(),
    })
}

/// An argument of a build that can be carried over.
fn argument(name: &str, value: Option<String>) -> Option<String> {
    let value = value.filter(|value| !value.contains(['\0', '<']))?;
    (!secret::looks_secret(name, &value)).then_some(value)
}

/// What a build had and has not any more.
fn builder(proposal: &mut Proposal, builder: Option<&Value>) {
    for (name, value) in pairs(builder.and_then(|of| of.get("args"))) {
        if argument(&name, value).is_none() {
            proposal.remarks.push(Remark::left_out(
                &format!("builder.args.{name}"),
                "it is filled in, or looks like a secret: `build.secrets` gives one to a `RUN`",
            ));
        }
    }
    for name in builder
        .and_then(|of| of.get("secrets"))
        .map(texts)
        .unwrap_or_default()
    {
        proposal.remarks.push(Remark::left_out(
            &format!("builder.secrets {name}"),
            "name it under `secrets:`, and `build.secrets` of the service gives it to a `RUN`",
        ));
    }
    let known = ["arch", "context", "dockerfile", "target", "args", "secrets"];
    for key in entries(builder).into_keys() {
        if !known.contains(&key.as_str()) {
            let why = "nothing here answers to it: `build.kind` says what builds";
            let key = format!("builder.{key}");
            proposal.remarks.push(Remark::left_out(&key, why));
        }
    }
}

/// What Kamal 1 says of the check, in the words of Kamal 2. There the app's port is said with it.
fn of_kamal_1(whole: &Value) -> Option<Value> {
    let check = whole.get("healthcheck").filter(|_| is_kamal_1(whole))?;
    let mut proxy = Map::new();
    let port = check.get("port").cloned();
    proxy.insert(
        "app_port".to_owned(),
        port.unwrap_or_else(|| PORT_OF_1.into()),
    );
    proxy.insert("healthcheck".to_owned(), check.clone());
    Some(Value::Object(proxy))
}

fn is_kamal_1(whole: &Value) -> bool {
    whole.get("proxy").is_none() && whole.get("healthcheck").is_some_and(Value::is_object)
}

fn proxy(service: &mut ServiceProposal, proxy: Option<&Value>) {
    let proxy = proxy.unwrap_or(&Value::Null);
    let port = proxy.get("app_port").and_then(super::document::number);
    let port = port.and_then(|port| u16::try_from(port).ok());
    service.port = Some(port.filter(|port| *port > 0).unwrap_or(PORT));
    service.published = Some(PORT);

    let health = proxy.get("healthcheck").unwrap_or(&Value::Null);
    let path = text_at(health, "path").unwrap_or_else(|| "/up".to_owned());
    if is_asked(&path) {
        service.health.path = Some(path);
    } else {
        service.left_out("healthcheck.path", "no request has such a path");
    }
    let time = |key: &str| text_at(health, key).and_then(|text| period(&text));
    service.health.interval = time("interval");
    service.health.timeout = time("timeout");
    for key in entries(Some(health)).into_keys() {
        if !["path", "port", "interval", "timeout"].contains(&key.as_str()) {
            let why = "`health.failures` and `health.start_within` say how often and how long";
            service.left_out(&format!("healthcheck.{key}"), why);
        }
    }

    for (key, why) in [
        (
            "ssl",
            "the router speaks HTTP: a proxy in front of it has the certificate",
        ),
        ("host", "the router takes every host at its address"),
        ("hosts", "the router takes every host at its address"),
    ] {
        if proxy.get(key).is_some() {
            service.left_out(&format!("proxy.{key}"), why);
        }
    }
    let known = ["app_port", "healthcheck", "ssl", "host", "hosts"];
    for key in entries(Some(proxy)).into_keys() {
        if !known.contains(&key.as_str()) {
            let why = "`traffic.limits` has what the router waits for and takes";
            service.left_out(&format!("proxy.{key}"), why);
        }
    }
}

/// `clear` and `secret`; an older file has the variables themselves.
fn variables(
    proposal: &mut Proposal,
    found: &mut Found,
    (called, service): (&str, &mut ServiceProposal),
    env: Option<&Value>,
) {
    let Some(env) = env else { return };
    let is_old = env.get("clear").is_none() && env.get("secret").is_none();
    let clear = if is_old { Some(env) } else { env.get("clear") };
    for (name, value) in pairs(clear) {
        let value = value.filter(|value| !erb::is_in(value));
        found.variable(proposal, (called, service), &name, value.as_deref());
    }
    for line in items(env.get("secret")).iter().filter_map(text) {
        // `NAME:ALIAS` has the value of another name.
        match line.split_once(':') {
            Some((name, alias)) if is_variable(alias) => {
                found.renamed(proposal, (called, service), name, alias);
            }
            Some((name, _)) => {
                found.variable(proposal, (called, service), name, None);
                service.left_out(&format!("env.secret {line}"), "it names no variable");
            }
            None => found.variable(proposal, (called, service), &line, None),
        }
    }
    if env.get("tags").is_some() {
        service.left_out(
            "env.tags",
            "all instances of a service have the same variables",
        );
    }
}

fn is_variable(name: &str) -> bool {
    let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || sign == b'_';
    !name.is_empty() && name.bytes().all(is_sign) && !name.as_bytes()[0].is_ascii_digit()
}

fn mount(service: &mut ServiceProposal, line: &str) {
    let parts: Vec<&str> = line.splitn(3, ':').collect();
    let (from, inside, mode) = match parts[..] {
        [from, inside] => (from, inside, ""),
        [from, inside, mode] => (from, inside, mode),
        _ => return service.left_out(&format!("volume {line}"), "it is no volume"),
    };
    let is_read_only = mode.split(',').any(|word| word == "ro");
    add(
        service,
        &Mount {
            from,
            inside,
            is_read_only,
        },
    );
}

fn accessory(
    proposal: &mut Proposal,
    found: &mut Found,
    reach: &mut Reach,
    (called, definition): (&str, &Value),
) {
    let mut service = ServiceProposal::default();
    match text_at(definition, "image").filter(|image| !image.contains('<')) {
        Some(image) => {
            compose::latest(&mut service, &image);
            service.image = ImageProposal::Named(image);
        }
        None => service.remark("nothing says which image it runs: write `image:`"),
    }
    if let Some(line) = text_at(definition, "port") {
        let mut published = short(&line);
        for port in &mut published {
            port.outside.get_or_insert(port.inside);
        }
        if published.is_empty() {
            service.left_out(&format!("port {line}"), "it is no port");
        }
        reach.add(called, &published);
        assign(&mut service, &published);
    }
    let cmd = definition.get("cmd").map(words).unwrap_or_default();
    command(&mut service, cmd);
    variables(
        proposal,
        found,
        (called, &mut service),
        definition.get("env"),
    );

    for line in items(definition.get("volumes")).iter().filter_map(text) {
        mount(&mut service, &line);
    }
    for line in items(definition.get("directories")).iter().filter_map(text) {
        // Each accessory has its own, below a folder of its own.
        let is_own = !line.starts_with(['/', '.', '~']);
        let line = if is_own {
            format!("{called}-{line}")
        } else {
            line
        };
        mount(&mut service, &line);
        service.remark(format!(
            "what is in the directory {line} by now stays where Kamal has it"
        ));
    }
    let known = ["image", "port", "cmd", "env", "volumes", "directories"];
    for key in entries(Some(definition)).into_keys() {
        if !known.contains(&key.as_str()) {
            let why = match key.as_str() {
                "host" | "hosts" | "role" | "roles" => {
                    "the services run on the machine that shipit runs on"
                }
                "files" => "`files:` gives a service texts of the project",
                _ => "nothing here answers to it",
            };
            service.left_out(key, why);
        }
    }
    proposal.add(called, service);
}

fn registry(proposal: &mut Proposal, whole: &Value, roles: usize) {
    let of = whole.get("registry").unwrap_or(&Value::Null);
    if let Some(server) = text_at(of, "server") {
        if crate::model::endpoint::problem(&server).is_none() {
            let repository = text_at(whole, "image");
            let repository = repository
                .filter(|name| crate::model::endpoint::repository_problem(name).is_none());
            let repository = repository.map(|name| {
                if roles > 1 {
                    format!("{name}-{{{{ service }}}}")
                } else {
                    name
                }
            });
            proposal.registry = Some(RegistryProposal::Oci {
                endpoint: server,
                repository,
            });
        } else {
            proposal.remark("left out: registry.server: it is no address");
        }
    } else if let Some(image) = text_at(whole, "image") {
        proposal.remark(format!(
            "images stay on this machine: {image} was pushed to Docker Hub, and `registry:` names \
             one"
        ));
    }
    if of.get("username").is_some() || of.get("password").is_some() {
        proposal.remark("left out: the registry's login: it is Docker's own, by `docker login`");
    }
}

fn of_project(proposal: &mut Proposal, document: &Map<String, Value>, whole: &Value) {
    builder(proposal, whole.get("builder"));
    let is_known = |key: &str| KNOWN.contains(&key) || (key == "healthcheck" && is_kamal_1(whole));
    for key in document.keys().filter(|key| !is_known(key)) {
        let why = match key.as_str() {
            "ssh" | "hosts" => "the services run on the machine that shipit runs on",
            "boot" => "`strategy:` says how instances follow each other",
            "drain_timeout" => "`traffic.limits.drain` says it",
            "deploy_timeout" | "readiness_delay" => "`ready_within` and `health` say it",
            "retain_containers" => "`retention.releases` says it",
            "aliases" => "`shipit exec` and `shipit run` run commands",
            "labels" => "nothing here reads labels of containers",
            "logging" => "`shipit logs` reads what is printed",
            "asset_path" => "both releases answer for their own assets while one follows the other",
            _ => "nothing here answers to it",
        };
        proposal.remarks.push(Remark::left_out(key, why));
    }
    if has_erb(whole) {
        proposal.remark("what `<% %>` fills in is not known here: look at what is not given");
    }
}

fn has_erb(value: &Value) -> bool {
    match value {
        Value::String(text) => erb::is_in(text),
        Value::Array(items) => items.iter().any(has_erb),
        Value::Object(map) => map.values().any(has_erb),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
