//! What is noted of one request while it is on its way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::header::HeaderValue;
use http::{Method, Request, StatusCode};
use jiff::Timestamp;

use crate::agent::router::Listener;
use crate::agent::router::config::ListenerConfig;
use crate::agent::router::connection::serve::Peer;
use crate::redact::Redactor;

/// What is logged for a client that went away before it had an answer; nginx's number for it.
const CLIENT_WENT_AWAY: u16 = 499;
/// What stands for the method of a connection that has none. Its status is 200 for one that reached
/// an instance, as in nginx's log of streams.
const TCP: &[u8] = b"TCP";
/// The longest path that is logged, in bytes.
const LONGEST_PATH: usize = 1024;

/// One line. The query is not in it: it may carry what is secret.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Line {
    time: Timestamp,
    /// Who connected. Without a method and a path it sent no request.
    client: SocketAddr,
    /// The client behind a trusted proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded_for: Option<IpAddr>,
    method: String,
    path: String,
    status: u16,
    /// Of the response's body.
    bytes: u64,
    /// From the request's head to the response's end.
    micros: u64,
    project: String,
    environment: String,
    service: String,
    /// The port, unless it is the one with the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    listener: Listener,
    upstream: Option<SocketAddr>,
    request_id: String,
    /// Whether the response came to its end.
    complete: bool,
    /// Why the router answered itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Line {
    /// Of what never became a request.
    pub fn refused(
        config: &ListenerConfig,
        client: SocketAddr,
        status: StatusCode,
        error: String,
    ) -> Self {
        let key = &config.key;
        Self {
            time: Timestamp::now(),
            client,
            forwarded_for: None,
            method: String::new(),
            path: String::new(),
            status: status.as_u16(),
            bytes: 0,
            micros: 0,
            project: key.scope.project.to_string(),
            environment: key.scope.environment.to_string(),
            service: key.service.to_string(),
            port: config.backend.port.as_ref().map(ToString::to_string),
            listener: config.listener,
            upstream: None,
            request_id: String::new(),
            complete: true,
            error: Some(error),
        }
    }

    /// The same without the secrets that the agent knows, in what the client chose: the addresses
    /// of webhooks have them in their paths.
    pub fn without_values(self, redactor: &Redactor) -> Self {
        Self {
            method: redactor.text(&self.method),
            path: redactor.text(&self.path),
            request_id: redactor.text(&self.request_id),
            error: self.error.map(|error| redactor.text(&error)),
            ..self
        }
    }

    /// Whom the line is about: the client, whoever passed its request on.
    pub fn about(&self) -> IpAddr {
        let address = self.forwarded_for.unwrap_or_else(|| self.client.ip());
        address.to_canonical()
    }
}

/// A request's line in the making. It is written when this is dropped, so also for a client that
/// went away.
#[derive(Debug)]
pub struct AccessEntry {
    inner: Option<Box<Inner>>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<ListenerConfig>,
    began: Instant,
    time: Timestamp,
    client: SocketAddr,
    forwarded_for: Option<IpAddr>,
    method: Method,
    path: String,
    id: HeaderValue,
    status: u16,
    bytes: u64,
    upstream: Option<SocketAddr>,
    complete: bool,
    error: Option<String>,
}

impl AccessEntry {
    /// Begins a line, if there is a log.
    pub fn begin<B>(
        config: &Arc<ListenerConfig>,
        peer: &Peer,
        client: IpAddr,
        request: &Request<B>,
        id: &HeaderValue,
    ) -> Self {
        if !config.shared.access.is_on() {
            return Self { inner: None };
        }

        Self {
            inner: Some(Box::new(Inner {
                config: Arc::clone(config),
                began: Instant::now(),
                time: Timestamp::now(),
                client: peer.address,
                forwarded_for: (client != peer.origin.address()).then_some(client),
                method: request.method().clone(),
                path: shortened(request.uri().path()).to_owned(),
                id: id.clone(),
                status: CLIENT_WENT_AWAY,
                bytes: 0,
                upstream: None,
                complete: false,
                error: None,
            })),
        }
    }

    /// Begins the line of a connection that speaks no HTTP, if there is a log.
    pub fn of_connection(config: &Arc<ListenerConfig>, client: SocketAddr) -> Self {
        if !config.shared.access.is_on() {
            return Self { inner: None };
        }
        Self {
            inner: Some(Box::new(Inner {
                config: Arc::clone(config),
                began: Instant::now(),
                time: Timestamp::now(),
                client,
                forwarded_for: None,
                method: Method::from_bytes(TCP).unwrap_or_default(),
                path: String::new(),
                id: config.shared.request_id(),
                status: CLIENT_WENT_AWAY,
                bytes: 0,
                upstream: None,
                complete: false,
                error: None,
            })),
        }
    }

    /// One that writes nothing: for a response whose line is written elsewhere.
    #[expect(clippy::unused_self, reason = "reads as: this entry's silent twin")]
    pub const fn silent(&self) -> Self {
        Self { inner: None }
    }

    /// The instance that it was sent to.
    pub fn sent_to(&mut self, upstream: SocketAddr) {
        self.update(|inner| inner.upstream = Some(upstream));
    }

    /// The status that the client gets.
    pub fn answered(&mut self, status: StatusCode) {
        self.update(|inner| inner.status = status.as_u16());
    }

    /// Why the router answers itself.
    pub fn failed(&mut self, reason: &impl ToString) {
        self.update(|inner| inner.error = Some(reason.to_string()));
    }

    /// Bytes that went to the client.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.update(|inner| inner.bytes += bytes as u64);
    }

    /// The response came to its end.
    pub fn complete(&mut self) {
        self.update(|inner| inner.complete = true);
    }

    fn update(&mut self, change: impl FnOnce(&mut Inner)) {
        if let Some(inner) = &mut self.inner {
            change(inner);
        }
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            let config = Arc::clone(&inner.config);
            config.shared.access.write(inner.line());
        }
    }
}

impl Inner {
    fn line(self) -> Line {
        let key = &self.config.key;
        Line {
            time: self.time,
            client: self.client,
            forwarded_for: self.forwarded_for,
            method: self.method.to_string(),
            path: self.path,
            status: self.status,
            bytes: self.bytes,
            micros: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            project: key.scope.project.to_string(),
            environment: key.scope.environment.to_string(),
            service: key.service.to_string(),
            port: self.config.backend.port.as_ref().map(ToString::to_string),
            listener: self.config.listener,
            upstream: self.upstream,
            request_id: self.id.to_str().unwrap_or_default().to_owned(),
            complete: self.complete,
            error: self.error,
        }
    }
}

/// At most [`LONGEST_PATH`] bytes, cut between characters.
fn shortened(path: &str) -> &str {
    &path[..path.floor_char_boundary(LONGEST_PATH)]
}
