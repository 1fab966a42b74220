//! Objects: got and listed, applied and merged, created, replaced and deleted.

use std::sync::PoisonError;

use http::{Method, StatusCode};
use kube::core::Status;
use serde_json::{Value, json};

use super::{Api, ApiError, Kind, MANAGER, encode};
use crate::model::ObjectKey;

/// Objects a page.
const PAGE: usize = 500;

/// Which objects of a kind are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver) enum Selector {
    /// Those with these labels, as `a=b,c=d`.
    Labels(String),
    /// The one with this name.
    Name(String),
    /// Those whose fields are so, as `a=b,c=d`.
    Fields(String),
    All,
}

impl Selector {
    pub(super) fn query(&self) -> String {
        match self {
            Self::Labels(labels) => format!("labelSelector={}", encode(labels)),
            Self::Name(name) => {
                format!("fieldSelector={}", encode(&format!("metadata.name={name}")))
            }
            Self::Fields(fields) => format!("fieldSelector={}", encode(fields)),
            Self::All => String::new(),
        }
    }
}

/// What becomes of what an object has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum Propagation {
    /// It goes, after the object.
    Background,
    /// It stays, and belongs to nobody.
    Orphan,
}

/// How an object is applied.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::driver) struct How {
    pub force: bool,
    pub dry_run: bool,
}

impl Api {
    /// One object; none when it, or its kind, is not there.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Value>, ApiError> {
        let Some(kind) = self.kind(&key.api_version, &key.kind).await? else {
            return Ok(None);
        };
        match self
            .call(
                Method::GET,
                &kind.path(key.namespace.as_deref(), Some(&key.name)),
                None,
            )
            .await
        {
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => Ok(None),
            other => other.map(Some),
        }
    }

    /// All objects of a kind with these labels, page by page; a page is handed on as it comes.
    pub async fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selector: &Selector,
        mut take: impl FnMut(Value) + Send,
    ) -> Result<String, ApiError> {
        let (mut next, mut size) = (String::new(), PAGE);
        loop {
            let path = format!(
                "{}?{}&limit={size}{}",
                kind.path(namespace, None),
                selector.query(),
                if next.is_empty() {
                    String::new()
                } else {
                    format!("&continue={}", encode(&next))
                }
            );
            let mut page = match self.call(Method::GET, &path, None).await {
                Err(ApiError::TooLarge) if size > 1 => {
                    size = (size / 10).max(1);
                    continue;
                }
                other => other?,
            };

            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                for mut item in items {
                    item["apiVersion"] = kind.api_version.clone().into();
                    item["kind"] = kind.kind.clone().into();
                    take(item);
                }
            }

            page["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut next);
            if next.is_empty() {
                return Ok(page["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned());
            }
        }
    }

    /// Applies an object server-side, and gives what came of it.
    pub async fn apply(&self, body: &Value, how: How) -> Result<Value, ApiError> {
        let text = |path: &str| {
            body.pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (api_version, name) = (text("/apiVersion"), text("/metadata/name"));
        let Some(kind) = self.kind(api_version, text("/kind")).await? else {
            let message = format!("the server has no kind {} in {api_version}", text("/kind"));
            return Err(ApiError::Refused(Box::new(
                Status::failure(&message, "NotFound").with_code(404),
            )));
        };
        let namespace = body.pointer("/metadata/namespace").and_then(Value::as_str);
        let path = format!(
            "{}?fieldManager={MANAGER}&force={}{}",
            kind.path(namespace, Some(name)),
            how.force,
            if how.dry_run { "&dryRun=All" } else { "" }
        );

        let answer = self
            .call(
                Method::PATCH,
                &path,
                Some(("application/apply-patch+yaml", bytes(body))),
            )
            .await;

        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let own = heard.extract_if(.., |(of, _)| *of == path);
        let own = own.map(|(_, text)| format!("{}/{name}: the server warns: {text}", kind.kind));
        self.warned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(own);
        answer
    }

    /// A merge patch; `body` may carry a resource version as a guard.
    pub async fn merge(
        &self,
        key: &ObjectKey,
        subresource: &str,
        body: &Value,
        manager: &str,
    ) -> Result<Value, ApiError> {
        let kind = self.must_know(key).await?;
        let path = format!(
            "{}{subresource}?fieldManager={manager}",
            kind.path(key.namespace.as_deref(), Some(&key.name))
        );
        self.call(
            Method::PATCH,
            &path,
            Some(("application/merge-patch+json", bytes(body))),
        )
        .await
    }

    /// Creates an object; a conflict is for the caller.
    pub async fn create(&self, body: &Value) -> Result<Value, ApiError> {
        let text = |path: &str| body.pointer(path).and_then(Value::as_str);
        let (api_version, kind) = (
            text("/apiVersion").unwrap_or_default(),
            text("/kind").unwrap_or_default(),
        );
        let key = ObjectKey {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: text("/metadata/namespace").map(str::to_owned),
            name: String::new(),
        };

        let path = self
            .must_know(&key)
            .await?
            .path(key.namespace.as_deref(), None);
        let path = format!("{path}?fieldManager={MANAGER}");
        self.call(Method::POST, &path, Some(("application/json", bytes(body))))
            .await
    }

    /// Whether the server would take an object if it were new, and had another name.
    pub async fn would_create(&self, body: &Value) -> Result<(), ApiError> {
        let mut body = body.clone();
        let name = body["metadata"]["name"].as_str().unwrap_or_default();

        // Short enough for a kind whose names are labels.
        let name: String = name.chars().take(40).collect();
        body["metadata"]["name"] = format!("{name}-{}", uuid::Uuid::new_v4().simple()).into();
        let text = |path: &str| body.pointer(path).and_then(Value::as_str);
        let kind = (
            text("/apiVersion").unwrap_or_default(),
            text("/kind").unwrap_or_default(),
        );
        let path = self
            .must(kind)
            .await?
            .path(text("/metadata/namespace"), None);
        let path = format!("{path}?fieldManager={MANAGER}&dryRun=All");
        self.call(
            Method::POST,
            &path,
            Some(("application/json", bytes(&body))),
        )
        .await
        .map(drop)
    }

    /// Replaces an object as it stands; its resource version is the guard.
    pub async fn replace(&self, key: &ObjectKey, body: &Value) -> Result<Value, ApiError> {
        let path = self
            .must_know(key)
            .await?
            .path(key.namespace.as_deref(), Some(&key.name));
        let path = format!("{path}?fieldManager={MANAGER}");
        self.call(Method::PUT, &path, Some(("application/json", bytes(body))))
            .await
    }

    /// Asks whether an object could be deleted, and deletes nothing.
    pub async fn would_delete(&self, key: &ObjectKey) -> Result<(), ApiError> {
        let Some(kind) = self.kind(&key.api_version, &key.kind).await? else {
            return Ok(());
        };
        let path = kind.path(key.namespace.as_deref(), Some(&key.name));
        let path = format!("{path}?dryRun=All");
        match self.call(Method::DELETE, &path, None).await {
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Deletes an object, and what it has made after it; one that is gone already is deleted.
    pub async fn delete(&self, key: &ObjectKey, uid: Option<&str>) -> Result<(), ApiError> {
        self.delete_as(key, uid, Propagation::Background).await
    }

    /// Deletes an object; what it has made goes or stays.
    pub async fn delete_as(
        &self,
        key: &ObjectKey,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<(), ApiError> {
        let expected = uid.map(|uid| json!({"uid": uid}));
        self.delete_if(key, expected, propagation).await
    }

    /// Deletes an object exactly as it was read; one that was changed since stays.
    pub async fn delete_version(&self, key: &ObjectKey, read: &Value) -> Result<(), ApiError> {
        let (uid, version) = (
            &read["metadata"]["uid"],
            &read["metadata"]["resourceVersion"],
        );
        let expected = json!({"uid": uid, "resourceVersion": version});
        self.delete_if(key, Some(expected), Propagation::Background)
            .await
    }

    async fn delete_if(
        &self,
        key: &ObjectKey,
        expected: Option<Value>,
        propagation: Propagation,
    ) -> Result<(), ApiError> {
        let Some(kind) = self.kind(&key.api_version, &key.kind).await? else {
            return Ok(());
        };
        let policy = match propagation {
            Propagation::Background => "Background",
            Propagation::Orphan => "Orphan",
        };

        let mut options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
        let is_bound = expected.is_some();
        if let Some(expected) = expected {
            options["preconditions"] = expected;
        }

        let path = kind.path(key.namespace.as_deref(), Some(&key.name));
        match self
            .call(
                Method::DELETE,
                &path,
                Some(("application/json", bytes(&options))),
            )
            .await
        {
            Ok(_) => Ok(()),
            Err(fault) if fault.is(StatusCode::NOT_FOUND) => Ok(()),
            // Another object of that name took its place: the one that was meant is gone.
            Err(fault) if fault.is(StatusCode::CONFLICT) && is_bound => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}
