//! What a proxy changes in a message's head: RFC 9110 §7.6, RFC 9112 §3.2, and the `X-Forwarded-*` habits.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Uri, Version, request};

/// The client that sent the request, then each proxy on the way.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`: what the client spoke.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Names one request in everybody's logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a client.
const LONGEST_ID: usize = 128;

/// For one connection only, whether `Connection` names them or not. `Proxy` is no header of HTTP, and CGI
/// programs take it for `HTTP_PROXY`.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Never for one connection only, whatever `Connection` says: to lose one changes what the message means.
const END_TO_END: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// Removes what is for one connection only.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        if !END_TO_END.contains(&name) {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, header::CONNECTION)
        .filter_map(|token| token.parse().ok())
        .collect()
}

/// The elements of a comma-separated header, over all of its lines.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// The protocol that the client wants to change to. HTTP/2 has no `Upgrade` (RFC 9113 §8.2.2), and a change
/// to `h2c` would carry requests past this router.
pub fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let asked =
        tokens(headers, header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let h2c = tokens(headers, header::UPGRADE).any(|token| token.eq_ignore_ascii_case("h2c"));
    if version == Version::HTTP_11 && asked && !h2c {
        headers.get(header::UPGRADE).cloned()
    } else {
        None
    }
}

/// Marks a message as one that changes the protocol.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Why a request's host is not clear. Such a request is refused: two readers could take it for two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// HTTP/1.1 needs one (RFC 9112 §3.2).
    #[error("the request has no Host header")]
    Missing,
    /// And only one.
    #[error("the request has more than one Host header")]
    Several,
    /// It has characters that no header may have.
    #[error("the request's host is not valid")]
    NotValid,
}

/// The host that a request is for: of the target when that names one, else of the header, else (HTTP/1.0) the
/// address that the client connected to.
pub fn host(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    local: SocketAddr,
) -> Result<HeaderValue, HostError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(HostError::Several);
    }
    if let Some(authority) = uri.authority() {
        let host = authority
            .as_str()
            .rsplit_once('@')
            .map_or(authority.as_str(), |(_, host)| host);
        return HeaderValue::from_str(host).map_err(|_| HostError::NotValid);
    }
    match first {
        Some(host) => Ok(host.clone()),
        None if version == Version::HTTP_11 => Err(HostError::Missing),
        None => HeaderValue::from_str(&local.to_string()).map_err(|_| HostError::NotValid),
    }
}

/// The target in the form that a server is asked with: path and query alone.
pub fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query()
        .map_or_else(Uri::default, |path| Uri::from(path.clone()))
}

/// Rewrites a request's head for an instance, which is always asked in HTTP/1.1.
pub fn towards_instance(
    parts: &mut request::Parts,
    host: HeaderValue,
    client: IpAddr,
    id: HeaderValue,
) {
    let protocol = upgrade(parts.version, &parts.headers);
    let trailers =
        tokens(&parts.headers, header::TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    parts.uri = origin_form(&parts.uri);
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    remove_hop_by_hop(headers);
    // The router asks the client to go on when the instance reads the body; nothing is left to expect.
    headers.remove(header::EXPECT);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocol) = protocol {
        set_upgrade(headers, protocol);
    }
    join_cookies(headers);
    forwarded(headers, &host, client);
    headers.insert(header::HOST, host);
    headers.insert(REQUEST_ID, id);
}

/// HTTP/2 may send cookies in several lines, HTTP/1.1 in one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The client is added to the list. Protocol and host are taken over from a proxy on this machine, which
/// ends TLS; from anybody else they would be a claim.
fn forwarded(headers: &mut HeaderMap, host: &HeaderValue, client: IpAddr) {
    let client = client.to_canonical();
    let so_far: Vec<_> = tokens(headers, FORWARDED_FOR).map(str::to_owned).collect();
    let list = so_far
        .into_iter()
        .chain([client.to_string()])
        .collect::<Vec<_>>()
        .join(", ");
    if let Ok(list) = HeaderValue::from_str(&list) {
        headers.insert(FORWARDED_FOR, list);
    }
    for (name, value) in [
        (FORWARDED_PROTO, HeaderValue::from_static("http")),
        (FORWARDED_HOST, host.clone()),
    ] {
        match headers.entry(name) {
            Entry::Occupied(_) if client.is_loopback() => {}
            Entry::Occupied(mut claim) => drop(claim.insert(value)),
            Entry::Vacant(place) => drop(place.insert(value)),
        }
    }
}

/// The request's id, when the client gave one that can stand in a log.
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let plain = id.as_bytes().iter().all(u8::is_ascii_graphic);
    (plain && !id.is_empty() && id.len() <= LONGEST_ID).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        lines.iter().map(pair).collect()
    }

    fn rewritten(
        uri: &str,
        version: Version,
        lines: &[(&str, &str)],
        client: &str,
    ) -> request::Parts {
        let (mut parts, ()) = http::Request::builder()
            .uri(uri)
            .version(version)
            .body(())
            .unwrap()
            .into_parts();
        parts.headers = map(lines);
        let local = "10.0.0.1:80".parse().unwrap();
        let host = host(version, &parts.uri, &parts.headers, local).unwrap();
        towards_instance(
            &mut parts,
            host,
            client.parse().unwrap(),
            HeaderValue::from_static("id"),
        );
        parts
    }

    #[test]
    fn what_is_for_one_connection_goes_and_the_rest_stays() {
        let mut headers = map(&[
            ("connection", "close, x-mine"),
            ("connection", "X-Also, Host, content-length"),
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
        remove_hop_by_hop(&mut headers);
        assert_eq!(
            headers,
            map(&[("host", "a"), ("content-length", "3"), ("x-other", "stays")])
        );
    }

    #[test]
    fn an_upgrade_is_passed_on_but_not_to_h2c_and_not_from_http_2() {
        let asks = |protocol| map(&[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]);
        assert_eq!(
            upgrade(Version::HTTP_11, &asks("websocket")).unwrap(),
            "websocket"
        );
        assert_eq!(upgrade(Version::HTTP_11, &asks("h2c")), None);
        assert_eq!(upgrade(Version::HTTP_2, &asks("websocket")), None);
        assert_eq!(
            upgrade(Version::HTTP_11, &map(&[("upgrade", "websocket")])),
            None,
            "without Connection"
        );
    }

    #[test]
    fn the_target_names_the_host_before_the_header_does() {
        let parts = rewritten(
            "http://me:pw@shop.test:81/a?b=1",
            Version::HTTP_11,
            &[("host", "other")],
            "1.2.3.4",
        );
        assert_eq!(parts.headers[header::HOST], "shop.test:81");
        assert_eq!(parts.uri, "/a?b=1");
        let parts = rewritten("/", Version::HTTP_10, &[], "1.2.3.4");
        assert_eq!(parts.headers[header::HOST], "10.0.0.1:80");
    }

    #[test]
    fn an_unclear_host_is_refused() {
        let local = "10.0.0.1:80".parse().unwrap();
        let ask =
            |lines: &[(&str, &str)]| host(Version::HTTP_11, &Uri::default(), &map(lines), local);
        assert_eq!(ask(&[]), Err(HostError::Missing));
        assert_eq!(
            ask(&[("host", "a"), ("host", "b")]),
            Err(HostError::Several)
        );
    }

    #[test]
    fn the_client_is_added_and_its_claims_are_not_believed() {
        let claims = [
            ("host", "shop.test"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-for", "8.8.8.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "front.test"),
        ];
        let far = rewritten("/", Version::HTTP_11, &claims, "::ffff:1.2.3.4").headers;
        assert_eq!(far[FORWARDED_FOR], "9.9.9.9, 8.8.8.8, 1.2.3.4");
        assert_eq!(
            (&far[FORWARDED_PROTO], &far[FORWARDED_HOST]),
            (&"http".parse().unwrap(), &"shop.test".parse().unwrap())
        );
        let near = rewritten("/", Version::HTTP_11, &claims, "127.0.0.1").headers;
        assert_eq!(
            (&near[FORWARDED_PROTO], &near[FORWARDED_HOST]),
            (&"https".parse().unwrap(), &"front.test".parse().unwrap())
        );
    }

    #[test]
    fn trailers_and_cookies_are_said_as_http_1_says_them() {
        let lines = [
            ("te", "trailers"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("expect", "100-continue"),
        ];
        let headers = rewritten("http://shop.test/", Version::HTTP_2, &lines, "1.2.3.4").headers;
        assert_eq!(
            (&headers[header::TE], &headers[header::CONNECTION]),
            (&"trailers".parse().unwrap(), &"te".parse().unwrap())
        );
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
        assert!(!headers.contains_key(header::EXPECT));
    }

    #[test]
    fn only_a_plain_short_request_id_is_taken_over() {
        assert!(request_id(&map(&[("x-request-id", "abc-1")])).is_some());
        assert!(request_id(&map(&[("x-request-id", "a b")])).is_none());
        assert!(request_id(&map(&[("x-request-id", &"a".repeat(129))])).is_none());
    }
}
