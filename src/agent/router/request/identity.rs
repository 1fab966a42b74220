//! Who asked, and through whom: the headers by which proxies tell it to services, and whom the
//! router believes.
//!
//! Services take such headers for the truth. So a stranger's are dropped, the whole family in every
//! form that a service may read, and the router's own are set; a trusted proxy's are passed on, and
//! the router adds itself.

use std::net::{IpAddr, SocketAddr};

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::agent::router::request::hop_by_hop::{self, tokens};
use crate::agent::router::request::host::is_host;
use crate::model::TrustedProxies;
use crate::model::identity::is_identity;

/// The client that sent the request, then each proxy on the way.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`: what the client spoke.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The client, as the proxy nearest to it saw it.
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What a client spoke to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in the clear.
    Http,
    /// HTTP in TLS.
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whom a request comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What it came by.
    scheme: Scheme,
    /// The address that connected.
    address: IpAddr,
    /// The same as a header has it.
    shown: HeaderValue,
}

impl Origin {
    /// Of a connection.
    pub fn new(peer: SocketAddr, scheme: Scheme) -> Self {
        let address = peer.ip().to_canonical();
        let shown = HeaderValue::from_str(&address.to_string());
        Self {
            scheme,
            address,
            shown: shown.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
        }
    }

    /// The address that connected; of IPv4 in the form of IPv4.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Tells the service who asked, and drops what it must not believe.
    pub fn tell(&self, headers: &mut HeaderMap, host: &HeaderValue, trusted: &TrustedProxies) {
        if trusted.contains(self.address) {
            remove(headers, is_disguised);
            self.pass_on(headers, host, trusted);
        } else {
            remove(headers, |name| is_identity(name) || is_disguised(name));
            headers.insert(FORWARDED_FOR, self.shown.clone());
            headers.insert(REAL_IP, self.shown.clone());
            headers.insert(FORWARDED_PROTO, self.scheme());
            headers.insert(FORWARDED_HOST, host.clone());
        }
    }

    fn scheme(&self) -> HeaderValue {
        HeaderValue::from_static(self.scheme.as_str())
    }

    /// A trusted proxy's words stay where they say something, and the proxy is added to the list.
    fn pass_on(&self, headers: &mut HeaderMap, host: &HeaderValue, trusted: &TrustedProxies) {
        let client = self.client(headers, trusted);
        let hops: Vec<&str> = tokens(headers, &FORWARDED_FOR).collect();
        let list = [hops.join(", "), self.address.to_string()];
        let list = list[usize::from(hops.is_empty())..].join(", ");
        let list = HeaderValue::from_str(&list).unwrap_or_else(|_| self.shown.clone());
        headers.insert(FORWARDED_FOR, list);

        keep_or(headers, REAL_IP, is_address, || {
            HeaderValue::from_str(&client.to_string()).unwrap_or_else(|_| self.shown.clone())
        });
        keep_or(headers, FORWARDED_PROTO, is_scheme, || self.scheme());
        keep_or(
            headers,
            FORWARDED_HOST,
            |text| is_host(text.as_bytes()),
            || host.clone(),
        );
    }

    /// The client: who connected, or whom the trusted proxies saw, each asked about the one before
    /// it. What stands further left is a stranger's claim.
    pub fn client(&self, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
        let mut client = self.address;
        if trusted.is_empty() {
            return client;
        }
        let hops: Vec<&str> = tokens(headers, &FORWARDED_FOR).collect();
        for hop in hops.into_iter().rev() {
            if !trusted.contains(client) {
                break;
            }
            match address(hop) {
                Some(before) => client = before,
                None => break,
            }
        }
        client
    }
}

/// Keeps the one value that says something, of a list or of several lines the last: the nearest
/// proxy wrote it.
fn keep_or(
    headers: &mut HeaderMap,
    name: HeaderName,
    says_something: impl Fn(&str) -> bool,
    otherwise: impl FnOnce() -> HeaderValue,
) {
    let last = tokens(headers, &name)
        .last()
        .filter(|text| says_something(text));
    let value = last
        .and_then(|text| HeaderValue::from_str(text).ok())
        .unwrap_or_else(otherwise);
    headers.insert(name, value);
}

fn is_scheme(text: &str) -> bool {
    ["http", "https"].contains(&text)
}

fn is_address(text: &str) -> bool {
    address(text).is_some()
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare
        .parse()
        .or_else(|_| text.parse().map(|at: SocketAddr| at.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn remove(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    let names = headers.keys().filter(|name| is_one(name.as_str()));
    // Nearly every request has none, and then nothing is allocated.
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Whether a name is another one to a program behind CGI or WSGI, which reads `-`, `_` and other
/// marks alike: `X_Forwarded_For` would be the same variable as the router's own header.
fn is_disguised(name: &str) -> bool {
    if name.bytes().all(is_plain) {
        return false;
    }
    let folded = folded(name);
    is_identity(&folded) || hop_by_hop::is_framing(&folded)
}

/// A name as a program behind CGI or WSGI reads it.
pub fn folded(name: &str) -> String {
    let fold = |byte: u8| char::from(if is_plain(byte) { byte } else { b'-' });
    name.bytes().map(fold).collect()
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1:4000";

    fn trusted() -> TrustedProxies {
        ["10.0.0.0/8", "192.0.2.7"]
            .into_iter()
            .map(|text| text.parse().unwrap())
            .collect()
    }

    fn told(peer: &str, trusted: &TrustedProxies, lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = name.parse::<HeaderName>().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        let mut headers = lines.iter().map(pair).collect();
        let origin = Origin::new(peer.parse().unwrap(), Scheme::Http);
        origin.tell(
            &mut headers,
            &HeaderValue::from_static("shop.test"),
            trusted,
        );
        headers
    }

    fn all(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let pair = |(name, value): (&'_ HeaderName, &'_ HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let mut all: Vec<(String, String)> = headers.iter().map(pair).collect();
        all.sort();
        all.into_iter()
            .map(|(name, value)| (&*name.leak(), &*value.leak()))
            .collect()
    }

    #[test]
    fn a_stranger_is_who_connected_whatever_it_says() {
        let claims = [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-client-cert",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-client-ip",
            "client-ip",
            "x-cluster-client-ip",
            "fastly-client-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-original-host",
            "x-host",
            "x-ssl-client-verify",
            "ssl-client-cert",
            "client-cert",
            "x-client-cert",
            "x-amzn-oidc-identity",
            "remote-user",
            "x-remote-user",
            "x-auth-request-email",
            "x-accel-mapping",
            "proxy-client-ip",
            "http_client_ip",
            "http_x_forwarded_for",
            "fly-client-ip",
            "do-connecting-ip",
            "x-nf-client-connection-ip",
            "x-vercel-forwarded-for",
            "cloudfront-viewer-address",
            "tailscale-user-login",
            "x-authentik-username",
            "x-real-port",
            "x_sendfile",
            "x_forwarded_for",
            "x-forwarded_for",
            "x.real.ip",
            "x_real_ip",
            "true_client_ip",
            "remote_user",
            "content_length",
            "transfer_encoding",
            "x_request_id",
        ];
        let lines: Vec<_> = claims.into_iter().map(|name| (name, "9.9.9.9")).collect();
        for peer in ["127.0.0.1:4000", "[::ffff:127.0.0.1]:4000"] {
            let expected = [
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-host", "shop.test"),
                ("x-forwarded-proto", "http"),
                ("x-real-ip", "127.0.0.1"),
            ];
            for trusted in [TrustedProxies::nobody(), trusted()] {
                assert_eq!(all(&told(peer, &trusted, &lines)), expected);
            }
        }
    }

    #[test]
    fn what_is_nobodys_identity_stays() {
        let lines = [
            ("accept", "*/*"),
            ("api_key", "1"),
            ("user-agent", "x"),
            ("x-client-version", "1"),
            ("x-http-method-override", "PUT"),
            ("x-requested-with", "XMLHttpRequest"),
        ];
        let headers = told("1.2.3.4:5", &TrustedProxies::nobody(), &lines);
        for (name, value) in lines {
            assert_eq!(headers[name], value);
        }
    }

    #[test]
    fn a_trusted_proxys_words_are_passed_on_and_it_is_added() {
        let lines = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-for", "8.8.8.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "config.test"),
            ("x-forwarded-port", "443"),
            ("x-ssl-client-verify", "SUCCESS"),
            ("x_forwarded_for", "7.7.7.7"),
        ];
        let expected = [
            ("x-forwarded-for", "9.9.9.9, 8.8.8.8, 10.0.0.1"),
            ("x-forwarded-host", "config.test"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "8.8.8.8"),
            ("x-ssl-client-verify", "SUCCESS"),
        ];
        assert_eq!(all(&told(PROXY, &trusted(), &lines)), expected);
    }

    #[test]
    fn a_trusted_proxy_that_says_nothing_or_nonsense_is_told_as_it_is() {
        let nonsense = [
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a/../@evil"),
            ("x-real-ip", "me"),
        ];
        let expected = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "shop.test"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "10.0.0.1"),
        ];
        assert_eq!(all(&told(PROXY, &trusted(), &nonsense)), expected);
        assert_eq!(all(&told(PROXY, &trusted(), &[])), expected);
    }

    #[test]
    fn the_client_is_the_last_whom_no_trusted_proxy_is() {
        let cases = [
            ("9.9.9.9", "9.9.9.9"),
            ("1.1.1.1, 9.9.9.9", "9.9.9.9"),
            ("9.9.9.9, 192.0.2.7", "9.9.9.9"),
            ("9.9.9.9:5000", "9.9.9.9"),
            ("[2001:db8::1]:5000", "2001:db8::1"),
            ("nonsense", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("10.3.3.3", "10.3.3.3"),
        ];
        for (list, client) in cases {
            let headers = [(FORWARDED_FOR, HeaderValue::from_str(list).unwrap())];
            let seen = Origin::new(PROXY.parse().unwrap(), Scheme::Http)
                .client(&headers.into_iter().collect(), &trusted());
            assert_eq!(seen.to_string(), client, "{list}");
        }
    }
}
