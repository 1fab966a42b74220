//! The answers that the router gives itself: a status and the request's id. The reason is in the
//! access log, for it tells of services and instances, which is nobody's business outside.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use crate::agent::router::access::AccessEntry;
use crate::agent::router::connection::clients::Share;
use crate::agent::router::request::download::Download;
use crate::agent::router::request::framing::FramingError;
use crate::agent::router::request::headers::REQUEST_ID;
use crate::agent::router::request::host::HostError;
use crate::agent::router::upstream::connect;
use crate::agent::router::{Listener, RouteKey};
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
    /// It is sent in a way that cannot be passed on.
    #[error("{0}")]
    Framing(#[from] FramingError),
    /// The body is too large.
    #[error("the request's body is larger than {0}")]
    TooLarge(ByteSize),
    /// The client did not go on sending.
    #[error("the request's body did not go on for {0}")]
    Stalled(Period),
    /// The client sent its body slower than anybody may, or for longer.
    #[error("the request's body came slower than the route allows")]
    Slow,
    /// The client has as much as one may have.
    #[error("the client has {1} {0}, as many as one may have")]
    TooMany(Share, u32),
    /// No instance had room.
    #[error("no instance of {service} had room for the request within {within}")]
    Busy {
        /// The service.
        service: crate::model::ServiceName,
        /// The route's limit.
        within: Period,
    },
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
            Self::Framing(FramingError::Coding) => StatusCode::NOT_IMPLEMENTED,
            Self::Framing(FramingError::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::Framing(
                FramingError::ChunkedTwice
                | FramingError::Lengths
                | FramingError::Target
                | FramingError::Blanks,
            )
            | Self::Host(_)
            | Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled(_) | Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoneReady { .. } | Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable { .. } | Self::Invalid { .. } => StatusCode::BAD_GATEWAY,
            Self::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether nobody can say where this request ends and the next one begins, or wants to wait for
    /// it.
    const fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::Framing(FramingError::Coding | FramingError::ChunkedTwice) | Self::Slow
        )
    }

    /// The answer.
    pub fn response(&self, id: HeaderValue, mut entry: AccessEntry) -> Response<Download> {
        let status = self.status();
        entry.answered(status);
        entry.failed(self);
        let text = format!("{status}\nrequest {}\n", id.to_str().unwrap_or_default());
        let mut response = Response::new(Download::text(text, entry));
        *response.status_mut() = status;

        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REQUEST_ID, id);
        if [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&status)
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.ends_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
