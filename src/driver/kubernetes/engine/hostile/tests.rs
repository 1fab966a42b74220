//! Objects of every kind, spoiled anywhere.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::read;

/// An object of each kind whose status is read, whole and as a server sends it.
fn objects() -> Vec<Value> {
    let object = |api_version: &str, kind: &str, spec: Value, status: Value| {
        json!({
            "apiVersion": api_version, "kind": kind, "spec": spec, "status": status,
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "generation": 3,
                "resourceVersion": "12", "labels": {"app": "web"}, "annotations": {"a": "b"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"kind": "ReplicaSet", "uid": "r", "controller": true}],
                "managedFields": [{
                    "manager": "shipit", "operation": "Apply", "fieldsType": "FieldsV1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsV1": {"f:spec": {"f:replicas": {}, "f:ports": {"k:{\"port\":80}": {".": {}}}}},
                }],
            },
        })
    };
    let conditions = json!([{"type": "Ready", "status": "False", "reason": "R", "message": "m",
        "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let container = json!({"name": "web", "restartCount": 3, "ready": false,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "m"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "signal": 9}}});
    let workload = json!({"replicas": 3, "minReadySeconds": 1, "progressDeadlineSeconds": 9,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
        "ports": [{"port": 80, "nodePort": 1}], "type": "LoadBalancer", "suspend": false,
        "completions": 1, "parallelism": 1, "backoffLimit": 2});
    let numbers = json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 2,
        "readyReplicas": 2, "availableReplicas": 1, "unavailableReplicas": 1, "currentRevision": "a",
        "updateRevision": "b", "desiredNumberScheduled": 3, "updatedNumberScheduled": 2,
        "numberAvailable": 1, "succeeded": 1, "failed": 2, "conditions": conditions,
        "loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}, "phase": "Bound"});
    let pod = json!({"phase": "Pending", "conditions": conditions, "startTime": "2026-01-01T00:00:00Z",
        "containerStatuses": [container], "initContainerStatuses": [container]});
    let routed = json!({"parents": [{"parentRef": {"name": "gateway"}, "conditions": conditions}]});
    let definition = json!({"group": "example.org", "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [{"name": "v1", "served": true, "storage": true}]});

    vec![
        object("apps/v1", "Deployment", workload.clone(), numbers.clone()),
        object("apps/v1", "StatefulSet", workload.clone(), numbers.clone()),
        object("apps/v1", "DaemonSet", workload.clone(), numbers.clone()),
        object("batch/v1", "Job", workload.clone(), numbers.clone()),
        object("v1", "Service", workload.clone(), numbers.clone()),
        object(
            "v1",
            "PersistentVolumeClaim",
            workload.clone(),
            numbers.clone(),
        ),
        object("v1", "Pod", json!({"containers": [{"name": "web"}]}), pod),
        object(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            json!({}),
            routed,
        ),
        object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            definition,
            numbers.clone(),
        ),
        object("example.org/v1", "Widget", workload, numbers),
    ]
}

/// What no field should be.
fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(u64::MAX)),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("9999-99-99T99:99:99Z")),
        Just(json!("-262143-01-01T00:00:00Z")),
        Just(json!("k:{\"port\"")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, [[[]]], {"": {"": null}}])),
        Just(nested(100)),
    ]
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("x"), |inner, _| json!({"f:x": [inner]}))
}

/// Puts a value where `at` leads, one choice a level; past the last one the whole is replaced.
fn put(place: &mut Value, at: &[prop::sample::Index], new: Value) {
    let Some((first, rest)) = at.split_first() else {
        *place = new;
        return;
    };
    match place {
        Value::Object(fields) if !fields.is_empty() => {
            let index = first.index(fields.len());
            if let Some(field) = fields.values_mut().nth(index) {
                put(field, rest, new);
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            let index = first.index(entries.len());
            put(&mut entries[index], rest, new);
        }
        _ => *place = new,
    }
}

fn path() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_a_server_sends_is_read(
        kind in any::<prop::sample::Index>(),
        wrong in prop::collection::vec((path(), anything()), 1..6),
    ) {
        let objects = objects();
        let good = kind.get(&objects);
        let mut bad = good.clone();
        for (at, new) in wrong {
            put(&mut bad, &at, new);
        }
        read(&bad, good);
        read(good, &bad);
    }
}
