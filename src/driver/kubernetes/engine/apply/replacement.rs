//! What cannot be changed in place, and is replaced.

use http::StatusCode;
use kube::core::Status;
use serde_json::Value;

use super::delete::keeps_pods;
use crate::driver::kubernetes::client::api::{Api, ApiError};

/// Why an object has to be replaced, when that is what a refusal means, and what that means for it.
/// `live`: what is there, where it was looked at.
pub(in super::super) async fn replacement(
    api: &Api,
    wanted: &Value,
    live: Option<&Value>,
    fault: ApiError,
) -> Result<String, ApiError> {
    if !is_immutable(api, wanted, &fault).await {
        return Err(fault);
    }
    let fields: Vec<String> = fault.status().map(cause_fields).unwrap_or_default();
    let fields = if fields.is_empty() {
        "a field".to_owned()
    } else {
        fields.join(", ")
    };

    let means = match wanted["kind"].as_str().unwrap_or_default() {
        "StatefulSet" => match live.map(|live| keeps_pods(wanted, live)) {
            Some(true) => "; its pods and its claims stay, and the new one adopts them",
            Some(false) => "; its claims stay, its pods end, and new ones start",
            None => "; its claims stay",
        },
        "Deployment" | "DaemonSet" | "ReplicaSet" => "; its pods end, and new ones start",
        "Pod" => "; its process ends, and a new one starts",
        "Job" => "; it runs again",
        "PriorityClass" => "; pods that run keep the priority that they have",
        "StorageClass" => "; volumes that are there stay as they are",
        _ => "",
    };
    Ok(format!("{fields} cannot be changed{means}"))
}

/// Whether a refusal is about the change, and not about the object: some of the API's words say so;
/// else the server is asked whether it would take the same object if it were new.
async fn is_immutable(api: &Api, wanted: &Value, fault: &ApiError) -> bool {
    if !fault.is(StatusCode::UNPROCESSABLE_ENTITY) {
        return false;
    }
    let text = fault.to_string();
    let signs = [
        "field is immutable",
        "may not change once set",
        "may not be changed in an update",
        "may not change fields other than",
        "updates to statefulset spec for fields other than",
        "cannot change roleRef",
        "is immutable after creation",
    ];
    if signs.iter().any(|sign| text.contains(sign)) {
        return true;
    }

    // What a policy of the cluster denies is not had by going around it.
    let is_denied = text.contains("denied request") || text.contains("denied the request");
    !is_denied && api.would_create(wanted).await.is_ok()
}

/// The fields that a refusal is about.
pub(super) fn cause_fields(status: &Status) -> Vec<String> {
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    let mut fields: Vec<String> = causes
        .iter()
        .map(|cause| cause.field.clone())
        .filter(|field| !field.is_empty())
        .collect();
    fields.dedup();
    fields
}
