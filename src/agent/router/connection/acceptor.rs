//! A bound address: accepts connections until it is closed, then lets them finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::net::SocketFlags;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::router::access::refused;
use crate::agent::router::config::ListenerConfig;
use crate::agent::router::connection::activity::Activity;
use crate::agent::router::connection::budget::Full;
use crate::agent::router::connection::listen::{BACKLOG, Socket};
use crate::agent::router::connection::serve::{self, Orders, Peer};
use crate::agent::router::connection::turn_away::turn_away;
use crate::agent::router::request::identity::{Origin, Scheme};
use crate::agent::router::tcp::{self, Connection};

/// How long to wait at first when the system has no file descriptor or memory for a connection, and
/// how long at most.
const BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// A filter that lets nothing come in (`BPF_RET` of no byte).
const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// A bound address.
#[derive(Debug)]
pub struct Acceptor {
    listener: Arc<TcpListener>,
    origin: Socket,
    config: Arc<ArcSwap<ListenerConfig>>,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
    orders: Orders,
}

impl Acceptor {
    /// Accepts from now on. `cut` ends everything behind it at once.
    pub fn open(
        listener: Arc<TcpListener>,
        origin: Socket,
        config: ListenerConfig,
        cut: CancellationToken,
    ) -> Self {
        let config = Arc::new(ArcSwap::from_pointee(config));
        let stop = CancellationToken::new();
        let orders = Orders {
            cut,
            ..Orders::default()
        };
        let accepting = AcceptLoop {
            config: Arc::clone(&config),
            orders: orders.clone(),
        };
        let accepting = tokio::spawn({
            let (stop, listener) = (stop.clone(), Arc::clone(&listener));
            async move { accepting.accept(&listener, &stop).await }
        });

        Self {
            listener,
            origin,
            config,
            stop,
            accepting,
            orders,
        }
    }

    /// The socket, for another one that is to listen where this one does.
    pub const fn listener(&self) -> &Arc<TcpListener> {
        &self.listener
    }

    /// What it stands for from the next request on.
    pub fn set_config(&self, config: ListenerConfig) {
        self.config.store(Arc::new(config));
    }

    /// Stops accepting; the address is free when this returns. What is given back is the rest: it
    /// lets the connections finish within the route's `drain`, then cuts them.
    pub async fn close(self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.cancel();
        let _ = self.accepting.await;

        // The connections that the kernel has taken already: it would reset them when the listener
        // closes. Whoever comes between the last of them and its end is not heard, and asks again
        // for whoever listens then.
        if self.origin == Socket::Own {
            let _ = SockRef::from(&*self.listener).attach_filter(&[NOTHING]);
        }
        let waiting = waiting(&self.listener);
        drop(self.listener);
        let drain = self.config.load().limits.drain.get();
        let accepting = AcceptLoop {
            config: self.config,
            orders: self.orders.clone(),
        };
        for (stream, address) in waiting {
            accepting.enter(stream, address).await;
        }

        let Orders { finish, cut, tasks } = self.orders;
        tasks.close();
        async move {
            // Each connection ends after its request; waiting is for all tasks, upgraded ones
            // included.
            finish.cancel();
            let _ = tokio::time::timeout(drain, cut.run_until_cancelled(tasks.wait())).await;
            cut.cancel();
            tasks.wait().await;
        }
    }
}

/// What is behind an acceptor.
struct AcceptLoop {
    config: Arc<ArcSwap<ListenerConfig>>,
    orders: Orders,
}

impl AcceptLoop {
    /// Until it is told to stop. One that was accepted has its place before that is looked at.
    async fn accept(&self, listener: &TcpListener, stop: &CancellationToken) {
        let mut trouble = Trouble::default();
        while let Some((stream, address)) = stop.run_until_cancelled(trouble.next(listener)).await {
            self.enter(stream, address).await;
        }
    }

    /// Gives a connection its place, or turns it away.
    async fn enter(&self, stream: TcpStream, address: SocketAddr) {
        let Ok(local) = stream.local_addr() else {
            return;
        };

        let config = self.config.load_full();
        if !config.protocol.is_http() {
            return self.pass(&config, stream, address).await;
        }
        let tls = config.tls.clone();
        let scheme = if tls.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let (origin, activity) = (Origin::new(address, scheme), Arc::new(Activity::default()));
        let client = config.shared.clients.enter(origin.address());
        let limit = config.connections_of(origin.address());
        let place = config.shared.budget.place(
            config.listener,
            limit,
            Arc::clone(&client),
            Arc::clone(&activity),
        );
        match place.await {
            Ok(place) => {
                let peer = Peer {
                    address,
                    origin,
                    local,
                    client,
                    activity,
                    tls,
                    acceptor: self.orders.clone(),
                };
                let serving = serve::serve(stream, peer, Arc::clone(&self.config), place);
                self.orders.tasks.spawn(serving);
            }
            Err(full) => self.turn_away(&config, stream, address, full),
        }
    }

    /// Gives a connection that speaks no HTTP its place, or resets it.
    async fn pass(&self, config: &Arc<ListenerConfig>, stream: TcpStream, address: SocketAddr) {
        match tcp::place(config, address).await {
            Ok(place) => {
                let connection = Connection {
                    stream,
                    address,
                    config: Arc::clone(&self.config),
                    cut: self.orders.cut.clone(),
                };
                self.orders.tasks.spawn(connection.serve(place));
            }
            Err(full) => {
                refused::note_full(config, address, full);
                tcp::reset(stream);
            }
        }
    }

    fn turn_away(
        &self,
        config: &Arc<ListenerConfig>,
        stream: TcpStream,
        address: SocketAddr,
        full: Full,
    ) {
        refused::note_full(config, address, full);
        // A client that speaks TLS could not read an answer that has none.
        if config.tls.is_some() {
            return tcp::reset(stream);
        }
        if let Some(leaving) = turn_away(stream, full) {
            self.orders.tasks.spawn(leaving);
        }
    }
}

/// All connections that wait to be accepted.
fn waiting(listener: &TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let next = || next_now(listener).ok();
    std::iter::from_fn(next)
        .take(usize::try_from(BACKLOG).unwrap_or(usize::MAX))
        .collect()
}

/// A connection that waits to be accepted. The kernel is asked, and not what Tokio knows of it.
fn next_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = std::net::TcpStream::from(rustix::net::accept_with(listener, flags)?);
    let address = stream.peer_addr()?;
    Ok((TcpStream::from_std(stream)?, address))
}

/// What keeps a listener from accepting, from its first error to its first success: said when it
/// begins and when it is over, and not once for each try.
#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    errors: u64,
}

impl Trouble {
    /// The next connection. One that was reset before it was accepted is passed over; when the
    /// system is out of descriptors, asking again at once would only burn the processor.
    async fn next(&mut self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        let mut pause = BACK_OFF;
        loop {
            match listener.accept().await {
                Ok(accepted) => {
                    self.is_over();
                    return accepted;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.goes_on(&error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_BACK_OFF);
                }
            }
        }
    }

    fn goes_on(&mut self, error: &io::Error) {
        self.errors += 1;
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tracing::warn!(%error, "cannot accept connections; trying on");
        }
    }

    fn is_over(&mut self) {
        if let Some(since) = self.since.take() {
            let (errors, lasted) = (std::mem::take(&mut self.errors), since.elapsed());
            tracing::info!(errors, ?lasted, "connections are accepted again");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
