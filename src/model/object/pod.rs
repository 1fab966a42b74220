//! Pods that are like a service's, and none of its instances.

use serde_json::{Value, json};

/// What the pod of a command does not have of the service's, and what its container does not.
const NOT_OF_POD: [&str; 5] = [
    "nodeName",
    "hostname",
    "subdomain",
    "initContainers",
    "ephemeralContainers",
];
const NOT_OF_CONTAINER: [&str; 6] = [
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "ports",
    "lifecycle",
    "args",
];

/// What runs a command in a container like the first one of these pods, once.
#[must_use]
pub fn pod_like(model: &Value, command: &[String]) -> Value {
    let mut spec = model.clone();
    let mut first = spec["containers"][0].clone();
    for (of, fields) in [
        (&mut spec, &NOT_OF_POD[..]),
        (&mut first, &NOT_OF_CONTAINER),
    ] {
        if let Some(of) = of.as_object_mut() {
            for field in fields {
                of.remove(*field);
            }
        }
    }
    first["command"] = json!(command);
    spec["containers"] = json!([first]);
    spec["restartPolicy"] = json!("Never");
    spec
}
