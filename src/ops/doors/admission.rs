//! What the files of a checkout ask for, before anything of them is resolved.

use std::path::{Component, Path};

use serde_json::Value;

use crate::config::schema::{ClusterConfig, RegistryConfig, StateConfig};
use crate::config::{EnvironmentConfig, Project};
use crate::model::EnvironmentName;
use crate::model::bounds::Bounds;
use crate::policy::admission::{Asked, Want, refusals};

/// Why the files of a checkout ask for more than they may, each with the key that asks; empty where
/// they do not.
#[must_use]
pub fn admit(project: &Project, environment: &EnvironmentName, bounds: &Bounds) -> Vec<String> {
    let Some(configuration) = project.environments.get(environment) else {
        return Vec::new();
    };
    if let Bounds::Everything(_) = bounds {
        return Vec::new();
    }
    let mut refused = refusals(&asked(configuration), bounds);
    refused.extend(outside(configuration));
    let file = format!("environments/{environment}.yaml or shipit.yaml");
    for reason in &mut refused {
        *reason = format!("{file}: {reason}");
    }
    refused
}

/// What stays in a checkout from one job to the next: the state and the images of any environment.
#[must_use]
pub fn kept(project: &Project) -> Vec<String> {
    let mut kept = Vec::new();
    for environment in project.environments.values() {
        for path in folders(environment) {
            let text = path.to_string_lossy().trim_start_matches("./").to_owned();
            let is_plain = |c: char| c.is_alphanumeric() || "-_./ ".contains(c);
            if is_inside(path) && !text.is_empty() && text.chars().all(is_plain) {
                kept.push(text);
            }
        }
    }
    kept.sort();
    kept.dedup();
    kept
}

/// The folders that an environment writes to.
fn folders(environment: &EnvironmentConfig) -> Vec<&Path> {
    let agent = environment
        .cluster
        .host()
        .and_then(|host| host.directory.as_deref());
    let mut folders = vec![environment.state.path(), environment.registry.path()];
    folders.extend(agent);
    folders
}

fn is_inside(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Folders outside of the checkout would be written to as the server's user.
fn outside(environment: &EnvironmentConfig) -> Vec<String> {
    let folders = folders(environment)
        .into_iter()
        .filter(|path| !is_inside(path));
    folders
        .map(|path| format!("the folder {} is not in the repository", path.display()))
        .collect()
}

fn asked(environment: &EnvironmentConfig) -> Asked {
    let mut asked = Asked {
        registries: registries(environment),
        clusters: clusters(environment),
        ..Asked::default()
    };
    for (name, secret) in &environment.secrets {
        let key = format!("secrets.{name}");
        let source = serde_json::to_value(secret).unwrap_or_default();
        for (kind, value) in source.as_object().into_iter().flatten() {
            let what = match (kind.as_str(), value) {
                ("rotation" | "timeout", _) => continue,
                (kind, Value::String(text)) => format!("{kind}:{text}"),
                (kind, Value::Object(fields)) => format!("{kind}:{}", path_of(fields)),
                (kind, _) => kind.to_owned(),
            };
            asked.secrets.push(Want {
                key: key.clone(),
                what,
            });
        }
    }
    let document = serde_json::to_value(environment).unwrap_or_default();
    commands(&document, "", &mut asked.commands);
    asked
}

/// A secret's place, of a map that says it.
fn path_of(fields: &serde_json::Map<String, Value>) -> String {
    let named = ["path", "file", "name", "id", "secret"]
        .iter()
        .find_map(|key| fields.get(*key));
    named.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn registries(environment: &EnvironmentConfig) -> Vec<Want> {
    let remote = environment.registry.remote();
    let named = |kind: &str| {
        let endpoint = remote.and_then(|remote| remote.endpoint.as_deref());
        let repository = remote.and_then(|remote| remote.repository.as_deref());
        let host = endpoint.map(|endpoint| endpoint.split("://").last().unwrap_or(endpoint));
        let parts = [host.unwrap_or(kind), repository.unwrap_or_default()];
        parts.join("/").trim_end_matches('/').to_owned()
    };
    let registry = match &environment.registry {
        RegistryConfig::Layout(_) => "layout".to_owned(),
        RegistryConfig::Oci(..) => named("oci"),
        RegistryConfig::Ecr(..) => named("ecr"),
    };
    let mut wants = vec![Want {
        key: "registry".to_owned(),
        what: registry,
    }];
    if let StateConfig::S3(bucket) = &environment.state {
        let name = bucket.bucket.as_deref().unwrap_or_default();
        let what = match &bucket.endpoint {
            None => format!("s3:{name}"),
            Some(endpoint) => format!("s3:{name} at {endpoint}"),
        };
        wants.push(Want {
            key: "state".to_owned(),
            what,
        });
    }
    wants
}

fn clusters(environment: &EnvironmentConfig) -> Vec<Want> {
    let what = match &environment.cluster {
        ClusterConfig::Host(_) => "host".to_owned(),
        ClusterConfig::Eks(..) => "eks".to_owned(),
        // A kubeconfig of the repository's makes any name of a context mean any cluster.
        ClusterConfig::Kubernetes(_, own) if own.kubeconfig.is_some() => "kubernetes".to_owned(),
        ClusterConfig::Kubernetes(_, own) => match &own.context {
            Some(context) => format!("kubernetes:{context}"),
            None => "kubernetes".to_owned(),
        },
    };
    vec![Want {
        key: "cluster".to_owned(),
        what,
    }]
}

/// What of a document has a program run as the server's user, or as that of the agent.
fn commands(document: &Value, path: &str, found: &mut Vec<Want>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = format!("{path}.{name}").trim_start_matches('.').to_owned();
                if let Some(what) = command(&key, name, value) {
                    found.push(Want {
                        key: key.clone(),
                        what,
                    });
                }
                commands(value, &key, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                commands(item, &format!("{path}.{index}"), found);
            }
        }
        _ => {}
    }
}

fn command(key: &str, name: &str, value: &Value) -> Option<String> {
    let parent = key.rsplit('.').nth(1).unwrap_or_default();
    let text = value.as_str().unwrap_or_default();
    let what = match name {
        "run" | "sops" if !value.is_null() => "a command",
        "exec_plugins" if value == &Value::Bool(true) => "a program that a kubeconfig names",
        "kind" if parent == "build" && text != "pack" => "a build by a Dockerfile",
        "helm" | "kustomize" if !value.is_null() => "a renderer",
        "kind" if parent == "manifests" && matches!(text, "helm" | "kustomize") => "a renderer",
        "kind" if parent == "traffic" && text == "nginx" => "nginx with the repository's settings",
        "runtime" if matches!(text, "process" | "systemd" | "auto") => {
            "a service as the agent's user (`runtime: container` or `docker` confine it)"
        }
        "from" if key.contains("volumes") && text.starts_with('/') => "a folder of this machine",
        _ => return None,
    };
    Some(what.to_owned())
}
