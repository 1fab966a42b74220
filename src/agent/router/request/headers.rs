//! What a proxy changes in a request's head: RFC 9110 §7.6, RFC 9112 §3.2.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Uri, Version, request};

use crate::agent::router::request::framing;
use crate::agent::router::request::hop_by_hop::{self, tokens};
use crate::agent::router::request::identity::Origin;
use crate::agent::router::request::trailers;
use crate::model::TrustedProxies;

/// Names one request in everybody's logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a client.
const LONGEST_ID: usize = 128;

/// The protocol that the client wants to change to. HTTP/2 has no `Upgrade` (RFC 9113 §8.2.2), and
/// a change to `h2c` would carry requests past this router.
pub fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    let asked =
        tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let h2c = tokens(headers, &header::UPGRADE).any(|token| token.eq_ignore_ascii_case("h2c"));
    (version == Version::HTTP_11 && asked && !h2c).then(|| protocol.clone())
}

/// Marks a message as one that changes the protocol.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
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
    origin: &Origin,
    trusted: &TrustedProxies,
    id: HeaderValue,
) {
    let protocol = upgrade(parts.version, &parts.headers);
    let takes_trailers =
        tokens(&parts.headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    parts.uri = origin_form(&parts.uri);
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    hop_by_hop::remove(headers);
    // The router asks the client to go on when the instance reads the body; nothing is left to
    // expect.
    headers.remove(header::EXPECT);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }

    if let Some(protocol) = protocol {
        set_upgrade(headers, protocol);
    }
    join_cookies(headers);
    framing::settle_length(headers);
    trailers::announce(headers);
    origin.tell(headers, &host, trusted);
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

/// The request's id, when the client gave one that can stand in anybody's log:
/// `[A-Za-z0-9._-]{1,128}`.
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut ids = headers.get_all(REQUEST_ID).iter();
    let id = ids.next().filter(|_| ids.next().is_none())?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let plain = id.as_bytes().iter().all(is_plain);
    (plain && !id.is_empty() && id.len() <= LONGEST_ID).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::router::request::identity::Scheme;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = name.parse::<HeaderName>().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn an_upgrade_is_passed_on_but_not_to_h2c_and_not_from_http_2() {
        let asks = |protocol| map(&[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]);
        let asked = upgrade(Version::HTTP_11, &asks("websocket"));
        assert_eq!(asked.unwrap(), "websocket");
        assert_eq!(upgrade(Version::HTTP_11, &asks("h2c")), None);
        assert_eq!(upgrade(Version::HTTP_2, &asks("websocket")), None);
        let without_connection = map(&[("upgrade", "websocket")]);
        assert_eq!(upgrade(Version::HTTP_11, &without_connection), None);
    }

    #[test]
    fn trailers_and_cookies_are_said_as_http_1_says_them() {
        let mut request = http::Request::get("http://shop.test/a?b=1").version(Version::HTTP_2);
        request.headers_mut().unwrap().extend(map(&[
            ("te", "trailers"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("expect", "100-continue"),
        ]));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let origin = Origin::new("1.2.3.4:5".parse().unwrap(), Scheme::Http);
        towards_instance(
            &mut parts,
            HeaderValue::from_static("shop.test"),
            &origin,
            &TrustedProxies::nobody(),
            HeaderValue::from_static("id"),
        );
        assert_eq!(
            (parts.uri.to_string(), parts.version),
            ("/a?b=1".to_owned(), Version::HTTP_11)
        );
        let headers = parts.headers;
        assert_eq!(headers[header::TE], "trailers");
        assert_eq!(headers[header::CONNECTION], "te");
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
        assert_eq!(headers[header::HOST], "shop.test");
        assert!(!headers.contains_key(header::EXPECT));
    }

    #[test]
    fn only_a_plain_short_request_id_is_taken_over() {
        let longest = "a".repeat(128);
        for id in ["abc-1", "A.b_c-9", &longest] {
            assert!(request_id(&map(&[("x-request-id", id)])).is_some(), "{id}");
        }
        let too_long = "a".repeat(129);
        for id in [
            "", "a b", "a\"}", "a\\u000a", "a{b", "é", "a;b", "a/b", &too_long,
        ] {
            assert!(request_id(&map(&[("x-request-id", id)])).is_none(), "{id}");
        }
        let two = map(&[("x-request-id", "a"), ("x-request-id", "b")]);
        assert!(request_id(&two).is_none());
    }
}
