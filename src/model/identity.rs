//! The headers by which proxies tell services who asked, and through whom.
//!
//! Services take them for the truth, so a stranger's must not reach them. There is no standard for
//! most of them: this is what proxies write and frameworks read.

/// The family, of names that begin with `x-`; the rest of each. Who sends one of these to a service
/// claims to be a proxy that knows: of an address, of a route, of a certificate, of a login.
const EXTENSIONS: &[&str] = &[
    "adfs-upn",
    "anonymous-consumer",
    "auth-audience",
    "auth-email",
    "auth-groups",
    "auth-name",
    "auth-roles",
    "auth-subject",
    "auth-user",
    "auth-userid",
    "auth-username",
    "backend-host",
    "client-subject-dn",
    "clientcert",
    "cloudscheduler",
    "credential-identifier",
    "custom-ip-authorization",
    "dsid-userid",
    "groups",
    "host",
    "host-override",
    "http-destinationurl",
    "http-host-override",
    "originating-ip",
    "override-url",
    "peer-cert",
    "proxyuser-ip",
    "roles",
    "scheme",
    "script-name",
    "sendfile",
    "sendfile-type",
    "spiffe-id",
    "url-scheme",
    "user",
    "user-email",
    "user-groups",
    "user-id",
    "user-name",
    "user-roles",
    "userid",
    "userinfo",
    "username",
];

/// And how the rest begins.
const EXTENSION_PREFIXES: &[&str] = &[
    "accel-",
    "akamai-",
    "amzn-mtls-",
    "amzn-oidc-",
    "appengine-",
    "arr-",
    "auth-request-",
    "authenticated-",
    "authentik-",
    "azure-",
    "client-cert",
    "client-dn",
    "client-ssl-",
    "client-verif",
    "clientcert-",
    "consumer-",
    "envoy-",
    "forward",
    "goog-authenticated-",
    "goog-iap-",
    "ms-client-principal",
    "ms-token-",
    "nf-",
    "oidc-",
    "original-",
    "pomerium-",
    "proxy-",
    "real-",
    "remote-",
    "rewrite-",
    "ssl-",
    "sucuri-",
    "teleport-",
    "tls-",
    "token-user-",
    "vercel-",
    "vouch-",
    "waws-",
    "webauth-",
];

/// The family, of names that do not.
const OTHERS: &[&str] = &[
    "auth-user",
    "cdn-src-ip",
    "eppn",
    "fastly-client-ssl",
    "fastly-ssl",
    "front-end-https",
    "http-url",
    "https",
    "path-info",
    "path-translated",
    "real-ip",
    "request-uri",
    "script-name",
];

/// And how they begin.
const OTHER_PREFIXES: &[&str] = &[
    "cf-",
    "client-cert",
    "cloudfront-",
    "fly-",
    "forwarded",
    "iv-",
    "mellon-",
    "ms-aspnetcore-",
    "oam-",
    "oidc-claim-",
    "osso-",
    "remote-",
    "shib-",
    "sm-",
    "ssl-client-",
    "tailscale-",
    "teleport-",
    "wl-proxy-",
];

/// And how any of them ends: every content delivery network has a name of its own for the client.
const ENDINGS: &[&str] = &[
    "client-cert",
    "client-ip",
    "clientcert",
    "clientip",
    "connecting-ip",
    "connection-ip",
    "forwarded-for",
    "jwt-assertion",
    "real-ip",
    "remote-user",
    "userinfo",
];

/// Whether a header's name belongs to the family.
#[must_use]
pub fn is_identity(name: &str) -> bool {
    // A program behind CGI finds every header with this before it, and some read it twice.
    let bare = name.strip_prefix("http-");
    is_of_family(name) || bare.is_some_and(is_of_family)
}

fn is_of_family(name: &str) -> bool {
    let (names, prefixes, rest) = match name.strip_prefix("x-") {
        Some(rest) => (EXTENSIONS, EXTENSION_PREFIXES, rest),
        None => (OTHERS, OTHER_PREFIXES, name),
    };
    names.contains(&rest)
        || prefixes.iter().any(|start| rest.starts_with(start))
        || ENDINGS.iter().any(|end| ends_in_words(rest, end))
}

/// Whether the last words of a name are these.
fn ends_in_words(name: &str, words: &str) -> bool {
    let before = name.strip_suffix(words);
    before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
}

/// The family by whole names, for a proxy that cannot drop by how a name begins. Of the prefixes it
/// has what is known.
pub const KNOWN: &[&str] = &[
    "ali-cdn-real-ip",
    "auth-user",
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
    "cloudfront-viewer-address",
    "cluster-client-ip",
    "ct-remote-user",
    "do-connecting-ip",
    "eppn",
    "fastly-client-ip",
    "fastly-client-ssl",
    "fastly-ssl",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "http-client-ip",
    "http-sm-user",
    "http-x-forwarded-for",
    "iv-groups",
    "iv-user",
    "mellon-user",
    "ms-aspnetcore-clientcert",
    "ms-aspnetcore-token",
    "oam-remote-user",
    "osso-user-dn",
    "path-info",
    "proxy-client-ip",
    "real-ip",
    "remote-addr",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "script-name",
    "shib-session-id",
    "sm-user",
    "ssl-client-cert",
    "ssl-client-issuer-dn",
    "ssl-client-subject-dn",
    "ssl-client-verify",
    "tailscale-user-login",
    "tailscale-user-name",
    "teleport-jwt-assertion",
    "true-client-ip",
    "wl-proxy-client-ip",
    "wl-proxy-ssl",
    "x-accel-mapping",
    "x-adfs-upn",
    "x-akamai-client-ip",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-anonymous-consumer",
    "x-apigateway-api-userinfo",
    "x-arr-clientcert",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-user",
    "x-auth-user",
    "x-authentik-email",
    "x-authentik-groups",
    "x-authentik-username",
    "x-azure-clientip",
    "x-client-cert",
    "x-client-ip",
    "x-clientcert-subject",
    "x-cloudscheduler",
    "x-cluster-client-ip",
    "x-custom-ip-authorization",
    "x-dsid-userid",
    "x-endpoint-api-userinfo",
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
    "x-groups",
    "x-host",
    "x-host-override",
    "x-jwt-assertion",
    "x-ms-client-principal",
    "x-ms-token-aad-id-token",
    "x-nf-client-connection-ip",
    "x-oidc-email",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-peer-cert",
    "x-pomerium-jwt-assertion",
    "x-proxy-user",
    "x-real-port",
    "x-remote-group",
    "x-remote-user",
    "x-rewrite-url",
    "x-roles",
    "x-scheme",
    "x-sendfile",
    "x-sendfile-type",
    "x-spiffe-id",
    "x-ssl-client-verify",
    "x-sucuri-clientip",
    "x-teleport-login",
    "x-token-user-name",
    "x-url-scheme",
    "x-user",
    "x-user-email",
    "x-user-id",
    "x-vercel-forwarded-for",
    "x-vouch-user",
    "x-waws-unencoded-url",
    "x-webauth-role",
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
            "x-auth-token",
            "x-client-version",
            "x-api-client-ipad",
            "http2-settings",
            "x-csrf-token",
            "x-http-method-override",
            "x-request-id",
            "x-requested-with",
            "x-user-agent",
            "x-userinformation",
            "smoke",
        ];
        for name in names {
            assert!(!is_identity(name), "{name}");
        }
    }
}
