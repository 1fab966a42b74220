//! An answer to a client that gets no place, or speaks no TLS where that is spoken: said before
//! anything of its request is read, and for a short time only.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::agent::router::connection::budget::Full;

/// How many clients may be on their way out; more are left without a word.
const MOST: usize = 32;
/// How long one may take to come to read its answer.
const LINGER: Duration = Duration::from_millis(500);
/// How much of its request is read meanwhile. A connection that is closed with unread bytes is
/// reset, and the answer is lost with it.
const LINGER_BYTES: u64 = 64 << 10;

static LEAVING: Semaphore = Semaphore::const_new(MOST);

/// Tells the client, if there is somebody to do it.
pub fn turn_away(stream: TcpStream, full: Full) -> Option<impl Future<Output = ()> + Send> {
    tell(stream, answer(full))
}

/// Tells a client that came in plain HTTP to where TLS is spoken, if there is somebody to do it.
pub fn wants_tls(stream: TcpStream) -> Option<impl Future<Output = ()> + Send> {
    tell(stream, PLAIN)
}

/// What a client in plain HTTP is told.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    cache-control: no-store\r\nconnection: close\r\ncontent-length: 68\r\n\r\n\
    This port speaks HTTPS, and this was plain HTTP. Ask with https://.\n";

fn tell(mut stream: TcpStream, said: &'static [u8]) -> Option<impl Future<Output = ()> + Send> {
    let leaving = LEAVING.try_acquire().ok()?;
    Some(async move {
        let said = async {
            stream.write_all(said).await?;
            stream.shutdown().await?;
            let mut rest = stream.take(LINGER_BYTES);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        let _ = tokio::time::timeout(LINGER, said).await;
        drop(leaving);
    })
}

const fn answer(full: Full) -> &'static [u8] {
    match full {
        Full::Client(_) => {
            b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n\
              cache-control: no-store\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        }
        Full::Router | Full::Streams => {
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
              cache-control: no-store\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        }
    }
}
