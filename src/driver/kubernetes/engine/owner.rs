//! Whose an object is.

use serde_json::Value;

use crate::driver::kubernetes::engine::compare::{applied, owned};
use crate::model::object::mark;

/// Whether an object that carries our set's label is one that shipit made, and may take away. A
/// label proves nothing: controllers copy labels from one object to the next. What they cannot copy
/// is the server's record of who applied which fields.
pub(super) fn is_ours(live: &Value) -> bool {
    owned(live).is_some() && !is_controlled(live)
}

/// Whether an object carries a set's label, and is ours.
pub(super) fn belongs_to(live: &Value, set: &str) -> bool {
    live["metadata"]["labels"][mark::PART_OF] == set && is_ours(live)
}

/// Whether a controller has the object, and not because a manifest of ours says so.
fn is_controlled(live: &Value) -> bool {
    let all = owners(live);
    if all.is_empty() {
        return false;
    }
    let own = applied(live).unwrap_or_default();
    let own: Vec<&Value> = owners(&own).iter().map(|owner| &owner["uid"]).collect();
    all.iter()
        .any(|owner| owner["controller"] == true && !own.contains(&&owner["uid"]))
}

/// The references of an object to its owners.
pub(super) fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Whether an object goes with the one of this uid.
pub(super) fn is_owned_by(object: &Value, uid: &Value) -> bool {
    owners(object).iter().any(|owner| owner["uid"] == *uid)
}

/// Who manages an object that is not ours.
pub(super) fn manager(live: &Value) -> String {
    let labels = &live["metadata"]["labels"];
    if let Some(project) = labels[mark::PROJECT].as_str() {
        return format!(
            "shipit, for {project}/{}",
            labels[mark::ENVIRONMENT].as_str().unwrap_or_default()
        );
    }
    for name in [
        "app.kubernetes.io/managed-by",
        "kustomize.toolkit.fluxcd.io/name",
        "argocd.argoproj.io/instance",
    ] {
        if let Some(tool) = labels[name].as_str() {
            return tool.to_owned();
        }
    }
    first_manager(live)
}

/// The first that the server's record names.
fn first_manager(live: &Value) -> String {
    let entries = live
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let first = entries
        .into_iter()
        .flatten()
        .find(|entry| entry.get("subresource").is_none());
    first
        .and_then(|entry| entry["manager"].as_str())
        .unwrap_or("an unknown manager")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(managers: &[(&str, &str)], owners: &Value) -> Value {
        let entries: Vec<Value> = managers
            .iter()
            .map(|(manager, operation)| {
                json!({"manager": manager, "operation": operation, "apiVersion": "v1",
                    "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}}})
            })
            .collect();
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web",
            "labels": {mark::PART_OF: "ours", "a": "b"},
            "ownerReferences": owners, "managedFields": entries}})
    }

    #[test]
    fn a_label_that_a_controller_copied_makes_nothing_ours() {
        let copied = object(&[("kube-controller-manager", "Update")], &Value::Null);
        assert!(!belongs_to(&copied, "ours"));
        // One that writes under our name and does not apply is not us, either.
        assert!(!belongs_to(
            &object(&[("shipit", "Update")], &Value::Null),
            "ours"
        ));
    }

    #[test]
    fn what_we_applied_is_ours_whoever_else_has_written_into_it() {
        let both = [("shipit", "Apply"), ("kube-controller-manager", "Update")];
        assert!(belongs_to(&object(&both, &Value::Null), "ours"));
        assert!(!belongs_to(&object(&both, &Value::Null), "theirs"));
    }

    #[test]
    fn what_a_controller_has_taken_is_its_own() {
        let owner = |controller: bool| json!([{"kind": "ReplicaSet", "name": "a", "uid": "1", "controller": controller}]);
        let applied = [("shipit", "Apply")];
        assert!(!belongs_to(&object(&applied, &owner(true)), "ours"));
        assert!(belongs_to(&object(&applied, &owner(false)), "ours"));
    }

    #[test]
    fn an_owner_that_our_manifest_names_leaves_the_object_ours() {
        let owner = json!([{"kind": "ConfigMap", "name": "a", "uid": "1", "controller": true}]);
        let mut live = object(&[("shipit", "Apply")], &owner);
        live["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:ownerReferences"] =
            json!({"k:{\"uid\":\"1\"}": {}});
        assert!(belongs_to(&live, "ours"));
    }
}
