//! What differs between two workloads, field by field, for a reader.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::plan::Change;
use crate::model::workload::{EnvValue, Known, Workload};

/// The fields in which `after` differs from `before`, in order of their names.
#[must_use]
pub fn workload_changes(before: Option<&Workload>, after: &Workload) -> Vec<Change> {
    let Some(before) = before else {
        return Vec::new();
    };
    let (before, after) = (fields(before), fields(after));
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| Change {
            field: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
            origin: None,
        })
        .collect()
}

/// A workload as flat fields. What is special about images and secrets is said here; the rest is its JSON.
fn fields(workload: &Workload) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::from([("image".to_owned(), image(workload))]);
    for (name, value) in &workload.env {
        fields.insert(format!("env.{name}"), env(value));
    }
    let json = serde_json::to_value(workload).unwrap_or_default();
    let rest = ["command", "port", "replicas", "health", "stop_grace"];
    for (name, value) in rest.iter().filter_map(|name| Some((name, json.get(name)?))) {
        flatten(name, value, &mut fields);
    }
    fields
}

fn image(workload: &Workload) -> String {
    match &workload.image {
        Known::Value(digest) => digest.to_string(),
        Known::After(_) => "(known after build)".to_owned(),
    }
}

fn env(value: &EnvValue) -> String {
    match value {
        EnvValue::Plain(text) => text.clone(),
        EnvValue::Secret { name, .. } => format!("(secret {name})"),
    }
}

fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, fields);
            }
        }
        Value::String(text) => {
            fields.insert(path.to_owned(), text.clone());
        }
        Value::Array(items) if items.is_empty() => {}
        other => {
            fields.insert(path.to_owned(), other.to_string());
        }
    }
}
