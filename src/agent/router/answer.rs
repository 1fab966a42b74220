//! The answers that the router gives itself, each with its reason in words.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use crate::agent::router::access::Entry;
use crate::agent::router::download::Download;
use crate::agent::router::headers::HostError;
use crate::agent::router::{Listener, RouteKey, connect};
use crate::model::{ByteSize, Period};

/// Why the router answers itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no forward proxy.
    #[error("CONNECT is not allowed: this is no forward proxy")]
    Connect,
    /// It is not clear whom the request is for.
    #[error("{0}")]
    Host(#[from] HostError),
    /// The body is too large.
    #[error("the request's body is larger than {0}")]
    TooLarge(ByteSize),
    /// The client did not go on sending.
    #[error("the request's body did not go on for {0}")]
    Stalled(Period),
    /// The client ended its request early, or sent what is not HTTP.
    #[error("the request's body ended early")]
    Broken,
    /// No instance is ready.
    #[error("no instance behind the {listener} listener of {service} is ready")]
    NoneReady {
        /// The service.
        service: crate::model::ServiceName,
        /// The listener.
        listener: Listener,
    },
    /// No instance takes a connection.
    #[error("no instance of {service} takes a connection: {reason}")]
    Unreachable {
        /// The service.
        service: crate::model::ServiceName,
        /// What the last one said.
        reason: String,
    },
    /// The instance gave no valid response.
    #[error("the instance of {service} gave no valid response: {reason}")]
    Invalid {
        /// The service.
        service: crate::model::ServiceName,
        /// In words.
        reason: String,
    },
    /// The instance took too long.
    #[error("the instance of {service} gave no response within {within}")]
    TooSlow {
        /// The service.
        service: crate::model::ServiceName,
        /// The route's limit.
        within: Period,
    },
}

impl Refusal {
    /// No instance of a route takes a connection.
    pub fn unreachable(key: &RouteKey, reason: Option<String>) -> Self {
        let reason =
            reason.unwrap_or_else(|| format!("none within {} s", connect::DEADLINE.as_secs()));
        Self::Unreachable {
            service: key.service.clone(),
            reason,
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host(_) | Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NoneReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable { .. } | Self::Invalid { .. } => StatusCode::BAD_GATEWAY,
            Self::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The answer.
    pub fn response(&self, mut entry: Entry) -> Response<Download> {
        let status = self.status();
        entry.answered(status);
        let mut response = Response::new(Download::text(format!("shipit router: {self}\n"), entry));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}
