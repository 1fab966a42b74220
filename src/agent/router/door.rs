//! A bound address: accepts connections until it is closed, then lets them finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::router::front::Front;
use crate::agent::router::serve::{self, Peer};

/// The most connections at a time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 10_000;
/// How long to wait when the system has no file descriptor or memory for a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A bound address.
#[derive(Debug)]
pub struct Door {
    front: Arc<ArcSwap<Front>>,
    stop: CancellationToken,
    accepting: JoinHandle<GracefulShutdown>,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    /// Accepts from now on. `cut` ends everything behind it at once.
    pub fn open(listener: TcpListener, front: Front, cut: CancellationToken) -> Self {
        let front = Arc::new(ArcSwap::from_pointee(front));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let hall = Hall {
            front: Arc::clone(&front),
            cut: cut.clone(),
            tasks: tasks.clone(),
        };
        let accepting = tokio::spawn(accept(listener, hall, stop.clone()));
        Self {
            front,
            stop,
            accepting,
            cut,
            tasks,
        }
    }

    /// What it stands for from the next request on.
    pub fn lead_to(&self, front: Front) {
        self.front.store(Arc::new(front));
    }

    /// Stops accepting; the address is free when this returns. What is given back is the rest: it lets the
    /// connections finish within the route's `drain`, then cuts them.
    pub async fn close(self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.cancel();
        let graceful = self.accepting.await.ok();
        let drain = self.front.load().limits.drain.get();
        self.tasks.close();
        async move {
            // Asks each connection to end after its request; waiting is for all tasks, upgraded ones included.
            let asked = async {
                if let Some(graceful) = graceful {
                    graceful.shutdown().await;
                }
                self.tasks.wait().await;
            };
            let _ = tokio::time::timeout(drain, self.cut.run_until_cancelled(asked)).await;
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

/// What is behind a door.
struct Hall {
    front: Arc<ArcSwap<Front>>,
    cut: CancellationToken,
    tasks: TaskTracker,
}

async fn accept(listener: TcpListener, hall: Hall, stop: CancellationToken) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    let _ = stop
        .run_until_cancelled(accept_all(&listener, &hall, &graceful))
        .await;
    graceful
}

async fn accept_all(listener: &TcpListener, hall: &Hall, graceful: &GracefulShutdown) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, client) = next(listener).await;
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let (cut, tasks) = (hall.cut.clone(), hall.tasks.clone());
        let peer = Peer {
            client,
            local,
            activity: Arc::default(),
            cut,
            tasks,
        };
        let serving = serve::serve(stream, peer, Arc::clone(&hall.front), graceful.watcher());
        hall.tasks.spawn(async move {
            serving.await;
            drop(place);
        });
    }
}

/// The next connection. One that was reset before it was accepted is passed over; when the system is out of
/// descriptors, asking again at once would only burn the processor.
async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(BACK_OFF).await;
            }
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
