//! What is told to browsers, and what is believed of them: headers, cookies, where a form is from.

use std::time::Duration;

use http::header::{
    CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use maud::Markup;

use super::session::is_same;
use crate::config::server::ServerConfig;
use crate::serve::answer::{self, Answer};

/// Nothing but the server's own style and script, which make no HTML of texts.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors \
                      'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What every answer of the dashboard has besides.
const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, "DENY"),
    // With `no-referrer` a browser would not say where a form is from.
    (REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// With the headers that every answer has.
pub(super) fn secured(mut answer: Answer) -> Answer {
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// A page.
pub(super) fn html(status: StatusCode, page: Markup) -> Answer {
    answer::with_type(status, "text/html; charset=utf-8", page.into_string())
}

/// An answer that leads to another path of the server.
pub(super) fn to(path: &str) -> Answer {
    let mut answer = answer::text(StatusCode::SEE_OTHER, "");
    let value = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(LOCATION, value);
    answer
}

/// A path of the server's own that somebody is to be led to; none where it leads elsewhere.
pub(super) fn own_path(text: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    let is_own = text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= 500
        && text.bytes().all(is_plain);
    is_own.then_some(text)
}

/// Where the pages are, for a browser.
#[derive(Debug, Clone)]
pub(super) struct Place {
    is_secure: bool,
    /// The origin of the public URL.
    public: Option<String>,
}

/// The two cookies: of who is signed in, and of who is about to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cookie {
    Session,
    Form,
}

impl Place {
    pub fn of(config: &ServerConfig) -> Self {
        let public = config.public_url.as_ref();
        let public = public.and_then(|url| url::Url::parse(url).ok());
        Self {
            is_secure: config.has_tls(),
            public: public.map(|url| url.origin().ascii_serialization()),
        }
    }

    /// Whether a form is from a page of the server, as the browser says. What does not say so is
    /// not.
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let site = HeaderName::from_static("sec-fetch-site");
        if headers.contains_key(&site) && text(site) != Some("same-origin") {
            return false;
        }
        let Some(origin) = text(ORIGIN) else {
            return false;
        };
        let scheme = if self.is_secure { "https" } else { "http" };
        let asked = text(HOST).map(|host| format!("{scheme}://{}", host.to_ascii_lowercase()));
        self.public.as_deref() == Some(origin) || asked.as_deref() == Some(origin)
    }

    /// A cookie's name. What begins so is taken by browsers from this host alone, and over TLS.
    const fn name(&self, cookie: Cookie) -> &'static str {
        match (self.is_secure, cookie) {
            (true, Cookie::Session) => "__Host-shipit",
            (true, Cookie::Form) => "__Host-shipit-form",
            (false, Cookie::Session) => "shipit",
            (false, Cookie::Form) => "shipit-form",
        }
    }

    /// What a browser has been given.
    pub fn cookie<'a>(&self, cookie: Cookie, headers: &'a HeaderMap) -> Option<&'a str> {
        let values = headers.get_all(COOKIE).into_iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let mut pairs = texts
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let name = self.name(cookie);
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Gives a browser a cookie; without a time it is taken away.
    pub fn give(&self, answer: &mut Answer, cookie: Cookie, value: &str, lasts: Option<Duration>) {
        let seconds = lasts.map_or(0, |lasts| lasts.as_secs());
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}",
            self.name(cookie)
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.headers_mut().append(SET_COOKIE, value);
        }
    }
}

/// Whether what a form has is what its page was given.
pub(super) fn has_form(given: Option<&str>, expected: Option<&str>) -> bool {
    given
        .zip(expected)
        .is_some_and(|(given, expected)| !expected.is_empty() && is_same(given, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        pairs.collect()
    }

    #[test]
    fn a_form_is_from_here_only_where_the_browser_says_so() {
        let place = Place {
            is_secure: true,
            public: Some("https://ship.example.com".to_owned()),
        };
        let is_own = |pairs: &[(&'static str, &str)]| place.is_own(&headers(pairs));
        let (host, here) = (("host", "127.0.0.1:8480"), "https://ship.example.com");
        assert!(is_own(&[host, ("origin", here)]));
        assert!(is_own(&[
            host,
            ("origin", here),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(is_own(&[
            ("host", "Ship:8443"),
            ("origin", "https://ship:8443")
        ]));
        for refused in [
            &[host][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "https://evil.example.com")],
            &[host, ("origin", "http://ship.example.com")],
            &[host, ("origin", "https://ship.example.com.evil.com")],
            &[host, ("origin", here), ("sec-fetch-site", "same-site")],
            &[host, ("origin", here), ("sec-fetch-site", "cross-site")],
            &[("host", "ship:8443"), ("origin", "http://ship:8443")],
        ] {
            assert!(!is_own(refused), "{refused:?}");
        }
    }

    #[test]
    fn nobody_is_led_elsewhere() {
        for own in ["/", "/jobs/41", "/jobs?before=3", "/p/shop/staging"] {
            assert_eq!(own_path(own), Some(own));
        }
        for other in [
            "",
            "jobs",
            "//evil.example.com",
            "/\\evil.example.com",
            "https://evil.example.com",
            "/a\r\nset-cookie: a=b",
            "javascript:alert(1)",
            "/\u{202e}",
            "/a b",
        ] {
            assert_eq!(own_path(other), None, "{other}");
        }
        assert_eq!(own_path(&format!("/{}", "a".repeat(500))), None);
    }

    #[test]
    fn cookies_are_for_this_host_and_no_script() {
        let config = |is_secure| Place {
            is_secure,
            public: None,
        };
        let given = |is_secure| {
            let mut answer = to("/");
            let lasts = Some(Duration::from_mins(1));
            config(is_secure).give(&mut answer, Cookie::Session, "v", lasts);
            answer.headers()[SET_COOKIE]
                .to_str()
                .expect("text")
                .to_owned()
        };
        assert_eq!(
            given(true),
            "__Host-shipit=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure"
        );
        assert_eq!(
            given(false),
            "shipit=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=60"
        );
        let sent = headers(&[("cookie", "a=b; shipit=one; shipit-form=two")]);
        assert_eq!(config(false).cookie(Cookie::Session, &sent), Some("one"));
        assert_eq!(config(false).cookie(Cookie::Form, &sent), Some("two"));
        assert_eq!(config(true).cookie(Cookie::Session, &sent), None);
    }

    #[test]
    fn a_form_without_its_word_is_none() {
        assert!(has_form(Some("a"), Some("a")));
        for (given, expected) in [
            (None, Some("a")),
            (Some("a"), None),
            (Some("b"), Some("a")),
            (Some(""), Some("")),
            (None, None),
        ] {
            assert!(!has_form(given, expected), "{given:?} {expected:?}");
        }
    }
}
