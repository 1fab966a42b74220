//! A connection to a `tcp` port: bytes both ways between a client and an instance of the slot that
//! had the traffic when it connected.
//!
//! What one end has finished sending is passed on, and the other one may go on. A reset is passed
//! on as a reset: what broke off must not look as if it had ended. Nothing is read from one end
//! that the other one has no room for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::router::access::AccessEntry;
use crate::agent::router::config::ListenerConfig;
use crate::agent::router::connection::budget::{Full, StreamPlace};
use crate::agent::router::connection::socket;
use crate::agent::router::request::watched::{Watch, Watched};
use crate::agent::router::upstream::active_table::NoEndpoint;
use crate::agent::router::upstream::{InFlight, connect};

/// How many instances are tried.
const MOST_TRIES: usize = 3;

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    /// Its socket.
    pub stream: TcpStream,
    /// Who connected.
    pub address: SocketAddr,
    /// What its listener stands for.
    pub config: Arc<ArcSwap<ListenerConfig>>,
    /// Ends it at once.
    pub cut: CancellationToken,
}

/// An instance that has accepted the connection, and what it has of it.
struct Accepted {
    stream: TcpStream,
    in_flight: Arc<InFlight>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// Why there is no instance for a connection.
#[derive(Debug, thiserror::Error)]
enum NoInstance {
    #[error("no instance is ready")]
    NoneReady,
    #[error("every instance has as many connections as it may have")]
    NoRoom,
    #[error("no instance accepts a connection: {0}")]
    Unreachable(String),
}

impl NoInstance {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NoneReady | Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// How a connection that had reached an instance ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("nothing came either way for {}", humantime::format_duration(*.0))]
    Idle(Duration),
    #[error("its instance has no traffic any more, and the time to drain is over")]
    Drained,
    #[error("its listener is closed")]
    Cut,
    #[error("{0}")]
    Broken(#[from] std::io::Error),
}

/// A place for a client's connection.
pub async fn place(config: &Arc<ListenerConfig>, address: SocketAddr) -> Result<StreamPlace, Full> {
    let ip = address.ip().to_canonical();
    let limit = config.connections_of(ip);
    let client = config.shared.clients.enter(ip);
    let budget = &config.shared.budget;
    budget.stream(config.listener, limit, &client).await
}

/// Ends a connection so that the other end cannot take it for a whole one.
pub fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

impl Connection {
    /// Serves it until it ends.
    pub async fn serve(self, place: StreamPlace) {
        socket::tune(&self.stream);
        let config = self.config.load_full();
        let mut entry = AccessEntry::of_connection(&config, self.address);
        let reached = self.cut.run_until_cancelled(reach(&config, &mut entry));
        let accepted = match reached.await {
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                entry.answered(error.status());
                entry.failed(&error);
                return reset(self.stream);
            }
            None => return reset(self.stream),
        };

        entry.answered(StatusCode::OK);
        self.join(accepted, &config, &mut entry).await;
        drop(place);
    }

    /// Joins client and instance until the connection ends.
    async fn join(self, accepted: Accepted, config: &Arc<ListenerConfig>, entry: &mut AccessEntry) {
        let (mut client, mut instance) = (self.stream, accepted.stream);
        let address = accepted.in_flight.upstream().address();
        let idle = config.limits.tcp_idle.get();
        let watch = Watch::default();
        let copied = {
            let mut client = Watched::new(&mut client, &watch.client);
            let mut instance = Watched::new(&mut instance, &watch.instance);
            tokio::select! {
                copied = copy_bidirectional(&mut client, &mut instance) => {
                    copied.map_err(End::from)
                }
                () = watch.silence(idle) => Err(End::Idle(idle)),
                () = drained(&self.config, config, address) => Err(End::Drained),
                () = self.cut.cancelled() => Err(End::Cut),
            }
        };

        match copied {
            Ok((_, down)) => {
                entry.add_bytes(usize::try_from(down).unwrap_or(usize::MAX));
                entry.complete();
            }
            Err(end) => {
                entry.failed(&end);
                // What was cut off must not look as if it had ended.
                reset(client);
                reset(instance);
            }
        }
    }
}

/// A connection to an instance that has traffic. One that does not accept is left out; while none
/// is ready, or none has room, it is waited for as long as the route holds.
async fn reach(
    config: &Arc<ListenerConfig>,
    entry: &mut AccessEntry,
) -> Result<Accepted, NoInstance> {
    let until = Instant::now() + config.limits.hold.get();
    let (mut tried, mut reason) = (Vec::new(), String::new());
    while tried.len() < MOST_TRIES {
        let chosen = config
            .active_table
            .choose(config.listener, &config.backend, &tried, until);
        let in_flight = match chosen.await {
            Ok(in_flight) => in_flight,
            Err(NoEndpoint::NoneReady) => return Err(NoInstance::NoneReady),
            Err(NoEndpoint::AllTried) => break,
        };
        if !in_flight.enter(config.most_at_instance(), until).await {
            return Err(NoInstance::NoRoom);
        }

        let place = config.place_at_instance(until).await;
        let place = place.ok_or(NoInstance::NoRoom)?;
        let address = in_flight.upstream().address();
        entry.sent_to(address);
        match connect::open(address).await {
            Ok(stream) => {
                return Ok(Accepted {
                    stream,
                    in_flight,
                    _place: place,
                });
            }
            Err(error) => {
                reason = error.to_string();
                tried.push(address);
            }
        }
    }
    Err(NoInstance::Unreachable(reason))
}

/// Waits until an instance has been without the listener's traffic for as long as the route lets it
/// drain.
async fn drained(current: &ArcSwap<ListenerConfig>, config: &ListenerConfig, instance: SocketAddr) {
    let table = &config.active_table;
    let mut changes = table.changes();
    // Another service may have taken the address over: what it leads to is not asked then.
    let has_traffic = || {
        current.load().means(config) && table.leads_to(config.listener, &config.backend, instance)
    };
    loop {
        while has_traffic() {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }

        let back = async {
            while !has_traffic() {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let drain = current.load().limits.drain.get();
        if tokio::time::timeout(drain, back).await.is_err() {
            return;
        }
    }
}
