//! A namespace that is being deleted: nothing new is taken there, whoever brings it.

use kube::core::Status;
use serde_json::Value;

use super::{ApiError, encode};

/// How the server calls it in the causes of a refusal.
const CAUSE: &str = "NamespaceTerminating";

/// The namespace that a refusal is about, where it is refused because that is being deleted. `path`
/// is what was asked for.
pub(super) fn namespace(status: &Status, path: &str) -> Option<String> {
    let causes = &status.details.as_ref()?.causes;
    if !causes.iter().any(|cause| cause.reason == CAUSE) {
        return None;
    }
    let (_, rest) = path.split_once("/namespaces/")?;
    let name = rest.split(['/', '?']).next()?;
    Some(name.to_owned())
}

/// The fault of a namespace that is being deleted. `seen`: the namespace, where it may be looked
/// at.
pub(in crate::driver) fn fault(namespace: String, seen: Option<&Value>) -> ApiError {
    let why = seen.map(why).unwrap_or_default();
    ApiError::Terminating { namespace, why }
}

/// What to do about it.
pub(super) fn help(namespace: &str) -> String {
    format!(
        "wait until it is gone, then run the command again; `kubectl get namespace {} -o yaml` \
         shows in its status what it waits for: who put a finalizer there has to act. Or write \
         another namespace, `cluster: {{namespace: …}}`",
        encode(namespace)
    )
}

/// Since when it is being deleted, and what its status says that it waits for.
fn why(namespace: &Value) -> String {
    let since = namespace["metadata"]["deletionTimestamp"].as_str();
    let since = since.map(|at| format!(" since {at}")).unwrap_or_default();
    match waits(namespace) {
        held if held.is_empty() => since,
        held => format!("{since}, and waits: {}", held.join("; ")),
    }
}

/// What the status of a namespace says that its deletion waits for.
pub(in crate::driver) fn waits(namespace: &Value) -> Vec<&str> {
    let conditions = namespace["status"]["conditions"].as_array();
    let conditions = conditions.into_iter().flatten();
    conditions
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(cause: &str) -> Status {
        let status = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "status": "Failure",
            "message": "configmaps \"x\" is forbidden: unable to create new content in namespace \
                shop because it is being terminated",
            "details": {"name": "x", "kind": "configmaps",
                "causes": [{"reason": cause, "message": "m", "field": "metadata.namespace"}]}});
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn a_refusal_for_a_namespace_that_goes_is_known_by_its_cause() {
        let path = "/api/v1/namespaces/shop/configmaps?fieldManager=shipit";
        assert_eq!(namespace(&refused(CAUSE), path).as_deref(), Some("shop"));
        assert_eq!(namespace(&refused("FieldValueInvalid"), path), None);
    }

    #[test]
    fn what_the_namespace_waits_for_is_told_where_it_may_be_seen() {
        let seen = json!({"metadata": {"deletionTimestamp": "2026-11-28T07:00:00Z"},
        "status": {"conditions": [
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "fine"},
            {"type": "NamespaceFinalizersRemaining", "status": "True",
                "message": "a.b/c in 1 resource instances"},
        ]}});
        assert_eq!(
            fault("shop".to_owned(), Some(&seen)).to_string(),
            "the namespace shop is being deleted since 2026-11-28T07:00:00Z, and waits: a.b/c in 1 \
             resource instances"
        );
        let hidden = fault("shop".to_owned(), None);
        assert_eq!(hidden.to_string(), "the namespace shop is being deleted");
    }
}
