//! The infrastructure that an environment should have.

use serde_json::{Value, json};

use crate::config::types::{ClusterKind, EksCluster, Registry, RegistryKind, RegistryRetention};
use crate::config::{Environment, Project};
use crate::desired::{DesiredError, repository};
use crate::model::EnvironmentName;
use crate::model::resource::{Resource, ResourceKey, ResourceKind, Settings};

/// In the order in which they can be made.
pub(super) fn resources(
    project: &Project,
    environment: &EnvironmentName,
    configuration: &Environment,
) -> Result<Vec<Resource>, DesiredError> {
    let mut resources = Vec::new();
    if configuration.registry.kind == RegistryKind::Ecr {
        for service in configuration.services.keys() {
            let name = repository(project, environment, configuration, service)?;
            let key = ResourceKey { kind: ResourceKind::Repository, name };
            resources.push(Resource { key, settings: repository_settings(&configuration.registry) });
        }
        resources.sort_by(|a, b| a.key.cmp(&b.key));
        resources.dedup_by(|a, b| a.key == b.key);
    }
    let cluster = &configuration.cluster;
    if cluster.kind != ClusterKind::Eks {
        return Ok(resources);
    }
    let mut add = |kind: ResourceKind, name: &str, settings: Settings| {
        resources.push(Resource { key: ResourceKey { kind, name: name.to_owned() }, settings });
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
    Ok(resources)
}

fn settings<const N: usize>(pairs: [(&str, Value); N]) -> Settings {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn sorted(items: &[String]) -> Value {
    let mut items = items.to_vec();
    items.sort();
    json!(items)
}

fn texts(map: &std::collections::BTreeMap<String, crate::config::types::Text>) -> Value {
    map.iter().map(|(name, text)| (name.clone(), json!(text.0))).collect()
}

fn repository_settings(registry: &Registry) -> Settings {
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
        registry.lifecycle_policy.clone().or_else(|| registry.retention.as_ref().and_then(lifecycle)),
    );
    set("policy", registry.policy.clone());
    set("tags", (!registry.tags.is_empty()).then(|| texts(&registry.tags)));
    settings
}

/// The rules that `retention` means.
fn lifecycle(retention: &RegistryRetention) -> Option<Value> {
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
        rule(format!("the newest {tagged} tagged images are kept"), selection);
    }
    (!rules.is_empty()).then(|| json!({ "rules": rules }))
}

fn cluster_settings(wanted: &EksCluster) -> Settings {
    let mut settings = settings([("role", json!(wanted.role)), ("subnets", sorted(&wanted.subnets))]);
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings.insert(name.to_owned(), value);
        }
    };
    set("version", wanted.version.as_ref().map(|version| json!(version.0)));
    set("security_groups", (!wanted.security_groups.is_empty()).then(|| sorted(&wanted.security_groups)));
    set("public_access", wanted.public_access.map(Value::from));
    set("private_access", wanted.private_access.map(Value::from));
    set("logging", wanted.logging.as_deref().map(sorted));
    set("tags", (!wanted.tags.is_empty()).then(|| texts(&wanted.tags)));
    settings
}
