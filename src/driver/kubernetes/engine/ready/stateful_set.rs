//! A `StatefulSet`: every pod is of the new revision and ready, down to the partition.

use serde_json::Value;

use super::{Ready, is_observed, number};

pub(super) fn ready(object: &Value) -> Ready {
    if !is_observed(object) {
        return Ready::Not("the change was not seen yet".to_owned());
    }
    let wanted = object
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let status = |name: &str| number(object, &format!("/status/{name}"));
    if object
        .pointer("/spec/updateStrategy/type")
        .and_then(Value::as_str)
        == Some("OnDelete")
    {
        return if status("readyReplicas") >= wanted {
            Ready::Yes
        } else {
            Ready::Not(format!(
                "{} of {wanted} pods are ready",
                status("readyReplicas")
            ))
        };
    }

    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let due = (wanted - partition).max(0);
    if status("updatedReplicas") < due {
        return Ready::Not(format!(
            "{} of {due} pods are of this release",
            status("updatedReplicas")
        ));
    }

    if status("readyReplicas") < wanted {
        return Ready::Not(format!(
            "{} of {wanted} pods are ready",
            status("readyReplicas")
        ));
    }

    let revision = |name: &str| {
        object
            .pointer(&format!("/status/{name}"))
            .cloned()
            .unwrap_or_default()
    };

    if partition == 0 && wanted > 0 && revision("currentRevision") != revision("updateRevision") {
        return Ready::Not("the last pods are being replaced".to_owned());
    }
    Ready::Yes
}
