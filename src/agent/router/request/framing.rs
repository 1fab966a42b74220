//! What of a message's head the router cannot honour, and must not pass on as if it had: codings
//! and expectations.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};

use crate::agent::router::request::hop_by_hop::tokens;

/// Why a message is refused by how it says that it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A coding that this router does not take off. hyper takes off `chunked` alone, and who reads
    /// it would take the rest for the content (RFC 9112 §6.1).
    #[error("its Transfer-Encoding is not `chunked`")]
    Coding,
    /// `chunked` more than once (RFC 9112 §6.1).
    #[error("its Transfer-Encoding is `chunked` more than once")]
    ChunkedTwice,
    /// Lengths that are not the same (RFC 9112 §6.3).
    #[error("its Content-Length says several lengths")]
    Lengths,
    /// A target in a form that only another method has (RFC 9112 §3.2).
    #[error("its target is neither a path nor a URL")]
    Target,
    /// A value with a blank at its beginning or end, which HTTP/2 must not have (RFC 9113 §8.2.1).
    #[error("a header's value begins or ends with a blank")]
    Blanks,
    /// Something else than `100-continue` (RFC 9110 §10.1.1).
    #[error("its Expect is not `100-continue`")]
    Expectation,
}

/// Refuses a request that cannot be honoured.
pub fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), FramingError> {
    let is_target = match uri.path_and_query().map(PathAndQuery::as_str) {
        None => false,
        Some("*") => *method == Method::OPTIONS,
        Some(_) => uri.authority().is_none() || uri.scheme().is_some(),
    };
    if !is_target {
        return Err(FramingError::Target);
    }
    codings(headers)?;
    if headers.values().any(has_blanks_around) {
        return Err(FramingError::Blanks);
    }
    let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    let mut expectations = headers.get_all(header::EXPECT).iter();
    if expectations.all(|value| is_known(value.as_bytes())) {
        Ok(())
    } else {
        Err(FramingError::Expectation)
    }
}

fn has_blanks_around(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    is_blank(bytes.first()) || is_blank(bytes.last())
}

/// Leaves one length of several equal ones, written as a number is (RFC 9110 §8.6).
pub fn settle_length(headers: &mut HeaderMap) {
    let first = headers.get(header::CONTENT_LENGTH);
    let length = first.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Refuses a message whose content would be another one without the codings that are taken off.
pub fn codings(headers: &HeaderMap) -> Result<(), FramingError> {
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let codings = headers.get_all(header::TRANSFER_ENCODING);
    if codings.iter().any(|line| line.to_str().is_err()) {
        return Err(FramingError::Coding);
    }
    let mut codings = tokens(headers, &header::TRANSFER_ENCODING);
    if codings.any(|coding| !coding.eq_ignore_ascii_case("chunked")) {
        return Err(FramingError::Coding);
    }
    match tokens(headers, &header::TRANSFER_ENCODING).count() {
        0 | 1 => Ok(()),
        _ => Err(FramingError::ChunkedTwice),
    }
}

/// Has a response say its length once, and not at all with a status that has no content: whoever
/// counts would take the rest for another message (RFC 9110 §8.6).
pub fn one_length(status: StatusCode, headers: &mut HeaderMap) -> Result<(), FramingError> {
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        headers.remove(header::CONTENT_LENGTH);
        return Ok(());
    }

    let mut lengths = tokens(headers, &header::CONTENT_LENGTH);
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let mut others = 0;
    for other in lengths {
        if other != first {
            return Err(FramingError::Lengths);
        }
        others += 1;
    }
    if others > 0 {
        let one = HeaderValue::from_str(first).map_err(|_| FramingError::Lengths)?;
        headers.insert(header::CONTENT_LENGTH, one);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn checked(lines: &[(HeaderName, &'static str)]) -> Result<(), FramingError> {
        let pair = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        let headers = lines.iter().map(pair).collect();
        check(&Method::GET, &Uri::from_static("/"), &headers)
    }

    #[test]
    fn a_target_is_a_path_or_a_url() {
        let checked =
            |method, target: &str| check(&method, &target.parse().unwrap(), &HeaderMap::new());
        for target in ["/", "/a?b", "/?b", "http://a/", "http://a"] {
            assert_eq!(checked(Method::GET, target), Ok(()), "{target}");
        }
        assert_eq!(checked(Method::OPTIONS, "*"), Ok(()));
        for target in ["*", "a", "a:80"] {
            assert_eq!(
                checked(Method::GET, target),
                Err(FramingError::Target),
                "{target}"
            );
        }
    }

    #[test]
    fn a_length_goes_on_once() {
        let mut headers = HeaderMap::new();
        for length in ["05", "5"] {
            headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        settle_length(&mut headers);
        let left: Vec<&HeaderValue> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
        assert_eq!(left, ["5"]);
    }

    #[test]
    fn a_value_has_no_blanks_around_it() {
        let x = || HeaderName::from_static("x-a");
        assert_eq!(checked(&[(x(), "a b")]), Ok(()));
        for value in [" a", "a ", "\ta", "a\t", " "] {
            assert_eq!(
                checked(&[(x(), value)]),
                Err(FramingError::Blanks),
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_response_says_one_length_or_none() {
        let said = |status, lines: &[&'static str]| {
            let pair =
                |line: &&'static str| (header::CONTENT_LENGTH, HeaderValue::from_static(line));
            let mut headers: HeaderMap = lines.iter().map(pair).collect();
            one_length(status, &mut headers)?;
            let left = headers.get_all(header::CONTENT_LENGTH).iter();
            Ok(left
                .map(|line| line.to_str().unwrap().to_owned())
                .collect::<Vec<_>>())
        };
        let one = Ok(vec!["2".to_owned()]);
        assert_eq!(said(StatusCode::OK, &["2"]), one);
        assert_eq!(said(StatusCode::OK, &["2, 2"]), one);
        assert_eq!(said(StatusCode::OK, &["2", "2"]), one);
        assert_eq!(said(StatusCode::OK, &["2, 3"]), Err(FramingError::Lengths));
        assert_eq!(said(StatusCode::OK, &[]), Ok(Vec::new()));
        assert_eq!(said(StatusCode::NO_CONTENT, &["5"]), Ok(Vec::new()));
    }

    #[test]
    fn only_what_can_be_honoured_is_let_in() {
        use header::{EXPECT, TRANSFER_ENCODING as TE};
        let cases = [
            (vec![], Ok(())),
            (vec![(TE, "chunked")], Ok(())),
            (vec![(TE, "Chunked")], Ok(())),
            (vec![(TE, "gzip, chunked")], Err(FramingError::Coding)),
            (
                vec![(TE, "identity"), (TE, "chunked")],
                Err(FramingError::Coding),
            ),
            (vec![(TE, "chunked;q=1")], Err(FramingError::Coding)),
            (
                vec![(TE, "chunked, chunked")],
                Err(FramingError::ChunkedTwice),
            ),
            (
                vec![(TE, "chunked"), (TE, "chunked")],
                Err(FramingError::ChunkedTwice),
            ),
            (vec![(EXPECT, "100-continue")], Ok(())),
            (vec![(EXPECT, "100-Continue")], Ok(())),
            (vec![(EXPECT, "x")], Err(FramingError::Expectation)),
            (vec![(EXPECT, "")], Err(FramingError::Expectation)),
            (
                vec![(EXPECT, "100-continue, x")],
                Err(FramingError::Expectation),
            ),
            (
                vec![(EXPECT, "x"), (EXPECT, "100-continue")],
                Err(FramingError::Expectation),
            ),
        ];
        for (lines, expected) in cases {
            assert_eq!(checked(&lines), expected, "{lines:?}");
        }
    }
}
