//! TCP: whether a connection is accepted, and by somebody who serves it.

use std::io;
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The scheme of what is no HTTP.
const SCHEME: &str = "tcp://";

/// Whether nothing but a connection can be asked of a URL.
pub(super) fn is_meant(url: &str) -> bool {
    url.starts_with(SCHEME)
}

/// Connects to where a URL leads. The error says what was wrong.
pub(super) async fn connect(url: &str, timeout: Duration) -> Result<(), String> {
    ask(url, timeout, Ask::Connection).await
}

/// Connects, says that nothing more comes, and waits for the first byte or for the end. What stands
/// in front of a service accepts whether the service is there or not; an answer is the service's.
pub(super) async fn answer(url: &str, timeout: Duration) -> Result<(), String> {
    ask(url, timeout, Ask::Answer).await
}

/// What is asked of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Connection,
    Answer,
}

async fn ask(url: &str, timeout: Duration, ask: Ask) -> Result<(), String> {
    let (host, port) = address(url).ok_or_else(|| format!("{url} says no host and port"))?;
    // Brackets are a URL's, and no part of an address.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let mut is_accepted = false;
    let asked = async {
        let mut stream = TcpStream::connect((name, port)).await?;
        is_accepted = true;
        if ask == Ask::Answer {
            stream.shutdown().await?;
            // A byte or an end: either is an answer.
            let _ = stream.read(&mut [0]).await?;
        }
        Ok::<(), io::Error>(())
    };

    let asked = tokio::time::timeout(timeout, asked).await;
    let within = timeout.as_millis();
    match asked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if is_accepted => Err(format!("{host}:{port}: accepted, then {error}")),
        Ok(Err(error)) => Err(format!("{host}:{port}: {error}")),
        Err(_) if is_accepted => Err(format!(
            "{host}:{port}: accepted, and neither a byte nor an end came within {within} ms"
        )),
        Err(_) => Err(format!("{host}:{port}: no connection within {within} ms")),
    }
}

/// The host of a URL and its port, that of its scheme without one.
fn address(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let port = match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("http")) => 80,
        (None, Some("https")) => 443,
        (None, _) => return None,
    };
    Some((uri.host()?.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[test]
    fn a_url_says_where_to_connect() {
        let of = |url: &str| address(url).map(|(host, port)| format!("{host} {port}"));
        for (url, wanted) in [
            ("tcp://10.0.0.1:5432", Some("10.0.0.1 5432")),
            ("tcp://[2001:db8::1]:5432", Some("[2001:db8::1] 5432")),
            ("http://shop.example.com", Some("shop.example.com 80")),
            ("https://shop.example.com/a?b", Some("shop.example.com 443")),
            ("http://127.0.0.1:8080/", Some("127.0.0.1 8080")),
            ("tcp://db.example.com", None),
            ("db", None),
        ] {
            assert_eq!(of(url).as_deref(), wanted, "{url}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_accepted_or_it_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("tcp://{}", listener.local_addr().expect("an address"));
        let within = Duration::from_secs(5);
        assert_eq!(connect(&url, within).await, Ok(()));

        drop(listener);
        let error = connect(&url, within).await.expect_err("nobody listens");
        assert!(error.contains("refused"), "{error}");
    }

    /// What is said of somebody who does this with each connection.
    async fn answer_of(serve: impl AsyncFn(TcpStream), within: Duration) -> Result<(), String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let url = format!("tcp://{}", listener.local_addr().expect("an address"));
        let serving = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            serve(stream).await;
        };
        let (said, ()) = tokio::join!(answer(&url, within), serving);
        said
    }

    #[tokio::test]
    async fn who_accepts_has_to_speak_or_to_end() {
        let within = Duration::from_secs(30);
        let speaks = answer_of(
            async |mut stream| stream.write_all(b"220 mail\r\n").await.expect("sent"),
            within,
        );
        assert_eq!(speaks.await, Ok(()));
        let ends = answer_of(
            async |mut stream| {
                let read = stream.read(&mut [0]).await.expect("an end");
                assert_eq!(read, 0);
            },
            within,
        );
        assert_eq!(ends.await, Ok(()));

        let resets = answer_of(
            async |mut stream| {
                let _ = stream.read(&mut [0]).await.expect("an end");
                let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                linger.expect("set");
            },
            within,
        );
        let error = resets.await.expect_err("it was reset");
        assert!(error.contains("accepted, then"), "{error}");

        let silent = answer_of(
            async |stream| {
                tokio::time::sleep(Duration::from_millis(200)).await;
                drop(stream);
            },
            Duration::from_millis(20),
        );
        let error = silent.await.expect_err("it was silent");
        assert!(error.contains("neither a byte nor an end"), "{error}");
    }
}
