//! A Job: started is not done.

use serde_json::Value;

use super::{Ready, find, number};

pub(super) fn ready(object: &Value) -> Ready {
    if let Some(("True", reason, message)) = find(object, "Failed") {
        return Ready::Failed(format!("it failed: {reason} {message}").trim().to_owned());
    }
    if let Some(("True", ..)) = find(object, "Complete") {
        return Ready::Yes;
    }

    if object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true) {
        // Somebody who admits Jobs one after the other lets it run when its turn has come.
        let queue = &object["metadata"]["labels"]["kueue.x-k8s.io/queue-name"];
        if let Some(queue) = queue.as_str() {
            return Ready::Not(format!(
                "it is suspended until the queue {queue} lets it run"
            ));
        }
        if object["spec"].get("managedBy").is_some() {
            return Ready::Not("it is suspended".to_owned());
        }
        return Ready::Failed("it is suspended: `spec.suspend: false` lets it run".to_owned());
    }

    let wanted = object
        .pointer("/spec/completions")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    Ready::Not(format!(
        "{} of {wanted} runs are done",
        number(object, "/status/succeeded")
    ))
}
