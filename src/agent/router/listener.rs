//! Listeners: accepting connections, within limits, and closing without breaking any.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agent::router::proxy::{Proxy, handle};
use crate::agent::router::{Inner, RouteError, RouteKey, Side, occupant};
use crate::model::route::Limits;

/// The most connections on one listener; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 10_000;

/// The largest head of a request.
const HEAD_LIMIT: usize = 64 << 10;

/// How long accepting rests after an error such as "too many open files".
const REST: Duration = Duration::from_millis(100);

/// One listening socket.
pub(super) struct Listener {
    address: SocketAddr,
    limits: Arc<ArcSwap<Limits>>,
    stop: CancellationToken,
    task: JoinHandle<GracefulShutdown>,
}

impl Listener {
    pub fn open(
        inner: Arc<Inner>,
        key: RouteKey,
        side: Side,
        address: SocketAddr,
        limits: Limits,
    ) -> Result<Self, RouteError> {
        let socket = bind(&inner, &key, address)?;
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        let stop = CancellationToken::new();
        let switchboard = inner.switchboard(&key.scope);
        let proxy = Arc::new(Proxy { inner, key, side, switchboard, limits: Arc::clone(&limits) });
        let task = tokio::spawn(accept(socket, proxy, stop.clone()));
        Ok(Self { address, limits, stop, task })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn limit(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    pub fn drain(&self) -> Duration {
        self.limits.load().drain.get()
    }

    /// Accepts nothing more; connections end after the request that is under way.
    pub async fn close(self, within: Duration) {
        self.stop.cancel();
        if let Ok(graceful) = self.task.await {
            let _ = tokio::time::timeout(within, graceful.shutdown()).await;
        }
    }
}

fn bind(inner: &Inner, key: &RouteKey, address: SocketAddr) -> Result<TcpListener, RouteError> {
    let service = || key.service.clone();
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            RouteError::Taken { service: service(), address, by: occupant::of(address) }
        }
        _ => RouteError::Bind { service: service(), address, source },
    };
    if let Some(socket) = inner.inherited(address) {
        socket.set_nonblocking(true).map_err(failed)?;
        return TcpListener::from_std(socket).map_err(failed);
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    socket.listen(1024).map_err(failed)
}

async fn accept(socket: TcpListener, proxy: Arc<Proxy>, stop: CancellationToken) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.ok();
            (permit, socket.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => return graceful,
            (permit, accepted) = next => match accepted {
                Ok((stream, peer)) => serve(stream, peer, permit, &proxy, &graceful),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(REST).await;
                }
            },
        }
    }
}

fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    permit: Option<OwnedSemaphorePermit>,
    proxy: &Arc<Proxy>,
    graceful: &GracefulShutdown,
) {
    let _ = stream.set_nodelay(true);
    let proxy = Arc::clone(proxy);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(proxy.limits.load().header_timeout.get())
        .max_buf_size(HEAD_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
    let service = service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, std::convert::Infallible>(handle(proxy, request, peer).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // How a client's connection ends is the client's affair.
        let _ = connection.await;
        drop(permit);
    });
}
