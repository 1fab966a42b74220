//! Fields that were applied and that somebody has taken out since. A value that another manager
//! changes is that manager's, and the server says so; of one that is removed nothing is left to
//! belong to anybody. So an object carries along which fields it was applied with.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::driver::kubernetes::client::api::MANAGER;
use crate::driver::kubernetes::engine::compare::{flat, owned};
use crate::model::Manifest;
use crate::model::object::mark;
use crate::model::plan::{Change, MovedBy};

/// The most fields that are remembered; of an object with more nothing is.
const MOST: usize = 4096;

/// A field's path, in few bytes.
type Short = [u8; 3];

/// Which fields an object was applied with.
enum Applied {
    /// Nothing is known.
    Unknown,
    /// All that are wanted: it is of the release that is recorded.
    All,
    Fields(BTreeSet<Short>),
}

impl Applied {
    fn of(wanted: &Value, live: &Value) -> Self {
        let release = &live["metadata"]["labels"][mark::RELEASE];
        let text = live["metadata"]["annotations"][mark::APPLIED].as_str();
        match text.map(|text| BASE64_URL_SAFE_NO_PAD.decode(text)) {
            Some(Ok(bytes)) => {
                let fields = bytes.as_chunks::<3>().0;
                Self::Fields(fields.iter().copied().collect())
            }
            _ if release.is_string() && *release == wanted["metadata"]["labels"][mark::RELEASE] => {
                Self::All
            }
            _ => Self::Unknown,
        }
    }

    fn has(&self, path: &str) -> bool {
        match self {
            Self::Unknown => false,
            Self::All => true,
            Self::Fields(fields) => fields.contains(&short(path)),
        }
    }
}

fn short(path: &str) -> Short {
    let hash = Sha256::digest(path);
    [hash[0], hash[1], hash[2]]
}

/// Whether a path means the same field when others come before it: not one with a number in a list.
fn is_lasting(path: &str) -> bool {
    let mut inside = path.split('[').skip(1);
    !inside.any(|part| {
        let name = part.split(']').next().unwrap_or_default();
        name == "order" || name.parse::<usize>().is_ok()
    })
}

/// Writes on an object which fields it is applied with.
pub(super) fn remember(manifest: &mut Manifest) {
    let paths = flat(manifest.body());
    let fields: BTreeSet<Short> = paths
        .keys()
        .filter(|path| is_lasting(path))
        .map(|path| short(path))
        .collect();
    if fields.len() > MOST {
        return;
    }
    let bytes: Vec<u8> = fields.into_iter().flatten().collect();
    manifest.annotate(mark::APPLIED, &BASE64_URL_SAFE_NO_PAD.encode(bytes));
}

/// Of what applying would bring, the fields that it had brought before.
pub(super) fn taken(wanted: &Value, live: &Value, changes: &[Change]) -> BTreeSet<String> {
    let applied = Applied::of(wanted, live);
    let wanted = flat(wanted);
    let back = changes
        .iter()
        .filter(|change| change.before.is_none() && wanted.contains_key(&change.field));
    back.filter(|change| is_lasting(&change.field) && applied.has(&change.field))
        .map(|change| change.field.clone())
        .collect()
}

/// Who may have taken fields out: whoever else wrote last, and after us.
pub(super) fn taker(live: &Value) -> MovedBy {
    let entries = live
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let since = owned(live).and_then(|own| own["time"].as_str());
    let others = entries.into_iter().flatten().filter(|entry| {
        entry["manager"] != MANAGER
            && entry.get("subresource").is_none()
            && entry["time"].as_str() >= since
    });
    let last = others.max_by_key(|entry| entry["time"].as_str().map(str::to_owned));
    let text = |name: &str| last.and_then(|entry| entry[name].as_str());
    MovedBy {
        manager: text("manager")
            .unwrap_or("somebody whom the server does not name")
            .to_owned(),
        at: text("time").and_then(|time| time.parse().ok()),
    }
}

/// Leaves fields out of a manifest, and what holds nothing else.
pub(super) fn without(wanted: &Value, fields: &BTreeSet<String>) -> Value {
    let mut body = wanted.clone();
    if let Some(map) = body.as_object_mut() {
        map.retain(|key, value| !leave_out(key, value, fields));
    }
    body
}

/// Whether something was left out, and nothing stays.
fn leave_out(path: &str, value: &mut Value, fields: &BTreeSet<String>) -> bool {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.retain(|key, value| {
                let dot = if key.contains('.') {
                    format!("{path}[{key}]")
                } else {
                    format!("{path}.{key}")
                };
                !leave_out(&dot, value, fields)
            });
            map.is_empty()
        }
        Value::Array(items) if !items.is_empty() => {
            items.retain_mut(|item| {
                let name = item["name"].as_str().map(str::to_owned);
                name.is_none_or(|name| !leave_out(&format!("{path}[{name}]"), item, fields))
            });
            items.is_empty()
        }
        _ => fields.contains(path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::driver::kubernetes::engine::compare::changes;

    fn applied(body: Value) -> Value {
        let mut manifest = Manifest::try_from(body).expect("a manifest");
        remember(&mut manifest);
        manifest.into()
    }

    fn config(data: &Value) -> Value {
        applied(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}),
        )
    }

    #[test]
    fn what_was_applied_and_is_gone_was_taken_and_what_is_new_was_not() {
        let live = {
            let mut live = config(&json!({"a": "1", "b": "2"}));
            live["data"].as_object_mut().expect("a map").remove("b");
            live
        };
        let wanted = config(&json!({"a": "1", "b": "2", "c": "3"}));
        let found = taken(&wanted, &live, &changes(&wanted, &live, &wanted));
        assert_eq!(found, BTreeSet::from(["data.b".to_owned()]));
        let left = without(&wanted, &found);
        assert_eq!(left["data"], json!({"a": "1", "c": "3"}));
        // Without a memory nothing is said of anybody.
        let mut bare = live;
        bare["metadata"]["annotations"] = Value::Null;
        assert!(taken(&wanted, &bare, &changes(&wanted, &bare, &wanted)).is_empty());
    }

    #[test]
    fn an_item_is_left_out_whole_and_one_without_a_name_is_nobodys() {
        let pod = |env: Value, ports: Value| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {mark::RELEASE: "1"}},
                "spec": {"containers": [{"name": "w", "env": env, "ports": ports}]}})
        };
        let wanted = pod(
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
            json!([{"containerPort": 1}]),
        );
        let live = pod(json!([{"name": "A", "value": "1"}]), json!([]));
        let found = taken(&wanted, &live, &changes(&wanted, &live, &wanted));
        let env = "spec.containers[w].env[B]";
        assert_eq!(
            found,
            BTreeSet::from([format!("{env}.name"), format!("{env}.value")])
        );
        let left = without(&wanted, &found);
        let container = &left["spec"]["containers"][0];
        assert_eq!(container["env"], json!([{"name": "A", "value": "1"}]));
        assert_eq!(container["ports"], json!([{"containerPort": 1}]));
        // Of another release it says nothing: a run may have been killed in between.
        let mut older = live;
        older["metadata"]["labels"][mark::RELEASE] = "0".into();
        assert!(taken(&wanted, &older, &changes(&wanted, &older, &wanted)).is_empty());
    }
}
