//! One request, sent until it is answered, a fault is final, or the budget is spent.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::response::Parts;
use http::{Method, Request, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::Instant;

use super::behind::Behind;
use super::fault::{fault, status};
use super::{Api, ApiError, encode, terminating};
use crate::port::hold::LockLost;
use crate::port::pause;

/// How long the first answer of a server may take.
const FIRST: Duration = Duration::from_secs(8);
/// How long one answer may take of a server that has answered before.
pub(super) const ANSWER: Duration = Duration::from_secs(40);
/// How long a server that answered before is waited for when it goes away.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a server is waited for that has never answered.
const STRANGER: Duration = Duration::from_millis(1500);
/// How long that is waited for which the server has to ask, and which does not answer: a webhook
/// whose pod is replaced is back by then, and the server's own words are worth more than a wait.
const BEHIND: Duration = Duration::from_secs(4);
/// The largest answer that is read beside others; a larger one is read when no other such is.
const SHARED_LIMIT: usize = 4 << 20;
/// The largest answer that is read. A page of objects that is larger is asked for in smaller ones.
pub(super) const BODY_LIMIT: usize = 96 << 20;
/// How many warnings are kept of requests that nobody asks about.
const WARNINGS: usize = 64;

impl Api {
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

    /// Sends a request until it is answered, a fault is final, or the budget is spent. Every call
    /// here is one that may be sent twice.
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

            let after = match &fault {
                Again::Final(_) => None,
                Again::Later(_, after) => *after,
            };
            let patience = fault.patience(self.answered.load(Ordering::Relaxed));
            let pause = after.unwrap_or_else(|| backoff(attempt)).min(PATIENCE);
            if begun.elapsed() + pause > patience {
                return Err(self.explained(path, fault.fault()).await);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A refusal with what the namespace says of itself, where it is refused because that goes.
    async fn explained(&self, path: &str, fault: ApiError) -> ApiError {
        let status = fault.status();
        let Some(namespace) = status.and_then(|status| terminating::namespace(status, path)) else {
            return fault;
        };
        let asked = format!("/api/v1/namespaces/{}", encode(&namespace));
        let seen = self.once(Method::GET, &asked, None).await;
        let seen = seen
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        terminating::fault(namespace, seen.as_ref())
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
        let request = request(method, path, body)?;

        let within = if self.answered.load(Ordering::Relaxed) {
            ANSWER
        } else {
            FIRST
        };
        let (head, bytes) = tokio::time::timeout(within, self.answer(request))
            .await
            .map_err(|_| self.late(within))??;

        // That there is nothing at a path is an answer, too; that it cannot is none.
        if !head.status.is_server_error() {
            self.answered.store(true, Ordering::Relaxed);
        }

        self.hear(path, &head.headers);
        if head.status.is_success() {
            return Ok(bytes);
        }
        Err(refusal(&head, &bytes, path))
    }

    async fn answer(&self, request: Request<Vec<u8>>) -> Result<(Parts, bytes::Bytes), Again> {
        let response = self
            .client
            .send(request.map(Into::into))
            .await
            .map_err(|error| lost(&error))?;
        let (head, body) = response.into_parts();
        Ok((head, self.read(body).await?))
    }

    fn late(&self, within: Duration) -> Again {
        let seconds = within.as_secs();
        let reason = format!("{}: connected, no answer within {seconds} s", self.server);
        Again::Later(ApiError::Unreachable { reason }, None)
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

    /// How long a request is tried that fails like this, of a server that has answered before or
    /// has not.
    const fn patience(&self, has_answered: bool) -> Duration {
        match self {
            Self::Final(_) => Duration::ZERO,
            Self::Later(ApiError::Behind { .. }, _) => BEHIND,
            Self::Later(..) if has_answered => PATIENCE,
            Self::Later(..) => STRANGER,
        }
    }
}

fn request(
    method: Method,
    path: &str,
    body: Option<&(&str, Vec<u8>)>,
) -> Result<Request<Vec<u8>>, Again> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, "application/json");
    let bytes = body.map_or_else(Vec::new, |(_, bytes)| bytes.clone());
    if let Some((kind, _)) = body {
        request = request.header(header::CONTENT_TYPE, *kind);
    }
    request
        .body(bytes)
        .map_err(|error| Again::Final(ApiError::Malformed(error.to_string())))
}

/// What the server says, and whether it may say something else later.
fn refusal(head: &Parts, bytes: &[u8], path: &str) -> Again {
    let after = head
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let status = Box::new(status(head.status, bytes));
    if let Some(what) = Behind::of(head.status.as_u16(), &status.message, path) {
        return Again::Later(ApiError::Behind { what, status }, None);
    }

    let fault = ApiError::Refused(status);
    match head.status.as_u16() {
        429 | 502 | 503 | 504 => Again::Later(fault, after.map(Duration::from_secs)),
        // A server that cannot reach its store says 500; one that fails at this very request does
        // too.
        500 if is_transient(&fault) => Again::Later(fault, None),
        _ => Again::Final(fault),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::engine::EngineError;

    fn failed(code: u16, message: &str) -> Again {
        let status = serde_json::json!({"kind": "Status", "status": "Failure", "code": code,
            "message": message, "reason": "InternalError"});
        let response = http::Response::builder().status(code).body(());
        let (head, ()) = response.expect("a response").into_parts();
        refusal(
            &head,
            status.to_string().as_bytes(),
            "/api/v1/namespaces/a/configmaps",
        )
    }

    #[test]
    fn a_webhook_that_is_away_is_not_waited_for_as_the_server_is() {
        let webhook = failed(
            500,
            "Internal error occurred: failed calling webhook \"a.example.com\": failed to call \
             webhook: Post \"https://127.0.0.1:1/x?timeout=10s\": dial tcp 127.0.0.1:1: connect: \
             connection refused",
        );
        assert_eq!(webhook.patience(true), BEHIND);
        assert_eq!(
            failed(500, "etcdserver: request timed out").patience(true),
            PATIENCE
        );
        assert_eq!(
            failed(503, "apiserver is shutting down").patience(true),
            PATIENCE
        );
        assert_eq!(failed(422, "invalid").patience(true), Duration::ZERO);

        let error = webhook.fault().while_("applying ConfigMap/c");
        let EngineError::Refused { reason, help } = error else {
            panic!("{error:?}")
        };
        assert!(reason.starts_with("applying ConfigMap/c: the cluster cannot ask the webhook"));
        assert!(reason.ends_with("connection refused"), "{reason}");
        assert!(help.contains("webhookconfigurations"), "{help}");
    }
}
