//! What a pod's template says of a service.

use serde_json::Value;

use crate::discover::document::{entries, items, number, text, text_at, texts};
use crate::discover::health::is_asked;
use crate::discover::ports::is_not_http;
use crate::discover::proposal::{
    ImageProposal, PortProposal, Proposal, SecretProposal, ServiceProposal, ValueProposal,
};
use crate::discover::variables::{Found, may_be_set, secret_name};
use crate::discover::{compose, secret};
use crate::model::Period;
use crate::model::quantity::Quantity;

/// A port of a Service that leads to the pods.
pub(super) struct Lead {
    /// A number, or the name of a container's port.
    pub target: Option<Value>,
    /// The Service's type.
    pub kind: String,
}

/// Fills a service in from a pod's template.
pub(super) fn fill(
    (proposal, found): (&mut Proposal, &mut Found),
    (called, service): (&str, &mut ServiceProposal),
    template: &Value,
    leads: &[Lead],
) {
    let spec = template.get("spec").unwrap_or(&Value::Null);
    let containers = items(spec.get("containers"));
    let Some(container) = containers.first() else {
        return service.remark("its pods have no container: write `image:`");
    };
    let others = containers
        .iter()
        .skip(1)
        .chain(items(spec.get("initContainers")));
    for other in others {
        let name = text_at(other, "name").unwrap_or_default();
        let why = "one container is carried over: `pod:` or manifests of your own add others";
        service.left_out(&format!("container {name}"), why);
    }

    match text_at(container, "image") {
        Some(image) => {
            compose::latest(service, &image);
            service.image = ImageProposal::Named(image);
        }
        None => service.remark("nothing says which image it runs: write `image:`"),
    }
    ports(service, container, leads);
    command(service, container);
    for variable in items(container.get("env")) {
        env(proposal, found, (called, service), variable);
    }
    for of in items(container.get("envFrom")) {
        let name = of
            .pointer("/configMapRef/name")
            .or_else(|| of.pointer("/secretRef/name"));
        let name = name.and_then(Value::as_str).unwrap_or_default();
        let why =
            "variables are named one by one: `env: {NAME: {secret: …}}` for those of a Secret";
        service.left_out(&format!("envFrom {name}"), why);
    }

    volumes(service, spec, container);
    health(service, container);
    amounts(service, container);
    of_pod(service, spec, container);
}

/// The port with the traffic is the one that the first Service leads to.
fn ports(service: &mut ServiceProposal, container: &Value, leads: &[Lead]) {
    let own = items(container.get("ports"));
    let port_of = |port: &Value| {
        let inside = port.get("containerPort").and_then(number)?;
        let is_tcp = text_at(port, "protocol").is_none_or(|protocol| protocol == "TCP");
        u16::try_from(inside).ok().filter(|it| is_tcp && *it > 0)
    };
    let named = |name: &str| {
        let port = own
            .iter()
            .find(|port| text_at(port, "name").as_deref() == Some(name));
        port.and_then(port_of)
    };
    let target = |lead: &Lead| {
        let target = lead.target.as_ref()?;
        let by_number = number(target).and_then(|it| u16::try_from(it).ok());
        by_number.or_else(|| named(target.as_str()?))
    };
    service.port = leads.iter().find_map(target).filter(|port| *port > 0);
    service.is_tcp = service.port.is_some_and(is_not_http);
    if let Some(kind) = leads
        .iter()
        .map(|lead| lead.kind.as_str())
        .find(|kind| !["", "ClusterIP"].contains(kind))
    {
        let why = "`traffic: {kind: service, type: node_port | load_balancer}` says it";
        service.left_out(&format!("a Service of the type {kind}"), why);
    }

    for port in own {
        let Some(inside) = port_of(port) else {
            continue;
        };
        let is_known = service.ports.values().any(|it| it.number == inside);
        if service.port == Some(inside) || is_known {
            continue;
        }
        let called = text_at(port, "name").and_then(|name| name.parse().ok());
        let called = called.filter(|name| *name != crate::model::port::PortName::http());
        let Some(name) = called.or_else(|| format!("port-{inside}").parse().ok()) else {
            continue;
        };
        let proposal = PortProposal {
            number: inside,
            is_tcp: is_not_http(inside),
            published: None,
        };
        service.ports.insert(name, proposal);
    }
}

/// A `command` stands for the image's entrypoint; `args` alone do not.
fn command(service: &mut ServiceProposal, container: &Value) {
    let of = |key: &str| container.get(key).map(texts).unwrap_or_default();
    let (command, args) = (of("command"), of("args"));
    if command.is_empty() && args.is_empty() {
        return;
    }
    if command.is_empty() {
        return service.left_out(
            "args",
            "`command:` stands for the image's entrypoint as well: write both",
        );
    }
    let all = [command, args].concat();
    if secret::is_in_command(&all) {
        return service.left_out("command", compose::COMMAND);
    }
    service.command = all;
}

fn env(
    proposal: &mut Proposal,
    found: &mut Found,
    (called, service): (&str, &mut ServiceProposal),
    variable: &Value,
) {
    let Some(name) = text_at(variable, "name") else {
        return;
    };
    let Some(from) = variable.get("valueFrom").filter(|from| from.is_object()) else {
        let value = text_at(variable, "value").unwrap_or_default();
        return found.variable(proposal, (called, service), &name, Some(&value));
    };
    let key = from.get("secretKeyRef").unwrap_or(&Value::Null);
    if let (Some(of), Some(key)) = (text_at(key, "name"), text_at(key, "key"))
        && may_be_set(service, &name)
    {
        let secret = secret_name(&format!("{of}_{key}"));
        let source = SecretProposal::Kubernetes { name: of, key };
        proposal.secrets.insert(secret.clone(), source);
        service.env.insert(name, ValueProposal::Secret(secret));
        return;
    }
    let kind = entries(Some(from)).into_keys().next();
    let kind = kind.map_or("", String::as_str).to_owned();
    service.left_out(
        &format!("env {name}"),
        &format!("its value comes from a {kind}: write it out"),
    );
}

fn volumes(service: &mut ServiceProposal, spec: &Value, container: &Value) {
    for mount in items(container.get("volumeMounts")) {
        let name = text_at(mount, "name").unwrap_or_default();
        let inside = text_at(mount, "mountPath").unwrap_or_default();
        if inside.starts_with("/var/run/secrets/kubernetes.io") {
            continue;
        }
        let volumes = items(spec.get("volumes"));
        let volume = volumes
            .iter()
            .find(|it| text_at(it, "name").as_ref() == Some(&name));
        let kinds = volume.map(|volume| entries(Some(volume)).into_keys());
        let kind = kinds.and_then(|mut keys| keys.find(|key| *key != "name"));
        let kind = kind.map_or("volume", String::as_str);
        let why = match kind {
            "configMap" => "`config:` and `files:` mount texts of the project",
            "secret" => "`files: {PATH: {secret: …}}` mounts one key",
            "emptyDir" => "`pod:` or manifests of your own have it",
            _ => "a service of a cluster has no volumes but by manifests of its own",
        };
        service.left_out(&format!("{kind} {name} at {inside}"), why);
    }
}

fn health(service: &mut ServiceProposal, container: &Value) {
    let probe = container.get("readinessProbe").unwrap_or(&Value::Null);
    if let Some(get) = probe.get("httpGet") {
        let path = text_at(get, "path").unwrap_or_else(|| "/".to_owned());
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        let port = get.get("port").and_then(number);
        let is_other = port.is_some_and(|port| service.port.map(u64::from) != Some(port));
        if service.port.is_none() || service.is_tcp || !is_asked(&path) {
            service.left_out(
                "readinessProbe",
                "no Service leads to a port that could be asked",
            );
        } else {
            service.health.path = Some(path);
            if is_other {
                service.left_out(
                    "readinessProbe.port",
                    "`health.port` names one under `ports`",
                );
            }
        }
    } else if let Some(exec) = probe.get("exec") {
        let words = exec.get("command").map(texts).unwrap_or_default();
        if secret::is_in_command(&words) {
            service.left_out("readinessProbe", compose::COMMAND);
        } else {
            service.health.run = words;
        }
    }

    let seconds = |key: &str| {
        let count = probe.get(key).and_then(number);
        count
            .filter(|count| (1..=86_400).contains(count))
            .map(Period::from_secs)
    };
    service.health.interval = seconds("periodSeconds");
    service.health.timeout = seconds("timeoutSeconds");
    let failures = probe.get("failureThreshold").and_then(number);
    let failures = failures.filter(|count| (1..=1000).contains(count));
    service.health.failures = failures.and_then(|count| u32::try_from(count).ok());
    for key in ["livenessProbe", "startupProbe"] {
        if container.get(key).is_some() {
            let why = "`health.liveness` and `health.start_within` say it";
            service.left_out(key, why);
        }
    }
}

/// What is asked for and the most, where both are amounts that go together.
fn amounts(service: &mut ServiceProposal, container: &Value) {
    for (name, request, limit) in [
        ("cpu", "cpu", "cpu_limit"),
        ("memory", "memory", "memory_limit"),
    ] {
        let of = |kind: &str| {
            let amount = container.pointer(&format!("/resources/{kind}/{name}"));
            let amount = amount.and_then(text)?;
            let quantity: Quantity = amount.parse().ok()?;
            let least = if name == "cpu" {
                Quantity::LEAST_CORE
            } else {
                Quantity::LEAST_MEMORY
            };
            let is_amount =
                quantity >= least && (name != "cpu" || quantity <= Quantity::MOST_CORES);
            is_amount.then_some((amount, quantity))
        };
        let (asked, most) = (of("requests"), of("limits"));
        // Without a request of its own the limit is what is asked for.
        let asked = asked.or_else(|| most.clone());
        if let Some((amount, asked)) = asked {
            if most.as_ref().is_some_and(|(_, most)| *most < asked) {
                continue;
            }
            service.resources.insert(request, amount);
        }
        if let Some((amount, _)) = most {
            service.resources.insert(limit, amount);
        }
    }
}

fn of_pod(service: &mut ServiceProposal, spec: &Value, container: &Value) {
    let user = [container, spec]
        .into_iter()
        .find_map(|of| of.pointer("/securityContext/runAsUser").and_then(number));
    match user.map(u32::try_from) {
        Some(Ok(0)) => service.left_out("runAsUser: 0", "a service does not run as root"),
        Some(Ok(user)) => service.user = Some(user),
        Some(Err(_)) => {}
        None => service.remark("user: its image's own user is not known: 65532 without `user:`"),
    }
    let grace = spec.get("terminationGracePeriodSeconds").and_then(number);
    let grace = grace.filter(|seconds| (1..=86_400).contains(seconds) && *seconds != 30);
    service.stop_grace = grace.map(Period::from_secs);

    let account = text_at(spec, "serviceAccountName").filter(|name| name != "default");
    if let Some(account) = account {
        let why = "`service_account:` names it";
        service.left_out(&format!("serviceAccountName {account}"), why);
    }
    for key in [
        "nodeSelector",
        "tolerations",
        "affinity",
        "imagePullSecrets",
        "hostNetwork",
        "hostAliases",
    ] {
        if spec.get(key).is_some_and(|it| !it.is_null()) {
            service.left_out(key, "`pod:` says it");
        }
    }
}
