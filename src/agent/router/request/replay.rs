//! A request that may be sent once more.

use http::{HeaderMap, Method, Uri, request};
use hyper::Request;

use crate::agent::router::request::upload::Upload;

/// With one of these a service takes the request for one of another method.
const OVERRIDES: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// What is needed to send a request again. Only for a request without a body whose method is
/// idempotent (RFC 9110 §9.2.2): if the first one was processed after all, the second changes
/// nothing more.
#[derive(Debug)]
pub struct Replay {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Replay {
    /// A copy of the request's head, if it may be sent twice.
    pub fn of(parts: &request::Parts, upload: &Upload) -> Option<Self> {
        let is_what_it_says = !OVERRIDES
            .iter()
            .any(|name| parts.headers.contains_key(*name));
        let again = parts.method.is_idempotent() && upload.is_empty() && is_what_it_says;
        again.then(|| Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
        })
    }

    /// The request once more.
    pub fn request(self) -> Request<Upload> {
        let mut request = Request::new(Upload::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_never_sent_twice() {
        let may = |method: Method| {
            let (parts, ()) = Request::builder()
                .method(method)
                .body(())
                .unwrap()
                .into_parts();
            Replay::of(&parts, &Upload::empty()).is_some()
        };
        assert!(may(Method::GET) && may(Method::HEAD) && may(Method::DELETE));
        assert!(!may(Method::POST) && !may(Method::PATCH));

        let disguised = Request::get("/").header("X-HTTP-Method-Override", "POST");
        let (parts, ()) = disguised.body(()).unwrap().into_parts();
        assert!(Replay::of(&parts, &Upload::empty()).is_none());
    }
}
