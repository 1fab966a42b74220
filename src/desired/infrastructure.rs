//! The infrastructure that an environment should have.

use serde_json::{Value, json};

use crate::config::schema::{
    AccessEntry, Addon, EcrRegistry, EcrRetention, EksCluster, EksControlPlane,
};
use crate::config::{EnvironmentConfig, Project};
use crate::desired::{DesiredError, repository};
use crate::model::EnvironmentName;
use crate::model::resource::{Resource, ResourceKey, ResourceKind, Settings};

/// In the order in which they can be made.
pub(super) fn resources(
    project: &Project,
    environment: &EnvironmentName,
    configuration: &EnvironmentConfig,
) -> Result<Vec<Resource>, DesiredError> {
    let mut resources = Vec::new();
    if let Some(registry) = configuration.registry.ecr() {
        let services = configuration.services.iter();
        let own = services.filter(|(_, service)| service.is_of_the_project());
        for (service, _) in own {
            let name = repository(project, environment, configuration, service)?;
            let key = ResourceKey {
                kind: ResourceKind::Repository,
                name,
            };
            resources.push(Resource {
                key,
                settings: repository_settings(registry),
            });
        }
        resources.sort_by(|a, b| a.key.cmp(&b.key));
        resources.dedup_by(|a, b| a.key == b.key);
        of_registry(registry, &mut resources);
    }

    if let Some(cluster) = configuration.cluster.eks() {
        of_cluster(cluster, &mut resources);
    }
    Ok(resources)
}

/// What Amazon's cluster has, the cluster itself first.
fn of_cluster(cluster: &EksCluster, resources: &mut Vec<Resource>) {
    let mut add = |kind: ResourceKind, name: &str, settings: Settings| {
        resources.push(Resource {
            key: ResourceKey {
                kind,
                name: name.to_owned(),
            },
            settings,
        });
    };

    if let (Some(name), Some(wanted)) = (&cluster.name, &cluster.create) {
        add(ResourceKind::Cluster, name, cluster_settings(wanted));
    }
    for (name, group) in &cluster.node_groups {
        let mut settings = settings([
            ("role", json!(group.role)),
            ("subnets", sorted(&group.subnets)),
            ("min", json!(group.min)),
            ("max", json!(group.max)),
        ]);
        if !group.instance_types.is_empty() {
            settings.insert("instance_types".to_owned(), sorted(&group.instance_types));
        }
        add(ResourceKind::NodeGroup, name, settings);
    }

    for (name, profile) in &cluster.fargate_profiles {
        let role = profile.role.as_ref();
        let settings = settings([
            ("namespaces", sorted(&profile.namespaces)),
            ("subnets", sorted(&profile.subnets)),
            ("role", json!(role)),
        ]);
        add(ResourceKind::FargateProfile, name, settings);
    }

    for (principal, entry) in &cluster.access {
        add(ResourceKind::AccessEntry, principal, access_settings(entry));
    }
    for (name, addon) in &cluster.addons {
        add(ResourceKind::Addon, name, addon_settings(addon));
    }
}

/// What a registry has as a whole.
fn of_registry(registry: &EcrRegistry, resources: &mut Vec<Resource>) {
    let repositories: Vec<String> = resources
        .iter()
        .map(|resource| resource.key.name.clone())
        .collect();
    let mut add = |kind: ResourceKind, name: String, settings: Settings| {
        resources.push(Resource {
            key: ResourceKey { kind, name },
            settings,
        });
    };
    for (prefix, rule) in &registry.pull_through {
        let mut settings = settings([("upstream", json!(rule.upstream))]);
        if let Some(credential) = &rule.credential {
            settings.insert("credential".to_owned(), json!(credential));
        }
        add(ResourceKind::PullThrough, prefix.clone(), settings);
    }

    for rule in &registry.replication {
        let of = if rule.repositories.is_empty() {
            &repositories
        } else {
            &rule.repositories
        };
        add(
            ResourceKind::Replication,
            rule.place(registry),
            settings([("repositories", sorted(of))]),
        );
    }
}

fn access_settings(entry: &AccessEntry) -> Settings {
    let mut settings = Settings::new();
    if let Some(groups) = &entry.groups {
        settings.insert("groups".to_owned(), sorted(groups));
    }
    if let Some(policies) = &entry.policies {
        let policies = policies
            .iter()
            .map(|policy| (policy.name(), sorted(policy.namespaces())));
        settings.insert("policies".to_owned(), policies.collect());
    }
    settings
}

fn addon_settings(addon: &Addon) -> Settings {
    let mut settings = Settings::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings.insert(name.to_owned(), value);
        }
    };
    set(
        "version",
        addon.version.as_ref().map(|version| json!(version.0)),
    );
    // As it is when there is none.
    let plain = |value: Value| {
        if value == json!({}) {
            Value::Null
        } else {
            value
        }
    };

    set("configuration", addon.configuration.clone().map(plain));
    set("role", addon.role.clone().map(Value::from));
    set("preserve", addon.preserve.map(Value::from));
    settings
}

fn settings<const N: usize>(pairs: [(&str, Value); N]) -> Settings {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn sorted(items: &[String]) -> Value {
    let mut items = items.to_vec();
    items.sort();
    json!(items)
}

fn texts(map: &std::collections::BTreeMap<String, crate::config::schema::Text>) -> Value {
    map.iter()
        .map(|(name, text)| (name.clone(), json!(text.0)))
        .collect()
}

fn repository_settings(registry: &EcrRegistry) -> Settings {
    let mut settings = Settings::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings.insert(name.to_owned(), value);
        }
    };

    set("immutable_tags", registry.immutable_tags.map(Value::from));
    set("scan_on_push", registry.scan_on_push.map(Value::from));
    set("kms_key", registry.kms_key.clone().map(Value::from));
    set(
        "lifecycle",
        registry
            .lifecycle_policy
            .clone()
            .or_else(|| registry.retention.as_ref().and_then(lifecycle)),
    );
    set("policy", registry.policy.clone());
    set(
        "tags",
        (!registry.tags.is_empty()).then(|| texts(&registry.tags)),
    );
    settings
}

/// The rules that `retention` means.
fn lifecycle(retention: &EcrRetention) -> Option<Value> {
    let mut rules: Vec<Value> = Vec::new();
    let mut rule = |text: String, selection: Value| {
        let priority = rules.len() + 1;
        let action = json!({"type": "expire"});
        rules.push(
            json!({"rulePriority": priority, "description": text, "selection": selection, "action": action}),
        );
    };

    if let Some(untagged) = retention.untagged {
        let days = untagged.get().as_secs().div_ceil(86_400).max(1);
        let selection = json!({
            "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days
        });
        rule(format!("untagged images go after {days} days"), selection);
    }

    if let Some(tagged) = retention.tagged {
        let selection = json!({
            "tagStatus": "tagged", "tagPatternList": ["*"], "countType": "imageCountMoreThan", "countNumber": tagged
        });
        rule(
            format!("the newest {tagged} tagged images are kept"),
            selection,
        );
    }

    (!rules.is_empty()).then(|| json!({ "rules": rules }))
}

fn cluster_settings(wanted: &EksControlPlane) -> Settings {
    let mut settings = settings([
        ("role", json!(wanted.role)),
        ("subnets", sorted(&wanted.subnets)),
    ]);
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings.insert(name.to_owned(), value);
        }
    };

    set(
        "version",
        wanted.version.as_ref().map(|version| json!(version.0)),
    );
    set(
        "security_groups",
        (!wanted.security_groups.is_empty()).then(|| sorted(&wanted.security_groups)),
    );
    set("public_access", wanted.public_access.map(Value::from));
    set("private_access", wanted.private_access.map(Value::from));
    set("logging", wanted.logging.as_deref().map(sorted));
    set(
        "tags",
        (!wanted.tags.is_empty()).then(|| texts(&wanted.tags)),
    );
    settings
}
