//! A connection's beginning: its handshake, within a time, or plain HTTP that came to the wrong
//! port.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::agent::router::connection::client_stream::{ClientStream, Counted};
use crate::agent::router::tls::Tls;

/// The first byte of a handshake: the type of its record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Why a connection got no further than its beginning.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client speaks HTTP without TLS.
    #[error("plain HTTP came to a listener that speaks HTTPS")]
    Plain(TcpStream),
    /// It did not come to its end in time.
    #[error("the TLS handshake took longer than {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// It went wrong.
    #[error("the TLS handshake failed: {0}")]
    Failed(io::Error),
    /// The client went before it had said anything.
    #[error("the client went without a word")]
    Gone,
}

/// Makes a connection one of TLS within a time.
pub async fn secure(
    stream: TcpStream,
    tls: &Arc<Tls>,
    within: Duration,
) -> Result<ClientStream, HandshakeError> {
    let secured = tokio::time::timeout(within, shake_hands(stream, tls));
    secured.await.map_err(|_| HandshakeError::Late(within))?
}

async fn shake_hands(stream: TcpStream, tls: &Arc<Tls>) -> Result<ClientStream, HandshakeError> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Err(HandshakeError::Gone),
        Err(error) => return Err(HandshakeError::Failed(error)),
        Ok(_) if first[0] == HANDSHAKE => {}
        Ok(_) if first[0].is_ascii_alphabetic() => return Err(HandshakeError::Plain(stream)),
        Ok(_) => {
            let error = io::Error::other("what came is neither TLS nor HTTP");
            return Err(HandshakeError::Failed(error));
        }
    }
    let accepted = tls.acceptor().accept(Counted::new(stream)).await;
    accepted
        .map(|stream| ClientStream::Tls(Box::new(stream)))
        .map_err(HandshakeError::Failed)
}
