//! Fields of other managers: which of them conflict, and how one is left to who has it.

use http::StatusCode;
use kube::core::Status;
use serde_json::Value;

use crate::driver::kubernetes::client::api::ApiError;

pub(super) fn is_conflict(fault: &ApiError) -> bool {
    let reason = |status: &Status| {
        let causes = status
            .details
            .as_ref()
            .map(|details| details.causes.as_slice())
            .unwrap_or_default();
        causes
            .iter()
            .any(|cause| cause.reason == "FieldManagerConflict")
    };
    fault.is(StatusCode::CONFLICT) && fault.status().is_some_and(reason)
}

/// The fields that conflict, and with whom.
pub(super) fn fields(fault: &ApiError) -> Vec<(String, String)> {
    let Some(status) = fault.status() else {
        return Vec::new();
    };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    let of = |message: &str| {
        message
            .trim_start_matches("conflict with ")
            .replace('"', "")
    };

    causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| (cause.field.clone(), of(&cause.message)))
        .collect()
}

/// Leaves fields to those who have them; false when none of them is in the manifest as it is named.
pub(super) fn leave_out(body: &mut Value, found: &[(String, String)]) -> bool {
    let taken = found.iter().filter_map(|(path, _)| take_out(body, path));
    taken.count() > 0
}

/// Takes a field out of a manifest, and gives what it was; none when it is not there. The path is
/// written as the server writes it: `.spec.template.spec.containers[name="web"].image`.
pub(super) fn take_out(body: &mut Value, path: &str) -> Option<Value> {
    if let Some(rest) = path.strip_prefix('.') {
        let map = body.as_object_mut()?;
        // A label's name has dots of its own: the longest key that fits is meant.
        let fits = |key: &&String| {
            rest.strip_prefix(key.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let key = map.keys().filter(fits).max_by_key(|key| key.len())?.clone();
        let below = rest[key.len()..].to_owned();
        if below.is_empty() {
            return map.remove(&key);
        }
        return take_out(&mut map[&key], &below);
    }

    let (inside, below) = path.strip_prefix('[')?.split_once(']')?;
    let items = body.as_array_mut()?;
    let fits = |item: &Value| {
        inside.split(',').all(|part| {
            let Some((key, value)) = part.split_once('=') else {
                return false;
            };
            let value: Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            if key.is_empty() {
                *item == value
            } else {
                item.get(key).is_none_or(|own| *own == value)
            }
        })
    };

    let index = match inside.parse::<usize>() {
        Ok(index) if index < items.len() => index,
        _ => items.iter().position(fits)?,
    };
    if below.is_empty() {
        return Some(items.remove(index));
    }
    take_out(&mut items[index], below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_taken_out_by_the_path_that_the_server_names() {
        let body = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "a", "app": "b"}},
            "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}], "finalizers": ["a", "b"]},
        });
        let cases = [
            (
                ".metadata.labels.app.kubernetes.io/name",
                "/metadata/labels/app.kubernetes.io~1name",
            ),
            (
                ".spec.containers[name=\"b\"].image",
                "/spec/containers/1/image",
            ),
            (".spec.containers[name=\"b\"]", "/spec/containers/1"),
            (".spec.finalizers[=\"b\"]", "/spec/finalizers/1"),
        ];
        for (path, pointer) in cases {
            let mut copy = body.clone();
            assert!(copy.pointer(pointer).is_some());
            let value = copy.pointer(pointer).cloned();
            assert_eq!(take_out(&mut copy, path), value, "{path}");
            assert!(copy.pointer(pointer).is_none(), "{path}: {copy}");
            assert_eq!(take_out(&mut copy, path), None, "{path} is gone");
        }
        assert_eq!(take_out(&mut body.clone(), ".spec.other"), None);
        let first = take_out(&mut body.clone(), ".spec.containers[0].image");
        assert_eq!(first, Some(json!("x")));
    }

    #[test]
    fn nothing_is_left_to_others_where_no_field_is_found_by_its_name() {
        let conflict = |path: &str| (path.to_owned(), "kim".to_owned());
        let mut body = json!({"spec": {"a": 1, "b": 2}});
        let unknown = [conflict(".spec.c"), conflict(".status.d")];
        assert!(!leave_out(&mut body, &unknown), "that is a conflict");
        assert_eq!(body, json!({"spec": {"a": 1, "b": 2}}));

        let one = [conflict(".spec.c"), conflict(".spec.b")];
        assert!(leave_out(&mut body, &one));
        assert_eq!(body, json!({"spec": {"a": 1}}));
    }
}
