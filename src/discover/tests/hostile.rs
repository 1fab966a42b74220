//! Sources that somebody else has written.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CANARY, of, proposed, read_back};
use crate::discover::{Container, Objects, of_containers, of_namespace};

#[test]
#[allow(clippy::too_many_lines)] // a table
fn what_a_compose_file_may_say_in_some_form_is_read_or_named() {
    for (service, says) in [
        ("{image: nginx}", "tag: latest"),
        ("{image: 'nginx:1.27', ports: [8080]}", "port-8080: 8080"),
        (
            "{image: 'nginx:1.27', ports: ['80:8080/udp']}",
            "left out: port 80:8080/udp",
        ),
        (
            "{image: 'nginx:1.27', ports: ['9000-9002:8000-8002']}",
            "port: 8000",
        ),
        (
            "{image: 'nginx:1.27', ports: [{target: 80, published: '8080', host_ip: 127.0.0.1}]}",
            "live: 8080",
        ),
        (
            "{image: 'nginx:1.27', ports: ['[::1]:8080:80']}",
            "live: 8080",
        ),
        (
            "{image: 'nginx:1.27', ports: ['${PORT}:80']}",
            "${PORT} is not filled in",
        ),
        (
            "{image: 'nginx:1.27', ports: ['99999:80', 'a:b', '0:0']}",
            "left out: port a:b",
        ),
        ("{image: 'web:${TAG:-1.2}'}", "image: \"web:1.2\""),
        ("{image: 'web:${TAG}'}", "web:change-me"),
        ("{image: 'Not An Image!'}", "name: change-me"),
        ("{build: .}", "context: \".\""),
        (
            "{build: {context: ./web, dockerfile: D, target: t, args: {A: b}}}",
            "target: t",
        ),
        (
            "{build: {context: 'https://git.example.com/x.git', args: [A=b, \
             TOKEN=canary-7f3a-hunter2]}}",
            "left out: build argument TOKEN",
        ),
        ("{image: 'a:1', build: .}", "left out: image a:1"),
        ("{}", "nothing says which image"),
        (
            "{image: 'a:1', environment: {A: 1, B: true, C: null, D: 'x=y'}}",
            "D: \"x=y\"",
        ),
        (
            "{image: 'a:1', environment: [A=1, PASSWORD=canary-7f3a-hunter2, HOME]}",
            "secret: password",
        ),
        (
            "{image: 'a:1', environment: {SHIPIT_SLOT: x, '': y, 'a=b': z}}",
            "left out: SHIPIT_SLOT",
        ),
        (
            "{image: 'a:1', environment: {T: '{{ project }}{% x %}{# y #}'}}",
            "{{ '{{' }} project }}",
        ),
        (
            "{image: 'a:1', ports: ['80:80'], environment: {PORT: 80}}",
            "left out: PORT",
        ),
        (
            "{image: 'a:1', healthcheck: {test: 'exit 0', interval: 1m30s, retries: 5, \
             start_period: 10s}}",
            "interval: \"1m 30s\"",
        ),
        (
            "{image: 'a:1', ports: ['1:80'], healthcheck: {test: [CMD, curl, -f, \
             'http://localhost:80/up']}}",
            "path: /up",
        ),
        (
            "{image: 'a:1', healthcheck: {test: [CMD-SHELL, 'wget -q http://localhost/x || exit \
             1']}}",
            "wget -q",
        ),
        (
            "{image: 'a:1', healthcheck: {disable: true, test: [CMD, x]}}",
            "image: \"a:1\"",
        ),
        (
            "{image: 'a:1', healthcheck: {test: NONE}}",
            "image: \"a:1\"",
        ),
        (
            "{image: 'a:1', volumes: ['data:/data']}",
            "strategy: recreate",
        ),
        (
            "{image: 'a:1', volumes: ['data:/data'], deploy: {replicas: 3}}",
            "shared: true",
        ),
        (
            "{image: 'a:1', volumes: ['./x:/x', '/y:/y:ro', '/z', '/var/run/docker.sock:/s']}",
            "is root on this machine",
        ),
        (
            "{image: 'a:1', volumes: [{type: volume, source: v, target: /v}, {type: tmpfs, target: \
             /t}]}",
            "/v: v",
        ),
        (
            "{image: 'a:1', volumes: ['${DIR}/pg:/data', '${OTHER}data:/x', \
             '${HERE:-/srv}/a:/a']}",
            "/a: /srv/a",
        ),
        (
            "{image: 'a:1', volumes: ['${DIR}/pg:/data']}",
            "${DIR} in it is not filled in",
        ),
        (
            "{image: 'a:1', volumes: [{type: volume, source: v, target: /v, volume: {subpath: s}}]}",
            "a part of a volume cannot be mounted",
        ),
        (
            "{image: 'a:1', volumes: ['/a:/b/../c', 'x:relative']}",
            "it is no absolute path",
        ),
        (
            "{image: 'a:1', deploy: {resources: {limits: {cpus: '0.5', memory: 512M}}}}",
            "memory_limit: \"512Mi\"",
        ),
        (
            "{image: 'a:1', mem_limit: lots, cpus: -1}",
            "left out: memory_limit lots",
        ),
        (
            "{image: 'a:1', deploy: {replicas: 0}}",
            "left out: replicas 0",
        ),
        (
            "{image: 'a:1', command: 'sh -c \"a b\"'}",
            "command: [sh, \"-c\", \"a b\"]",
        ),
        (
            "{image: 'a:1', entrypoint: [/e], command: [x]}",
            "command: [/e, x]",
        ),
        (
            "{image: 'a:1', command: [serve, --token=ghp_1, canary-7f3a-hunter2, \
             'p://u:canary-7f3a-hunter2@h']}",
            "looks like a secret",
        ),
        (
            "{image: 'a:1', depends_on: {db: {condition: service_healthy}}, extends: {file: x, \
             service: y}}",
            "left out: extends",
        ),
        (
            "{image: 'a:1', env_file: [{path: .env}, web.env]}",
            "left out: env_file web.env",
        ),
        (
            "{image: 'a:1', secrets: [s, {source: t, target: /dev/t}]}",
            "/run/secrets/s",
        ),
        (
            "{image: 'a:1', privileged: true, x-mine: 1, 'odd key': 2}",
            "left out: odd key",
        ),
        (
            "{image: 'a:1', restart: 'no', stop_grace_period: 1m}",
            "stop_grace: \"1m\"",
        ),
    ] {
        let text = format!("services: {{web: {service}}}\n");
        let said = proposed(&text);
        assert!(said.contains(says), "{service}: {says}\n{said}");
    }
}

#[test]
fn names_that_are_none_are_made_ones_and_stay_apart() {
    let text = "services:\n  Web_App: {image: 'a:1', ports: ['80:80']}\n  web-app: {image: 'a:1', \
                ports: ['80:80']}\n  '': {image: 'a:1'}\n  \"\\u202e\\n# x: y\": {image: 'a:1'}\n";
    let said = proposed(text);
    assert!(said.contains("web-app-2:"), "{said}");
    assert!(said.contains("it was called Web_App"), "{said}");
    // Two services had one port: each has a listener of its own.
    assert!(
        said.contains("live: 80") && said.contains("preview: 82"),
        "{said}"
    );
}

#[test]
fn no_text_leaves_its_comment_or_its_quotes() {
    let odd = "a\nservices: {evil: {image: x}}\n# \u{2028}\u{202e}\u{0}\r\t\"'\\{{ x }}";
    let document = json!({"name": odd, "services": {"web": {
        "image": odd, "command": [odd], "environment": {"A": odd, odd: "b"}, "volumes": [odd],
        "ports": [odd], odd: odd, "healthcheck": {"test": [odd]}, "env_file": odd,
        "profiles": [], "secrets": [odd], "stop_grace_period": odd,
        "build": {"context": odd, "args": {odd: odd, "B": odd}, "target": odd, "dockerfile": odd},
    }}, "secrets": {"a": {"file": odd}}, odd: 1});
    let said = proposed(&serde_json::to_string(&document).expect("JSON"));
    assert!(!said.contains("\nservices: {evil"), "{said}");
    assert!(
        !said.contains('\u{202e}') && !said.contains('\u{2028}'),
        "{said}"
    );
}

#[test]
fn what_is_no_source_is_refused_with_what_would_be_one() {
    for text in [
        "",
        "a: b",
        "- x",
        "services: {}",
        "services: {a: {profiles: [x], image: 'a:1'}}",
        "{",
        "\u{0}",
    ] {
        let error = of(text).expect_err(text);
        assert!(!error.help.is_empty(), "{text}");
    }
    let many: Vec<String> = (0..300)
        .map(|n| format!("s{n}: {{image: 'a:1'}}"))
        .collect();
    of(&format!("services: {{{}}}", many.join(", "))).expect_err("too many");
}

/// Any value that YAML has.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9:/.$-]{0,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("80:80")),
        Just(json!("data:/data")),
        Just(json!("nginx:1")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            any::<String>(),
            proptest::sample::select(vec![
                "target",
                "published",
                "source",
                "context",
                "args",
                "test",
                "replicas",
                "limits",
                "resources",
                "memory",
                "cpus",
                "name",
                "value",
                "image",
                "port",
                "path",
                "hosts",
                "clear",
                "secret",
                "key",
                "kind",
                "type",
                "selector",
                "ports",
                "env",
            ])
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

/// A map in which some of these keys have anything.
fn a_map(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(proptest::sample::select(keys), anything(), 0..6).prop_map(
        |map| {
            let pairs = map.into_iter();
            pairs.map(|(key, value)| (key.to_owned(), value)).collect()
        },
    )
}

const COMPOSE: &[&str] = &[
    "image",
    "build",
    "ports",
    "expose",
    "environment",
    "env_file",
    "volumes",
    "healthcheck",
    "command",
    "entrypoint",
    "deploy",
    "scale",
    "secrets",
    "stop_grace_period",
    "mem_limit",
    "cpus",
    "extends",
    "labels",
];
const KAMAL: &[&str] = &[
    "image",
    "servers",
    "proxy",
    "registry",
    "builder",
    "env",
    "volumes",
    "accessories",
    "ssh",
];
const COPILOT: &[&str] = &[
    "image",
    "http",
    "cpu",
    "memory",
    "count",
    "variables",
    "secrets",
    "command",
    "entrypoint",
    "environments",
    "sidecars",
];
const CONTAINER: &[&str] = &["Config", "HostConfig", "Mounts", "Name"];
const POD: &[&str] = &["containers", "initContainers", "volumes", "securityContext"];
const INSIDE: &[&str] = &[
    "image",
    "ports",
    "command",
    "args",
    "env",
    "envFrom",
    "volumeMounts",
    "readinessProbe",
    "resources",
    "securityContext",
];

proptest! {
    #[test]
    fn whatever_a_file_says_the_proposal_can_be_read(
        compose in a_map(COMPOSE), kamal in a_map(KAMAL), copilot in a_map(COPILOT), other in anything(),
    ) {
        let mut kamal = kamal;
        kamal["service"] = json!("shop");
        kamal["image"] = kamal.get("image").cloned().unwrap_or(json!("a/b"));
        let mut copilot = copilot;
        copilot["name"] = json!("web");
        copilot["type"] = json!("Load Balanced Web Service");
        let compose = json!({"services": {"web": compose, "db": {"image": "pg:1"}}, "secrets": other});
        for document in [compose, kamal, copilot] {
            let text = serde_json::to_string(&document).expect("JSON");
            if let Ok(proposal) = of(&text) {
                read_back(&proposal);
            }
        }
    }

    #[test]
    fn whatever_an_engine_says_the_proposal_can_be_read(
        inspected in a_map(CONTAINER), image in anything(), pod in a_map(POD), inside in a_map(INSIDE),
        service in anything(), ingress in anything(),
    ) {
        let containers = [Container { inspected, image }];
        if let Ok(proposal) = of_containers(&containers, "shop", "here") {
            read_back(&proposal);
        }
        let mut pod = pod;
        if pod.get("containers").is_none() {
            pod["containers"] = json!([inside]);
        }
        let labels = json!({"app": "web"});
        let objects = Objects {
            deployments: vec![json!({"metadata": {"name": "web"}, "spec": {
                "template": {"metadata": {"labels": labels}, "spec": pod}}})],
            services: vec![
                json!({"metadata": {"name": "web"}, "spec": {"selector": labels, "ports": [{"port": 80}]}}),
                json!({"metadata": {"name": "odd"}, "spec": service}),
            ],
            ingresses: vec![json!({"spec": {"rules": [{"host": "shop.example.com", "http": {"paths":
                [{"path": "/", "backend": {"service": {"name": "web"}}}]}}], "tls": ingress}})],
            ..Objects::default()
        };
        if let Ok(proposal) = of_namespace(&objects, "shop", None) {
            read_back(&proposal);
        }
    }
}

#[test]
fn a_value_that_looks_like_a_secret_is_in_no_proposal() {
    let secret = |name: &str| format!("{name}: {CANARY}");
    let names = [
        "PASSWORD",
        "API_KEY",
        "SESSION_SECRET",
        "SMTP_PASS",
        "AUTH_TOKEN",
    ];
    let lines: Vec<String> = names.iter().map(|name| secret(name)).collect();
    let env = format!("{{{}, URL: 'pg://u:{CANARY}@db/x'}}", lines.join(", "));
    for text in [
        format!("services: {{web: {{image: 'a:1', environment: {env}}}}}"),
        format!("service: a\nimage: b/c\nservers: [1.2.3.4]\nenv: {{clear: {env}}}"),
        format!("name: a\ntype: Backend Service\nimage: {{location: 'a:1'}}\nvariables: {env}"),
    ] {
        let said = proposed(&text);
        for name in names {
            assert!(
                said.contains(&format!("secret: {}", name.to_lowercase())),
                "{said}"
            );
        }
    }
}
