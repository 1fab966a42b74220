//! Where something answers on the network: `registry.example.com`, `localhost:5000`, `[::1]:2379`.

use std::net::IpAddr;

/// Whether that is this very machine: what is sent there crosses no network, and may go without
/// TLS.
#[must_use]
pub fn is_loopback(endpoint: &str) -> bool {
    let (host, port) = split(endpoint);
    // What is no port may name another host: `localhost:1@elsewhere`.
    if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return false;
    }
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Host and port. The colons inside of brackets are the host's.
fn split(endpoint: &str) -> (&str, Option<&str>) {
    match endpoint.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (endpoint, None),
    }
}

/// Why a text is not where something answers: a host, or a host and a port. None when it is.
#[must_use]
pub fn problem(endpoint: &str) -> Option<&'static str> {
    if endpoint.contains("://") {
        return Some("a host is written without its scheme");
    }
    if endpoint.contains('/') {
        return Some("a host has no path");
    }
    if endpoint.contains('@') {
        return Some("a host has no user");
    }
    let (host, port) = split(endpoint);
    if port.is_some_and(|port| !is_port(port)) {
        return Some("this is no port");
    }
    (!is_host(host)).then_some("this is no host")
}

fn is_port(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    digits && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        let address = inside.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Why a text is no repository of a registry (distribution-spec, "Pulling manifests"). None when it
/// is.
#[must_use]
pub fn repository_problem(name: &str) -> Option<&'static str> {
    if name.contains("://") {
        return Some("a repository has no scheme");
    }
    if name.contains([':', '@']) {
        return Some("a repository has neither a tag nor a digest");
    }
    if name.bytes().any(|c| c.is_ascii_uppercase()) {
        return Some("a repository has lower-case letters only");
    }
    if name.len() > 255 {
        return Some("a repository has 255 characters at the most");
    }
    let fits = name.split('/').all(is_part);
    (!fits).then_some(
        "a repository has parts of letters and digits, with `.`, `_`, `__` or `-` between them, \
         and `/` between parts",
    )
}

/// Letters and digits, with one of the separators between two of them.
fn is_part(part: &str) -> bool {
    let is_letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = |c: Option<&u8>| c.is_some_and(|c| is_letter(*c));
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fit = |separator: &str| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|c| c == b'-')
    };
    ends(bytes.first()) && ends(bytes.last()) && separators.into_iter().all(fit)
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, problem, repository_problem};

    #[test]
    fn what_is_no_host_is_told_apart_from_what_is_one() {
        for endpoint in [
            "registry.example.com",
            "registry.example.com:5000",
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "[::1]",
            "my_registry:5000",
        ] {
            assert_eq!(problem(endpoint), None, "{endpoint}");
        }
        for endpoint in [
            "",
            "http://127.0.0.1:5000",
            "https://registry.example.com",
            "registry.example.com/shop",
            "registry.example.com/",
            "kim@registry.example.com",
            "kim:pw@registry.example.com",
            "registry.example.com:",
            "registry.example.com:0",
            "registry.example.com:65536",
            "registry.example.com:+80",
            "registry.example.com:https",
            "registry..example.com",
            "-registry.example.com",
            "registry example.com",
            "registry.example.com?x",
            "::1",
            "[::1",
            "[registry]:5000",
            "über.example.com",
        ] {
            assert!(problem(endpoint).is_some(), "{endpoint}");
        }
    }

    #[test]
    fn what_is_no_repository_is_told_apart_from_what_is_one() {
        for name in ["web", "shop/web", "a.b/c_d/e__f/g---h", "0", "shop/web2"] {
            assert_eq!(repository_problem(name), None, "{name}");
        }
        for name in [
            "",
            "Shop/web",
            "shop/web:latest",
            "shop/web@sha256:00",
            "/shop",
            "shop/",
            "shop//web",
            "../web",
            "shop/../web",
            "shop/.web",
            "shop/web-",
            "shop/a..b",
            "shop/a___b",
            "shop/a b",
            "shop/ä",
            "https://example.com/shop",
            "shop/web?x=1",
            "shop/%2e%2e",
        ] {
            assert!(repository_problem(name).is_some(), "{name}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for endpoint in [
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "localhost",
            "[::1]",
        ] {
            assert!(is_loopback(endpoint), "{endpoint}");
        }
        for endpoint in [
            "registry.example.com",
            "localhost.example.com:5000",
            "10.0.0.1:5000",
            "127.0.0.1.example.com",
            "localhost:1@example.com",
            "127.0.0.1:1@example.com",
            "[::1]:x",
        ] {
            assert!(!is_loopback(endpoint), "{endpoint}");
        }
    }
}
