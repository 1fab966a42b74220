//! Which kinds the server serves.

use std::sync::PoisonError;

use http::{Method, StatusCode};
use kube::core::Status;

use super::kind::builtin;
use super::{Api, ApiError, Kind, encode};
use crate::model::ObjectKey;

impl Api {
    /// The kind, as the server serves it; none when it does not know it.
    pub async fn kind(&self, api_version: &str, kind: &str) -> Result<Option<Kind>, ApiError> {
        if let Some(known) = builtin(api_version, kind) {
            return Ok(Some(known));
        }
        let name = (api_version.to_owned(), kind.to_owned());
        let known = self
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .cloned();
        if let Some(Some(known)) = known {
            return Ok(Some(known));
        }

        let path = match api_version.split_once('/') {
            Some((group, version)) => format!("/apis/{}/{}", encode(group), encode(version)),
            None => format!("/api/{}", encode(api_version)),
        };
        let list = match self.call(Method::GET, &path, None).await {
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => return Ok(None),
            other => other?,
        };

        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in list["resources"].as_array().into_iter().flatten() {
            let plural = resource["name"].as_str().unwrap_or_default();
            if plural.contains('/') {
                continue;
            }
            let name = resource["kind"].as_str().unwrap_or_default().to_owned();
            let namespaced = resource["namespaced"].as_bool().unwrap_or_default();
            let found = Kind {
                api_version: api_version.to_owned(),
                kind: name.clone(),
                plural: plural.to_owned(),
                namespaced,
            };
            kinds.insert((api_version.to_owned(), name), Some(found));
        }
        Ok(kinds.get(&name).cloned().flatten())
    }

    /// A kind in whatever version the server prefers; none when it serves no such kind.
    pub async fn serving(&self, group: &str, kind: &str) -> Result<Option<Kind>, ApiError> {
        if group.is_empty() {
            return self.kind("v1", kind).await;
        }
        let path = format!("/apis/{}", encode(group));
        let found = match self.call(Method::GET, &path, None).await {
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => return Ok(None),
            other => other?,
        };
        let all = found["versions"].as_array().into_iter().flatten();
        for version in [&found["preferredVersion"]].into_iter().chain(all) {
            let name = version["groupVersion"].as_str().unwrap_or_default();
            if let Some(kind) = self.kind(name, kind).await? {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    /// Asks anew which kinds there are: a definition was made.
    pub fn forget_kinds(&self) {
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// A kind that every server has.
    pub async fn must(&self, (api_version, kind): (&str, &str)) -> Result<Kind, ApiError> {
        self.kind(api_version, kind).await?.ok_or_else(|| {
            let message = format!("the server has no kind {kind} in {api_version}");
            ApiError::Refused(Box::new(
                Status::failure(&message, "NotFound").with_code(404),
            ))
        })
    }

    pub(super) async fn must_know(&self, key: &ObjectKey) -> Result<Kind, ApiError> {
        self.must((&key.api_version, &key.kind)).await
    }
}
