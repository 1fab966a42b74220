//! Whom a request is for: `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2), and nothing
//! else.
//!
//! A service builds links from it, picks a tenant by it, and writes it into headers of its own.
//! What two readers could take for two hosts is refused here.

use std::net::{Ipv6Addr, SocketAddr};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Uri, Version};

/// The longest name of a host, in bytes (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 255;

/// Why a request's host is not clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// HTTP/1.1 needs one (RFC 9112 §3.2).
    #[error("the request has no Host header")]
    Missing,
    /// And only one.
    #[error("the request has more than one Host header")]
    Several,
    /// It is not a host with or without a port.
    #[error("the request's host is not valid")]
    NotValid,
}

/// The host that a request is for: of the target when that names one, else of the header, else
/// (HTTP/1.0) the address that the client connected to.
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
    if first.is_none() && version == Version::HTTP_11 {
        return Err(HostError::Missing);
    }
    if first.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(HostError::NotValid);
    }

    if let Some(authority) = uri.authority() {
        let host = authority
            .as_str()
            .rsplit_once('@')
            .map_or(authority.as_str(), |(_, host)| host);
        return HeaderValue::from_str(host)
            .ok()
            .filter(|host| is_host(host.as_bytes()))
            .ok_or(HostError::NotValid);
    }
    match first {
        Some(host) => Ok(host.clone()),
        None if version == Version::HTTP_2 => Err(HostError::Missing),
        None => HeaderValue::from_str(&local.to_string()).map_err(|_| HostError::NotValid),
    }
}

/// Whether this is a host, with or without a port.
pub fn is_host(text: &[u8]) -> bool {
    let (name, rest) = match text {
        [b'[', inside @ ..] => {
            let Some(end) = inside.iter().position(|byte| *byte == b']') else {
                return false;
            };
            if !is_ipv6(&inside[..end]) {
                return false;
            }
            (&text[..end + 2], &inside[end + 1..])
        }
        _ => text.split_at(
            text.iter()
                .position(|byte| *byte == b':')
                .unwrap_or(text.len()),
        ),
    };

    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && (name[0] == b'[' || is_name(name))
        && is_port(rest)
}

fn is_ipv6(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `reg-name`, of which an IPv4 address is one. A comma is left out, which RFC 3986 allows: in
/// `X-Forwarded-Host` it would make two hosts of one, and no name has it.
fn is_name(mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() => rest,
            [byte, rest @ ..] if b"-._~!$&'()*+;=".contains(byte) => rest,
            _ => return false,
        };
    }
}

/// Nothing, or a colon and a port, which may be left out (RFC 3986 §3.2.3).
fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        let hosts = [
            "shop.test",
            "shop.test:8080",
            "shop.test.",
            "shop.test:",
            "SHOP_1.test",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:443",
            "xn--bcher-kva.example",
            "caf%C3%A9.test",
        ];
        for host in hosts {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn what_two_readers_could_take_for_two_hosts_is_none() {
        let others: [&[u8]; 22] = [
            b"",
            b":80",
            b"a b",
            b"a/../@evil?x#y",
            b"me:pw@a",
            b"a@b",
            b"a,b",
            b"a\tb",
            b"a\\b",
            b"a?b",
            b"a#b",
            b"a:b",
            b"a:80:80",
            b"a:65536",
            b"a:+80",
            b"a:-1",
            b"a%zz",
            b"[::1",
            b"[::1]x",
            b"[fe80::1%25eth0]",
            b"::1",
            b"caf\xc3\xa9.test",
        ];
        for host in others {
            assert!(!is_host(host), "{}", host.escape_ascii());
        }
        assert!(!is_host("a".repeat(256).as_bytes()));
    }

    fn asked(version: Version, target: &str, hosts: &[&str]) -> Result<HeaderValue, HostError> {
        let pair = |host: &&str| (header::HOST, HeaderValue::from_str(host).unwrap());
        let headers = hosts.iter().map(pair).collect();
        let local = "10.0.0.1:80".parse().unwrap();
        host(version, &target.parse().unwrap(), &headers, local)
    }

    #[test]
    fn the_target_names_the_host_before_the_header_does() {
        let target = "http://me:pw@shop.test:81/a?b=1";
        let named = asked(Version::HTTP_11, target, &["other"]);
        assert_eq!(named.unwrap(), "shop.test:81");
        assert_eq!(asked(Version::HTTP_2, target, &[]).unwrap(), "shop.test:81");
        assert_eq!(asked(Version::HTTP_10, "/", &[]).unwrap(), "10.0.0.1:80");
    }

    #[test]
    fn an_unclear_host_is_refused() {
        let cases = [
            (Version::HTTP_11, "/", &[][..], HostError::Missing),
            (Version::HTTP_2, "/", &[], HostError::Missing),
            (Version::HTTP_11, "http://a/", &[], HostError::Missing),
            (Version::HTTP_11, "/", &["a", "b"], HostError::Several),
            (
                Version::HTTP_11,
                "http://a/",
                &["a", "a"],
                HostError::Several,
            ),
            (Version::HTTP_11, "/", &["a b"], HostError::NotValid),
            (Version::HTTP_10, "/", &[""], HostError::NotValid),
            (Version::HTTP_11, "http://a/", &["a b"], HostError::NotValid),
            (Version::HTTP_2, "http://a,b/", &[], HostError::NotValid),
        ];
        for (version, target, hosts, error) in cases {
            let said = asked(version, target, hosts);
            assert_eq!(said, Err(error), "{version:?} {target} {hosts:?}");
        }
    }
}
