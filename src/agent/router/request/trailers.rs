//! What a request's trailers may say. A service may read them as if they stood in the head, so what
//! the router decides about a head it decides about trailers, whoever sends them: nobody has a
//! reason to tell of an address, a login or a length behind a body (RFC 9110 §6.5.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::agent::router::request::hop_by_hop::{is_framing, tokens};
use crate::agent::router::request::identity::folded;
use crate::model::identity::is_identity;

/// What is read before a body, and means something else or nothing behind it.
const OF_HEADS: [&str; 14] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-location",
    "content-range",
    "cookie",
    "expect",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "trailer",
];

/// Whether a name belongs into a head, in whatever form a service may read it.
fn is_of_heads(name: &str) -> bool {
    let folded = folded(name);
    is_identity(&folded)
        || is_framing(&folded)
        || folded.starts_with("if-")
        || OF_HEADS.contains(&folded.as_str())
}

/// Removes from trailers what belongs into a head.
pub fn clean(trailers: &mut HeaderMap) {
    let names = trailers.keys().filter(|name| is_of_heads(name.as_str()));
    for name in names.cloned().collect::<Vec<HeaderName>>() {
        trailers.remove(name);
    }
}

/// Announces what is left of the trailers that a head announces.
pub fn announce(headers: &mut HeaderMap) {
    if !headers.contains_key(header::TRAILER) {
        return;
    }
    let names = tokens(headers, &header::TRAILER);
    let left: Vec<&str> = names
        .filter(|name| !is_of_heads(&name.to_ascii_lowercase()))
        .collect();
    let line = HeaderValue::from_str(&left.join(", ")).ok();
    match line.filter(|line| !line.is_empty()) {
        Some(line) => headers.insert(header::TRAILER, line),
        None => headers.remove(header::TRAILER),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&'static str]) -> HeaderMap {
        let pair = |name: &&'static str| {
            let value = HeaderValue::from_static("1");
            (HeaderName::from_static(name), value)
        };
        names.iter().map(pair).collect()
    }

    #[test]
    fn nothing_of_a_head_stands_in_trailers() {
        let mut trailers = map(&[
            "x-forwarded-for",
            "x_forwarded_for",
            "x-real-ip",
            "remote-user",
            "cookie",
            "authorization",
            "content-length",
            "transfer-encoding",
            "host",
            "if-match",
            "x-request-id",
            "x-sum",
            "content-digest",
            "grpc-status",
        ]);
        clean(&mut trailers);
        assert_eq!(trailers, map(&["x-sum", "content-digest", "grpc-status"]));
    }

    #[test]
    fn what_is_announced_is_what_comes() {
        let announced = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::TRAILER, HeaderValue::from_static(text));
            announce(&mut headers);
            headers.remove(header::TRAILER)
        };
        let left = announced("X-Forwarded-For, X-Sum, Cookie,Other");
        assert_eq!(left.expect("two"), "X-Sum, Other");
        assert_eq!(announced("Remote-User"), None);
    }
}
