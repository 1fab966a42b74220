//! The API server, asked for objects as plain JSON: bounded in flight, retried with jitter within a budget, and
//! every refusal typed.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{Method, Request, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::core::{Status, WatchEvent};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::driver::kubernetes::client::connect::{ClusterLogin, Connected};
use crate::model::{ObjectKey, chain, group_of};
use crate::port::engine::EngineError;
use crate::port::hold::{Hold, LockLost};
use crate::port::pause;

/// The name under which shipit's fields are recorded at the server.
pub(in crate::driver) const MANAGER: &str = "shipit";
/// Requests side by side.
const IN_FLIGHT: usize = 32;
/// Objects a page.
const PAGE: usize = 500;
/// How long the first answer of a server may take.
const FIRST: Duration = Duration::from_secs(8);
/// How long one answer may take of a server that has answered before.
const ANSWER: Duration = Duration::from_secs(40);
/// How long a server that answered before is waited for when it goes away.
const PATIENCE: Duration = Duration::from_mins(1);
/// The largest answer that is read beside others; a larger one is read when no other such is.
const SHARED_LIMIT: usize = 4 << 20;
/// The largest answer that is read. A page of objects that is larger is asked for in smaller ones.
const BODY_LIMIT: usize = 96 << 20;
/// How many warnings are kept of requests that nobody asks about.
const WARNINGS: usize = 64;
/// How much of an error is read, where a stream was asked for.
const ERROR_LIMIT: usize = 64 << 10;

/// The largest event of a watch, and the longest line of a log.
const OBJECT_LIMIT: usize = 8 << 20;
const LINE_LIMIT: usize = 64 << 10;

/// A kind as the server serves it. As with an object's key, the version only says how it is asked for: a group's kind
/// is one kind.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[allow(clippy::struct_field_names)] // it is the API's own word for this field
pub(in crate::driver) struct Kind {
    pub api_version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
}

/// Why the server did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::driver) enum ApiError {
    #[error("{reason}")]
    Unreachable { reason: String },
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
    #[error(transparent)]
    LockLost(#[from] LockLost),
    #[error("the server's answer is larger than {} MiB", BODY_LIMIT >> 20)]
    TooLarge,
}

impl ApiError {
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(status) => status.code,
            _ => 0,
        }
    }

    pub fn is(&self, code: StatusCode) -> bool {
        self.code() == code.as_u16()
    }

    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused(status) => Some(status),
            _ => None,
        }
    }

    /// As an engine's error, while `what` was being done.
    pub fn while_(self, what: impl Into<String>) -> EngineError {
        let what = what.into();
        match self {
            Self::LockLost(lost) => lost.into(),
            Self::Unreachable { reason } => {
                let help = if reason.contains("certificate") || reason.contains("UnknownIssuer") {
                    "the server's certificate is not the one that the kubeconfig's authority has signed"
                } else {
                    "look at `server:` in the kubeconfig, and whether the cluster is up"
                };
                EngineError::Unreachable { what, reason, help: help.to_owned() }
            }
            Self::Refused(status) if status.code == 401 => EngineError::Unreachable {
                what,
                reason: "the server does not know who this is (401)".to_owned(),
                help: "the token or certificate has expired, or belongs to another cluster; on EKS this identity may have no access entry".to_owned(),
            },
            Self::Refused(status) if status.code == 403 => EngineError::Refused {
                reason: format!("{what}: {}", status.message),
                help: "`shipit doctor` lists every permission that is missing; docs/guide/kubernetes.md has the Role"
                    .to_owned(),
            },
            Self::Refused(status) if status.code == 422 => EngineError::Refused {
                reason: format!("{what}: {}", status.message),
                help: "`shipit render` shows the objects as they are sent".to_owned(),
            },
            other => EngineError::Failed { what, reason: other.to_string() },
        }
    }
}

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
    fn query(&self) -> String {
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

pub(in crate::driver) struct Api {
    client: Client,
    login: Option<Arc<dyn ClusterLogin>>,
    pub server: String,
    kinds: Mutex<HashMap<(String, String), Option<Kind>>>,
    width: Semaphore,
    /// Who reads an answer that is larger than others.
    large: Semaphore,
    /// Whether it ever answered: one that did is waited for when it goes away.
    answered: Arc<AtomicBool>,
    requests: AtomicU64,
    /// What the server warned of, by the path of the request.
    heard: Mutex<Vec<(String, String)>>,
    /// What it warned of when objects were applied, or would have been.
    warned: Mutex<BTreeSet<String>>,
    /// The lock under which things are changed; none for who only looks, and for the lock itself.
    hold: Mutex<Option<Hold>>,
}

impl Api {
    pub fn new(connected: Connected) -> Self {
        Self {
            client: connected.client,
            login: connected.login,
            server: connected.server,
            kinds: Mutex::default(),
            width: Semaphore::new(IN_FLIGHT),
            large: Semaphore::new(1),
            answered: connected.answered,
            requests: AtomicU64::new(0),
            heard: Mutex::default(),
            warned: Mutex::default(),
            hold: Mutex::default(),
        }
    }

    /// From now on every request that changes something asks first whether this lock is held.
    pub fn under(&self, hold: &Hold) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold.clone());
    }

    /// Whether a request may be sent: a process that was stopped may go on at any of them.
    async fn may_send(&self, method: &Method) -> Result<(), LockLost> {
        let hold = self
            .hold
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match hold {
            Some(hold) if method != Method::GET => hold.confirmed().await,
            _ => Ok(()),
        }
    }

    /// How many requests were sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends a request until it is answered, a fault is final, or the budget is spent. Every call here is one that
    /// may be sent twice.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Value, ApiError> {
        let bytes = self.bytes(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Malformed(error.to_string()))
    }

    pub async fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<bytes::Bytes, ApiError> {
        let _permit = self.width.acquire().await;
        let begun = Instant::now();
        let mut attempt = 0_u32;
        loop {
            let fault = match self.once(method.clone(), path, body.as_ref()).await {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => fault,
            };
            attempt += 1;
            // A token may end between two requests; a new one is refused only to who is refused.
            if let (Again::Final(fault), Some(login), 1) = (&fault, &self.login, attempt)
                && fault.is(StatusCode::UNAUTHORIZED)
            {
                login.renew().await;
                continue;
            }
            let (again, after) = match &fault {
                Again::Final(_) => (false, None),
                Again::Later(_, after) => (true, *after),
            };
            let patience = if self.answered.load(Ordering::Relaxed) {
                PATIENCE
            } else {
                Duration::from_millis(1500)
            };
            let pause = after.unwrap_or_else(|| backoff(attempt)).min(PATIENCE);
            if !again || begun.elapsed() + pause > patience {
                return Err(fault.fault());
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<&(&str, Vec<u8>)>,
    ) -> Result<bytes::Bytes, Again> {
        self.may_send(&method)
            .await
            .map_err(|lost| Again::Final(lost.into()))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json");
        let bytes = body.map_or_else(Vec::new, |(_, bytes)| bytes.clone());
        if let Some((kind, _)) = body {
            request = request.header(header::CONTENT_TYPE, *kind);
        }
        let request = request
            .body(bytes)
            .map_err(|error| Again::Final(ApiError::Malformed(error.to_string())))?;
        let answer = async {
            let response = self
                .client
                .send(request.map(Into::into))
                .await
                .map_err(|error| lost(&error))?;
            let (head, body) = response.into_parts();
            Ok((head, self.read(body).await?))
        };
        let within = if self.answered.load(Ordering::Relaxed) {
            ANSWER
        } else {
            FIRST
        };
        let late = || {
            let seconds = within.as_secs();
            let reason = format!("{}: connected, no answer within {seconds} s", self.server);
            Again::Later(ApiError::Unreachable { reason }, None)
        };
        let (head, bytes) = tokio::time::timeout(within, answer)
            .await
            .map_err(|_| late())??;
        // That there is nothing at a path is an answer, too; that it cannot is none.
        if !head.status.is_server_error() {
            self.answered.store(true, Ordering::Relaxed);
        }
        self.hear(path, &head.headers);
        if head.status.is_success() {
            return Ok(bytes);
        }
        let status = status(head.status, &bytes);
        let after = head
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let fault = ApiError::Refused(Box::new(status));
        Err(match head.status.as_u16() {
            429 | 502 | 503 | 504 => Again::Later(fault, after.map(Duration::from_secs)),
            // A server that cannot reach its store says 500; one that fails at this very request does too.
            500 if is_transient(&fault) => Again::Later(fault, None),
            _ => Again::Final(fault),
        })
    }

    /// Keeps what the server warns of in an answer.
    fn hear(&self, path: &str, headers: &http::HeaderMap) {
        let texts = headers.get_all(header::WARNING).into_iter();
        let texts = texts.filter_map(|value| warning(value.to_str().ok()?));
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend(texts.map(|text| (path.to_owned(), text)));
        let surplus = heard.len().saturating_sub(WARNINGS);
        heard.drain(..surplus);
    }

    /// What the server warned of since this was asked last, of objects that were applied or would have been.
    pub fn warnings(&self) -> BTreeSet<String> {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warned)
    }

    /// A whole answer. One at a time may be large: what all of them hold together has a bound.
    async fn read(
        &self,
        mut body: impl Body<Data = bytes::Bytes, Error = kube::Error> + Unpin,
    ) -> Result<bytes::Bytes, Again> {
        let (mut bytes, mut alone) = (bytes::BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let reason = format!("the answer was cut off: {error}");
                Again::Later(ApiError::Unreachable { reason }, None)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let size = bytes.len() + data.len();
            if size > BODY_LIMIT {
                return Err(Again::Final(ApiError::TooLarge));
            }
            if size > SHARED_LIMIT && alone.is_none() {
                alone = Some(self.large.acquire().await);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

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
        let missing = || {
            let message = format!("the server has no kind {kind} in {api_version}");
            ApiError::Refused(Box::new(
                Status::failure(&message, "NotFound").with_code(404),
            ))
        };
        self.kind(api_version, kind).await?.ok_or_else(missing)
    }

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

    /// The events of a kind since a resource version. The stream ends when the server ends it.
    pub async fn watch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selector: &Selector,
        since: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, ApiError>> + Send + use<>, ApiError>
    {
        let path = format!(
            "{}?watch=1&{}&resourceVersion={}&timeoutSeconds=120",
            kind.path(namespace, None),
            selector.query(),
            encode(since)
        );
        let lines = self.stream(&path, OBJECT_LIMIT).await?;
        Ok(lines.map(|line| {
            let line = line.map_err(|error| ApiError::Unreachable {
                reason: error.to_string(),
            })?;
            serde_json::from_str(&line).map_err(|error| ApiError::Malformed(error.to_string()))
        }))
    }

    /// A stream of a log's lines.
    pub async fn lines(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<String, std::io::Error>> + Send + use<>, ApiError> {
        self.stream(path, LINE_LIMIT).await
    }

    async fn stream(
        &self,
        path: &str,
        limit: usize,
    ) -> Result<impl Stream<Item = Result<String, std::io::Error>> + Send + use<>, ApiError> {
        use tokio_util::codec::{FramedRead, LinesCodec};
        use tokio_util::io::StreamReader;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|error| ApiError::Malformed(error.to_string()))?;
        let late = |_| ApiError::Unreachable {
            reason: format!("{}: connected, no answer", self.server),
        };
        let response = tokio::time::timeout(ANSWER, self.client.send(request.map(Into::into)))
            .await
            .map_err(late)?
            .map_err(|error| fault(&error))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let limited = http_body_util::Limited::new(body, ERROR_LIMIT).collect();
            let bytes = tokio::time::timeout(ANSWER, limited).await;
            let bytes = bytes.ok().and_then(Result::ok);
            let bytes = bytes.map(http_body_util::Collected::to_bytes);
            let bytes = bytes.unwrap_or_default();
            return Err(ApiError::Refused(Box::new(status(head.status, &bytes))));
        }
        let stream = body.into_data_stream().map_err(std::io::Error::other);
        let lines = FramedRead::new(
            StreamReader::new(stream),
            LinesCodec::new_with_max_length(limit),
        );
        Ok(lines.map_err(std::io::Error::other))
    }

    async fn must_know(&self, key: &ObjectKey) -> Result<Kind, ApiError> {
        self.must((&key.api_version, &key.kind)).await
    }
}

enum Again {
    Final(ApiError),
    Later(ApiError, Option<Duration>),
}

impl Again {
    fn fault(self) -> ApiError {
        match self {
            Self::Final(fault) | Self::Later(fault, _) => fault,
        }
    }
}

fn lost(error: &kube::Error) -> Again {
    match fault(error) {
        refused @ ApiError::Refused(_) => Again::Final(refused),
        other => {
            let reason = other.to_string();
            // A wrong certificate does not get better by asking again.
            if reason.contains("certificate") {
                Again::Final(other)
            } else {
                Again::Later(other, None)
            }
        }
    }
}

fn fault(error: &kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => ApiError::Refused(status.clone()),
        other => ApiError::Unreachable {
            reason: chain(other),
        },
    }
}

fn is_transient(fault: &ApiError) -> bool {
    let text = fault.to_string();
    [
        "etcdserver",
        "timed out",
        "context deadline",
        "connection refused",
        "leader changed",
        "unavailable",
        "try again",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

fn status(code: StatusCode, bytes: &[u8]) -> Status {
    serde_json::from_slice::<Status>(bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
            .trim()
            .to_owned();
        let message = if text.is_empty() {
            code.to_string()
        } else {
            text
        };
        Status::failure(&message, "").with_code(code.as_u16())
    })
}

/// The text of a `Warning` header: `299 - "TEXT"`.
fn warning(header: &str) -> Option<String> {
    let (_, rest) = header.split_once('"')?;
    let (text, _) = rest.rsplit_once('"')?;
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

/// Doubles from a tenth of a second to five, each anywhere between half of it and all.
fn backoff(attempt: u32) -> Duration {
    let full = Duration::from_millis(100 << attempt.min(6)).min(Duration::from_secs(5));
    pause::between(full / 2, full)
}

fn bytes(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// A text as it may stand in a query, or as one segment of a path.
pub(in crate::driver) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.group(), &self.kind).cmp(&(other.group(), &other.kind))
    }
}

impl Kind {
    /// The path of an object, or of all objects of the kind. Every segment that comes from outside is encoded here.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let root = if self.api_version.contains('/') {
            "/apis"
        } else {
            "/api"
        };
        let mut path = root.to_owned();
        let namespace = namespace.filter(|_| self.namespaced);
        let namespace = namespace.into_iter().flat_map(|name| ["namespaces", name]);
        let version = self.api_version.split('/');
        for segment in version.chain(namespace).chain([&*self.plural]).chain(name) {
            path = format!("{path}/{}", encode(segment));
        }
        path
    }

    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Whether an object is of this kind, in whatever version.
    pub fn is_of(&self, key: &ObjectKey) -> bool {
        self.group() == key.group() && self.kind == key.kind
    }
}

/// The kinds that every server has: no request is needed to know them.
fn builtin(api_version: &str, kind: &str) -> Option<Kind> {
    let (plural, namespaced) = match (api_version, kind) {
        ("v1", "Namespace") => ("namespaces", false),
        ("v1", "ConfigMap") => ("configmaps", true),
        ("v1", "Secret") => ("secrets", true),
        ("v1", "Service") => ("services", true),
        ("v1", "ServiceAccount") => ("serviceaccounts", true),
        ("v1", "PersistentVolumeClaim") => ("persistentvolumeclaims", true),
        ("v1", "Pod") => ("pods", true),
        ("v1", "Event") => ("events", true),
        ("v1", "ResourceQuota") => ("resourcequotas", true),
        ("v1", "LimitRange") => ("limitranges", true),
        ("apps/v1", "Deployment") => ("deployments", true),
        ("apps/v1", "StatefulSet") => ("statefulsets", true),
        ("apps/v1", "DaemonSet") => ("daemonsets", true),
        ("apps/v1", "ReplicaSet") => ("replicasets", true),
        ("batch/v1", "Job") => ("jobs", true),
        ("batch/v1", "CronJob") => ("cronjobs", true),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => ("horizontalpodautoscalers", true),
        ("policy/v1", "PodDisruptionBudget") => ("poddisruptionbudgets", true),
        ("networking.k8s.io/v1", "Ingress") => ("ingresses", true),
        ("networking.k8s.io/v1", "NetworkPolicy") => ("networkpolicies", true),
        ("discovery.k8s.io/v1", "EndpointSlice") => ("endpointslices", true),
        ("rbac.authorization.k8s.io/v1", "Role") => ("roles", true),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => ("rolebindings", true),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => ("clusterroles", false),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => ("clusterrolebindings", false),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
            ("customresourcedefinitions", false)
        }
        ("coordination.k8s.io/v1", "Lease") => ("leases", true),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => {
            ("selfsubjectaccessreviews", false)
        }
        _ => return None,
    };
    Some(Kind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
    })
}
