//! Which keys of a project and of a service go with the engine that it runs on: a key that would
//! have no effect is refused, not ignored.

use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::schema::{
    ChartCrds, ChartHooks, ClusterConfig, EnvironmentConfig, HostCluster, Manifests,
    RegistryConfig, Runtime, ServiceConfig, StateConfig, TrafficConfig,
};
use crate::model::Slot;
use crate::model::volume::one_holds_the_other;

const ONLY_A_CLUSTER: &str = "only a Kubernetes cluster has this";

/// What is asked of a driver that it does not have.
pub(super) fn check(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
    match &environment.cluster {
        ClusterConfig::Host(cluster) => host(findings, environment, cluster),
        ClusterConfig::Kubernetes(..) | ClusterConfig::Eks(..) => kubernetes(findings, environment),
    }

    ClusterConfig::check(findings, environment);
    RegistryConfig::check(findings, environment);
    StateConfig::check(findings, environment);
    TrafficConfig::check(findings, environment);
}

fn host(findings: &mut Findings<'_>, environment: &EnvironmentConfig, host: &HostCluster) {
    if !environment.slots.is_empty() {
        findings.add(&["slots"], "the host engine has no namespaces", TAKE_OUT);
    }
    if environment.manifests.is_some() {
        findings.add(&["manifests"], ONLY_A_CLUSTER, TAKE_OUT);
    }
    for (name, service) in &environment.services {
        on_host(findings, host.runtime, name.as_str(), service);
    }
    if matches!(host.runtime, Runtime::Container | Runtime::Docker) {
        one_at_a_time(findings, environment);
    }
}

/// A volume is mounted by one instance at a time, unless it is shared: two that write the same
/// files without knowing of each other destroy them.
fn one_at_a_time(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
    let services = environment.services.iter();
    let mounts: Vec<_> = services
        .flat_map(|(name, service)| {
            let volumes = service.volumes.iter();
            volumes.map(move |(inside, volume)| (name.as_str(), service, inside, volume))
        })
        .collect();
    for (name, service, inside, volume) in &mounts {
        if volume.is_shared() {
            continue;
        }
        let others = mounts.iter();
        let other = others
            .filter(|(.., other)| one_holds_the_other(other.from(), volume.from()))
            .find(|(other, ..)| other != name);
        let who = if let Some((other, ..)) = other {
            format!("{other} would have it, too")
        } else if !service.is_exclusive(environment.strategy) {
            "two releases would have it at once during a deployment".to_owned()
        } else if service.replicas > 1 {
            format!("{} instances would have it at once", service.replicas)
        } else {
            continue;
        };
        let from = volume.from();
        findings.add(
            &["services", name, "volumes", &inside.to_string_lossy()],
            format!("{from} is for one instance at a time, and {who}"),
            format!(
                "write `{{from: {from}, shared: true}}` if the service can, or `strategy: \
                 recreate` for it, with one replica"
            ),
        );
    }
}

fn on_host(findings: &mut Findings<'_>, runtime: Runtime, name: &str, service: &ServiceConfig) {
    let at = ["services", name];
    let keys = [
        "manifests",
        "autoscale",
        "config",
        "user",
        "service_account",
        "pod",
    ];
    findings.refuse(&at, &keys, ONLY_A_CLUSTER);

    let (has_limits, has_volumes) = match runtime {
        Runtime::Container | Runtime::Docker => (true, true),
        Runtime::Systemd => (true, false),
        Runtime::Process | Runtime::Auto => (false, false),
    };
    if has_limits {
        let message = "only a Kubernetes cluster keeps room free; a host has limits alone";
        findings.refuse(
            &["services", name, "resources"],
            &["cpu", "memory"],
            message,
        );
    } else {
        findings.refuse(
            &at,
            &["resources"],
            "only containers, units and pods have this",
        );
    }
    if has_volumes {
        volumes(findings, runtime, name, service);
    } else {
        findings.refuse(&at, &["volumes"], "only containers have this");
    }

    let is_odd = |variable: &&String| runtime == Runtime::Systemd && !is_shell_name(variable);
    for variable in service.env.keys().filter(is_odd) {
        findings.add(
            &["services", name, "env", variable],
            "systemd passes no such variable on",
            "use letters, digits and _ only",
        );
    }
}

fn volumes(findings: &mut Findings<'_>, runtime: Runtime, name: &str, service: &ServiceConfig) {
    for (inside, volume) in &service.volumes {
        let from = volume.from();
        let path = inside.to_string_lossy();
        let is_plain = !from.is_empty() && !from.contains(':') && !path.contains(':');
        let is_folder = runtime == Runtime::Docker || from.starts_with('/');
        let is_plain = is_plain && !from.split('/').any(|part| part == "..");
        if !inside.is_absolute() || !is_plain || !is_folder {
            findings.add(
                &["services", name, "volumes", &path],
                "a path inside, and a volume or a folder",
                "write `/data: /srv/shop`, or with `docker` a volume: `/data: shop-data`",
            );
        }
    }
}

/// What a variable may be called in a shell, and in a unit.
fn is_shell_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    name.starts_with(is_letter)
        && name
            .chars()
            .all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

fn kubernetes(findings: &mut Findings<'_>, environment: &EnvironmentConfig) {
    rendered(findings, &["manifests"], environment.manifests.as_ref());
    for (name, service) in &environment.services {
        on_cluster(findings, environment, name.as_str(), service);
    }
}

fn on_cluster(
    findings: &mut Findings<'_>,
    environment: &EnvironmentConfig,
    name: &str,
    service: &ServiceConfig,
) {
    let at = ["services", name];
    let path = |key| ["services", name, key];
    findings.refuse(
        &path("resources"),
        &["processes_limit"],
        "a cluster limits the processes of its pods itself (the kubelet's `podPidsLimit`)",
    );
    rendered(findings, &path("manifests"), service.manifests.as_ref());
    if service.manifests.is_some() {
        let keys = [
            "autoscale",
            "config",
            "env_file",
            "files",
            "resources",
            "service_account",
            "pod",
        ];
        let message = "the service has manifests of its own, which say this";
        findings.refuse(&at, &keys, message);
    }
    if !service.volumes.is_empty() {
        let message = "only containers of a host have this";
        findings.add(&path("volumes"), message, "use manifests of your own");
    }

    if let Some(account) = &service.service_account {
        account.check(findings, &path("service_account"));
    }
    if let Some(pod) = &service.pod {
        pod.check(findings, &path("pod"));
    }
    if service.user == 0 {
        let message = "a service does not run as root";
        findings.add(&path("user"), message, "write another number, as 65532");
    }
    if service.autoscale.is_some() {
        let message = "how many pods there are is `autoscale`'s matter here";
        findings.refuse(&at, &["replicas"], message);
    }
    if let Some(scale) = &service.autoscale
        && (scale.min == 0 || scale.max < scale.min)
    {
        let message = format!("{} to {} pods cannot be", scale.min, scale.max);
        let help = "write `min` of 1 or more, and `max` not below it";
        findings.add(&path("autoscale"), message, help);
    }
    slot_services(findings, environment, name);
}

/// A service of a cluster has a Service for each slot, whose name is nobody else's.
fn slot_services(findings: &mut Findings<'_>, environment: &EnvironmentConfig, name: &str) {
    for slot in Slot::ALL {
        let base = name.strip_suffix(&format!("-{slot}"));
        let is_service = |base: &&str| {
            environment
                .services
                .keys()
                .any(|other| other.as_str() == *base)
        };
        if let Some(base) = base.filter(is_service) {
            let message = format!("{base} has a Service of this name for its slot {slot}");
            findings.add(&["services", name], message, "give it another name");
        }
    }
}

fn rendered(findings: &mut Findings<'_>, path: &[&str], manifests: Option<&Manifests>) {
    let Some(Manifests::Rendered(tool)) = manifests else {
        return;
    };
    if tool.kustomize.is_some() == tool.helm.is_some() {
        findings.add(
            path,
            "exactly one of `kustomize` and `helm` renders manifests",
            "name one of them",
        );
    }
    if tool.values.is_some() && tool.helm.is_none() {
        findings.add(path, "`values` is for `helm`", TAKE_OUT);
    }
    let is_said = tool.hooks != ChartHooks::default() || tool.crds != ChartCrds::default();
    if is_said && tool.helm.is_none() {
        findings.add(path, "`hooks` and `crds` are for `helm`", TAKE_OUT);
    }
}
