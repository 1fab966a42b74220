//! Which kinds the server serves.

use std::sync::PoisonError;

use futures_util::future::join_all;
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

        let Some(found) = self.kinds_in(api_version).await? else {
            return Ok(None);
        };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in found {
            kinds.insert((api_version.to_owned(), kind.kind.clone()), Some(kind));
        }
        Ok(kinds.get(&name).cloned().flatten())
    }

    /// The kinds of a version of an API; none when the server does not have it.
    async fn kinds_in(&self, api_version: &str) -> Result<Option<Vec<Kind>>, ApiError> {
        let path = match api_version.split_once('/') {
            Some((group, version)) => format!("/apis/{}/{}", encode(group), encode(version)),
            None => format!("/api/{}", encode(api_version)),
        };
        let list = match self.call(Method::GET, &path, None).await {
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => return Ok(None),
            other => other?,
        };

        let resources = list["resources"].as_array().into_iter().flatten();
        let kinds = resources.filter_map(|resource| {
            let plural = resource["name"].as_str().unwrap_or_default();
            // What is below another is no kind of its own.
            (!plural.contains('/')).then(|| Kind {
                api_version: api_version.to_owned(),
                kind: resource["kind"].as_str().unwrap_or_default().to_owned(),
                plural: plural.to_owned(),
                namespaced: resource["namespaced"].as_bool().unwrap_or_default(),
            })
        });
        Ok(Some(kinds.collect()))
    }

    /// Every kind in every version that the server has, as it was when this was asked first. A
    /// version that cannot be listed is left out.
    pub async fn served(&self) -> Result<&[Kind], ApiError> {
        let served = self.served.get_or_try_init(|| self.all_kinds()).await;
        served.map(Vec::as_slice)
    }

    async fn all_kinds(&self) -> Result<Vec<Kind>, ApiError> {
        let groups = self.call(Method::GET, "/apis", None).await?;
        let groups = groups["groups"].as_array().into_iter().flatten();
        let versions = groups.flat_map(|group| group["versions"].as_array().into_iter().flatten());
        let versions = versions.filter_map(|version| version["groupVersion"].as_str());
        let asked = versions.chain(["v1"]).map(|version| self.kinds_in(version));
        let found = join_all(asked).await.into_iter();
        Ok(found.filter_map(Result::ok).flatten().flatten().collect())
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
