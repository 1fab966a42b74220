//! A pod, and what keeps one from ever becoming ready.

use jiff::Timestamp;
use serde_json::Value;

use super::{Ready, find};
use crate::model::facts::{HealthState, Instance};

/// How often an image is tried before it counts as not to be had.
const PULLS: i64 = 2;
/// How long a pod may be without a node before that counts as for good.
const UNSCHEDULABLE: i64 = 45;
/// After how many ends a container counts as one that will not stay up.
const CRASHES: i64 = 2;

pub(super) fn ready(object: &Value) -> Ready {
    if let Some(reason) = trouble(object, Timestamp::now()) {
        return Ready::Failed(reason);
    }
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Succeeded") => Ready::Yes,
        Some("Failed") => Ready::Failed("it has failed".to_owned()),
        _ => super::condition(object, "Ready"),
    }
}

/// Why a pod will not become ready; none as long as it may.
#[must_use]
pub fn trouble(pod: &Value, now: Timestamp) -> Option<String> {
    if pod["metadata"].get("deletionTimestamp").is_some() {
        return None;
    }
    if let Some(("False", "Unschedulable", message)) = find(pod, "PodScheduled") {
        let since = condition_since(pod, "PodScheduled").unwrap_or(now);
        if now.as_second() - since.as_second() >= UNSCHEDULABLE {
            return Some(format!("no node takes it: {message}"));
        }
    }
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let mut all = statuses
        .iter()
        .flat_map(|name| pod["status"][*name].as_array().into_iter().flatten());
    all.find_map(container_trouble)
}

fn container_trouble(status: &Value) -> Option<String> {
    let name = status["name"].as_str().unwrap_or_default();
    let restarts = status["restartCount"].as_i64().unwrap_or(0);
    let waiting = &status["state"]["waiting"];
    let message = waiting["message"].as_str().unwrap_or_default();
    match waiting["reason"].as_str().unwrap_or_default() {
        "ImagePullBackOff" => Some(format!(
            "the image of {name} cannot be pulled: {}",
            pull(message)
        )),
        "ErrImageNeverPull" | "InvalidImageName" => Some(format!("the image of {name}: {message}")),
        "ErrImagePull" if restarts >= PULLS => Some(format!(
            "the image of {name} cannot be pulled: {}",
            pull(message)
        )),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(format!("{name} cannot be started: {message}"))
        }
        "CrashLoopBackOff" if restarts >= CRASHES => Some(format!(
            "{name} {}, {restarts} times",
            ended(&status["lastState"]["terminated"])
        )),
        _ => None,
    }
}

/// What the registry said, without what the kubelet says around it.
fn pull(message: &str) -> String {
    let short = message
        .rsplit("failed to resolve")
        .next()
        .unwrap_or(message);
    short
        .trim_matches(['"', ' ', ':'])
        .chars()
        .take(300)
        .collect()
}

/// How a container ended, in words.
fn ended(terminated: &Value) -> String {
    let code = terminated["exitCode"].as_i64().unwrap_or(-1);
    match terminated["reason"].as_str() {
        Some("OOMKilled") => "was killed because it took more memory than its limit".to_owned(),
        _ if code > 128 => format!("ended with exit code {code} (signal {})", code - 128),
        _ => format!("ended with exit code {code}"),
    }
}

/// What a pod waits for that may still come; none for one that waits for nothing.
#[must_use]
pub fn pending(pod: &Value) -> Option<String> {
    if let Some(("False", "Unschedulable", message)) = find(pod, "PodScheduled") {
        return Some(format!("no node takes it yet: {message}"));
    }
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let mut all = statuses
        .iter()
        .flat_map(|name| pod["status"][*name].as_array().into_iter().flatten());
    all.find_map(|status| {
        let waiting = &status["state"]["waiting"];
        let message = waiting["message"]
            .as_str()
            .filter(|text| !text.is_empty())?;
        let name = status["name"].as_str().unwrap_or_default();
        let reason = waiting["reason"].as_str().unwrap_or_default();
        Some(format!("{name} waits: {reason}: {message}"))
    })
}

/// What a controller says when its pods may not be made.
#[must_use]
pub fn quota(reason: &str, message: &str) -> String {
    if message.contains("exceeded quota") {
        format!("the namespace's quota does not allow its pods: {message}")
    } else if message.contains("violates PodSecurity") {
        format!("the namespace's Pod Security Standard does not allow its pods: {message}")
    } else {
        format!("its pods may not be made: {reason} {message}")
    }
}

fn condition_since(pod: &Value, kind: &str) -> Option<Timestamp> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == kind)?;
    condition["lastTransitionTime"].as_str()?.parse().ok()
}

/// Whether a pod takes requests.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    matches!(find(pod, "Ready"), Some(("True", ..)))
}

/// A pod as an instance of its service.
#[must_use]
pub fn instance(index: usize, pod: &Value) -> Instance {
    let status = pod
        .pointer("/status/containerStatuses/0")
        .cloned()
        .unwrap_or_default();
    let restarts = status["restartCount"].as_u64().unwrap_or(0);
    let last = &status["lastState"]["terminated"];
    let health = if is_ready(pod) {
        HealthState::Ready
    } else if trouble(pod, Timestamp::now()).is_some() {
        HealthState::Failed
    } else if status["state"]["waiting"]["reason"] == "CrashLoopBackOff" {
        HealthState::BackingOff
    } else if status["started"] == true
        && matches!(find(pod, "ContainersReady"), Some(("False", ..)))
        && restarts > 0
    {
        HealthState::Unhealthy
    } else {
        HealthState::Starting
    };

    let created = pod
        .pointer("/metadata/creationTimestamp")
        .and_then(|time| time.as_str()?.parse().ok());
    Instance {
        index: u16::try_from(index).unwrap_or(u16::MAX),
        pid: None,
        port: None,
        ports: std::collections::BTreeMap::new(),
        health,
        restarts: u32::try_from(restarts).unwrap_or(u32::MAX),
        last_exit: last.is_object().then(|| ended(last)),
        since: condition_since(pod, "Ready")
            .or(created)
            .unwrap_or(Timestamp::UNIX_EPOCH),
    }
}
