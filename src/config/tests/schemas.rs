//! The schemas know which keys a kind has, as the reader does.

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::config::{environment_schema, schema};

/// A kind, a map that it takes, and one that it does not.
struct Case {
    key: &'static str,
    takes: Value,
    refuses: Value,
}

fn case(key: &'static str, takes: Value, refuses: Value) -> Case {
    Case {
        key,
        takes,
        refuses,
    }
}

fn cases() -> Vec<Case> {
    vec![
        case("registry", json!({}), json!({"sbom": true})),
        case(
            "registry",
            json!({"kind": "layout", "path": "a"}),
            json!({"kind": "layout", "scan_on_push": true}),
        ),
        case(
            "registry",
            json!({"kind": "oci", "endpoint": "a", "retention": {"tagged": 3}}),
            json!({"kind": "oci", "endpoint": "a", "retention": {"untagged": "7d"}}),
        ),
        case(
            "registry",
            json!({"kind": "ecr", "region": "a", "retention": {"untagged": "7d"}}),
            json!({"kind": "ecr", "path": "a"}),
        ),
        case(
            "registry",
            json!({"kind": "layout"}),
            json!({"kind": "harbor"}),
        ),
        case("cluster", json!({}), json!({"context": "a"})),
        case(
            "cluster",
            json!({"kind": "host", "runtime": "docker", "network": "a"}),
            json!({"kind": "host", "namespace": "a"}),
        ),
        case(
            "cluster",
            json!({"kind": "kubernetes", "context": "a", "create_namespaces": true}),
            json!({"kind": "kubernetes", "directory": "a"}),
        ),
        case(
            "cluster",
            json!({"kind": "eks", "name": "a", "namespace": "b"}),
            json!({"kind": "eks", "name": "a", "kubeconfig": "b"}),
        ),
        case("state", json!({"path": "a"}), json!({"namespace": "a"})),
        case(
            "state",
            json!({"kind": "kubernetes", "namespace": "a"}),
            json!({"kind": "gcs"}),
        ),
        case("traffic", json!({"address": "::1"}), json!({"nginx": {}})),
        case(
            "traffic",
            json!({"kind": "embedded", "listeners": {"web": {"live": 1}}}),
            json!({"kind": "embedded", "entries": {}}),
        ),
        case(
            "traffic",
            json!({"kind": "nginx", "address": "::1", "nginx": {"command": ["a"]}}),
            json!({"kind": "nginx", "class": "a"}),
        ),
        case(
            "traffic",
            json!({"kind": "service", "entries": {"web": {"url": "a"}}}),
            json!({"kind": "service", "entries": {"web": {"host": "a"}}}),
        ),
        case(
            "traffic",
            json!({"kind": "ingress", "entries": {"web": {"host": "a"}}, "class": "b"}),
            json!({"kind": "ingress", "address": "::1"}),
        ),
        case(
            "traffic",
            json!({"kind": "gateway", "gateway": {"name": "a"}}),
            json!({"kind": "gateway", "tls_secret": "a"}),
        ),
        case(
            "build",
            json!({"kind": "pack", "copy": {"a": "/a"}, "labels": {"b": "c"}}),
            json!({"kind": "pack", "dockerfile": "a"}),
        ),
        case(
            "build",
            json!({"kind": "docker", "dockerfile": "a", "context": "b"}),
            json!({"kind": "docker", "cache_to": "a"}),
        ),
        case(
            "build",
            json!({"kind": "buildah", "dockerfile": "a", "cache_to": "b"}),
            json!({"kind": "buildah", "entrypoint": ["/a"]}),
        ),
    ]
}

/// A project in which a map has its place.
fn document(key: &str, map: &Value) -> Value {
    let mut document = overlay(key, map);
    document["project"] = "shop".into();
    document
}

/// The same for an environment.
fn overlay(key: &str, map: &Value) -> Value {
    let mut document = json!({"version": 1,
        "services": {"web": {"build": {"kind": "pack", "copy": {"a": "/a"}}}}});
    match key {
        "build" => document["services"]["web"]["build"] = map.clone(),
        key => document[key] = map.clone(),
    }
    document
}

fn validator(schema: schemars::Schema) -> Validator {
    jsonschema::validator_for(&schema.to_value()).expect("a schema")
}

#[test]
fn the_schema_takes_the_keys_of_a_kind_and_no_others() {
    let (project, environment) = (validator(schema()), validator(environment_schema()));
    for Case { key, takes, .. } in cases() {
        for (schema, whole) in [
            (&project, document(key, &takes)),
            (&environment, overlay(key, &takes)),
        ] {
            let problem = schema.validate(&whole).err();
            assert!(problem.is_none(), "{key}: {takes}: {problem:?}");
        }
    }
    for Case { key, refuses, .. } in cases() {
        assert!(
            !project.is_valid(&document(key, &refuses)),
            "{key}: {refuses}"
        );
        // An environment need not repeat the kind.
        if refuses.get("kind").is_some() {
            assert!(
                !environment.is_valid(&overlay(key, &refuses)),
                "{key}: {refuses}"
            );
        }
    }
}

#[test]
fn an_environment_says_what_the_project_leaves_open() {
    let environment = validator(environment_schema());
    for part in [
        json!({}),
        json!({"registry": {"retention": {"tagged": 3}}}),
        json!({"registry": {"kind": "layout", "endpoint": null}}),
        json!({"services": {"web": {"build": {"dockerfile": "a"}}}}),
        json!({"services": {"web": {"replicas": 3}}}),
    ] {
        let problem = environment.validate(&part).err();
        assert!(problem.is_none(), "{part}: {problem:?}");
    }
    for part in [
        json!({"registry": {"kind": "layout", "endpoint": "a"}}),
        json!({"registry": {"path": "a", "sbom": true}}),
        json!({"registry": {"kin": "a"}}),
        json!({"project": "shop"}),
        json!({"branches": {"staging": {"environment": "staging"}}}),
    ] {
        assert!(!environment.is_valid(&part), "{part}");
    }
}
