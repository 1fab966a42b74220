//! Instances, clients and a router in between.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::agent::router::{Backend, Options, RouteKey, Router, Table};
use crate::model::limits::Limits;
use crate::model::route::Listeners;
use crate::model::{Period, ServiceName};
use crate::port::engine::Scope;

/// A body of any kind.
pub type AnyBody = BoxBody<Bytes, Infallible>;

/// A body of this text.
pub fn text(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).boxed()
}

/// Fails the test instead of hanging it.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it should have happened long ago")
}

/// The environment of all tests.
pub fn scope() -> Scope {
    Scope {
        project: "shop".parse().unwrap(),
        environment: "production".parse().unwrap(),
    }
}

/// A route's key.
pub fn key(service: &str) -> RouteKey {
    RouteKey {
        scope: scope(),
        service: service.parse().unwrap(),
    }
}

/// The port of a service that gets the traffic.
pub fn backend(service: &str) -> Backend {
    Backend::from(service.parse::<ServiceName>().unwrap())
}

/// A listener on a free port, and its address.
pub fn free_port() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A router with one route, for the service `web`.
pub struct World {
    pub router: Router,
    pub route: Listeners,
}

impl World {
    /// With default limits.
    pub async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    /// With these limits.
    pub async fn with(limits: Limits) -> Self {
        Self::start(limits, Options::default()).await
    }

    /// With these limits and options. Its ports are inherited ones, so that no other test can have
    /// them.
    pub async fn start(limits: Limits, mut options: Options) -> Self {
        let (live, preview) = (free_port(), free_port());
        let route = Listeners::plain(live.1, preview.1, limits);
        options.inherited = vec![live.0, preview.0];
        let router = Router::new(options);
        router.open(key("web"), &route).await.unwrap();
        Self { router, route }
    }

    /// Sends live traffic to these instances.
    pub fn live(&self, instances: &[SocketAddr]) {
        self.switch(instances, &[]);
    }

    /// Sends live and preview traffic to these instances.
    pub fn switch(&self, live: &[SocketAddr], preview: &[SocketAddr]) {
        let services = |instances: &[SocketAddr]| [(backend("web"), instances.to_vec())].into();
        self.router.set(
            &scope(),
            Table {
                live: services(live),
                preview: services(preview),
                ..Table::default()
            },
        );
    }

    /// A client's connection to the live listener.
    pub async fn client(&self) -> Client {
        Client::connect(self.route.live).await
    }

    /// One GET through the live listener.
    pub async fn get(&self, path: &str) -> Answer {
        self.client().await.get(path).await
    }
}

/// So short that a test can wait for it.
const SHORT: Period = Period::from_millis(50);

/// Holds no request for long.
pub fn short_hold() -> Limits {
    Limits {
        hold: SHORT,
        ..Limits::default()
    }
}

/// Gives an instance little time.
pub fn short_response() -> Limits {
    Limits {
        response_timeout: SHORT,
        ..Limits::default()
    }
}

/// Gives a client little time.
pub fn short_head() -> Limits {
    Limits {
        header_timeout: SHORT,
        ..Limits::default()
    }
}

/// An instance.
pub struct Instance {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Instance {
    /// Answers each request by this function.
    pub async fn serving<H, F>(handle: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let counted = (Arc::clone(&connections), Arc::clone(&requests));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.0.fetch_add(1, Ordering::SeqCst);
                let (handle, requests) = (handle.clone(), Arc::clone(&counted.1));
                let service = service_fn(move |request| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let handled = handle(request);
                    async move { Ok::<_, Infallible>(handled.await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let connection = server
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                open.spawn(async move { drop(connection.await) });
            }
        });
        Self {
            address,
            connections,
            requests,
            _tasks: tasks,
        }
    }

    /// Answers each request with its name, after it has read the body.
    pub async fn named(name: &'static str) -> Self {
        Self::serving(move |request: Request<Incoming>| async move {
            let _ = request.into_body().collect().await;
            Response::new(text(name))
        })
        .await
    }

    /// Answers each request with its body.
    pub async fn echo() -> Self {
        Self::serving(|request: Request<Incoming>| async move {
            let body = request
                .into_body()
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            Response::new(text(body.unwrap_or_default()))
        })
        .await
    }

    /// Answers each request with its own head, a header a line.
    pub async fn mirror() -> Self {
        Self::serving(|request: Request<Incoming>| async move {
            let mut lines = vec![format!("{} {}", request.method(), request.uri())];
            let header =
                |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
                    format!("{name}: {}", value.to_str().unwrap())
                };
            lines.extend(request.headers().iter().map(header));
            Response::new(text(lines.join("\n")))
        })
        .await
    }

    /// Answers each request with a stream of events, of which none comes after the first.
    pub async fn of_events() -> Self {
        Self::serving(|_| async {
            let (pieces, events) = piecewise();
            tokio::spawn(async move {
                pieces.send(Bytes::from_static(b"first")).await.unwrap();
                pieces.closed().await;
            });
            Response::new(events)
        })
        .await
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests it has received.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// An instance that does with each connection what it is told, below HTTP.
pub struct RawInstance {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl RawInstance {
    /// Calls this with the number of the connection (from 0) and the connection.
    pub async fn serving<H, F>(handle: H) -> Self
    where
        H: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            let mut count = 0;
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(handle(count, stream));
                count += 1;
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

/// Reads up to the end of a message's head.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Sends these bytes and reads until the other end closes.
pub async fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn of<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let body = soon(body.collect()).await.expect("a whole body").to_bytes();
        Self {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// A client with one connection.
pub struct Client {
    pub sender: SendRequest<AnyBody>,
    _connection: JoinSet<()>,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.with_upgrades().await) });
        Self {
            sender,
            _connection: tasks,
        }
    }

    /// Sends a request, on the one connection that there is.
    pub async fn try_send(
        &mut self,
        request: Request<AnyBody>,
    ) -> hyper::Result<Response<Incoming>> {
        soon(self.sender.ready()).await?;
        soon(self.sender.send_request(request)).await
    }

    /// Sends a request that must be answered.
    pub async fn send(&mut self, request: Request<AnyBody>) -> Answer {
        Answer::of(self.try_send(request).await.expect("an answer")).await
    }

    /// A GET.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(request(Method::GET, path, text(""))).await
    }
}

/// A request to `shop.test`.
pub fn request(method: Method, path: &str, body: AnyBody) -> Request<AnyBody> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.test")
        .body(body)
        .unwrap()
}

/// A request over HTTP/2 without TLS.
pub async fn over_http_2(address: SocketAddr, request: Request<AnyBody>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    Answer::of(soon(sender.send_request(request)).await.expect("an answer")).await
}

/// A body that is sent piece by piece, by the test.
pub fn piecewise() -> (tokio::sync::mpsc::Sender<Bytes>, AnyBody) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let frames = futures_util::stream::unfold(
        receiver,
        |mut receiver: tokio::sync::mpsc::Receiver<Bytes>| async {
            let frame = hyper::body::Frame::data(receiver.recv().await?);
            Some((Ok::<_, Infallible>(frame), receiver))
        },
    );
    (
        sender,
        BodyExt::boxed(SyncBody(http_body_util::StreamBody::new(Box::pin(frames)))),
    )
}

/// `BoxBody` asks for `Sync`; nobody polls a body from two threads.
struct SyncBody<B>(B);

impl<B: Body + Unpin> Body for SyncBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<B::Data>, B::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(context)
    }
}
