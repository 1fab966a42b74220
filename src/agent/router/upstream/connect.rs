//! A new connection to an instance.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::agent::router::connection::socket;
use crate::agent::router::upstream::pool::Sender;

/// How long an instance has to accept a connection.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// The longest response head that is read.
const LONGEST_HEAD: usize = 256 << 10;
/// How many lines such a head may have: more than a service sets cookies. Room for all of them is
/// taken for each answer.
const MOST_HEADERS: usize = 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It took longer than [`DEADLINE`].
    #[error("it did not accept a connection within {} s", DEADLINE.as_secs())]
    TooSlow,
    /// The system's words.
    #[error("{0}")]
    Failed(#[from] std::io::Error),
    /// The connection ended at once.
    #[error("{0}")]
    Ended(#[from] hyper::Error),
}

/// Connects, and no more.
pub async fn open(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let connecting = tokio::time::timeout(DEADLINE, TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| ConnectError::TooSlow)??;
    socket::tune(&stream);
    Ok(stream)
}

/// Connects. The connection lives in a task of its own until it ends or nobody can send on it any
/// more; so long it has its place.
pub async fn connect(
    address: SocketAddr,
    place: OwnedSemaphorePermit,
) -> Result<Sender, ConnectError> {
    let stream = open(address).await?;
    let mut builder = http1::Builder::new();
    let (sender, connection) = builder
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    // How it ends is told to the request that is on it.
    tokio::spawn(async move {
        drop(connection.with_upgrades().await);
        drop(place);
    });
    Ok(sender)
}
