//! What applying an object would change, asked of the server by a dry run.

use std::collections::BTreeSet;

use serde_json::Value;

use super::LEAVINGS;
use super::fields::{fields, is_conflict, leave_out};
use super::replacement::replacement;
use crate::driver::kubernetes::client::api::{Api, ApiError, How};
use crate::driver::kubernetes::engine::Conflict;
use crate::driver::kubernetes::engine::compare::{changes, is_unchanged, owned};
use crate::driver::kubernetes::engine::list::key_of;
use crate::driver::kubernetes::engine::taken::{taken, taker, without};
use crate::model::Manifest;
use crate::model::plan::Change;

/// What the server says about an object that it would be given.
pub(in super::super) enum Decision {
    Same,
    Differs {
        changes: Vec<Change>,
        conflicts: Vec<String>,
    },
    Replace(String),
}

/// Asks the server what applying would change.
pub(in super::super) async fn decide(
    api: &Api,
    policy: Conflict,
    wanted: &Value,
    live: &Value,
) -> Result<Decision, ApiError> {
    if wanted["kind"] == "Secret" {
        return Ok(secret(wanted, live));
    }
    let mut body = wanted.clone();
    let mut conflicts = Vec::new();
    let mut how = How {
        dry_run: true,
        force: policy == Conflict::TakeOver,
    };

    let mut newer = None;
    for _ in 0..LEAVINGS {
        let live = newer.as_ref().unwrap_or(live);
        match api.apply(&body, how).await {
            Ok(result) if is_unchanged(live, &result) => return Ok(Decision::Same),
            // It moved since it was looked at: what others have changed meanwhile is no change of
            // ours.
            Ok(result) if newer.is_none() && has_moved(live, &result) => {
                newer = Some(look_again(api, live).await?);
            }
            Ok(result) => {
                let mut changes = changes(&body, live, &result);
                if changes.is_empty() && conflicts.is_empty() {
                    return Ok(Decision::Same);
                }
                let taken = taken(&body, live, &changes);
                name_taker(&mut changes, &taken, live);
                match policy {
                    Conflict::Leave if !taken.is_empty() => {
                        body = without(&body, &taken);
                        continue;
                    }
                    Conflict::Stop => conflicts.extend(removed(&taken, live)),
                    Conflict::Leave | Conflict::TakeOver => name_origin(&mut changes, &taken),
                }
                return Ok(Decision::Differs { changes, conflicts });
            }
            Err(fault) if is_conflict(&fault) => {
                let found = fields(&fault);
                // What cannot be left out is a conflict under every rule: leaving never takes.
                if policy == Conflict::Leave && leave_out(&mut body, &found) {
                    continue;
                }
                conflicts = named(found);
                how.force = true;
            }
            Err(fault) => {
                let replaced = replacement(api, &body, Some(live), fault).await;
                return replaced.map(Decision::Replace);
            }
        }
    }
    Err(ApiError::Malformed(
        "fields of other managers conflict again and again".to_owned(),
    ))
}

/// Whether an object was written between the look at it and the answer of a dry run.
fn has_moved(live: &Value, result: &Value) -> bool {
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    version(live) != version(result)
}

/// An object as it is now; as it was when it is not there any more.
async fn look_again(api: &Api, live: &Value) -> Result<Value, ApiError> {
    let now = match &key_of(live) {
        Some(key) => api.get(key).await?,
        None => None,
    };
    Ok(now.unwrap_or_else(|| live.clone()))
}

/// What others have taken out, as conflicts.
fn removed(taken: &BTreeSet<String>, live: &Value) -> Vec<String> {
    let by = taker(live).manager;
    let all = taken.iter();
    all.map(|path| format!("{path}: removed by {by}")).collect()
}

/// Fields that conflict, with whom.
fn named(found: Vec<(String, String)>) -> Vec<String> {
    found
        .into_iter()
        .map(|(path, manager)| format!("{path}: {manager}"))
        .collect()
}

/// Says of what comes back who had taken it out.
fn name_taker(changes: &mut [Change], taken: &BTreeSet<String>, live: &Value) {
    for change in back(changes, taken) {
        change.by = Some(taker(live));
    }
}

/// The same in words.
fn name_origin(changes: &mut [Change], taken: &BTreeSet<String>) {
    for change in back(changes, taken) {
        let by = change.by.as_ref();
        change.origin = by.map(|by| format!("removed by {}", by.manager));
    }
}

/// What comes back of what was taken out.
fn back<'a>(
    changes: &'a mut [Change],
    taken: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a mut Change> {
    let changes = changes.iter_mut();
    changes.filter(|change| taken.contains(&change.field))
}

/// What is applied of an object where fields that others have taken out are left to them.
pub(in super::super) async fn left_to_others(
    api: &Api,
    policy: Conflict,
    wanted: &Manifest,
    live: Option<&Value>,
) -> Result<Manifest, ApiError> {
    let (Conflict::Leave, Some(live)) = (policy, live) else {
        return Ok(wanted.clone());
    };

    // What only others have is conflicting, and left to them in any case.
    let how = How {
        dry_run: true,
        force: true,
    };

    let result = api.apply(wanted.body(), how).await?;
    let taken = taken(wanted.body(), live, &changes(wanted.body(), live, &result));
    let mut left = wanted.clone();
    left.edit(|body| *body = without(body, &taken));
    Ok(left)
}

/// A secret is never sent for a question: its values are compared with each other by their keyed
/// hashes.
fn secret(wanted: &Value, live: &Value) -> Decision {
    if kind_of_secret(wanted) != kind_of_secret(live) {
        return Decision::Replace("type cannot be changed".to_owned());
    }
    let mut result = live.clone();
    for part in ["labels", "annotations"] {
        for (name, value) in wanted["metadata"][part].as_object().into_iter().flatten() {
            result["metadata"][part][name] = value.clone();
        }
    }
    for name in ["type", "immutable", "data"] {
        match wanted.get(name) {
            Some(value) => result[name] = value.clone(),
            None if name == "data" => {
                result.as_object_mut().map(|map| map.remove(name));
            }
            None => {}
        }
    }

    let changes = changes(wanted, live, &result);
    let is_data = |change: &Change| change.field.starts_with("data");
    let is_given_up = wanted["immutable"] != true
        && owned(live).is_some_and(|entry| entry["fieldsV1"].get("f:immutable").is_some());
    if live["immutable"] == true && (changes.iter().any(is_data) || is_given_up) {
        return Decision::Replace("data cannot be changed: it is `immutable`".to_owned());
    }
    if changes.is_empty() {
        Decision::Same
    } else {
        Decision::Differs {
            changes,
            conflicts: Vec::new(),
        }
    }
}

/// What a Secret is for; the server's word where it says nothing.
fn kind_of_secret(object: &Value) -> &str {
    object["type"].as_str().unwrap_or("Opaque")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decided(wanted: &Value, live: &Value) -> Option<String> {
        match secret(wanted, live) {
            Decision::Replace(reason) => Some(reason),
            Decision::Same | Decision::Differs { .. } => None,
        }
    }

    #[test]
    fn what_cannot_be_changed_of_a_secret_is_replaced() {
        let of = |kind: Option<&str>, immutable: bool, value: &str| {
            let mut object = json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "s"}, "data": {"a": value}});
            if let Some(kind) = kind {
                object["type"] = kind.into();
            }
            if immutable {
                object["immutable"] = true.into();
                object["metadata"]["managedFields"] = json!([{"manager": "shipit",
                    "operation": "Apply", "fieldsV1": {"f:immutable": {}}}]);
            }
            object
        };
        let plain = of(None, false, "YQ==");
        assert_eq!(decided(&plain, &of(Some("Opaque"), false, "Yg==")), None);
        let other = decided(
            &of(Some("a/v2"), false, "YQ=="),
            &of(Some("a/v1"), false, "YQ=="),
        );
        assert_eq!(other.as_deref(), Some("type cannot be changed"));

        let fixed = of(None, true, "YQ==");
        assert_eq!(decided(&fixed, &fixed), None);
        assert!(decided(&of(None, true, "Yg=="), &fixed).is_some());
        assert!(
            decided(&plain, &fixed).is_some(),
            "it stays immutable for ever"
        );
        assert_eq!(decided(&fixed, &plain), None, "it may become so");
    }
}
