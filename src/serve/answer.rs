//! Requests and answers of both listeners: bodies with a bound in size and time, answers in JSON.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::Receiver;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::ops::doors::DoorError;

/// What is sent: a text that is there, or pieces as they come.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(super) type Answer = Response<Body>;

/// How long a client may take to say what it wants.
pub(super) const HEAD: Duration = Duration::from_secs(10);

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(15);

/// The most bytes of a request's head.
const HEAD_SIZE: usize = 32 << 10;

/// A body of no more bytes than this, come in time.
///
/// # Errors
/// What the client is told.
pub(super) async fn body(body: Incoming, most: u64) -> Result<Bytes, Answer> {
    let too_large = || {
        failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {most} bytes"),
        )
    };
    // One that says itself that it is too large is not read at all.
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match tokio::time::timeout(BODY, Limited::new(body, most).collect()).await {
        Err(_) => Err(failure(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
        )),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(failure(
            StatusCode::BAD_REQUEST,
            "the body did not come whole",
        )),
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(document).unwrap_or_default();
    with_type(status, "application/json", text)
}

/// An answer in plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Vec<u8>>) -> Answer {
    let text: Vec<u8> = text.into();
    with_type(status, "text/plain; charset=utf-8", text)
}

/// An answer of this media type.
pub(super) fn with_type(status: StatusCode, form: &'static str, bytes: impl Into<Bytes>) -> Answer {
    of_body(status, form, Full::new(bytes.into()).boxed_unsync())
}

/// An answer of this media type whose pieces come as they are there, until nobody sends any more.
pub(super) fn streamed(form: &'static str, pieces: Receiver<Bytes>) -> Answer {
    let frames = ReceiverStream::new(pieces).map(|piece| Ok(Frame::data(piece)));
    of_body(StatusCode::OK, form, StreamBody::new(frames).boxed_unsync())
}

fn of_body(status: StatusCode, form: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer that says what is wrong.
pub(super) fn failure(status: StatusCode, reason: impl Into<String>) -> Answer {
    json(status, &json!({"error": reason.into()}))
}

/// What a use case could not do. One that the disk refuses may be sent again.
pub(super) fn trouble(error: &DoorError) -> Answer {
    match error {
        DoorError::Unknown(reason) => failure(StatusCode::NOT_FOUND, reason.as_str()),
        DoorError::Impossible(reason) => failure(StatusCode::CONFLICT, reason.as_str()),
        DoorError::Forbidden(reason) => failure(StatusCode::FORBIDDEN, reason.as_str()),
        DoorError::Queue(_) | DoorError::Runner(_) | DoorError::Setup { .. } => {
            tracing::error!(%error, "a request was not served");
            let mut answer = failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "it cannot be stored now: send it again",
            );
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("30"));
            answer
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn connection<S, F>(stream: S, handle: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: hyper::service::HttpService<Incoming, ResBody = Body> + Send + 'static,
    F::Future: Send,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_SIZE);
    // A client that hangs up is no news.
    let _ = builder.serve_connection(TokioIo::new(stream), handle).await;
}
