//! One client's connection: HTTP/1.1 or HTTP/2, in TLS or without it, whichever the client begins
//! with.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::router::Listener;
use crate::agent::router::access::refused;
use crate::agent::router::config::ListenerConfig;
use crate::agent::router::connection::activity::{Activity, Follows};
use crate::agent::router::connection::budget::Reservation;
use crate::agent::router::connection::client_stream::ClientStream;
use crate::agent::router::connection::clients::Client;
use crate::agent::router::connection::pace::Pace;
use crate::agent::router::connection::socket;
use crate::agent::router::connection::streams::Streams;
use crate::agent::router::connection::turn_away;
use crate::agent::router::connection::wire::Wire;
use crate::agent::router::request::identity::Origin;
use crate::agent::router::request::proxy;
use crate::agent::router::tls::{self, HandshakeError, Tls};

/// How long a client may keep its connection without a request: longer than the minute of the usual
/// load balancers, which must be the ones to close.
const LONGEST_IDLE: Duration = Duration::from_secs(75);
/// The longest request head, in bytes.
const LONGEST_HEAD: u32 = 64 << 10;
/// The most header lines in a request.
const MOST_HEADERS: usize = 128;
/// The most requests at a time on one HTTP/2 connection.
const MOST_STREAMS: u32 = 100;
/// How often an HTTP/2 client is asked whether it is there, and how long it has to answer.
const PING: Duration = Duration::from_secs(20);

/// A client, and what its connection belongs to.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The same, as services are told it.
    pub origin: Origin,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// What it has of the router.
    pub client: Arc<Client>,
    /// Its requests.
    pub activity: Arc<Activity>,
    /// What it was accepted with; none in the clear.
    pub tls: Option<Arc<Tls>>,
    /// What its listener does with it.
    pub acceptor: Orders,
}

/// What a listener does with the connections that it has accepted.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// Asks them to end after their requests.
    pub finish: CancellationToken,
    /// Cuts them.
    pub cut: CancellationToken,
    /// What it waits for when it closes.
    pub tasks: TaskTracker,
}

/// Serves the connection until it ends or is cut.
pub async fn serve(
    stream: TcpStream,
    peer: Peer,
    config: Arc<ArcSwap<ListenerConfig>>,
    place: Reservation,
) {
    socket::tune(&stream);
    let Some(stream) = begin(stream, &peer, &config.load_full()).await else {
        return;
    };

    let peer = Arc::new(peer);
    let (wire, builder) = {
        let limits = &config.load().limits;
        (
            Wire::new(stream, limits, Arc::clone(&peer.activity)),
            builder(
                limits.header_timeout.get().max(LONGEST_IDLE),
                Streams::new(Pace::taking(limits)),
            ),
        )
    };
    let service = service_fn({
        let (config, peer) = (Arc::clone(&config), Arc::clone(&peer));
        move |request| {
            let serving = peer.activity.begin();
            let config = config.load_full();
            let hsts = hsts(&config, &peer);
            // Since it was accepted its listener may have been given TLS, or lost it.
            let is_plain = config.tls.is_none() || config.listener == Listener::Redirect;
            if is_plain == peer.tls.is_some() {
                peer.activity.finish();
            }
            let handled = proxy::handle(config, Arc::clone(&peer), request);
            let activity = Arc::clone(&peer.activity);
            async move {
                let mut answer = handled.await.map(|body| body.during(serving));
                if let Some(hsts) = hsts {
                    // A service that says it itself knows better.
                    let headers = answer.headers_mut();
                    headers
                        .entry(header::STRICT_TRANSPORT_SECURITY)
                        .or_insert(hsts);
                }
                activity.interim.end().await;
                // Over HTTP/2 the next request needs no telling from this one.
                if answer.status() != StatusCode::SWITCHING_PROTOCOLS
                    && activity.answer() == Follows::Nothing
                {
                    let headers = answer.headers_mut();
                    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        }
    });

    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(wire), service)
        .into_owned();
    let ended = run(connection, &peer).await;
    drop(place);
    // What else a connection ends with concerns its client alone, and the client knows.
    if let Err(error) = ended {
        refused::note(&config.load_full(), peer.address, &*error);
    }
}

/// What the client speaks through: the connection itself, or TLS on it. None when there is nobody
/// to speak to. Until its handshake is done a client has its place as one that does nothing, and
/// makes room for others.
async fn begin(
    stream: TcpStream,
    peer: &Peer,
    config: &Arc<ListenerConfig>,
) -> Option<ClientStream> {
    let Some(tls) = &peer.tls else {
        return Some(ClientStream::Plain(stream));
    };
    let secured = tls::secure(stream, tls, config.limits.header_timeout.get());
    let secured = tokio::select! {
        secured = secured => secured,
        () = peer.acceptor.cut.cancelled() => return None,
        () = peer.activity.retired() => return None,
    };

    let error = match secured {
        Ok(stream) => return Some(stream),
        Err(HandshakeError::Gone) => return None,
        Err(error) => error,
    };
    refused::note_handshake(config, peer.address, &error);
    if let HandshakeError::Plain(stream) = error
        && let Some(leaving) = turn_away::wants_tls(stream)
    {
        leaving.await;
    }
    None
}

/// What the client is told about asking this host by HTTPS alone.
fn hsts(config: &ListenerConfig, peer: &Peer) -> Option<HeaderValue> {
    // A browser takes it for all ports of the host; a preview is not the one to say it.
    let tls = config.tls.as_ref().filter(|_| peer.tls.is_some())?;
    let is_live = config.listener == Listener::Live;
    tls.hsts().filter(|_| is_live).cloned()
}

/// What a connection is told from outside.
enum Told {
    /// To end after its requests.
    Finish,
    /// To end.
    End,
}

/// Runs a connection, and does what it is told. It listens in a task of its own, so to speak: as
/// long as nobody tells it anything, that costs a request nothing.
async fn run<C: GracefulConnection>(connection: C, peer: &Peer) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let mut telling: FuturesUnordered<_> = [listen(peer, Told::Finish), listen(peer, Told::End)]
        .into_iter()
        .collect();
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            told = telling.next() => match told {
                Some(Told::Finish) => connection.as_mut().graceful_shutdown(),
                Some(Told::End) | None => return Ok(()),
            },
        }
    }
}

/// Waits for one of the two.
async fn listen(peer: &Peer, told: Told) -> Told {
    match told {
        Told::Finish => tokio::select! {
            () = peer.acceptor.finish.cancelled() => first_request(&peer.activity).await,
            () = idle(&peer.activity) => {}
            () = peer.activity.finishing() => {}
        },
        Told::End => tokio::select! {
            () = peer.acceptor.cut.cancelled() => {}
            () = peer.activity.retired() => {}
        },
    }
    told
}

/// Waits for the first request of a connection, which is on its way most likely: a client that has
/// just connected is not told that nobody is here. One that asks nothing is not waited for longer
/// than this.
async fn first_request(activity: &Activity) {
    const LONGEST: Duration = Duration::from_secs(1);
    let begun = async {
        while activity.begun() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(LONGEST, begun).await;
}

/// Waits until there was no request for so long that a client has no right to its place any more.
/// hyper does this for HTTP/1; an HTTP/2 client could answer pings for ever.
async fn idle(activity: &Activity) {
    let mut begun = activity.begun();
    let mut was_idle = activity.is_idle();
    loop {
        tokio::time::sleep(LONGEST_IDLE).await;
        let is_idle = activity.is_idle();
        if was_idle && is_idle && begun == activity.begun() {
            return;
        }
        (begun, was_idle) = (activity.begun(), is_idle);
    }
}

fn builder(idle: Duration, streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        // A client may finish sending and wait for its answer; the wire sees whether it has gone.
        .half_close(true)
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
