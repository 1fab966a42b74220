//! Which keys belong to which engine, registry and store: a key that would have no effect is refused, not ignored.

use crate::config::findings::{Findings, TAKE_OUT};
use crate::config::schema::{
    AccessPolicy, ChartCrds, ChartHooks, ClusterKind, Environment, Manifests, RegistryConfig,
    Runtime, Service, StateConfig, TrafficConfig,
};
use crate::config::schema::{NO_ENDPOINT, region};
use crate::model::ServiceName;
use crate::model::secret::SecretRef;

/// What is asked of a driver that it does not have.
pub(super) fn check(findings: &mut Findings<'_>, environment: &Environment) {
    match environment.cluster.kind {
        ClusterKind::Host => host(findings, environment),
        ClusterKind::Kubernetes | ClusterKind::Eks => kubernetes(findings, environment),
    }
    eks(findings, environment);
    RegistryConfig::check(findings, environment);
    StateConfig::check(findings, environment);
    TrafficConfig::check(findings, environment);
    for (name, secret) in &environment.secrets {
        if matches!(secret, SecretRef::Vault(_)) {
            let help = "`file` and `env` work today";
            findings.add(
                &["secrets", name],
                "not supported yet by this version",
                help,
            );
        }
    }
}

fn eks(findings: &mut Findings<'_>, environment: &Environment) {
    let cluster = &environment.cluster;
    if cluster.kind != ClusterKind::Eks {
        let keys = [
            "name",
            "region",
            "endpoint",
            "endpoint_gets_credentials",
            "certificate_authority",
            "create",
            "node_groups",
            "fargate_profiles",
            "addons",
            "access",
        ];
        findings.refuse(&["cluster"], &keys, "only `eks` has this");
        return;
    }
    if cluster.name.is_none() {
        findings.add(
            &["cluster"],
            "nothing says which cluster",
            "write `name: CLUSTER`",
        );
    }
    region(findings, "cluster", cluster.region.as_deref());
    if cluster.endpoint.is_none() {
        let keys = ["endpoint_gets_credentials"];
        findings.refuse(&["cluster"], &keys, NO_ENDPOINT);
    }
    let keys = ["kubeconfig", "context", "exec_plugins"];
    findings.refuse(
        &["cluster"],
        &keys,
        "`eks` reads where the cluster is from Amazon, and needs no kubeconfig",
    );
    for (name, profile) in &cluster.fargate_profiles {
        let faults = [
            (
                profile.namespaces.is_empty(),
                "`namespaces` says whose pods it runs",
            ),
            (profile.role.is_none(), "`role` runs the pods"),
        ];
        for (_, message) in faults.iter().filter(|(fault, _)| *fault) {
            findings.add(&["cluster", "fargate_profiles", name], *message, "add it");
        }
    }
    for (name, group) in &cluster.node_groups {
        if group.role.is_empty() || group.subnets.is_empty() || group.max < group.min.max(1) {
            let help = "write `{role: ARN, subnets: […], min: 1, max: 3}`";
            findings.add(
                &["cluster", "node_groups", name],
                "it needs a role, subnets, and `max`",
                help,
            );
        }
    }
    access(findings, environment);
    if let Some(wanted) = &cluster.create
        && (wanted.role.is_empty() || wanted.subnets.is_empty())
    {
        let help = "write `create: {role: ARN, subnets: […]}`";
        findings.add(
            &["cluster", "create"],
            "a cluster has a role and subnets",
            help,
        );
    }
}

/// What Amazon refuses of access entries, said before anything was done.
fn access(findings: &mut Findings<'_>, environment: &Environment) {
    for (principal, entry) in &environment.cluster.access {
        let fields: Vec<&str> = principal.splitn(6, ':').collect();
        let is_principal = matches!(fields[..], ["arn", _, "iam", _, _, who]
            if who == "root" || who.starts_with("role/") || who.starts_with("user/"));
        if !is_principal {
            let help = "write `arn:aws:iam::123456789012:role/NAME`; a session is its role's";
            findings.add(
                &["cluster", "access", principal],
                "this is no role or user of IAM",
                help,
            );
        }
        for group in entry.groups.iter().flatten() {
            let kept = ["system:", "eks:", "aws:", "amazon:", "iam:"];
            if kept.iter().any(|prefix| group.starts_with(prefix)) {
                let help = "bind a group of your own to the role, or use `policies`";
                let message = format!("Amazon keeps the group {group} for itself");
                findings.add(&["cluster", "access", principal, "groups"], message, help);
            }
        }
        let policies = entry.policies.as_deref().unwrap_or_default();
        for (index, policy) in policies.iter().enumerate() {
            if policies[..index]
                .iter()
                .any(|other| other.name() == policy.name())
            {
                let message = format!("{} is named twice", policy.name());
                let help = "write all of its namespaces in one";
                findings.add(&["cluster", "access", principal, "policies"], message, help);
            }
            if let AccessPolicy::Within(within) = policy
                && within.namespaces.is_empty()
            {
                let help = format!(
                    "name some, or write `{}` alone: then it holds in all of them",
                    within.policy
                );
                let message = format!("{} holds in no namespace", within.policy);
                findings.add(&["cluster", "access", principal, "policies"], message, help);
            }
        }
    }
}

fn host(findings: &mut Findings<'_>, environment: &Environment) {
    let only = "only a Kubernetes cluster has this";
    let docker = environment.cluster.runtime == Runtime::Docker;
    let contained = docker || environment.cluster.runtime == Runtime::Container;
    let systemd = environment.cluster.runtime == Runtime::Systemd;
    if !docker {
        findings.refuse(&["cluster"], &["network"], "only `docker` has this");
    }
    let cluster = &environment.cluster;
    if !matches!(cluster.runtime, Runtime::Container | Runtime::Auto) {
        let only = "only the runtime `container` has this";
        findings.refuse(&["cluster"], &["user_namespace"], only);
    }
    if !environment.slots.is_empty() {
        findings.add(&["slots"], "the host engine has no namespaces", TAKE_OUT);
    }
    if environment.manifests.is_some() {
        findings.add(&["manifests"], only, TAKE_OUT);
    }
    let keys = [
        "kubeconfig",
        "context",
        "namespace",
        "create_namespaces",
        "exec_plugins",
        "conflicts",
        "ready",
    ];
    findings.refuse(&["cluster"], &keys, only);
    for (name, service) in &environment.services {
        let at = ["services", name.as_str()];
        findings.refuse(&at, &["manifests", "autoscale", "config", "user"], only);
        if !contained && !systemd {
            findings.refuse(&at, &["resources"], only);
        }
        let odd = service
            .env
            .keys()
            .filter(|variable| systemd && !is_shell_name(variable));
        for variable in odd {
            let path = ["services", name.as_str(), "env", variable];
            findings.add(
                &path,
                "systemd passes no such variable on",
                "use letters, digits and _ only",
            );
        }
        if !contained && !service.volumes.is_empty() {
            findings.add(
                &["services", name.as_str(), "volumes"],
                "only containers have this",
                TAKE_OUT,
            );
        }
        for (inside, from) in &service.volumes {
            let plain =
                !from.is_empty() && !from.contains(':') && !inside.to_string_lossy().contains(':');
            let is_folder = docker || from.starts_with('/');
            if !inside.is_absolute() || !plain || !is_folder {
                let help =
                    "write `/data: /srv/shop`, or with `docker` a volume: `/data: shop-data`";
                let inside = inside.to_string_lossy();
                let path = ["services", name.as_str(), "volumes", &inside];
                findings.add(&path, "a path inside, and a volume or a folder", help);
            }
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

fn kubernetes(findings: &mut Findings<'_>, environment: &Environment) {
    let only = "only the host engine has this";
    let keys = ["runtime", "directory", "network", "user_namespace"];
    findings.refuse(&["cluster"], &keys, only);
    rendered(findings, &["manifests"], environment.manifests.as_ref());
    for (name, service) in &environment.services {
        on_cluster(findings, environment, name, service);
    }
}

fn on_cluster(
    findings: &mut Findings<'_>,
    environment: &Environment,
    name: &ServiceName,
    service: &Service,
) {
    let at = |key: &'static str| ["services", name.as_str(), key];
    if service.resources.processes_limit.is_some() {
        findings.add(
            &["services", name.as_str(), "resources", "processes_limit"],
            "a cluster limits the processes of its pods itself (the kubelet's `podPidsLimit`)",
            TAKE_OUT,
        );
    }
    rendered(findings, &at("manifests"), service.manifests.as_ref());
    if service.manifests.is_some() {
        findings.refuse(
            &["services", name.as_str()],
            &["autoscale", "config", "resources"],
            "the service has manifests of its own, which say this",
        );
    }
    if !service.volumes.is_empty() {
        findings.add(
            &at("volumes"),
            "only the runtime `docker` has this",
            "use manifests of your own",
        );
    }
    if service.user == 0 {
        findings.add(
            &at("user"),
            "a service does not run as root",
            "write another number, as 65532",
        );
    }
    if let Some(scale) = &service.autoscale
        && (scale.min == 0 || scale.max < scale.min)
    {
        let help = "write `min` of 1 or more, and `max` not below it";
        findings.add(
            &at("autoscale"),
            format!("{} to {} pods cannot be", scale.min, scale.max),
            help,
        );
    }
    for slot in crate::model::Slot::ALL {
        let base = name.as_str().strip_suffix(&format!("-{slot}"));
        if let Some(base) = base.filter(|base| {
            environment
                .services
                .keys()
                .any(|other| other.as_str() == *base)
        }) {
            let message = format!("{base} has a Service of this name for its slot {slot}");
            findings.add(
                &["services", name.as_str()],
                message,
                "give it another name",
            );
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
