//! The headers by which proxies tell services who asked, and through whom.
//!
//! Services take them for the truth, so a stranger's must not reach them. There is no standard for
//! most of them: this is what proxies write and frameworks read.

/// The family, of names that begin with `x-`; the rest of each. Who sends one of these to a service
/// claims to be a proxy that knows: of an address, of a route, of a certificate, of a login.
const EXTENSIONS: [&str; 24] = [
    "backend-host",
    "client-ip",
    "client-subject-dn",
    "cluster-client-ip",
    "custom-ip-authorization",
    "host",
    "http-destinationurl",
    "http-host-override",
    "originating-ip",
    "override-url",
    "proxy-url",
    "proxyuser-ip",
    "real-ip",
    "remote-addr",
    "remote-ip",
    "remote-user",
    "scheme",
    "script-name",
    "sendfile-type",
    "true-client-ip",
    "url-scheme",
    "webauth-email",
    "webauth-groups",
    "webauth-user",
];

/// And how the rest begins.
const EXTENSION_PREFIXES: [&str; 21] = [
    "accel-",
    "amzn-mtls-",
    "amzn-oidc-",
    "appengine-",
    "arr-",
    "auth-request-",
    "authenticated-",
    "azure-",
    "client-cert",
    "client-dn",
    "client-ssl-",
    "client-verif",
    "envoy-",
    "forward",
    "goog-authenticated-",
    "goog-iap-",
    "ms-client-principal",
    "original-",
    "rewrite-",
    "ssl-",
    "tls-",
];

/// The family, of names that do not.
const OTHERS: [&str; 16] = [
    "ali-cdn-real-ip",
    "cdn-real-ip",
    "cdn-src-ip",
    "client-ip",
    "cluster-client-ip",
    "fastly-client-ip",
    "fastly-client-ssl",
    "fastly-ssl",
    "front-end-https",
    "http-url",
    "https",
    "real-ip",
    "request-uri",
    "script-name",
    "true-client-ip",
    "wl-proxy-client-ip",
];

/// And how they begin.
const OTHER_PREFIXES: [&str; 6] = [
    "cf-",
    "client-cert",
    "forwarded",
    "remote-",
    "ssl-client-",
    "wl-proxy-",
];

/// Whether a header's name belongs to the family.
#[must_use]
pub fn is_identity(name: &str) -> bool {
    let (names, prefixes, name) = match name.strip_prefix("x-") {
        Some(rest) => (&EXTENSIONS[..], &EXTENSION_PREFIXES[..], rest),
        None => (&OTHERS[..], &OTHER_PREFIXES[..], name),
    };
    names.contains(&name) || prefixes.iter().any(|start| name.starts_with(start))
}

/// The family by whole names, for a proxy that cannot drop by how a name begins. Of the prefixes it
/// has what is known.
pub const KNOWN: [&str; 72] = [
    "ali-cdn-real-ip",
    "cdn-real-ip",
    "cdn-src-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-ipcountry",
    "cf-pseudo-ipv4",
    "cf-visitor",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "cluster-client-ip",
    "fastly-client-ip",
    "fastly-client-ssl",
    "fastly-ssl",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "real-ip",
    "remote-addr",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "script-name",
    "ssl-client-cert",
    "ssl-client-issuer-dn",
    "ssl-client-subject-dn",
    "ssl-client-verify",
    "true-client-ip",
    "wl-proxy-client-ip",
    "wl-proxy-ssl",
    "x-accel-mapping",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-arr-clientcert",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-user",
    "x-azure-clientip",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-custom-ip-authorization",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-forward-for",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-method",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-tls-client-cert",
    "x-forwarded-uri",
    "x-forwarded-user",
    "x-host",
    "x-ms-client-principal",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-remote-user",
    "x-rewrite-url",
    "x-scheme",
    "x-sendfile-type",
    "x-ssl-client-verify",
    "x-url-scheme",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_belongs_to_the_family() {
        for name in KNOWN {
            assert!(is_identity(name), "{name}");
        }
    }

    #[test]
    fn what_a_client_may_say_of_itself_does_not() {
        let names = [
            "accept",
            "authorization",
            "cookie",
            "host",
            "origin",
            "range",
            "referer",
            "sec-fetch-site",
            "user-agent",
            "x-client-version",
            "x-csrf-token",
            "x-http-method-override",
            "x-request-id",
            "x-requested-with",
        ];
        for name in names {
            assert!(!is_identity(name), "{name}");
        }
    }
}
