//! TCP connections: whether somebody accepts one.

use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;

/// The scheme of what is no HTTP.
const SCHEME: &str = "tcp://";

/// Whether nothing but a connection can be asked of a URL.
pub(super) fn is_meant(url: &str) -> bool {
    url.starts_with(SCHEME)
}

/// Connects to where a URL leads. The error says what was wrong.
pub(super) async fn connect(url: &str, timeout: Duration) -> Result<(), String> {
    let (host, port) = address(url).ok_or_else(|| format!("{url} says no host and port"))?;
    // Brackets are a URL's, and no part of an address.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let connection = TcpStream::connect((name, port));
    match tokio::time::timeout(timeout, connection).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{host}:{port}: {error}")),
        Err(_) => {
            let within = timeout.as_millis();
            Err(format!("{host}:{port}: no connection within {within} ms"))
        }
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
}
