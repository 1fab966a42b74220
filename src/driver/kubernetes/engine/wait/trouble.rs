//! What keeps the pods of what is waited for from becoming ready: told by the pods, and by those
//! who may not make them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::driver::kubernetes::client::api::{Api, ApiError, MANAGER, Selector};
use crate::driver::kubernetes::engine::ready::{pending, quota, trouble};
use crate::driver::kubernetes::engine::wait::{Need, Watched};
use crate::model::ObjectKey;

/// Whether objects of a kind make pods, and say only by events why they may not.
pub(super) fn makes_pods(key: &ObjectKey) -> bool {
    matches!(
        (key.group(), key.kind.as_str()),
        ("apps", "StatefulSet" | "DaemonSet") | ("batch", "Job")
    )
}

/// The events that say why pods were not made.
pub(super) async fn events(api: &Api, namespace: String) -> Result<Watched, ApiError> {
    Ok(Watched {
        kind: api.must(("v1", "Event")).await?,
        namespace: Some(namespace),
        selector: Selector::Fields("reason=FailedCreate".to_owned()),
        need: Need::Helps,
    })
}

/// Why an object's pods may not be made, by what its controller has said since it was applied.
pub(in super::super) fn not_made(
    key: &ObjectKey,
    live: &Value,
    objects: &BTreeMap<ObjectKey, Value>,
) -> Option<String> {
    if !makes_pods(key) {
        return None;
    }
    let since = applied_at(live);
    let events = objects.values().filter(|one| one["kind"] == "Event");
    let message = events
        .filter(|event| event["involvedObject"]["uid"] == live["metadata"]["uid"])
        .filter(|event| said_at(event).is_none_or(|at| since.is_none_or(|since| at >= since)))
        .filter_map(|event| event["message"].as_str())
        // What a moment later is there, the controller tries again.
        .find(|message| is_final(message))?;
    Some(format!(
        "{}: {}",
        key.short(),
        quota("FailedCreate", message)
    ))
}

/// Whether what a controller says of a pod that was not made will be the same at its next try.
fn is_final(message: &str) -> bool {
    let is_refused = message.contains("is forbidden") || message.contains("is invalid");
    is_refused && !message.contains("looking up service account")
}

fn said_at(event: &Value) -> Option<Timestamp> {
    let names = ["lastTimestamp", "eventTime", "firstTimestamp"];
    names
        .iter()
        .find_map(|name| event[*name].as_str()?.parse().ok())
}

/// When what makes pods was applied, by the server's clock.
pub(super) fn applied_at(object: &Value) -> Option<Timestamp> {
    if object["kind"] == "Pod" {
        return None;
    }
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let own = entries
        .iter()
        .filter(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply");
    own.filter_map(|entry| entry["time"].as_str()?.parse().ok())
        .max()
}

/// Whether a pod was made at that time or later.
pub(super) fn is_since(pod: &Value, since: Option<Timestamp>) -> bool {
    let made: Option<Timestamp> = pod["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|time| time.parse().ok());
    made.is_some_and(|made| since.is_none_or(|since| made >= since))
}

/// Why one of these pods will not become ready.
pub(super) fn of_pods(pods: &[&Value], now: Timestamp) -> Option<String> {
    pods.iter()
        .find_map(|pod| trouble(pod, now).map(|reason| format!("{}: {reason}", name(pod))))
}

/// Says of what is still waited for what its pods wait for, too.
pub(super) fn explain(open: &mut BTreeMap<ObjectKey, String>, pods: &[&Value]) {
    for (key, line) in open.iter_mut().filter(|(key, _)| key.kind != "Pod") {
        let mut own = pods
            .iter()
            .filter(|pod| name(pod).starts_with(&format!("{}-", key.name)));
        if let Some(reason) = own.find_map(|pod| pending(pod)) {
            *line = format!("{line}; {reason}");
        }
    }
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_final;

    #[test]
    fn what_the_server_finds_invalid_is_as_final_as_what_it_forbids() {
        let label = "create Pod db-0 in StatefulSet db failed error: Pod \"db-0\" is invalid: \
            metadata.labels: Invalid value: \"…\": must be no more than 63 bytes";
        assert!(is_final(label));
        assert!(is_final("pods \"db-0\" is forbidden: violates PodSecurity"));
        let account = "pods \"db-0\" is forbidden: error looking up service account shop/db";
        assert!(!is_final(account));
        assert!(!is_final(
            "create Pod db-0 failed error: etcdserver: request timed out"
        ));
    }
}
