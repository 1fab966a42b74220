//! What the files of a checkout ask for, before anything of them is resolved.

use std::path::{Component, Path};

use serde_json::{Value, json};

use crate::config::schema::{
    BuildConfig, ClusterConfig, HostCluster, ImageConfig, KubernetesCluster, LayoutRegistry,
    Manifests, OciRegistry, RegistryConfig, RemoteRegistry, Runtime, SecretConfig, ServiceConfig,
    SourcesConfig, StateConfig, TrafficConfig,
};
use crate::config::{EnvironmentConfig, Project};
use crate::model::bounds::Bounds;
use crate::model::check::Check;
use crate::model::image::{ImageName, ImageRepository};
use crate::policy::admission::{Asked, Want, refusals};

/// Why the files of a checkout ask for more than they may, each with the key that asks; empty where
/// they do not. All of the project's environments are looked at: one may take its images from
/// another, which is looked into with that one's own settings.
#[must_use]
pub fn admit(project: &Project, bounds: &Bounds) -> Vec<String> {
    if let Bounds::Everything(_) = bounds {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (name, environment) in &project.environments {
        let mut refused = refusals(&Asking::of(environment).asked, bounds);
        refused.extend(outside(environment));
        refused.extend(astray(&project.root, environment));
        all.extend(
            refused
                .iter()
                .map(|reason| format!("environments/{name}.yaml or shipit.yaml: {reason}")),
        );
    }
    all
}

/// What is asked for, in words.
const COMMAND: &str = "a command";
const FILE: &str = "a file of this machine";
const PASSWORD: &str = "another place or way for a password";

/// What stays in a checkout from one job to the next, as patterns of `gitignore(5)`: the state and
/// the images of any environment.
#[must_use]
pub fn kept(project: &Project) -> Vec<String> {
    let mut kept = Vec::new();
    for environment in project.environments.values() {
        for path in folders(environment) {
            let Some(text) = path.to_str().map(|text| text.trim_start_matches("./")) else {
                continue;
            };
            if is_inside(path) && !text.is_empty() && !text.contains(char::is_control) {
                kept.push(literal(text));
            }
        }
    }
    kept.sort();
    kept.dedup();
    kept
}

/// A pattern for this path and no other.
#[must_use]
pub fn literal(path: &str) -> String {
    let mut pattern = String::new();
    for sign in path.chars() {
        if !sign.is_alphanumeric() && !"-_./".contains(sign) {
            pattern.push('\\');
        }
        pattern.push(sign);
    }
    pattern
}

/// The folders that an environment writes to.
fn folders(environment: &EnvironmentConfig) -> Vec<&Path> {
    let agent = environment
        .cluster
        .host()
        .filter(|host| host.at.is_none())
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

/// What an environment asks for. Every key of the configuration is named here, so that a new one is
/// looked at before it is let through.
#[derive(Default)]
struct Asking {
    asked: Asked,
}

impl Asking {
    fn of(environment: &EnvironmentConfig) -> Self {
        let EnvironmentConfig {
            registry,
            cluster,
            state,
            services,
            tasks,
            manifests,
            traffic,
            promotion,
            secrets,
            sources,
            hooks,
            notify,
            policy,
            version: _,
            project: _,
            branches: _,
            windows: _,
            freezes: _,
            ticket: _,
            approvers: _,
            approvals: _,
            protected: _,
            may_differ: _,
            retention: _,
            strategy: _,
            slots: _,
            ready_within: _,
            vars: _,
        } = environment;
        let mut asking = Self::default();
        asking.registry(registry);
        asking.state(state);
        asking.cluster(cluster);
        asking.traffic(traffic);
        for (name, service) in services {
            asking.service(&format!("services.{name}"), service);
        }
        for (name, task) in tasks {
            asking.when(task.run.is_some(), format!("tasks.{name}.run"), COMMAND);
        }
        asking.manifests("manifests", manifests.as_ref());
        asking.checks("promotion.before", &promotion.before);
        asking.checks("promotion.after", &promotion.after);
        for (name, secret) in secrets {
            asking.secret(&format!("secrets.{name}"), secret);
        }
        let has_sources = *sources != SourcesConfig::default();
        asking.when(
            has_sources,
            "sources",
            "where the server's secrets are asked for",
        );
        for (name, hook) in hooks {
            let (run, http) = (hook.run.is_some(), hook.http.is_some());
            asking.when(run, format!("hooks.{name}.run"), COMMAND);
            let request = "a request from the server to any address";
            asking.when(http, format!("hooks.{name}.http"), request);
        }
        let message = "messages from the server to any address";
        asking.when(!notify.is_empty(), "notify", message);
        for (index, rule) in policy.iter().enumerate() {
            asking.when(rule.run.is_some(), format!("policy.{index}.run"), COMMAND);
        }
        asking
    }

    /// What has a program run, or a password go, as the server's user or as the agent's.
    fn when(&mut self, is_asked: bool, key: impl Into<String>, what: &str) {
        if is_asked {
            self.asked.commands.push(Want {
                key: key.into(),
                what: what.to_owned(),
            });
        }
    }

    fn registry(&mut self, registry: &RegistryConfig) {
        let what = match registry {
            RegistryConfig::Layout(LayoutRegistry {
                path: _,
                auth_hosts,
            }) => {
                self.when(!auth_hosts.is_empty(), "registry.auth_hosts", PASSWORD);
                "layout".to_owned()
            }
            RegistryConfig::Oci(remote, OciRegistry { retention: _ }) => {
                self.remote(remote);
                named("oci", remote)
            }
            RegistryConfig::Ecr(remote, ecr) => {
                self.remote(remote);
                let key = "registry.endpoint_gets_credentials";
                self.when(ecr.endpoint_gets_credentials, key, PASSWORD);
                named("ecr", remote)
            }
        };
        self.asked.registries.push(Want {
            key: "registry".to_owned(),
            what,
        });
    }

    fn remote(&mut self, remote: &RemoteRegistry) {
        let RemoteRegistry {
            ca,
            plain_http,
            auth_hosts,
            endpoint: _,
            repository: _,
            provenance: _,
            sbom: _,
        } = remote;
        self.when(ca.is_some(), "registry.ca", FILE);
        self.when(*plain_http, "registry.plain_http", PASSWORD);
        self.when(!auth_hosts.is_empty(), "registry.auth_hosts", PASSWORD);
    }

    fn state(&mut self, state: &StateConfig) {
        let bucket = match state {
            StateConfig::Local(_) | StateConfig::Kubernetes(_) | StateConfig::Host(_) => return,
            StateConfig::S3(bucket) => bucket,
        };
        let name = bucket.bucket.as_deref().unwrap_or_default();
        let what = match &bucket.endpoint {
            None => format!("s3:{name}"),
            Some(endpoint) => format!("s3:{name} at {endpoint}"),
        };
        self.asked.registries.push(Want {
            key: "state".to_owned(),
            what,
        });
    }

    fn cluster(&mut self, cluster: &ClusterConfig) {
        let what = match cluster {
            ClusterConfig::Host(HostCluster {
                runtime,
                network,
                user_namespace: _,
                directory: _,
                at,
                ssh,
            }) => {
                let is_open = match runtime {
                    Runtime::Process | Runtime::Systemd | Runtime::Auto => true,
                    Runtime::Container | Runtime::Docker => false,
                };
                let what =
                    "a service as the agent's user (`runtime: container` or `docker` confine it)";
                self.when(is_open, "cluster.runtime", what);
                let what = "a network of this machine";
                self.when(network.is_some(), "cluster.network", what);
                self.when(ssh.identity.is_some(), "cluster.ssh.identity", FILE);
                self.when(ssh.known_hosts.is_some(), "cluster.ssh.known_hosts", FILE);
                match at {
                    Some(at) => format!("host:{at}"),
                    None => "host".to_owned(),
                }
            }
            ClusterConfig::Eks(_, eks) => {
                let (gets, ca) = (
                    eks.endpoint_gets_credentials,
                    eks.certificate_authority.is_some(),
                );
                self.when(gets, "cluster.endpoint_gets_credentials", PASSWORD);
                self.when(ca, "cluster.certificate_authority", FILE);
                "eks".to_owned()
            }
            ClusterConfig::Kubernetes(
                _,
                KubernetesCluster {
                    kubeconfig,
                    context,
                    exec_plugins,
                },
            ) => {
                let what = "a program that a kubeconfig names";
                self.when(*exec_plugins, "cluster.exec_plugins", what);
                match (kubeconfig, context) {
                    (None, Some(context)) => format!("kubernetes:{context}"),
                    // A kubeconfig of the repository's makes any name of a context mean any
                    // cluster.
                    (Some(_), _) | (None, None) => "kubernetes".to_owned(),
                }
            }
        };
        self.asked.clusters.push(Want {
            key: "cluster".to_owned(),
            what,
        });
    }

    fn traffic(&mut self, traffic: &TrafficConfig) {
        let host = match traffic {
            TrafficConfig::Embedded(host, embedded) => {
                self.when(
                    embedded.tls.is_some(),
                    "traffic.tls",
                    "showing any certificate of the machine",
                );
                host
            }
            TrafficConfig::Nginx(host, _) => {
                self.when(true, "traffic.kind", "nginx with the repository's settings");
                host
            }
            TrafficConfig::Service(_) | TrafficConfig::Ingress(..) | TrafficConfig::Gateway(..) => {
                return;
            }
        };
        self.when(
            host.publish.is_some(),
            "traffic.publish",
            "writing into any etcd",
        );
    }

    fn service(&mut self, key: &str, service: &ServiceConfig) {
        let ServiceConfig {
            build,
            image,
            health,
            manifests,
            volumes,
            port: _,
            ports: _,
            socket: _,
            replicas: _,
            strategy: _,
            env: _,
            env_file: _,
            files: _,
            command: _,
            stop_grace: _,
            resources: _,
            autoscale: _,
            config: _,
            service_account: _,
            pod: _,
            user: _,
        } = service;
        if let Some(build) = build {
            self.build(&format!("{key}.build"), build);
        }
        if let Some(text) = image.as_ref().and_then(text_of) {
            self.image(format!("{key}.image"), text);
        }
        let liveness = health.liveness.as_ref().is_some_and(|it| it.run.is_some());
        self.when(health.run.is_some(), format!("{key}.health.run"), COMMAND);
        self.when(liveness, format!("{key}.health.liveness.run"), COMMAND);
        self.manifests(&format!("{key}.manifests"), manifests.as_ref());
        for (inside, volume) in volumes {
            let is_folder = volume.from().starts_with('/');
            let key = format!("{key}.volumes.{}", inside.display());
            self.when(is_folder, key, "a folder of this machine");
        }
    }

    fn build(&mut self, key: &str, build: &BuildConfig) {
        match build {
            BuildConfig::Pack(_, pack) => {
                self.when(pack.run.is_some(), format!("{key}.run"), COMMAND);
                if pack.base != "scratch" {
                    self.image(format!("{key}.base"), &pack.base);
                }
            }
            BuildConfig::Docker(..) | BuildConfig::Buildah(..) => {
                self.when(true, format!("{key}.kind"), "a build by a Dockerfile");
            }
        }
    }

    /// An image of another registry is looked for there, with the logins of the server's user.
    fn image(&mut self, key: String, text: &str) {
        let what = match repository_of(text) {
            Some(repository) => format!("{}/{}", repository.registry(), repository.name()),
            None => format!("an image that no one knows beforehand ({text})"),
        };
        self.asked.registries.push(Want { key, what });
    }

    fn manifests(&mut self, key: &str, manifests: Option<&Manifests>) {
        let is_rendered = match manifests {
            None | Some(Manifests::Files(_)) => false,
            Some(Manifests::Rendered(_)) => true,
        };
        self.when(is_rendered, key, "a renderer");
    }

    fn checks(&mut self, key: &str, checks: &[Check]) {
        for (index, check) in checks.iter().enumerate() {
            let is_program = match check {
                Check::Run(_) => true,
                Check::Http(_) | Check::Tcp(_) | Check::Scan(_) | Check::Signature(_) => false,
            };
            self.when(is_program, format!("{key}.{index}.run"), COMMAND);
        }
    }

    fn secret(&mut self, key: &str, secret: &SecretConfig) {
        self.when(secret.run.is_some(), format!("{key}.run"), COMMAND);
        self.when(secret.sops.is_some(), format!("{key}.sops"), COMMAND);
        // What cannot be told is of no glob.
        let source = serde_json::to_value(secret)
            .unwrap_or_else(|error| json!({"unknown": error.to_string()}));
        for (kind, value) in source.as_object().into_iter().flatten() {
            let what = match (kind.as_str(), value) {
                ("rotation" | "timeout", _) => continue,
                (kind, Value::String(text)) => format!("{kind}:{text}"),
                (kind, Value::Object(fields)) => format!("{kind}:{}", path_of(fields)),
                (kind, _) => kind.to_owned(),
            };
            self.asked.secrets.push(Want {
                key: key.to_owned(),
                what,
            });
        }
    }
}

/// A secret's place, of a map that says it.
fn path_of(fields: &serde_json::Map<String, Value>) -> String {
    let named = ["path", "file", "name", "id", "secret"]
        .iter()
        .find_map(|key| fields.get(*key));
    named.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn named(kind: &str, remote: &RemoteRegistry) -> String {
    let endpoint = remote.endpoint.as_deref();
    let host = endpoint.map(|endpoint| endpoint.split("://").last().unwrap_or(endpoint));
    let parts = [
        host.unwrap_or(kind),
        remote.repository.as_deref().unwrap_or_default(),
    ];
    parts.join("/").trim_end_matches('/').to_owned()
}

/// How an image is named; none for one of another environment, which is looked at itself.
fn text_of(image: &ImageConfig) -> Option<&str> {
    match image {
        ImageConfig::Name(text) => Some(text),
        ImageConfig::Parts(parts) => parts.name.as_deref(),
    }
}

/// Where an image is; none where a template may say that. In a tag it may not: what has a `/`
/// behind a repository's `:` is no name.
fn repository_of(text: &str) -> Option<ImageRepository> {
    let fixed = text.split("{{").next().unwrap_or_default();
    let fixed = fixed.split("{%").next().unwrap_or_default();
    if fixed.len() == text.len() {
        return text.parse().ok().map(|name: ImageName| name.repository);
    }
    let last = fixed.rfind('/')?;
    let end = fixed[last..].find([':', '@'])?;
    fixed[..last + end].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::load;
    use crate::model::bounds::{Allowances, Commands};

    #[test]
    fn what_stays_in_a_checkout_is_named_exactly() {
        assert_eq!(literal("state/a-b_c.d"), "state/a-b_c.d");
        assert_eq!(literal("state@1"), "state\\@1");
        assert_eq!(literal("a *[b]! "), "a\\ \\*\\[b\\]\\!\\ ");
    }

    const GOOD: &str = "version: 1\nproject: shop\ncluster: {runtime: container}\n\
        services:\n  web:\n    build: {kind: pack, copy: {.: /app}, entrypoint: [/app/start]}\n    \
        port: 8080\ntraffic: {listeners: {web: {live: 8080, preview: 8081}}}\n";

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
        admit(&project, &bounds(registries))
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
                    "sources: {vault: {address: \"https://a.example.com\", auth: {token: {file: \
                     /etc/shadow}}}}",
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
                GOOD.replace(
                    "traffic: {listeners: {web: {live: 8080, preview: 8081}}}",
                    "traffic: {listeners: {web: {live: 8080, preview: 8081}}, tls: {certificate: \
                     /etc/ssl/c.pem, key: /etc/shadow}}",
                ),
                "traffic.tls",
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

    /// Another environment's settings are used where images are taken from it.
    #[test]
    fn all_environments_of_the_project_are_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir(root.join("environments")).expect("a folder");
        let other = "cluster: {kind: kubernetes, kubeconfig: kc.yaml, context: a, exec_plugins: \
            true}\ntraffic: {kind: service}\nregistry: {kind: oci, endpoint: a.example.com}\n";
        fs::write(root.join("environments/staging.yaml"), "").expect("written");
        fs::write(root.join("environments/production.yaml"), other).expect("written");
        let shipit = GOOD.replace(
            "traffic: {listeners: {web: {live: 8080, preview: 8081}}}\n",
            "",
        );
        fs::write(
            root.join("shipit.yaml"),
            shipit.replace("cluster: {runtime: container}\n", ""),
        )
        .expect("written");
        let project = load(root).unwrap_or_else(|error| panic!("{error:?}"));
        let found = admit(&project, &bounds(&["layout"]));
        let of = |key: &str| {
            found
                .iter()
                .any(|one| one.contains("production") && one.contains(key))
        };
        assert!(
            of("cluster.exec_plugins") && of("a.example.com"),
            "{found:?}"
        );
    }

    /// A folder in either form, a template that may say the registry, and names that are only
    /// words.
    #[test]
    fn what_is_asked_for_is_told_by_what_it_means() {
        let service = |lines: &str| {
            GOOD.replace(
                "    port: 8080\n",
                &format!("    port: 8080\n    {lines}\n"),
            )
        };
        for volume in [
            "{/x: /}\n    strategy: recreate",
            "{/x: {from: /, shared: true}}",
        ] {
            let found = refused(&service(&format!("volumes: {volume}")), &["layout"]);
            assert!(
                found.iter().any(|one| one.contains("volumes./x")),
                "{volume}: {found:?}"
            );
        }
        let image = |name: &str| {
            GOOD.replace(
                "build: {kind: pack, copy: {.: /app}, entrypoint: [/app/start]}",
                &format!("image: \"{name}\""),
            )
        };
        let hub = ["layout", "docker.io", "a.example.com/shop"];
        for name in [
            "{{ vars.x }}",
            "nginx:{{ vars.x }}",
            "{{ vars.h }}/shop/web:1",
            "a.example.com{{ vars.p }}/x:1",
        ] {
            assert_eq!(refused(&image(name), &hub).len(), 1, "{name}");
        }
        let digest = "0".repeat(64);
        for name in [
            "a.example.com/shop:{{ commit }}",
            &format!("a.example.com/shop@sha256:{digest}"),
        ] {
            assert_eq!(refused(&image(name), &hub), [""; 0], "{name}");
        }
        let other_port = image("a.example.com:81/shop/web:1");
        assert_eq!(refused(&other_port, &["layout", "a.example.com"]).len(), 1);

        let words = service("env: {run: a, ca: b, sops: c, publish: d}");
        assert_eq!(refused(&words, &["layout"]), [""; 0]);
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
