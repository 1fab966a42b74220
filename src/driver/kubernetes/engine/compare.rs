//! Whether an object is as it was applied, told from the object alone where that is certain.
//!
//! Certain means: the server's record of our fields (`managedFields`) names exactly the fields that
//! we would apply, and each of them has the value that we would apply. Then applying again changes
//! nothing: no field would be set, taken over or removed. Anything else is for the server to
//! decide, by a dry run ([`Comparison::Ask`]).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::driver::kubernetes::client::api::MANAGER;
use crate::model::fields::{Fields, change, flatten};
use crate::model::object::mark;
use crate::model::plan::{Change, MovedBy};
use crate::model::quantity::Quantity;

/// What can be said without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Applying it would change nothing.
    Same,
    /// Only the server can tell.
    Ask,
}

/// Holds an object that would be applied against the one that is there.
#[must_use]
pub fn compare(wanted: &Value, live: &Value) -> Comparison {
    if live["metadata"].get("deletionTimestamp").is_some()
        || wanted["apiVersion"] != live["apiVersion"]
    {
        return Comparison::Ask;
    }

    let Some(owned) = owned(live) else {
        return Comparison::Ask;
    };
    if owned["apiVersion"] != wanted["apiVersion"] {
        return Comparison::Ask;
    }
    let (Some(wanted), Some(fields)) = (wanted.as_object(), owned["fieldsV1"].as_object()) else {
        return Comparison::Ask;
    };

    if map(wanted, fields, live, Place::Top) {
        Comparison::Same
    } else {
        Comparison::Ask
    }
}

/// Our entry in the server's record of who owns what.
pub(super) fn owned(live: &Value) -> Option<&Value> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    entries.iter().find(|entry| is_own(entry))
}

/// Whether an entry of that record is ours.
pub(super) fn is_own(entry: &Value) -> bool {
    entry["manager"] == MANAGER
        && entry["operation"] == "Apply"
        && entry.get("subresource").is_none()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Metadata,
    /// Below resource requests and limits, where values are quantities.
    Quantities,
    Other,
}

impl Place {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Top, "metadata") => Self::Metadata,
            (Self::Quantities, _) | (_, "requests" | "limits") => Self::Quantities,
            _ => Self::Other,
        }
    }

    /// What names an object is not in the record.
    fn is_left_out(self, key: &str) -> bool {
        match self {
            Self::Top => matches!(key, "apiVersion" | "kind"),
            Self::Metadata => matches!(key, "name" | "namespace"),
            _ => false,
        }
    }
}

fn map(
    wanted: &Map<String, Value>,
    fields: &Map<String, Value>,
    live: &Value,
    place: Place,
) -> bool {
    let mut counted = 0;
    for (key, value) in wanted {
        if place.is_left_out(key) {
            continue;
        }
        let Some(inner) = fields.get(&format!("f:{key}")) else {
            // A map that holds only what names the object has no entry of its own.
            let is_name_only = value.as_object().is_some_and(|map| {
                place == Place::Top
                    && key == "metadata"
                    && map.keys().all(|key| Place::Metadata.is_left_out(key))
            });
            if is_name_only {
                continue;
            }
            return false;
        };
        counted += 1;
        let Some(there) = live.get(key) else {
            return false;
        };
        if !one(value, inner, there, place.below(key)) {
            return false;
        }
    }

    // A field that we own and would not apply any more would be removed.
    fields.keys().filter(|key| key.starts_with("f:")).count() == counted
        && fields.keys().all(|key| key.starts_with("f:") || key == ".")
}

fn one(wanted: &Value, fields: &Value, live: &Value, place: Place) -> bool {
    let Some(fields) = fields.as_object() else {
        return false;
    };
    let is_leaf = fields.keys().all(|key| key == ".");
    match wanted {
        Value::Null => false,
        Value::Object(wanted) if !is_leaf => map(wanted, fields, live, place),
        Value::Array(wanted) if !is_leaf => list(wanted, fields, live, place),
        // Owned as a whole: nothing may be in it that we would not put there.
        Value::Object(_) | Value::Array(_) => wanted == live,
        scalar => is_leaf && same(scalar, live, place),
    }
}

/// A list whose items are owned one by one: by key (`k:`) or by value (`v:`).
fn list(wanted: &[Value], fields: &Map<String, Value>, live: &Value, place: Place) -> bool {
    let Some(live) = live.as_array() else {
        return false;
    };
    let entries: Vec<(&String, &Value)> = fields.iter().filter(|(key, _)| *key != ".").collect();
    if entries.len() != wanted.len() {
        return false;
    }

    let mut used = vec![false; entries.len()];
    let mut last = 0;
    for item in wanted {
        let mut found = None;
        for (index, (name, inner)) in entries.iter().enumerate() {
            if used[index] {
                continue;
            }
            if let Some(key) = name.strip_prefix("k:") {
                let Ok(Value::Object(key)) = serde_json::from_str(key) else {
                    return false;
                };
                if has_key(item, &key) {
                    found = Some((index, *inner, Some(key)));
                    break;
                }
            } else if let Some(value) = name.strip_prefix("v:") {
                let Ok(value) = serde_json::from_str::<Value>(value) else {
                    return false;
                };
                if value == *item {
                    found = Some((index, *inner, None));
                    break;
                }
            } else {
                return false;
            }
        }

        let Some((index, inner, key)) = found else {
            return false;
        };
        used[index] = true;

        let Some(position) = position(live, key.as_ref(), item) else {
            return false;
        };

        // The order is part of what is applied.
        if position < last {
            return false;
        }
        last = position;
        if key.is_some() && !one(item, inner, &live[position], place) {
            return false;
        }
    }
    true
}

/// Where an item is in the live list: by its key, or by its value.
fn position(live: &[Value], key: Option<&Map<String, Value>>, item: &Value) -> Option<usize> {
    live.iter().position(|one| match key {
        Some(key) => is_item(one, key),
        None => one == item,
    })
}

/// Whether an item of ours is the one that a key names. A part of the key that we leave to a
/// default may be anything; two items that only differ there are told apart by their order, and by
/// their values.
fn has_key(item: &Value, key: &Map<String, Value>) -> bool {
    key.iter()
        .all(|(name, value)| item.get(name).is_none_or(|own| own == value))
}

fn is_item(there: &Value, key: &Map<String, Value>) -> bool {
    key.iter()
        .all(|(name, value)| there.get(name) == Some(value))
}

fn same(wanted: &Value, live: &Value, place: Place) -> bool {
    if wanted == live {
        return true;
    }
    match (wanted, live) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) if place == Place::Quantities => match (quantity(a), quantity(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
        _ => false,
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// The fields in which a dry run's answer differs from what is there, each with where the
/// difference comes from.
#[must_use]
pub fn changes(wanted: &Value, live: &Value, result: &Value) -> Vec<Change> {
    let (before, after) = (flat(live), flat(result));
    let wanted = flat(wanted);
    let managers = managers(live);
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let secret = live["kind"] == "Secret";
    let mut changes = Vec::new();
    for name in names {
        let (was, will) = (before.get(name), after.get(name));
        if was == will {
            continue;
        }
        let hidden = secret && (name.starts_with("data.") || name.starts_with("stringData."));
        let show = |value: Option<&String>| match value {
            Some(_) if hidden => Some("(changed)".to_owned()),
            value => value.cloned(),
        };
        let owner = owner(&managers, name);
        let by = owner.filter(|(manager, _)| *manager != MANAGER);
        let origin = match owner {
            Some((manager, time)) if by.is_some() => {
                let time = time.map(|time| format!(" at {time}")).unwrap_or_default();
                Some(format!("changed by {manager}{time}"))
            }
            None if !wanted.contains_key(name) && will.is_some() => {
                Some("set by the server or a webhook".to_owned())
            }
            _ => None,
        };
        let (was, will) = (show(was), show(will));
        let differs = change(name, was.as_ref(), will.as_ref());
        let by = by.map(|(manager, time)| MovedBy {
            manager: manager.to_owned(),
            at: time.and_then(|time| time.parse().ok()),
        });
        changes.extend(differs.into_iter().map(|change| Change {
            origin: origin.clone(),
            by: by.clone(),
            ..change
        }));
    }

    changes
}

/// Every scalar of an object by its path, without what the server and shipit keep for themselves.
pub(super) fn flat(object: &Value) -> Fields {
    let mut out = Fields::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => {
                for part in ["labels", "annotations", "ownerReferences", "finalizers"] {
                    if let Some(value) = value.get(part) {
                        let path = format!("metadata.{part}");
                        let before = out.len();
                        flatten(&path, value, &mut out);
                        let was_there = out.remove(&format!("{path}[{}]", mark::APPLIED));
                        if was_there.is_none() && out.len() == before {
                            out.remove(&path);
                        }
                    }
                }
            }
            _ => flatten(key, value, &mut out),
        }
    }

    out
}

type Managers = Vec<(String, Option<String>, BTreeSet<String>)>;

/// Who owns which path, with the time of their last change.
fn managers(live: &Value) -> Managers {
    let entries = live
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let of = |entry: &Value| {
        let manager = entry["manager"].as_str().unwrap_or("somebody").to_owned();
        let time = entry["time"].as_str().map(str::to_owned);
        let mut paths = BTreeSet::new();
        own(&entry["fieldsV1"], "", live, &mut paths);
        (manager, time, paths)
    };
    entries.into_iter().flatten().map(of).collect()
}

/// The paths of a record, written as [`flat`] writes them.
fn own(fields: &Value, path: &str, live: &Value, out: &mut BTreeSet<String>) {
    let Some(map) = fields.as_object() else {
        return;
    };
    if map.keys().all(|key| key == ".") {
        out.insert(path.to_owned());
        return;
    }

    for (key, inner) in map {
        if let Some(name) = key.strip_prefix("f:") {
            let next = match (path.is_empty(), name.contains('.')) {
                (true, _) => name.to_owned(),
                (_, true) => format!("{path}[{name}]"),
                _ => format!("{path}.{name}"),
            };
            own(inner, &next, &live[name], out);
        } else if let Some(Value::Object(key)) = key
            .strip_prefix("k:")
            .and_then(|key| serde_json::from_str(key).ok())
        {
            let items = live.as_array().map(Vec::as_slice).unwrap_or_default();
            let Some(index) = items.iter().position(|item| is_item(item, &key)) else {
                continue;
            };
            let name = items[index]
                .get("name")
                .and_then(Value::as_str)
                .map_or_else(|| index.to_string(), str::to_owned);
            own(inner, &format!("{path}[{name}]"), &items[index], out);
        } else if let Some(value) = key.strip_prefix("v:") {
            let items = live.as_array().map(Vec::as_slice).unwrap_or_default();
            let value: Value = serde_json::from_str(value).unwrap_or_default();
            if let Some(index) = items.iter().position(|item| *item == value) {
                out.insert(format!("{path}[{index}]"));
            }
        }
    }
}

/// Who owns a field, or the nearest thing above it that somebody owns as a whole.
fn owner<'a>(managers: &'a Managers, field: &str) -> Option<(&'a str, Option<&'a str>)> {
    let holds = |paths: &BTreeSet<String>| {
        paths.iter().any(|path| {
            field == path
                || field
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    };
    let found = managers.iter().filter(|(.., paths)| holds(paths));
    // Another manager tells more than ourselves.
    let mut found: Vec<_> = found
        .map(|(manager, time, _)| (manager.as_str(), time.as_deref()))
        .collect();
    found.sort_by_key(|(manager, _)| *manager == MANAGER);
    found.first().copied()
}

/// The fields that we applied last, as a manifest: what our entry names, with the values that are
/// there.
#[must_use]
pub fn applied(live: &Value) -> Option<Value> {
    let owned = owned(live)?;
    let mut body = extract(live, owned["fieldsV1"].as_object()?);
    body["apiVersion"] = owned["apiVersion"].clone();
    body["kind"] = live["kind"].clone();
    body["metadata"]["name"] = live["metadata"]["name"].clone();
    if let Some(namespace) = live["metadata"].get("namespace") {
        body["metadata"]["namespace"] = namespace.clone();
    }
    Some(body)
}

fn extract(live: &Value, fields: &Map<String, Value>) -> Value {
    if fields.keys().all(|key| key == ".") {
        return live.clone();
    }

    match live {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, inner) in fields {
                let Some(name) = key.strip_prefix("f:") else {
                    continue;
                };
                if let (Some(value), Some(inner)) = (map.get(name), inner.as_object()) {
                    out.insert(name.to_owned(), extract(value, inner));
                }
            }
            out.into()
        }
        Value::Array(items) => {
            let mut out = Vec::new();
            for item in items {
                for (key, inner) in fields {
                    let by_key = key
                        .strip_prefix("k:")
                        .and_then(|key| serde_json::from_str::<Value>(key).ok());
                    let by_value = key
                        .strip_prefix("v:")
                        .and_then(|value| serde_json::from_str::<Value>(value).ok());
                    if let (Some(Value::Object(key)), Some(inner)) = (&by_key, inner.as_object())
                        && is_item(item, key)
                    {
                        let mut item = extract(item, inner);
                        for (name, value) in key {
                            item[name] = value.clone();
                        }
                        out.push(item);
                    } else if by_value.as_ref() == Some(item) {
                        out.push(item.clone());
                    }
                }
            }
            out.into()
        }
        other => other.clone(),
    }
}

/// What a dry run's answer and the object have in common that matters: both without what the server
/// counts.
#[must_use]
pub fn is_unchanged(live: &Value, result: &Value) -> bool {
    let plain = |object: &Value| {
        let mut object = object.clone();
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for name in ["managedFields", "resourceVersion", "generation"] {
                meta.remove(name);
            }
            let annotations = meta.get_mut("annotations").and_then(Value::as_object_mut);
            let is_empty = annotations.is_some_and(|annotations| {
                annotations.remove(mark::APPLIED);
                annotations.is_empty()
            });
            if is_empty {
                meta.remove("annotations");
            }
        }
        // A list of one kind does not say it again in its items.
        // Nor is its status a part of what is applied.
        for name in ["apiVersion", "kind", "status"] {
            object.as_object_mut().map(|map| map.remove(name));
        }
        object
    };
    plain(live) == plain(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "w", "namespace": "n", "labels": {"a.b/c": "d"}, "managedFields": [
                {"manager": "shipit", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-11-21T00:00:00Z",
                 "fieldsV1": {"f:metadata": {"f:labels": {"f:a.b/c": {}}}, "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                     "k:{\"name\":\"w\"}": {".": {}, "f:name": {}, "f:image": {}, "f:command": {},
                        "f:resources": {"f:requests": {"f:cpu": {}}},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}}},
                {"manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-11-21T01:00:00Z",
                 "fieldsV1": {"f:spec": {"f:paused": {}}}},
            ]},
            "spec": {"replicas": 2, "paused": true, "template": {"spec": {"containers": [
                {"name": "w", "image": "i", "command": ["a", "b"], "imagePullPolicy": "Always",
                 "resources": {"requests": {"cpu": "1"}},
                 "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}},
        })
    }

    fn wanted() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "w", "namespace": "n", "labels": {"a.b/c": "d"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "w", "image": "i", "command": ["a", "b"], "resources": {"requests": {"cpu": "1000m"}},
                 "ports": [{"containerPort": 80}]}]}}},
        })
    }

    #[test]
    fn what_was_applied_and_has_not_moved_is_the_same() {
        assert_eq!(compare(&wanted(), &live()), Comparison::Same);
    }

    #[test]
    fn every_other_case_is_asked() {
        type Edit = fn(&mut Value, &mut Value);
        let cases: Vec<(&str, Edit)> = vec![
            ("another value", |wanted, _| {
                wanted["spec"]["replicas"] = 3.into();
            }),
            ("a live value that moved", |_, live| {
                live["spec"]["replicas"] = 3.into();
            }),
            ("a field more", |wanted, _| {
                wanted["spec"]["paused"] = true.into();
            }),
            ("a field less", |wanted, _| {
                wanted["spec"]
                    .as_object_mut()
                    .map(|map| map.remove("replicas"));
            }),
            ("a label less", |wanted, _| {
                wanted["metadata"]
                    .as_object_mut()
                    .map(|map| map.remove("labels"));
            }),
            ("part of a list that is owned as a whole", |wanted, _| {
                wanted["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["a"]);
            }),
            ("another quantity", |wanted, _| {
                wanted["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] =
                    "2".into();
            }),
            ("a container less at the server", |_, live| {
                live["spec"]["template"]["spec"]["containers"] = json!([]);
            }),
            ("nothing of ours", |_, live| {
                live["metadata"]["managedFields"] = json!([]);
            }),
            ("on its way out", |_, live| {
                live["metadata"]["deletionTimestamp"] = "2026".into();
            }),
        ];
        for (what, change) in cases {
            let (mut wanted, mut live) = (wanted(), live());
            change(&mut wanted, &mut live);
            assert_eq!(compare(&wanted, &live), Comparison::Ask, "{what}");
        }
    }

    #[test]
    fn a_change_names_who_made_it() {
        let mut result = live();
        result["spec"]["paused"] = false.into();
        result["spec"]["replicas"] = 5.into();
        result["spec"]["minReadySeconds"] = 1.into();
        let found = changes(&wanted(), &live(), &result);
        let origin = |field: &str| {
            found
                .iter()
                .find(|change| change.field == field)
                .map(|change| change.origin.clone())
        };
        assert_eq!(
            origin("spec.paused"),
            Some(Some(
                "changed by kubectl-edit at 2026-11-21T01:00:00Z".to_owned()
            ))
        );
        let paused = found.iter().find(|change| change.field == "spec.paused");
        let by = paused.and_then(|change| change.by.clone()).expect("known");
        let at = by.at.expect("a time").to_string();
        assert_eq!(
            (by.manager.as_str(), at.as_str()),
            ("kubectl-edit", "2026-11-21T01:00:00Z")
        );
        assert_eq!(origin("spec.replicas"), Some(None));
        assert_eq!(
            origin("spec.minReadySeconds"),
            Some(Some("set by the server or a webhook".to_owned()))
        );
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn items_that_change_places_are_a_change() {
        let object = |names: &[&str]| {
            let ports: Vec<Value> = names
                .iter()
                .map(|name| json!({"name": name, "port": name.len()}))
                .collect();
            json!({"kind": "Service", "spec": {"ports": ports}})
        };
        let found = changes(
            &object(&["a", "bc"]),
            &object(&["bc", "a"]),
            &object(&["a", "bc"]),
        );
        let shown: Vec<_> = found
            .iter()
            .map(|change| (change.field.as_str(), change.after.as_deref()))
            .collect();
        assert_eq!(shown, [("spec.ports[order]", Some("a, bc"))]);
    }

    #[test]
    fn a_secrets_data_is_never_shown() {
        let live = json!({"kind": "Secret", "data": {"a": "b2xk"}});
        let result = json!({"kind": "Secret", "data": {"a": "bmV3"}});
        let text = format!("{:?}", changes(&result, &live, &result));
        assert!(
            text.contains("(changed)") && !text.contains("bmV3") && !text.contains("b2xk"),
            "{text}"
        );
    }

    #[test]
    fn what_moves_by_itself_is_no_change() {
        let mut result = live();
        result["status"] = json!({"readyReplicas": 2});
        result["metadata"]["resourceVersion"] = "2".into();
        result["metadata"]["generation"] = 7.into();
        assert!(is_unchanged(&live(), &result));
        assert!(changes(&wanted(), &live(), &result).is_empty());
        result["spec"]["replicas"] = 3.into();
        assert!(!is_unchanged(&live(), &result));
    }

    #[test]
    fn what_was_applied_can_be_read_back() {
        let mut applied = applied(&live()).expect("ours");
        // The port's key is complete in the record.
        assert_eq!(
            applied["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"],
            "TCP"
        );
        applied["spec"]["template"]["spec"]["containers"][0]["ports"] =
            json!([{"containerPort": 80}]);
        applied["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] =
            "1000m".into();
        assert_eq!(applied, wanted());
    }
}
