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
    refused.extend(astray(&project.root, configuration));
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

/// A link of the repository leads anywhere, and what is in `.git` is Git's.
fn astray(root: &Path, environment: &EnvironmentConfig) -> Vec<String> {
    let mut refused = Vec::new();
    for path in folders(environment) {
        let mut place = root.to_path_buf();
        for part in path.components() {
            place.push(part);
            let is_link = place.symlink_metadata().is_ok_and(|it| it.is_symlink());
            if is_link || part.as_os_str().eq_ignore_ascii_case(".git") {
                let what = if is_link {
                    "leads through a link"
                } else {
                    "is Git's own"
                };
                refused.push(format!("the folder {} {what}", path.display()));
                break;
            }
        }
    }
    refused
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
    asked.registries.extend(images(&document));
    asked
}

/// The images that are looked for in other registries, with the logins of the server's user.
fn images(document: &Value) -> Vec<Want> {
    let services = document["services"].as_object();
    let mut wants = Vec::new();
    for (name, service) in services.into_iter().flatten() {
        let image = &service["image"];
        let named = [image, &image["name"], &image["image"]];
        let base = &service["build"]["base"];
        let at = [
            ("image", named.into_iter().find_map(Value::as_str)),
            ("build.base", base.as_str()),
        ];
        for (key, text) in at {
            let Some(text) = text.filter(|text| !text.is_empty() && *text != "scratch") else {
                continue;
            };
            wants.push(Want {
                key: format!("services.{name}.{key}"),
                what: whole_name(text),
            });
        }
    }
    wants
}

/// An image's name with its registry: what names none is of Docker Hub.
fn whole_name(text: &str) -> String {
    let first = text.split('/').next().unwrap_or_default();
    let has_registry = text.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    match (has_registry, text.contains('/')) {
        (true, _) => text.to_owned(),
        (false, true) => format!("docker.io/{text}"),
        (false, false) => format!("docker.io/library/{text}"),
    }
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

/// Whether a key says anything.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => fields.values().any(is_said),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
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
        "sources" if key == name && is_said(value) => "where the server's secrets are asked for",
        "notify" if key == name && is_said(value) => "messages from the server to any address",
        "http" if key.starts_with("hooks.") => "a request from the server to any address",
        "publish" if is_said(value) => "writing into any etcd",
        "password_file" | "ca" | "auth_hosts" if is_said(value) => {
            "a file of this machine, or where a password goes"
        }
        "network" if key == "cluster.network" && is_said(value) => "a network of this machine",
        "plain_http" | "endpoint_gets_credentials" if value == &Value::Bool(true) => {
            "a password over a line that others read, or to another address"
        }
        "from" if key.contains("volumes") && text.starts_with('/') => "a folder of this machine",
        _ => return None,
    };
    Some(what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::load;
    use crate::model::bounds::{Allowances, Commands};

    const GOOD: &str = "version: 1\nproject: shop\ncluster: {runtime: container}\n\
        services:\n  web:\n    build: {kind: pack, copy: {.: /app}, entrypoint: [/app/start]}\n    port: 8080\n\
        traffic: {listeners: {web: {live: 8080, preview: 8081}}}\n";

    fn bounds(registries: &[&str]) -> Bounds {
        Bounds::Only(Allowances {
            secrets: vec!["env:SHOP_*".to_owned(), "vault:secret/shop/*".to_owned()],
            registries: registries.iter().map(|it| (*it).to_owned()).collect(),
            clusters: vec!["host".to_owned()],
            commands: Commands::Never,
        })
    }

    /// What is refused of a project with these lines besides.
    fn refused(shipit: &str, registries: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir(root.join("environments")).expect("a folder");
        fs::write(root.join("environments/staging.yaml"), "").expect("written");
        fs::write(root.join("shipit.yaml"), shipit).expect("written");
        symlink("/tmp", root.join("link")).expect("a link");
        let project = load(root).unwrap_or_else(|error| panic!("{shipit}: {error:?}"));
        admit(
            &project,
            &"staging".parse().expect("a name"),
            &bounds(registries),
        )
    }

    fn with(lines: &str) -> String {
        format!("{GOOD}{lines}\n")
    }

    #[test]
    fn what_the_operator_has_not_allowed_is_refused_whatever_key_asks() {
        assert_eq!(refused(GOOD, &["layout"]), [""; 0]);
        let publish = "traffic: {listeners: {web: {live: 8080, preview: 8081}}, publish: {etcd: \
                       [\"http://127.0.0.1:1\"], user: root, password_file: /etc/shadow}}";
        let cases = [
            (
                with(
                    "sources: {vault: {address: \"https://a.example.com\", auth: {token: {file: /etc/shadow}}}}",
                ),
                "sources",
            ),
            (
                GOOD.replace(
                    "traffic: {listeners: {web: {live: 8080, preview: 8081}}}",
                    publish,
                ),
                "traffic.publish",
            ),
            (
                with(
                    "secrets: {x: {env: SHOP_KEY}}\nhooks: {q: {after: build, http: {url: \
                     \"https://a.example.com\", secret: {secret: x}}}}",
                ),
                "hooks.q.http",
            ),
            (
                with(
                    "secrets: {x: {env: SHOP_KEY}}\nnotify: {b: {webhook: {url: \
                     \"https://a.example.com\", secret: {secret: x}}}}",
                ),
                "notify",
            ),
            (with("state: {path: link/state}"), "link/state"),
            (with("state: {path: .git}"), ".git"),
            (
                with("registry: {kind: layout, path: link/images}"),
                "link/images",
            ),
            (
                GOOD.replace(
                    "kind: pack,",
                    "kind: pack, base: \"a.example.com/other/base:2\",",
                ),
                "services.web.build.base",
            ),
            (
                GOOD.replace(
                    "build: {kind: pack, copy: {.: /app}, entrypoint: [/app/start]}",
                    "image: \"a.example.com/other/team:1\"",
                ),
                "services.web.image",
            ),
        ];
        for (shipit, key) in cases {
            let found = refused(&shipit, &["layout"]);
            assert!(
                found.iter().any(|one| one.contains(key)),
                "{key}: {found:?}"
            );
        }
    }

    #[test]
    fn an_image_of_an_allowed_registry_is_allowed() {
        let image = |name: &str| {
            GOOD.replace(
                "build: {kind: pack, copy: {.: /app}, entrypoint: [/app/start]}",
                &format!("image: \"{name}\""),
            )
        };
        let allowed = ["layout", "docker.io/library", "a.example.com/shop"];
        for name in ["nginx:1.27", "a.example.com/shop/web:1"] {
            assert_eq!(refused(&image(name), &allowed), [""; 0], "{name}");
        }
        for name in [
            "kim/nginx:1",
            "a.example.com/shopping/web:1",
            "localhost/x/y:1",
        ] {
            assert_eq!(refused(&image(name), &allowed).len(), 1, "{name}");
        }
    }
}
