//! One ready instance: its connections, and what is in flight to it.

pub(in crate::agent::router) mod active_table;
pub(in crate::agent::router) mod connect;
pub(in crate::agent::router) mod gate;
pub(in crate::agent::router) mod pool;
pub(in crate::agent::router) mod upstreams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::agent::router::config::ListenerConfig;
use crate::agent::router::request::upload::Upload;
use crate::agent::router::upstream::gate::Gate;
use crate::agent::router::upstream::pool::{Pool, Reuse, Sender};

/// How long a connection may take to come free after its response, when the request is still being
/// sent.
const SETTLE: Duration = Duration::from_secs(30);

/// Why a request got no response from an instance.
#[derive(Debug)]
pub enum Failure {
    /// Not a byte of it was sent; it can go elsewhere.
    Unsent {
        /// The request.
        request: Box<Request<Upload>>,
        /// Why, in one line.
        reason: String,
    },
    /// Not a byte of it was sent: this process may open no further connection.
    NoRoom,
    /// It may have been received, and there is no response.
    Lost {
        /// Whether the connection had served a request before.
        connection: Connection,
        /// Why.
        error: hyper::Error,
    },
}

/// What a request was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// A new connection.
    Fresh,
    /// One that had served a request before, and that the instance may have just closed.
    Reused,
}

/// One ready instance.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    in_flight: AtomicUsize,
    idle: Notify,
    gate: Gate,
    pool: Pool,
}

impl Upstream {
    /// An instance without connections.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            gate: Gate::default(),
            pool: Pool::default(),
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How much is in flight to it.
    pub fn in_flight(&self) -> usize {
        fence(Ordering::SeqCst);
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts one request in, until what is given back and all its clones are gone.
    pub fn begin_request(self: &Arc<Self>) -> Arc<InFlight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Arc::new(InFlight {
            upstream: Arc::clone(self),
            is_inside: AtomicBool::new(false),
        })
    }

    /// Waits until nothing is in flight.
    pub async fn until_idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Sends a request on a pooled connection or a new one. A request that a dead pooled connection
    /// gives back unsent goes to the next connection. A new one has to have a place until then.
    pub async fn send(
        &self,
        mut request: Request<Upload>,
        reuse: Reuse,
        config: &ListenerConfig,
        until: Instant,
    ) -> Result<(Response<Incoming>, Sender), Failure> {
        while let Some(sender) = self.pool.take(reuse) {
            match exchange(sender, request, Connection::Reused).await {
                Err(Failure::Unsent {
                    request: unsent, ..
                }) => request = *unsent,
                settled => return settled,
            }
        }

        let Some(place) = config.place_at_instance(until).await else {
            return Err(Failure::NoRoom);
        };

        match connect::connect(self.address, place).await {
            Ok(sender) => exchange(sender, request, Connection::Fresh).await,
            Err(error) => Err(Failure::Unsent {
                request: Box::new(request),
                reason: error.to_string(),
            }),
        }
    }

    /// Closes the connections that nothing is on.
    pub fn close_idle(&self) {
        self.pool.clear();
    }

    /// Takes a connection back after its response was read. One that is still busy with its request
    /// is waited for.
    pub fn give_back(self: &Arc<Self>, mut sender: Sender) {
        if sender.is_ready() {
            self.pool.put(sender);
        } else if !sender.is_closed() {
            let upstream = Arc::downgrade(self);
            tokio::spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE, sender.ready()).await
                    && let Some(upstream) = upstream.upgrade()
                {
                    upstream.pool.put(sender);
                }
            });
        }
    }
}

async fn exchange(
    mut sender: Sender,
    request: Request<Upload>,
    connection: Connection,
) -> Result<(Response<Incoming>, Sender), Failure> {
    match sender.try_send_request(request).await {
        Ok(response) => Ok((response, sender)),
        Err(mut error) => Err(match error.take_message() {
            Some(request) => Failure::Unsent {
                request: Box::new(request),
                reason: error.into_error().to_string(),
            },
            None => Failure::Lost {
                connection,
                error: error.into_error(),
            },
        }),
    }
}

/// The right to have a request in flight to an instance.
#[derive(Debug)]
pub struct InFlight {
    upstream: Arc<Upstream>,
    is_inside: AtomicBool,
}

impl InFlight {
    /// The instance.
    pub const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Waits until the instance has room for the request. False when it had none in time.
    pub async fn enter(&self, limit: usize, until: Instant) -> bool {
        let is_inside = self.upstream.gate.enter(limit, until).await;
        self.is_inside.store(is_inside, Ordering::Relaxed);
        is_inside
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if *self.is_inside.get_mut() {
            self.upstream.gate.leave();
        }
        if self.upstream.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.upstream.idle.notify_waiters();
        }
    }
}
