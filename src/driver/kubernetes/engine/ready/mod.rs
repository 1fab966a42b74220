//! What "ready" means, kind by kind: pure functions from an object's JSON to a word. A status that
//! is older than the specification is never believed.

mod custom;
mod daemon_set;
mod deployment;
mod job;
mod pod;
mod route;
mod service;
mod stateful_set;

use std::collections::BTreeMap;

use serde_json::Value;

pub use pod::{instance, is_ready, pending, quota, trouble};

/// How an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It can be used.
    Yes,
    /// Not yet, and why.
    Not(String),
    /// It will not get there by itself, and why.
    Failed(String),
}

/// When an object of a kind counts as ready, by the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The condition that must be `True`.
    pub condition: Option<String>,
    /// The field, as `status.phase`, and the value that it must have.
    pub field: Option<(String, String)>,
    /// The condition that says that it has failed for good.
    pub failed: Option<String>,
}

/// How an object is. `rules`: by `GROUP/KIND`, or the kind alone in the core group.
#[must_use]
pub fn ready(object: &Value, rules: &BTreeMap<String, Rule>) -> Ready {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let name = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{group}/{kind}")
    };

    if let Some(rule) = rules.get(&name) {
        return custom::by_rule(object, rule);
    }

    match (group, kind) {
        ("apps", "Deployment") => deployment::ready(object),
        ("apps", "StatefulSet") => stateful_set::ready(object),
        ("apps", "DaemonSet") => daemon_set::ready(object),
        ("batch", "Job") => job::ready(object),
        ("", "Pod") => pod::ready(object),
        ("", "Service") => service::ready(object),
        ("", "PersistentVolumeClaim") => phase(object, "Bound"),
        ("", "Namespace") => phase(object, "Active"),
        ("networking.k8s.io", "Ingress") => Ready::Yes,
        ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute" | "TLSRoute") => {
            route::ready(object)
        }
        ("gateway.networking.k8s.io", "Gateway") => condition(object, "Programmed"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => condition(object, "Established"),
        ("apiregistration.k8s.io", "APIService") => condition(object, "Available"),
        _ if group.is_empty()
            || group.ends_with(".k8s.io")
            || matches!(group, "apps" | "batch" | "autoscaling" | "policy") =>
        {
            Ready::Yes
        }
        _ => custom::ready(object),
    }
}

/// Whether an object of this kind can be anything but ready.
#[must_use]
pub fn may_wait(group: &str, kind: &str, rules: &BTreeMap<String, Rule>) -> bool {
    let name = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{group}/{kind}")
    };

    if rules.contains_key(&name) {
        return true;
    }
    let is_builtin = group.is_empty()
        || group.ends_with(".k8s.io")
        || matches!(group, "apps" | "batch" | "autoscaling" | "policy");
    !is_builtin
        || matches!(
            kind,
            "Deployment"
                | "StatefulSet"
                | "DaemonSet"
                | "Job"
                | "Pod"
                | "Service"
                | "PersistentVolumeClaim"
                | "Namespace"
                | "HTTPRoute"
                | "GRPCRoute"
                | "TLSRoute"
                | "Gateway"
                | "CustomResourceDefinition"
                | "APIService"
        )
}

/// A number of the object; 0 when it is not there.
fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether the status is about the specification as it stands.
fn is_observed(object: &Value) -> bool {
    number(object, "/status/observedGeneration") >= number(object, "/metadata/generation")
}

/// A condition's status, reason and message.
fn find<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == kind)?;
    let text = |name: &str| condition[name].as_str().unwrap_or_default();
    Some((text("status"), text("reason"), text("message")))
}

fn condition(object: &Value, kind: &str) -> Ready {
    match find(object, kind) {
        Some(("True", ..)) => Ready::Yes,
        Some((_, reason, message)) => Ready::Not(
            format!("{kind} is not true: {reason} {message}")
                .trim()
                .to_owned(),
        ),
        None => Ready::Not(format!("{kind} is not said yet")),
    }
}

fn phase(object: &Value, wanted: &str) -> Ready {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some(phase) if phase == wanted => Ready::Yes,
        Some("Lost" | "Failed") => Ready::Failed("its volume is lost".to_owned()),
        Some(phase) => Ready::Not(format!("is {phase}")),
        None => Ready::Not("has no phase yet".to_owned()),
    }
}

#[cfg(test)]
mod tests;
