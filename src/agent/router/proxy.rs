//! One request's way through: choose an instance, pass the request on, pass the answer back.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use crate::agent::router::access::Entry;
use crate::agent::router::body::{Reclaim, RequestBody, ResponseBody, TooLarge};
use crate::agent::router::endpoint::{Endpoint, Flight};
use crate::agent::router::{Inner, RouteKey, Side, Switchboard, headers};
use crate::model::route::Limits;

/// How long a connection to an instance may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an idle connection is kept: shorter than the five seconds after which common servers close
/// theirs, so that a request does not meet a closing one.
const IDLE: Duration = Duration::from_secs(4);

/// To how many instances a request goes that none of them has begun to read.
const TRIES: usize = 3;

/// The pooled client towards the instances.
pub(super) struct Upstream(Client<HttpConnector, RequestBody>);

impl Default for Upstream {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self(client)
    }
}

/// What one listener's requests share.
pub(super) struct Proxy {
    pub inner: Arc<Inner>,
    pub key: RouteKey,
    pub side: Side,
    pub switchboard: Arc<Switchboard>,
    pub limits: Arc<ArcSwap<Limits>>,
}

/// Why the router answers itself.
enum Refusal {
    Method,
    TooLarge,
    NoInstance,
    Unreachable(String),
    Late,
}

/// Handles one request. Always answers.
pub(super) async fn handle(
    proxy: Arc<Proxy>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<ResponseBody> {
    let mut entry = Entry::begin(&proxy.inner.access, &proxy.key, proxy.side == Side::Live, &request, peer);
    match pass(&proxy, request, peer, &mut entry).await {
        Ok((response, flight)) => {
            entry.status = response.status().as_u16();
            response.map(|body| ResponseBody::instance(body, entry, flight))
        }
        Err(refusal) => answer(&proxy, &refusal, entry),
    }
}

async fn pass(
    proxy: &Proxy,
    request: Request<Incoming>,
    peer: SocketAddr,
    entry: &mut Entry,
) -> Result<(Response<Incoming>, Flight), Refusal> {
    let limits = proxy.limits.load_full();
    if request.method() == Method::CONNECT {
        return Err(Refusal::Method);
    }
    if request.body().size_hint().lower() > limits.body.bytes() {
        return Err(Refusal::TooLarge);
    }
    let (mut parts, body) = request.into_parts();
    let client = parts.extensions.remove::<OnUpgrade>();
    let protocol = headers::upgrade(&parts.headers);
    headers::forward(&mut parts, peer);
    headers::strip(&mut parts.headers);
    if let Some(protocol) = &protocol {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let (mut response, flight) = send(proxy, &parts, body, &limits, entry).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let flight = Flight::to(flight.endpoint());
        join(client, &mut response, flight);
        headers::strip(response.headers_mut());
        if let Some(protocol) = protocol {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, protocol);
        }
    } else {
        headers::strip(response.headers_mut());
    }
    *response.version_mut() = Version::default();
    Ok((response, flight))
}

/// Sends the request to an instance; to another one as long as none has begun to read it.
async fn send(
    proxy: &Proxy,
    parts: &Parts,
    body: Incoming,
    limits: &Limits,
    entry: &mut Entry,
) -> Result<(Response<Incoming>, Flight), Refusal> {
    let deadline = Instant::now() + limits.response_timeout.get();
    let empty = body.is_end_stream();
    let reclaim = Reclaim::default();
    let mut body = Some(body);
    let mut tried = Vec::new();
    loop {
        let flight = choose(proxy, limits.hold.get(), &tried).await.ok_or(Refusal::NoInstance)?;
        let endpoint = Arc::clone(flight.endpoint());
        entry.upstream = Some(endpoint.address);
        let Some(current) = body.take() else {
            return Err(Refusal::Unreachable("the body is gone".to_owned()));
        };
        let request = request(parts, &endpoint, RequestBody::new(current, limits.body.bytes(), &reclaim));
        let exchange = tokio::time::timeout_at(deadline, proxy.inner.upstream.0.request(request)).await;
        let error = match exchange {
            Ok(Ok(response)) => return Ok((response, flight)),
            Ok(Err(error)) => error,
            Err(_) => return Err(Refusal::Late),
        };
        if is_too_large(&error) {
            return Err(Refusal::TooLarge);
        }
        tried.push(endpoint.address);
        body = reclaim.take();
        let again = body.is_some() && (error.is_connect() || (empty && parts.method.is_idempotent()));
        if !again || tried.len() >= TRIES {
            return Err(Refusal::Unreachable(reason(&error)));
        }
    }
}

fn request(parts: &Parts, endpoint: &Endpoint, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.headers_mut() = parts.headers.clone();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = endpoint.address.to_string().parse::<Authority>().ok();
    uri.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request
}

/// The instance with the fewest requests under way, waiting for one to become ready as long as `hold`. An
/// instance that was tried is asked again only when there is no other.
async fn choose(proxy: &Proxy, hold: Duration, tried: &[SocketAddr]) -> Option<Flight> {
    let deadline = Instant::now() + hold;
    loop {
        let mut changed = std::pin::pin!(proxy.switchboard.changed.notified());
        // Registered before looking, so that a switch in between is not missed.
        changed.as_mut().enable();
        if let Some(flight) = choose_now(proxy, tried) {
            return Some(flight);
        }
        tokio::time::timeout_at(deadline, changed).await.ok()?;
    }
}

fn choose_now(proxy: &Proxy, tried: &[SocketAddr]) -> Option<Flight> {
    loop {
        let targets = proxy.switchboard.table.load_full();
        let endpoints = targets.of(proxy.side, &proxy.key.service);
        let fresh = endpoints.iter().filter(|endpoint| !tried.contains(&endpoint.address));
        let chosen =
            fresh.min_by_key(|e| e.in_flight()).or_else(|| endpoints.iter().min_by_key(|e| e.in_flight()))?;
        let flight = Flight::to(chosen);
        // Counted first and looked again: whoever drains after a switch sees this request, or this request sees
        // the switch.
        if Arc::ptr_eq(&targets, &proxy.switchboard.table.load_full()) {
            return Some(flight);
        }
    }
}

/// Joins a client and an instance that have changed protocols, until one of them ends.
fn join(client: Option<OnUpgrade>, response: &mut Response<Incoming>, flight: Flight) {
    let instance = hyper::upgrade::on(response);
    let Some(client) = client else { return };
    tokio::spawn(async move {
        let _flight = flight;
        let Ok((client, instance)) = tokio::try_join!(client, instance) else { return };
        let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut instance).await;
    });
}

fn is_too_large(error: &ClientError) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        if inner.is::<TooLarge>() {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The innermost reason.
fn reason(error: &ClientError) -> String {
    let mut last = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        last = inner.to_string();
        source = inner.source();
    }
    last
}

fn answer(proxy: &Proxy, refusal: &Refusal, mut entry: Entry) -> Response<ResponseBody> {
    let service = &proxy.key.service;
    let (status, text) = match refusal {
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not for this router".to_owned()),
        Refusal::TooLarge => {
            let limit = proxy.limits.load().body;
            (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit}"))
        }
        Refusal::NoInstance => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("no instance of {service} is ready"))
        }
        Refusal::Unreachable(reason) => {
            (StatusCode::BAD_GATEWAY, format!("{service} did not answer: {reason}"))
        }
        Refusal::Late => (StatusCode::GATEWAY_TIMEOUT, format!("{service} did not answer in time")),
    };
    entry.status = status.as_u16();
    let text = Bytes::from(format!("shipit router: {text}\n"));
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(ResponseBody::own(text, entry));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, length);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
