//! The proxies that variables name, as curl reads them, and which of them a request goes through.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Proxy, Url};

/// This very machine: what is meant for it is sent to no proxy, whose machine is another one.
const MACHINE: &str = "localhost,127.0.0.0/8,::1";

/// Which requests a variable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Http,
    Https,
    All,
}

/// A variable that names a proxy.
#[derive(Debug)]
struct Named {
    variable: String,
    value: String,
    scope: Scope,
}

/// The proxies of an environment, and the hosts that are asked without one.
#[derive(Debug)]
pub(super) struct Proxies {
    named: Vec<Named>,
    direct: String,
}

impl Proxies {
    /// Those that are named: each by the first of its variables that is there, in capitals or not.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |capitals: &str| {
            let names = [capitals.to_owned(), capitals.to_ascii_lowercase()];
            names
                .into_iter()
                .find_map(|name| variable(&name).map(|value| (name, value)))
        };
        let direct = match either("NO_PROXY") {
            Some((_, hosts)) => format!("{hosts},{MACHINE}"),
            None => MACHINE.to_owned(),
        };
        // Whoever asks a CGI program sets its HTTP_PROXY, by a header.
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let http = if is_cgi {
            variable("http_proxy").map(|value| ("http_proxy".to_owned(), value))
        } else {
            either("HTTP_PROXY")
        };

        let found = [
            (http, Scope::Http),
            (either("HTTPS_PROXY"), Scope::Https),
            (either("ALL_PROXY"), Scope::All),
        ];
        let named = found.into_iter().filter_map(|(found, scope)| {
            let (variable, value) = found?;
            (!value.is_empty()).then_some(Named {
                variable,
                value,
                scope,
            })
        });
        Self {
            named: named.collect(),
            direct,
        }
    }

    /// As the client takes them. One that is no address is none.
    pub fn usable(&self) -> impl Iterator<Item = Proxy> {
        let usable = self.named.iter().filter_map(|named| named.proxy().ok());
        usable.map(|proxy| proxy.no_proxy(NoProxy::from_string(&self.direct)))
    }

    /// Which way a request to an address goes, in words for who reads that it did not come there;
    /// none for one that goes straight, as it should.
    pub fn way(&self, url: &Url) -> Option<String> {
        let is_https = url.scheme() == "https";
        let mut named = self.named.iter().filter(|named| match named.scope {
            Scope::Http => !is_https,
            Scope::Https => is_https,
            Scope::All => true,
        });
        named.find_map(|named| {
            let variable = &named.variable;
            if named.proxy().is_err() {
                return Some(format!("without a proxy: {variable} is no address of one"));
            }
            let rule = Matcher::builder().all(named.value.as_str());
            let rule = rule.no(self.direct.as_str()).build();
            let proxy = rule.intercept(&url.as_str().parse().ok()?)?;
            let (uri, host) = (proxy.uri(), proxy.uri().host()?);
            let port = uri.port().map(|port| format!(":{port}"));
            let port = port.unwrap_or_default();
            Some(format!("through the proxy {host}{port} of {variable}"))
        })
    }
}

impl Named {
    fn proxy(&self) -> reqwest::Result<Proxy> {
        match self.scope {
            Scope::Http => Proxy::http(&self.value),
            Scope::Https => Proxy::https(&self.value),
            Scope::All => Proxy::all(&self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(variables: &[(&str, &str)], url: &str) -> String {
        let proxies = Proxies::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        proxies.way(&url.parse().expect(url)).unwrap_or_default()
    }

    #[test]
    fn the_way_of_a_request_is_told_without_the_proxys_password() {
        let login = [("https_proxy", "http://kim:hunter2@proxy.example.com:3128")];
        assert_eq!(
            way(&login, "https://registry.example.com/v2/"),
            "through the proxy proxy.example.com:3128 of https_proxy"
        );
        for (variables, url) in [
            (&login[..], "http://registry.example.com/"),
            (&login[..], "https://127.0.0.1:5000/"),
            (&[("HTTP_PROXY", "")], "http://registry.example.com/"),
            (&[], "http://registry.example.com/"),
            (
                &[("ALL_PROXY", "p:1"), ("NO_PROXY", ".example.com")],
                "http://registry.example.com/",
            ),
        ] {
            assert_eq!(way(variables, url), "", "{url}");
        }
        assert_eq!(
            way(&[("ALL_PROXY", "p.example.com:1")], "http://example.com/"),
            "through the proxy p.example.com:1 of ALL_PROXY"
        );
        assert_eq!(
            way(&[("HTTP_PROXY", "http://[bad")], "http://example.com/"),
            "without a proxy: HTTP_PROXY is no address of one"
        );
    }
}
