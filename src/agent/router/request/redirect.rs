//! The answer to plain HTTP where a service is asked by HTTPS: the same again, there.

use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Response, StatusCode, Uri};

use crate::agent::router::access::AccessEntry;
use crate::agent::router::config::ListenerConfig;
use crate::agent::router::request::download::Download;
use crate::agent::router::request::headers::REQUEST_ID;

/// The port that a URL of HTTPS need not say.
const HTTPS: u16 = 443;

/// Sends the client on to the live listener, with its method, path and query.
pub fn to_live(
    config: &ListenerConfig,
    uri: &Uri,
    host: &HeaderValue,
    id: HeaderValue,
    mut entry: AccessEntry,
) -> Response<Download> {
    let status = StatusCode::PERMANENT_REDIRECT;
    entry.answered(status);
    let location = location(host, config.live_port, uri);
    let text = format!("{status}\n{location}\n");
    let mut response = Response::new(Download::text(text, entry));
    *response.status_mut() = status;

    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    // A host has no byte that a header cannot have, nor has what was a URI.
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(header::LOCATION, location);
    }
    // A browser keeps a 308 for as long as it likes else, also when there is no TLS any more.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, id);
    response
}

fn location(host: &HeaderValue, port: u16, uri: &Uri) -> String {
    let host = without_port(host.to_str().unwrap_or_default());
    let path = uri.path_and_query().map(PathAndQuery::as_str);
    // `OPTIONS *` asks of the server as a whole.
    let path = path.filter(|path| path.starts_with('/')).unwrap_or("/");
    match port {
        HTTPS => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    }
}

/// A host as a URL has it. The colons inside of brackets are the host's.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_on(host: &'static str, port: u16, uri: &str) -> String {
        let host = HeaderValue::from_static(host);
        location(&host, port, &uri.parse().unwrap())
    }

    #[test]
    fn host_path_and_query_stay_and_the_port_is_that_of_the_live_listener() {
        assert_eq!(
            sent_on("shop.test", 443, "/a%20b?c=d&e"),
            "https://shop.test/a%20b?c=d&e"
        );
        assert_eq!(
            sent_on("shop.test:8080", 8443, "/"),
            "https://shop.test:8443/"
        );
        assert_eq!(sent_on("[::1]:80", 443, "/"), "https://[::1]/");
        assert_eq!(sent_on("[::1]", 443, "/"), "https://[::1]/");
        assert_eq!(
            sent_on("shop.test:", 443, "http://other/x?y"),
            "https://shop.test/x?y",
            "the host is the one that was checked"
        );
    }
}
