//! A Deployment: the new template is on as many pods as wanted, all of them available, none of the
//! old left.

use serde_json::Value;

use super::{Ready, find, is_observed, number};
use crate::driver::kubernetes::client::api::MANAGER;

pub(super) fn ready(object: &Value) -> Ready {
    if !is_observed(object) {
        return Ready::Not("the change was not seen yet".to_owned());
    }
    if let Some(("False", "ProgressDeadlineExceeded", message)) = find(object, "Progressing") {
        return Ready::Failed(format!("it made no progress in its time: {message}"));
    }
    if let Some(("True", reason, message)) = find(object, "ReplicaFailure") {
        return Ready::Failed(super::pod::quota(reason, message));
    }
    let wanted = object
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let status = |name: &str| number(object, &format!("/status/{name}"));
    let (total, updated, available) = (
        status("replicas"),
        status("updatedReplicas"),
        status("availableReplicas"),
    );

    // Nothing of it moves until somebody says so.
    if updated < wanted && object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        let by = paused_by(object);
        return Ready::Failed(format!(
            "it is paused by {by}, and {updated} of {wanted} pods are of this release: \
             `spec.paused: false` rolls it out"
        ));
    }

    if updated < wanted {
        return Ready::Not(format!("{updated} of {wanted} pods are of this release"));
    }
    if total > updated {
        return Ready::Not(format!("{} old pods are still there", total - updated));
    }
    if available < updated {
        return Ready::Not(format!("{available} of {updated} pods are ready"));
    }
    Ready::Yes
}

/// Who has paused it, as far as the server has recorded it.
fn paused_by(object: &Value) -> &str {
    let entries = object.pointer("/metadata/managedFields");
    let mut entries = entries.and_then(Value::as_array).into_iter().flatten();
    let own = entries.find(|entry| entry.pointer("/fieldsV1/f:spec/f:paused").is_some());
    match own.and_then(|entry| entry["manager"].as_str()) {
        Some(MANAGER) => "its manifest",
        Some(manager) => manager,
        None => "somebody whom the server does not name",
    }
}
