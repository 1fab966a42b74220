//! One client's connection: HTTP/1.1 or HTTP/2 without TLS, whichever the client begins with.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::router::front::Front;
use crate::agent::router::head_deadline::{Activity, HeadDeadline};
use crate::agent::router::{proxy, socket};

/// How long an HTTP/1 client may keep its connection without a request: longer than the minute of the usual load
/// balancers, which must be the ones to close.
const LONGEST_IDLE: Duration = Duration::from_secs(75);
/// The longest request head, in bytes.
const LONGEST_HEAD: u32 = 64 << 10;
/// The most header lines in a request.
const MOST_HEADERS: usize = 128;
/// The most requests at a time on one HTTP/2 connection.
const MOST_STREAMS: u32 = 256;
/// How often an HTTP/2 client is asked whether it is there, and how long it has to answer.
const PING: Duration = Duration::from_secs(20);

/// A client, and what its connection belongs to.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub client: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Its requests.
    pub activity: Arc<Activity>,
    /// Cuts its connection.
    pub cut: CancellationToken,
    /// What its listener waits for when it closes.
    pub tasks: TaskTracker,
}

/// Serves the connection until it ends or is cut.
pub async fn serve(stream: TcpStream, peer: Peer, front: Arc<ArcSwap<Front>>, watcher: Watcher) {
    socket::tune(&stream);
    let cut = peer.cut.clone();
    let head = front.load().limits.header_timeout.get();
    let io = TokioIo::new(HeadDeadline::new(stream, head, Arc::clone(&peer.activity)));
    let service = service_fn(move |request| {
        let serving = peer.activity.begin();
        let handled = proxy::handle(front.load_full(), peer.clone(), request);
        async move { Ok::<_, Infallible>(handled.await.map(|body| body.during(serving))) }
    });
    let builder = builder(head.max(LONGEST_IDLE));
    let connection = builder
        .serve_connection_with_upgrades(io, service)
        .into_owned();
    // A connection that ends with an error concerns its client alone, and the client knows.
    let _ = cut.run_until_cancelled(watcher.watch(connection)).await;
}

fn builder(idle: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(LONGEST_HEAD as usize)
        .max_headers(MOST_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(LONGEST_HEAD);
    builder
}
