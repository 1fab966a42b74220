//! A `DaemonSet`: on every node that it wants, the new template, available.

use serde_json::Value;

use super::{Ready, is_observed, number};

pub(super) fn ready(object: &Value) -> Ready {
    if !is_observed(object) {
        return Ready::Not("the change was not seen yet".to_owned());
    }
    let status = |name: &str| number(object, &format!("/status/{name}"));
    let wanted = status("desiredNumberScheduled");
    let on_delete = object
        .pointer("/spec/updateStrategy/type")
        .and_then(Value::as_str)
        == Some("OnDelete");
    if !on_delete && status("updatedNumberScheduled") < wanted {
        return Ready::Not(format!(
            "{} of {wanted} nodes have this release",
            status("updatedNumberScheduled")
        ));
    }

    if status("numberAvailable") < wanted {
        return Ready::Not(format!(
            "{} of {wanted} pods are ready",
            status("numberAvailable")
        ));
    }

    Ready::Yes
}
