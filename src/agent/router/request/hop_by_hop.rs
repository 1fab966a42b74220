//! What is for one connection only, and must not be passed on (RFC 9110 §7.6.1).
//!
//! A client may name further such headers in `Connection`. It could also name what the services
//! rely on, so as to have it deleted: such a name is not followed.

use http::header::{self, HeaderMap, HeaderName};

use crate::model::identity::is_identity;

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

/// How the names begin that are for the service, whatever `Connection` says. Of unknown names a
/// client may have any.
const END_TO_END: [&str; 36] = [
    "accept",
    "access-control-",
    "age",
    "allow",
    "alt-svc",
    "baggage",
    "cache-control",
    "content-",
    "date",
    "dnt",
    "early-data",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "idempotency-",
    "if-",
    "last-",
    "link",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-",
    "server",
    "set-",
    "trace",
    "trailer",
    "vary",
    "via",
    "x-request-",
];

/// Words of names by which a service tells who asks, and what they may do: `X-Internal-Auth`,
/// `X-Api-Key`.
const IDENTITY_WORDS: [&str; 20] = [
    "account", "admin", "agent", "auth", "client", "cookie", "csrf", "group", "identity",
    "internal", "jwt", "key", "role", "secret", "session", "sign", "tenant", "token", "user",
    "xsrf",
];

/// Removes what is for one connection only.
pub fn remove(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &header::CONNECTION)
        .filter_map(|token| token.parse().ok())
        .filter(|name| !is_end_to_end(name))
        .collect()
}

/// Whether a header is for the service, and no client may have it deleted.
fn is_end_to_end(name: &HeaderName) -> bool {
    let name = name.as_str();
    is_identity(name)
        || END_TO_END.iter().any(|start| name.starts_with(start))
        || IDENTITY_WORDS.iter().any(|word| name.contains(word))
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
            ("connection", "close, x-mine"),
            ("connection", "X-Also"),
            ("x-mine", "1"),
            ("x-also", "1"),
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
        let left = [("host", "a"), ("content-length", "3"), ("x-other", "stays")];
        assert_eq!(headers, map(&left));
    }

    #[test]
    fn connection_takes_nothing_away_that_a_service_relies_on() {
        let names = [
            "host",
            "content-length",
            "content-type",
            "content-encoding",
            "authorization",
            "cookie",
            "x-internal-auth",
            "x-api-key",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "x-request-id",
            "forwarded",
            "if-match",
            "origin",
            "range",
            "accept",
            "traceparent",
            "x-csrf-token",
            "remote-user",
            "user-agent",
            "sec-fetch-site",
        ];
        for name in names {
            let mut headers = map(&[("connection", name), (name, "1")]);
            remove(&mut headers);
            assert_eq!(headers, map(&[(name, "1")]), "{name}");
        }
    }
}
