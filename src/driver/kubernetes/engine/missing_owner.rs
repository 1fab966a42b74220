//! The owners that a manifest names. What has none of its owners is deleted by the garbage
//! collector of the cluster, a few seconds after it was applied.

use http::StatusCode;
use serde_json::Value;

use super::apply::said;
use super::owner::owners;
use crate::driver::kubernetes::client::api::Api;
use crate::model::{Manifest, ObjectKey};
use crate::port::engine::EngineError;

/// Why an object would be deleted for an owner that it names; none for one whose owners are there.
/// What may not be looked at is not told.
pub(super) async fn missing(api: &Api, manifest: &Manifest) -> Result<Option<String>, EngineError> {
    let looking = || format!("looking at the owners of {}", said(&manifest.key()));
    for owner in owners(manifest.body()) {
        let Some(key) = key_of(owner, manifest) else {
            continue;
        };
        let found = match api.get(&key).await {
            Err(fault) if fault.is(StatusCode::FORBIDDEN) => continue,
            other => other.map_err(|fault| fault.while_(looking()))?,
        };
        if found.is_some_and(|found| found["metadata"]["uid"] == owner["uid"]) {
            continue;
        }
        return Ok(Some(format!(
            "{}: its owner {} (uid {}) is not there, and the cluster deletes what has no owner: \
             take `ownerReferences` out",
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
