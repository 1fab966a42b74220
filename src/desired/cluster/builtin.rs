//! The objects of a service that brings none of its own: sound defaults, under the restricted Pod
//! Security Standard.

use serde_json::{Map, Value, json};

use crate::config::schema::PodSecurity;
use crate::desired::cluster::marks::Owner;
use crate::desired::cluster::ports::Ports;
use crate::desired::cluster::{Site, files, mark};
use crate::desired::{DesiredError, Program};
use crate::model::health::{Health, Liveness};
use crate::model::object::{IMAGE, SECRET};
use crate::model::secret::SecretRef;
use crate::model::workload::EnvValue;
use crate::model::{Host, Manifest, Period, Slot};

/// How long a pod that was taken out of traffic goes on answering, until every router has heard of
/// it.
const LEAVE: u64 = 5;

/// A namespace, in which this standard is enforced.
pub(super) fn namespace(name: &str, standard: PodSecurity) -> Manifest {
    let level = match standard {
        PodSecurity::Restricted => Some("restricted"),
        PodSecurity::Baseline => Some("baseline"),
        PodSecurity::Privileged => Some("privileged"),
        PodSecurity::None => None,
    };
    let mut namespace =
        manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    if let Some(level) = level {
        namespace.label("pod-security.kubernetes.io/enforce", level);
    }
    namespace
}

/// Every body here names its kind and itself.
pub(super) fn manifest(body: Value) -> Manifest {
    Manifest::try_from(body)
        .unwrap_or_else(|error| unreachable!("a manifest of shipit's own: {error}"))
}

pub(super) fn objects(
    site: &Site<'_>,
    program: &Program<'_>,
    slot: Slot,
) -> Result<Vec<Manifest>, DesiredError> {
    let name = program.name.as_str();
    let namespace = &site.namespaces.slots[&slot];
    let meta = |suffix: &str| json!({"name": format!("{name}{suffix}"), "namespace": namespace});
    let mut objects: Vec<Manifest> = account(site, program, slot)?.into_iter().collect();

    if let Some(config) = &program.service.config {
        let data = config_data(site, program, config, slot)?;
        objects.push(manifest(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("-config"), "data": data,
        })));
    }
    let data = files::data(program);
    if !data.is_empty() {
        objects.push(manifest(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(files::CONFIG), "data": data,
        })));
    }
    let secrets = secrets(program);
    if !secrets.is_empty() {
        objects.push(manifest(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta("-secrets"), "data": secrets,
        })));
    }

    let pod = pod(site, program, slot)?;
    objects.push(deployment(site, program, slot, &pod));
    let scale = program.service.autoscale.as_ref();
    if scale.map_or(program.service.replicas, |scale| scale.min) > 1 {
        objects.push(manifest(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta(""),
            "spec": {"maxUnavailable": 1,
                "selector": {"matchLabels": mark::selector(site, program.name, slot)}},
        })));
    }
    if let Some(scale) = scale {
        objects.push(manifest(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta(""),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": scale.min, "maxReplicas": scale.max,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": scale.cpu}}}],
            },
        })));
    }
    Ok(objects)
}

/// The account that shipit makes for the pods of a slot; none when they run as another one.
fn account(
    site: &Site<'_>,
    program: &Program<'_>,
    slot: Slot,
) -> Result<Option<Manifest>, DesiredError> {
    let own = program.service.service_account.clone().unwrap_or_default();
    if own.name.is_some() {
        return Ok(None);
    }
    let (name, namespace) = (program.name.as_str(), &site.namespaces.slots[&slot]);
    let mut account = manifest(json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace}, "automountServiceAccountToken": false,
    }));
    let owner = Owner {
        site,
        service: program.name,
        slot: Some(slot),
        at: &format!("services.{name}.service_account"),
    };
    let marks = owner.render(&own.annotations, &own.labels)?;
    marks.put_on(&mut account);
    Ok(Some(account))
}

/// What the pods of a service are: a template without the labels that shipit puts on them.
fn pod(site: &Site<'_>, program: &Program<'_>, slot: Slot) -> Result<Value, DesiredError> {
    let name = program.name.as_str();
    let account = program.service.service_account.as_ref();
    let account = account.and_then(|account| account.name.as_deref());
    let config = program.service.config.as_ref();
    let mounts: Vec<Value> = config
        .map(|config| json!({"name": "config", "mountPath": config.mount, "readOnly": true}))
        .into_iter()
        .chain(files::mounts(program))
        .collect();

    let mut pod = json!({
        "serviceAccountName": account.unwrap_or(name),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": seconds(program.service.stop_grace) + LEAVE,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": program.service.user, "runAsGroup": program.service.user,
            "fsGroup": program.service.user, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": mark::selector(site, program.name, slot)},
        }],
        "containers": [container(program, slot, &mounts)],
    });
    let config =
        config.map(|_| json!({"name": "config", "configMap": {"name": format!("{name}-config")}}));
    let volumes: Vec<Value> = config.into_iter().chain(files::volumes(program)).collect();
    if !volumes.is_empty() {
        pod["volumes"] = volumes.into();
    }

    let own = program.service.pod.clone().unwrap_or_default();
    let gates = own.readiness_gates.iter();
    let gates: Vec<Value> = gates.map(|gate| json!({"conditionType": gate})).collect();
    if !gates.is_empty() {
        pod["readinessGates"] = gates.into();
    }
    let mut template = json!({"spec": pod});
    let owner = Owner {
        site,
        service: program.name,
        slot: Some(slot),
        at: &format!("services.{name}.pod"),
    };
    let marks = owner.render(&own.annotations, &own.labels)?;
    for (key, marks) in [("annotations", marks.annotations), ("labels", marks.labels)] {
        if !marks.is_empty() {
            template["metadata"][key] = marks.into();
        }
    }
    Ok(template)
}

fn deployment(site: &Site<'_>, program: &Program<'_>, slot: Slot, pod: &Value) -> Manifest {
    let (name, namespace) = (program.name, &site.namespaces.slots[&slot]);
    let is_exclusive = program.service.is_exclusive(site.configuration.strategy);
    let strategy = if is_exclusive {
        json!({"type": "Recreate"})
    } else {
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}})
    };

    let mut spec = json!({
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": seconds(site.configuration.ready_within).max(1),
        "strategy": strategy,
        "selector": {"matchLabels": mark::selector(site, program.name, slot)},
        "template": pod,
    });

    // With an autoscaler the number of pods is its own.
    if program.service.autoscale.is_none() {
        spec["replicas"] = program.service.replicas.into();
    }

    manifest(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name.as_str(), "namespace": namespace}, "spec": spec,
    }))
}

/// A variable of a container, whose secrets are in the service's own Secret or in another's.
fn variable_of(service: &str, variable: &str, value: &EnvValue) -> Value {
    let (secret, key) = match value {
        EnvValue::Plain(text) => return json!({"name": variable, "value": text}),
        EnvValue::Secret {
            from: SecretRef::Kubernetes(other),
            ..
        } => (other.secret.clone(), &other.key),
        EnvValue::Secret { name, .. } => (format!("{service}-secrets"), name),
    };
    let from = json!({"secretKeyRef": {"name": secret, "key": key}});
    json!({"name": variable, "valueFrom": from})
}

fn container(program: &Program<'_>, slot: Slot, mounts: &[Value]) -> Value {
    let name = program.name.as_str();
    let mut env = vec![json!({"name": "SHIPIT_SLOT", "value": slot.as_str()})];
    let ports = Ports::of(program.service);
    env.extend(ports.variables());
    env.extend(files::variables(program));
    // What shipit says of a slot and its port counts, as on a host: a name is there once.
    let own: Vec<Value> = env.iter().map(|one| one["name"].clone()).collect();
    let others = program.env.iter();
    for (variable, value) in others.filter(|(name, _)| !own.contains(&Value::from(name.as_str()))) {
        env.push(variable_of(name, variable, value));
    }

    let resources = &program.service.resources;
    let mut limits = Map::new();
    for (what, limit) in [
        ("cpu", &resources.cpu_limit),
        ("memory", &resources.memory_limit),
    ] {
        if let Some(limit) = limit {
            limits.insert(what.to_owned(), limit.0.clone().into());
        }
    }

    let mut container = json!({
        "name": name,
        "image": format!("{IMAGE}{name}"),
        "imagePullPolicy": "IfNotPresent",
        "env": env,
        "resources": {"requests": {"cpu": resources.cpu.0, "memory": resources.memory.0}},
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE}}},
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        },
    });

    if !limits.is_empty() {
        container["resources"]["limits"] = limits.into();
    }
    if !program.command.is_empty() {
        container["command"] = program.command.clone().into();
    }
    if !mounts.is_empty() {
        container["volumeMounts"] = mounts.to_vec().into();
    }
    let listed = ports.of_container();
    if !listed.is_empty() {
        container["ports"] = listed.into();
    }
    for (kind, probe) in probes(&program.service.health, &ports) {
        container[kind] = probe;
    }
    container
}

/// What is asked of a container, and what comes of it: without a rule for it none is restarted, for
/// one that is busy would be restarted together with what it is doing.
fn probes(health: &Health, ports: &Ports) -> Vec<(&'static str, Value)> {
    let host = health.host.as_ref();
    let port = ports.number(health.port.as_ref());
    let Some(ready) = question(health.path.as_ref(), host, health.run.as_ref(), port) else {
        return Vec::new();
    };

    let period = seconds(health.interval).max(1);
    let asked = |failures: u64| timed(&ready, health.interval, health.timeout, failures);
    let mut probes = vec![
        ("startupProbe", asked(seconds(health.start_within) / period)),
        ("readinessProbe", asked(health.failures.into())),
    ];
    if let Some(liveness) = &health.liveness {
        let Liveness {
            path,
            port,
            run,
            interval,
            timeout,
            failures,
        } = liveness.as_ref();
        let has_own = path.is_some() || run.is_some();
        let port = ports.number(port.as_ref().or(health.port.as_ref()));
        let own = question(path.as_ref(), host, run.as_ref(), port).filter(|_| has_own);
        let alive = own.as_ref().unwrap_or(&ready);
        let probe = timed(alive, *interval, *timeout, (*failures).into());
        probes.push(("livenessProbe", probe));
    }
    probes
}

fn timed(question: &Value, interval: Period, timeout: Period, failures: u64) -> Value {
    let mut probe = question.clone();
    probe["periodSeconds"] = seconds(interval).max(1).into();
    probe["timeoutSeconds"] = seconds(timeout).max(1).into();
    probe["failureThreshold"] = failures.max(1).into();
    probe
}

fn question(
    path: Option<&String>,
    host: Option<&Host>,
    run: Option<&Vec<String>>,
    port: Option<u16>,
) -> Option<Value> {
    match (path, run, port) {
        (Some(path), _, Some(port)) => {
            let mut get = json!({"path": path, "port": port});
            // `httpGet.host` would be the address that is asked: the header alone says for whom the
            // request is.
            if let Some(host) = host {
                get["httpHeaders"] = json!([{"name": "Host", "value": host}]);
            }
            Some(json!({"httpGet": get}))
        }
        (_, Some(run), _) => Some(json!({"exec": {"command": run}})),
        (_, _, Some(port)) => Some(json!({"tcpSocket": {"port": port}})),
        _ => None,
    }
}

/// Kubernetes counts whole seconds; less than one is one.
fn seconds(period: Period) -> u64 {
    let period = period.get();
    period.as_secs() + u64::from(period.subsec_nanos() > 0)
}

fn secrets(program: &Program<'_>) -> Map<String, Value> {
    let files = program.files.values().map(|file| &file.content);
    let named = program
        .env
        .values()
        .chain(files)
        .filter_map(|value| match value {
            // It is there already.
            EnvValue::Secret {
                from: SecretRef::Kubernetes(_),
                ..
            }
            | EnvValue::Plain(_) => None,
            EnvValue::Secret { name, .. } => Some((name.clone(), format!("{SECRET}{name}").into())),
        });
    named.collect()
}

fn config_data(
    site: &Site<'_>,
    program: &Program<'_>,
    config: &crate::config::schema::ConfigFiles,
    slot: Slot,
) -> Result<Map<String, Value>, DesiredError> {
    let service = program.name;
    let mut data = Map::new();
    for glob in &config.files {
        let files = site.sources.matching(glob);
        if files.is_empty() {
            return Err(DesiredError::new(
                format!("services.{service}.config.files: no file matches `{glob}`"),
                "paths are relative to the project's folder",
            )
            .of_key(format!("services.{service}.config.files")));
        }
        for (path, text) in files {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = site
                .templates
                .render_file_in(path, Some(service), slot, text)?;
            if data.insert(name.clone(), text.into()).is_some() {
                return Err(DesiredError::new(
                    format!("services.{service}.config.files: two files are called {name}"),
                    "all files of a service are in one folder of its pods: rename one",
                ));
            }
        }
    }

    Ok(data)
}
