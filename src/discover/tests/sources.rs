//! One realistic source of each kind, as what it becomes reads.

use serde_json::{Value, json};

use super::{CANARY, of, proposed, read_back};
use crate::discover::proposal::SecretProposal;
use crate::discover::{
    Container, FoundRepository, Objects, of_containers, of_namespace, of_repositories,
};

fn reads(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("../snapshots");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn a_compose_file() {
    let text = "
name: storefront
x-logging: &logging
  logging: {driver: json-file}
x-app: &app
  <<: *logging
  restart: unless-stopped
  environment: &env
    LOG_LEVEL: info
    RAILS_MASTER_KEY: canary-7f3a-hunter2
    DATABASE_URL: postgres://shop:${DB_PASSWORD}@db:5432/shop
services:
  web:
    <<: *app
    build:
      context: ./web
      args: {NODE_ENV: production}
    ports: ['80:3000']
    environment:
      <<: *env
      WELCOME: 'Hi {{ name }}'
    depends_on:
      db: {condition: service_healthy}
    healthcheck:
      test: [CMD, curl, -f, http://localhost:3000/up]
      interval: 10s
      retries: 3
      start_period: 30s
    deploy:
      replicas: 2
      resources: {limits: {cpus: '0.50', memory: 512M}}
  worker:
    <<: *app
    build: ./web
    command: bundle exec sidekiq
  db:
    image: postgres:17
    volumes: [pgdata:/var/lib/postgresql/data, ./init.sql:/docker-entrypoint-initdb.d/init.sql:ro]
    ports: ['127.0.0.1:5432:5432']
    secrets: [pg_password]
    environment: {POSTGRES_PASSWORD_FILE: /run/secrets/pg_password}
  mail:
    image: mailhog/mailhog
    profiles: [dev]
volumes: {pgdata: {}}
secrets: {pg_password: {file: ./pg_password.txt}}
networks: {default: {}}
";
    reads("compose", &proposed(text));
}

#[test]
fn a_kamal_configuration() {
    let text = "
service: hey
image: 37s/hey
servers:
  web: [192.168.0.1, 192.168.0.2]
  job:
    hosts: [192.168.0.3]
    cmd: bin/jobs
proxy: {ssl: true, host: hey.example.com, app_port: 3000, healthcheck: {path: /up, interval: 3}}
registry: {server: ghcr.io, username: 37s, password: [KAMAL_REGISTRY_PASSWORD]}
builder: {arch: amd64, args: {RUBY_VERSION: 3.3.0}}
env:
  clear: {DB_HOST: 192.168.0.2, RELEASE: '<%= ENV[\"RELEASE\"] %>'}
  secret: [RAILS_MASTER_KEY]
volumes: [hey_storage:/rails/storage]
aliases: {console: app exec -i 'bin/rails console'}
accessories:
  db:
    image: mysql:8.0
    host: 192.168.0.2
    port: '127.0.0.1:3306:3306'
    env: {clear: {MYSQL_ROOT_HOST: '%'}, secret: [MYSQL_ROOT_PASSWORD]}
    files: [config/mysql.cnf:/etc/mysql/my.cnf]
    directories: [data:/var/lib/mysql]
";
    reads("kamal", &proposed(text));
}

#[test]
fn a_copilot_manifest() {
    let text = "
name: frontend
type: Load Balanced Web Service
http:
  path: '/'
  alias: shop.example.com
  healthcheck: {path: /healthz, interval: 15s, timeout: 5s, healthy_threshold: 2}
image:
  build: {dockerfile: ./frontend/Dockerfile, context: ./frontend}
  port: 8080
cpu: 512
memory: 1024
count: {range: 1-10, cpu_percentage: 70}
exec: true
variables: {LOG_LEVEL: info}
secrets:
  GITHUB_TOKEN: /copilot/shop/test/secrets/github
  DB: {secretsmanager: shop/database}
environments: {production: {count: 2}}
";
    reads("copilot", &proposed(text));
}

fn container(name: &str, change: impl FnOnce(&mut Value)) -> Container {
    let mut inspected = json!({
        "Name": format!("/{name}"),
        "Config": {"Image": "ghcr.io/acme/web:1.4.2", "Labels": {}, "Cmd": ["serve"],
            "Env": ["PATH=/bin", "LOG_LEVEL=info", format!("API_TOKEN={CANARY}")],
            "ExposedPorts": {"8080/tcp": {}}},
        "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": "", "HostPort": "80"}]},
            "Memory": 268_435_456_u64, "NanoCpus": 500_000_000_u64, "NetworkMode": "default"},
        "Mounts": [],
    });
    change(&mut inspected);
    let image = json!({"RepoTags": ["ghcr.io/acme/web:1.4.2"],
        "Config": {"Env": ["PATH=/bin"], "Cmd": ["serve"], "ExposedPorts": {"8080/tcp": {}}}});
    Container { inspected, image }
}

/// The same of an image whose tag moves.
fn database(container: Container) -> Container {
    let digest = format!("postgres@sha256:{}", "b".repeat(64));
    let image = json!({"RepoTags": ["postgres:latest"], "RepoDigests": [digest],
        "Config": {"Env": ["PATH=/bin"], "Cmd": ["serve"]}});
    Container { image, ..container }
}

#[test]
fn the_containers_of_a_machine() {
    let of_compose = |service: &str| json!({"com.docker.compose.project": "shop", "com.docker.compose.service": service});
    let unpublished = |it: &mut Value| it["HostConfig"]["PortBindings"] = json!({});
    let containers = [
        container("front-blue", |it| it["Config"]["Labels"] = json!({})),
        container("front-green", unpublished),
        container("shop-web-1", |it| {
            it["Config"]["Labels"] = of_compose("web");
            it["HostConfig"]["PortBindings"]["8080/tcp"][0]["HostPort"] = json!("8081");
        }),
        container("shop-web-2", |it| {
            it["Config"]["Labels"] = of_compose("web");
            unpublished(it);
        }),
        database(container("db", |it| {
            it["Config"]["Image"] = json!("postgres");
            it["Config"]["ExposedPorts"] = json!({"5432/tcp": {}});
            it["HostConfig"]["PortBindings"] =
                json!({"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5432"}]});
            it["HostConfig"]["Privileged"] = json!(true);
            it["Config"]["Healthcheck"] = json!({"Test": ["CMD", "pg_isready"],
                "Interval": 5_000_000_000_u64, "Retries": 5});
            it["Mounts"] = json!([
                {"Type": "volume", "Name": "pgdata", "Destination": "/var/lib/postgresql/data", "RW": true},
                {"Type": "bind", "Source": "/var/run/docker.sock", "Destination": "/s", "RW": true}]);
        })),
        container("ours", |it| {
            it["Config"]["Labels"] = json!({"shipit.local/x": "y"});
        }),
    ];
    let proposal = of_containers(&containers, "folder", "this machine").expect("a proposal");
    reads("containers", &read_back(&proposal));
}

fn deployment(name: &str, labels: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({"kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 3,
        "template": {"metadata": {"labels": labels}, "spec": {
            "containers": [{"name": "web", "image": "ghcr.io/acme/web:1.4.2",
                "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                "env": [{"name": "LOG_LEVEL", "value": "info"},
                    {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                    {"name": "API_KEY", "value": CANARY},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "volumeMounts": [{"name": "settings", "mountPath": "/etc/app"}]}],
            "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
            "serviceAccountName": "web", "securityContext": {"runAsUser": 1000}}}}});
    change(&mut object);
    object
}

#[test]
fn a_namespace_with_two_colours() {
    let label = |colour: &str| json!({"app": "web", "slot": colour});
    let objects = Objects {
        deployments: vec![
            deployment("web-blue", &label("blue"), |_| {}),
            deployment("web-green", &label("green"), |it| {
                it["spec"]["template"]["spec"]["containers"][0]["image"] =
                    json!("ghcr.io/acme/web:1.5.0");
            }),
            deployment("jobs", &json!({"app": "jobs"}), |it| {
                it["spec"]["strategy"] = json!({"type": "Recreate"});
                let container = &mut it["spec"]["template"]["spec"]["containers"][0];
                container["ports"] = json!([]);
                container["args"] = json!(["work"]);
            }),
            deployment("ours", &json!({}), |it| {
                it["metadata"]["labels"] = json!({"shipit.dev/project": "x"});
            }),
        ],
        sets: vec![json!({"kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}})],
        services: vec![
            json!({"metadata": {"name": "web"}, "spec": {"selector": label("green"),
            "ports": [{"port": 80, "targetPort": "http"}]}}),
        ],
        ingresses: vec![
            json!({"metadata": {"name": "web", "annotations": {"a": "b"}}, "spec": {
            "ingressClassName": "nginx", "tls": [{"secretName": "web-tls"}],
            "rules": [{"host": "shop.example.com", "http": {"paths": [
                {"path": "/", "backend": {"service": {"name": "web"}}}]}}]}}),
        ],
        unseen: Vec::new(),
    };
    let unseen = Objects {
        unseen: vec!["Deployments: forbidden".to_owned()],
        ..Objects::default()
    };
    let refused = of_namespace(&unseen, "shop", None).expect_err("nothing was seen");
    assert!(
        refused.reason.contains("Deployments: forbidden"),
        "{refused}"
    );
    let proposal = of_namespace(&objects, "shop", Some("kind")).expect("a proposal");
    let said = read_back(&proposal);
    assert!(
        said.contains("web:1.5.0") && !said.contains("web:1.4.2\"\n    port"),
        "{said}"
    );
    reads("namespace", &said);
}

#[test]
fn the_repositories_of_an_account() {
    let repository = |name: &str, newest: Option<&str>| FoundRepository {
        name: name.to_owned(),
        immutable_tags: true,
        scan_on_push: name.ends_with("web"),
        newest: newest.map(str::to_owned),
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    let found = [
        repository("shop/api", Some(&digest)),
        repository("shop/empty", None),
        repository("shop/web", Some("v12")),
    ];
    let place = ("eu-central-1", "123456789012");
    let proposal = of_repositories(place, &found, "folder").expect("a proposal");
    reads("repositories", &read_back(&proposal));

    let odd = [
        repository("a/b/web", None),
        repository("c/web", Some("latest")),
    ];
    let said = read_back(&of_repositories(place, &odd, "folder").expect("a proposal"));
    assert!(said.contains("the names follow no pattern"), "{said}");
    of_repositories(place, &[], "folder").expect_err("there is none");
}

#[test]
fn files_whose_names_are_alike_are_secrets_of_their_own() {
    let text = "
services:
  a: {image: 'x:1', secrets: [a.b]}
  b: {image: 'x:1', secrets: [a_b]}
secrets:
  a.b: {file: ./one}
  a_b: {file: ./two}
";
    let proposal = of(text).expect("a proposal");
    let files = proposal.services.values().flat_map(|it| it.files.values());
    let from: Vec<String> = files
        .map(|name| match &proposal.secrets[name] {
            SecretProposal::File(path) => path.clone(),
            _ => name.clone(),
        })
        .collect();
    assert_eq!(from, ["./one", "./two"]);
}
