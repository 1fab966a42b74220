//! The owners that a manifest names. What has none of its owners is deleted by the garbage collector
//! of the cluster, a few seconds after it was applied.

use http::StatusCode;
use serde_json::Value;

use super::apply::said;
use crate::driver::kubernetes::client::api::{Api, ApiError};
use crate::model::{Manifest, ObjectKey};

/// Why an object would be deleted for an owner that it names; none for one whose owners are there.
/// What may not be looked at is not told.
pub(super) async fn missing(api: &Api, manifest: &Manifest) -> Result<Option<String>, ApiError> {
    let owners = manifest.body()["metadata"]["ownerReferences"].as_array();
    for owner in owners.into_iter().flatten() {
        let Some(key) = key_of(owner, manifest) else {
            continue;
        };
        let found = match api.get(&key).await {
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => continue,
            other => other?,
        };
        if found.is_some_and(|found| found["metadata"]["uid"] == owner["uid"]) {
            continue;
        }
        return Ok(Some(format!(
            "{}: its owner {} (uid {}) is not there, and the cluster deletes what has no owner: take \
             `ownerReferences` out",
            said(&manifest.key()),
            said(&key),
            owner["uid"].as_str().unwrap_or("missing"),
        )));
    }
    Ok(None)
}

/// What an owner reference names: it is in the namespace of what it owns, or in none.
fn key_of(owner: &Value, manifest: &Manifest) -> Option<ObjectKey> {
    let text = |name: &str| owner[name].as_str().map(str::to_owned);
    Some(ObjectKey {
        api_version: text("apiVersion")?,
        kind: text("kind")?,
        namespace: manifest.key().namespace,
        name: text("name")?,
    })
}
