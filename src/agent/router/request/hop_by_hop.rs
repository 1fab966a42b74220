//! What is for one connection only, and must not be passed on (RFC 9110 §7.6.1).
//!
//! A client may name further such headers in `Connection`. It could also name what the services
//! rely on, so as to have it deleted, and nobody can tell the one from the other by the name: what
//! is not known to be for one connection is passed on.

use http::header::{self, HeaderMap, HeaderName};

/// For one connection only, whether `Connection` names them or not. `Proxy` is no header of HTTP,
/// and CGI programs take it for `HTTP_PROXY`.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what is for one connection only from a request.
pub fn remove(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The same from an instance's response, with what it names in `Connection`: it takes away nothing
/// but its own words.
pub fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter_map(|token| token.parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    remove(headers);
}

/// Whether a name, read as a CGI program reads it, is one that the router decides about.
pub fn is_framing(folded: &str) -> bool {
    matches!(
        folded,
        "host" | "content-length" | "content-type" | "x-request-id"
    ) || HOP_BY_HOP.iter().any(|name| name.as_str() == folded)
}

/// The elements of a comma-separated header, over all of its lines.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = name.parse::<HeaderName>().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn what_is_for_one_connection_goes_and_the_rest_stays() {
        let mut headers = map(&[
            ("connection", "close, x-mine, TE"),
            ("connection", "Keep-Alive"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("proxy", "http://evil"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-other", "stays"),
        ]);
        remove(&mut headers);
        let left = [
            ("x-mine", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-other", "stays"),
        ];
        assert_eq!(headers, map(&left));
    }

    proptest! {
        #[test]
        fn connection_takes_nothing_away_that_a_service_relies_on(
            name in "[a-z][a-z0-9-]{0,30}|authorization|cookie|x-internal-auth|host|content-length|x-scope",
        ) {
            let is_known = HOP_BY_HOP.iter().any(|known| known.as_str() == name);
            let mut headers = map(&[("connection", &name), (&name, "1")]);
            remove(&mut headers);
            let left = if is_known { map(&[]) } else { map(&[(&name, "1")]) };
            prop_assert_eq!(headers, left);
        }
    }
}
