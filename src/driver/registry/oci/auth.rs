//! Logging in (distribution-spec, "Authentication"; distribution, "Token Authentication"): a
//! registry says in its first answer what it wants, and a token server that it names gives a token
//! for a login.
//!
//! The registry names that server, so it says who gets the password. It is believed as far as
//! [`realm`] goes: with TLS if it has TLS itself, to its own host, to one that is known to be its
//! own, or to one that the configuration names.

use std::time::{Duration, Instant};

use http::header::{HeaderMap, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use http_auth::parser::ChallengeParser;
use reqwest::{Response, Url};
use serde::Deserialize;

use crate::driver::http::CONNECT;
use crate::driver::registry::oci::fault::RegistryFault;
use crate::driver::registry::oci::guard::{Kept, place};
use crate::driver::registry::oci::wire::{Wire, bearer, bounded, password, send, taken};
use crate::files::login::Credentials;

/// The largest answer of a token server that is read.
const TOKEN_LIMIT: usize = 256 << 10;
/// How long a token holds whose server does not say so (distribution, "Token Response Fields").
const TOKEN_LIFETIME: u64 = 60;
/// How long a login is used before the registry is asked again what it wants.
const LONGEST: Duration = Duration::from_mins(5);
/// How long before its end a token is used no more.
const MARGIN: Duration = Duration::from_secs(15);
/// How long the first answer of a registry may take.
const FIRST: Duration = Duration::from_secs(8);
/// Whose token server is on another host, by their own word.
const KNOWN: [(&str, &str); 5] = [
    ("docker.io", "auth.docker.io"),
    ("index.docker.io", "auth.docker.io"),
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

/// What a login is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
}

/// What is put on each request, and how long that holds.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub authorization: Option<HeaderValue>,
    pub until: Instant,
}

/// What a registry wants, of what is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    /// A token of the server at this address.
    Bearer {
        realm: String,
        service: Option<String>,
    },
    /// User and password.
    Basic,
}

/// Gets what a login is worth at a registry.
pub(super) async fn authorize(
    wire: &Wire,
    credentials: Option<&Credentials>,
    named: &[String],
    repository: &str,
    access: Access,
) -> Result<Granted, RegistryFault> {
    let now = Instant::now();
    let until = now + LONGEST;
    if let Some(Credentials::Token(token)) = credentials {
        if !wire.has_answered() {
            first(wire).await?;
        }
        let authorization = Some(bearer(token, wire)?);
        return Ok(Granted {
            authorization,
            until,
        });
    }

    let answer = first(wire).await?;
    if answer.status() != StatusCode::UNAUTHORIZED {
        if answer.status() != StatusCode::NOT_FOUND {
            taken(answer).await?;
        }
        // Some let everybody in at the door and nobody into the rooms: a password that is there is
        // shown.
        let authorization = password(credentials);
        return Ok(Granted {
            authorization,
            until,
        });
    }

    match choose(answer.headers(), wire.origin())? {
        Challenge::Basic => Ok(Granted {
            authorization: password(credentials),
            until,
        }),
        Challenge::Bearer { realm, service } => {
            let scope = scope(repository, access);
            let (server, is_named) = self::realm(wire.origin(), &realm, named, credentials)?;
            let http = wire.token_client(&server, is_named)?;
            let asked = Asked {
                http,
                server,
                service,
                scope,
            };
            let (token, lifetime) = asked.token(credentials).await?;
            Ok(Granted {
                authorization: Some(bearer(&token, wire)?),
                until: now + lifetime.saturating_sub(MARGIN).min(LONGEST),
            })
        }
    }
}

/// The answer at the door. From a server that has never answered it comes soon or not at all; one
/// that has is waited for.
async fn first(wire: &Wire) -> Result<Response, RegistryFault> {
    let request = send(wire.api("")?);
    if wire.has_answered() {
        return request.await;
    }

    let silent = |how: String| RegistryFault::Silent {
        host: place(wire.origin()),
        how,
    };
    let late = || format!("connected, no answer within {} s", FIRST.as_secs());
    let answer = tokio::time::timeout(FIRST, request).await;
    match answer.map_err(|_| silent(late()))? {
        // Its TLS is part of it: what takes a connection may still say nothing.
        Err(RegistryFault::Transport(error, way)) if error.is_connect() && error.is_timeout() => {
            let seconds = CONNECT.as_secs();
            let way = way.map(|way| format!(" {way}")).unwrap_or_default();
            Err(silent(format!(
                "no connection with its TLS{way} within {seconds} s"
            )))
        }
        answer => {
            wire.note_answer(answer.is_ok());
            answer
        }
    }
}

fn scope(repository: &str, access: Access) -> String {
    match access {
        Access::Pull => format!("repository:{repository}:pull"),
        Access::Push => format!("repository:{repository}:pull,push"),
    }
}

/// The best of what is asked for that is understood: a token before a password, which then need not
/// go to the registry.
fn choose(headers: &HeaderMap, registry: &Url) -> Result<Challenge, RegistryFault> {
    let (mut basic, mut others) = (None, Vec::new());
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let text = value.to_str().unwrap_or_default();
        for challenge in ChallengeParser::new(text).map_while(Result::ok) {
            let scheme = challenge.scheme;
            if scheme.eq_ignore_ascii_case("bearer") {
                let param = |name: &str| {
                    let mut params = challenge.params.iter();
                    let found = params.find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if let Some(realm) = param("realm") {
                    let service = param("service");
                    return Ok(Challenge::Bearer { realm, service });
                }
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
            others.push(scheme.to_owned());
        }
    }

    basic.ok_or_else(|| {
        let asks = if others.is_empty() {
            "nothing that can be read".to_owned()
        } else {
            others.join(", ")
        };
        RegistryFault::Malformed {
            host: place(registry),
            reason: format!(
                "it wants a login by {asks}, and shipit knows how to show a password or a token"
            ),
        }
    })
}

/// The token server that a registry names, and whether this is a host that somebody besides the
/// registry has named; or why nothing is sent there.
fn realm(
    registry: &Url,
    realm: &str,
    named: &[String],
    credentials: Option<&Credentials>,
) -> Result<(Url, bool), Kept> {
    let origin = place(registry);
    let nowhere = || Kept::Nowhere {
        registry: origin.clone(),
    };
    let mut server = Url::parse(realm).map_err(|_| nowhere())?;
    let is_web = matches!(server.scheme(), "http" | "https");
    if !is_web || server.host_str().is_none() || !server.username().is_empty() {
        return Err(nowhere());
    }
    server.set_fragment(None);
    if registry.scheme() == "https" && server.scheme() != "https" {
        let to = place(&server);
        return Err(Kept::InClear {
            registry: origin,
            to,
        });
    }

    let is_named = is_named(registry, &server, named);
    if credentials.is_none() || is_named || is_own(registry, &server) {
        return Ok((server, is_named));
    }
    Err(Kept::Elsewhere {
        registry: origin,
        host: place(&server),
    })
}

/// Whether it is the registry itself: its host, whose name its certificate proves, or without TLS
/// the very same address.
fn is_own(registry: &Url, server: &Url) -> bool {
    let has_port = server.port_or_known_default() == registry.port_or_known_default();
    server.host_str() == registry.host_str()
        && server.scheme() == registry.scheme()
        && (server.scheme() == "https" || has_port)
}

/// Whether it is known to be the registry's, or the configuration says so: `auth.example.com`,
/// `auth.example.com:8443`.
fn is_named(registry: &Url, server: &Url, named: &[String]) -> bool {
    let host = server.host_str().unwrap_or_default();
    let is_known = server.scheme() == "https"
        && registry.port().is_none()
        && server.port().is_none()
        && KNOWN.contains(&(registry.host_str().unwrap_or_default(), host));
    let at = place(server);
    is_known || named.iter().any(|name| name.eq_ignore_ascii_case(&at))
}

/// A question to a token server. The login goes nowhere but there: an answer that leads on is not
/// followed.
struct Asked {
    http: reqwest::Client,
    server: Url,
    service: Option<String>,
    scope: String,
}

impl Asked {
    /// A token, and how long it holds.
    async fn token(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<(String, Duration), RegistryFault> {
        let request = match credentials {
            Some(Credentials::Identity(identity)) => self.exchange(identity),
            _ => self.ask(credentials),
        };
        let answer = send(request.timeout(super::remote::SILENCE)).await?;
        let host = place(&self.server);
        if answer.status().is_redirection() {
            let reason = "it leads on to another address, where no login goes".to_owned();
            return Err(RegistryFault::Malformed { host, reason });
        }
        let body = bounded(taken(answer).await?, TOKEN_LIMIT).await?;
        read(&body).map_err(|reason| RegistryFault::Malformed { host, reason })
    }

    fn ask(&self, credentials: Option<&Credentials>) -> reqwest::RequestBuilder {
        let mut server = self.server.clone();
        let mut query = server.query_pairs_mut();
        query.append_pair("scope", &self.scope);
        if let Some(service) = &self.service {
            query.append_pair("service", service);
        }
        drop(query);
        let request = self.http.request(Method::GET, server);
        match password(credentials) {
            Some(password) => request.header(http::header::AUTHORIZATION, password),
            None => request,
        }
    }

    /// A token for an identity (distribution, "Authenticate by `OAuth2`").
    fn exchange(&self, identity: &str) -> reqwest::RequestBuilder {
        let mut form = self.server.clone();
        form.set_query(None);
        let mut fields = form.query_pairs_mut();
        fields.append_pair("grant_type", "refresh_token");
        fields.append_pair("client_id", "shipit");
        fields.append_pair("service", self.service.as_deref().unwrap_or_default());
        fields.append_pair("scope", &self.scope);
        fields.append_pair("refresh_token", identity);
        drop(fields);
        let request = self.http.request(Method::POST, self.server.clone());
        request
            .header(
                http::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(form.query().unwrap_or_default().to_owned())
    }
}

/// A token server's answer. An error says nothing of it.
fn read(body: &[u8]) -> Result<(String, Duration), String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<serde_json::Value>,
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "no token can be read in it".to_owned())?;
    let token = answer.token.filter(|token| !token.is_empty());
    let token = token.or(answer.access_token.filter(|token| !token.is_empty()));
    let lifetime = answer
        .expires_in
        .and_then(|told| whole_seconds(&told))
        .unwrap_or(TOKEN_LIFETIME)
        .max(TOKEN_LIFETIME);
    let token = token.ok_or("there is no token in it")?;
    Ok((token, Duration::from_secs(lifetime)))
}

/// A number of seconds, also where it is written as a text or has a fraction; none for what is
/// none.
fn whole_seconds(told: &serde_json::Value) -> Option<u64> {
    let text = told
        .as_str()
        .map_or_else(|| told.to_string(), str::to_owned);
    let whole = text
        .split_once('.')
        .map_or(text.as_str(), |(whole, _)| whole);
    whole.trim().parse().ok()
}

#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    let _ = read(bytes);
    let Ok(registry) = Url::parse("https://registry.example.com") else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        headers.extend(HeaderValue::from_bytes(line).map(|value| (WWW_AUTHENTICATE, value)));
    }
    if let Ok(Challenge::Bearer { realm: server, .. }) = choose(&headers, &registry) {
        let login = Credentials::Password {
            user: "kim".to_owned(),
            password: "pw".to_owned(),
        };
        let shown = realm(&registry, &server, &[], Some(&login));
        // Nobody but the registry itself gets the password.
        if let Ok((server, is_named)) = shown {
            assert!(!is_named && is_own(&registry, &server), "{server}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REGISTRY: &str = "https://registry.example.com";

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    fn kim() -> Credentials {
        Credentials::Password {
            user: "kim".to_owned(),
            password: "pw".to_owned(),
        }
    }

    fn with_login(registry: &str, to: &str, named: &[&str]) -> Result<(Url, bool), Kept> {
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        realm(&url(registry), to, &named, Some(&kim()))
    }

    fn challenge(values: &[&str]) -> Result<Challenge, RegistryFault> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().expect("a value"));
        }
        choose(&headers, &url(REGISTRY))
    }

    #[test]
    fn a_login_goes_to_the_registry_and_to_whom_somebody_has_named() {
        for (registry, to, named) in [
            (REGISTRY, "https://registry.example.com/token", &[][..]),
            (REGISTRY, "https://registry.example.com:8443/token", &[]),
            (
                "https://registry.example.com:5050",
                "https://registry.example.com/jwt/auth",
                &[],
            ),
            (
                REGISTRY,
                "https://auth.example.com/token",
                &["auth.example.com"],
            ),
            (
                REGISTRY,
                "https://auth.example.com:8443/t",
                &["Auth.example.com:8443"],
            ),
            (
                "https://index.docker.io",
                "https://auth.docker.io/token",
                &[],
            ),
            (
                "https://registry.gitlab.com",
                "https://gitlab.com/jwt/auth",
                &[],
            ),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", &[]),
            (
                "http://127.0.0.1:5000",
                "http://localhost:5001/token",
                &["localhost:5001"],
            ),
        ] {
            assert!(with_login(registry, to, named).is_ok(), "{registry} → {to}");
        }
    }

    #[test]
    fn a_login_goes_nowhere_else() {
        for (registry, to, named) in [
            (REGISTRY, "https://evil.example.com/token", &[][..]),
            (REGISTRY, "https://registry.example.com.evil.net/token", &[]),
            (REGISTRY, "https://evil.net/registry.example.com", &[]),
            (REGISTRY, "http://registry.example.com/token", &[]),
            (
                REGISTRY,
                "http://auth.example.com/token",
                &["auth.example.com"],
            ),
            (
                REGISTRY,
                "https://auth.example.com:8443/token",
                &["auth.example.com"],
            ),
            (REGISTRY, "https://auth.docker.io/token", &[]),
            (REGISTRY, "https://kim:pw@registry.example.com/token", &[]),
            (REGISTRY, "file:///etc/passwd", &[]),
            (REGISTRY, "registry.example.com/token", &[]),
            (REGISTRY, "", &[]),
            (
                "https://docker.io:5000",
                "https://auth.docker.io/token",
                &[],
            ),
            ("http://127.0.0.1:5999", "http://localhost:5997/token", &[]),
            ("http://127.0.0.1:5999", "http://127.0.0.1:5997/token", &[]),
            (
                "http://127.0.0.1:5999",
                "http://169.254.169.254/latest",
                &[],
            ),
        ] {
            assert!(
                with_login(registry, to, named).is_err(),
                "{registry} → {to}"
            );
        }
        let kept = with_login(REGISTRY, "https://evil.example.com/token", &[]);
        let said = kept.expect_err("nobody has named it").to_string();
        assert!(said.contains("evil.example.com"), "{said}");
    }

    #[test]
    fn without_a_login_another_host_may_be_asked_for_a_token() {
        let asked = realm(&url(REGISTRY), "https://tokens.example.net/t", &[], None);
        assert!(asked.is_ok(), "{asked:?}");
        let clear = realm(&url(REGISTRY), "http://tokens.example.net/t", &[], None);
        assert!(clear.is_err());
    }

    #[test]
    fn of_several_challenges_the_one_that_is_understood_is_taken() {
        let bearer = r#"Bearer realm="https://a.example.com/t",service="r",scope="x""#;
        let both = format!("Basic realm=\"x\", {bearer}");
        let token = || Challenge::Bearer {
            realm: "https://a.example.com/t".to_owned(),
            service: Some("r".to_owned()),
        };
        for values in [
            &[bearer][..],
            &["Negotiate", bearer],
            &[bearer, "Negotiate"],
            &["Basic realm=\"x\"", bearer],
            &[&both],
            &["Negotiate, Basic realm=\"x\"", bearer],
            &["Digest realm=\"a, b\", nonce=\"Bearer \\\"\"", bearer],
        ] {
            assert_eq!(
                challenge(values).expect("understood"),
                token(),
                "{values:?}"
            );
        }
        let basic = challenge(&["Negotiate", "bAsIc realm=\"x\""]);
        assert_eq!(basic.expect("understood"), Challenge::Basic);
        for (values, word) in [(&["Negotiate"][..], "Negotiate"), (&[], "nothing")] {
            let said = challenge(values).expect_err("not understood").to_string();
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn a_token_is_read_in_all_its_forms_and_never_said() {
        let token = |text: &str| read(text.as_bytes()).map(|(token, _)| token);
        assert_eq!(token(r#"{"token": "a"}"#).as_deref(), Ok("a"));
        assert_eq!(
            token(r#"{"access_token": "b", "expires_in": 300}"#).as_deref(),
            Ok("b")
        );
        assert_eq!(
            token(r#"{"token": "", "access_token": "c"}"#).as_deref(),
            Ok("c")
        );
        for none in [
            "",
            "{}",
            "[]",
            r#"{"token": ""}"#,
            r#"{"token": 7, "x": "hunter2"}"#,
        ] {
            let said = token(none).expect_err(none);
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_token_holds_as_long_as_its_server_says() {
        let lifetime = |text: &str| read(text.as_bytes()).expect("a token").1.as_secs();
        assert_eq!(lifetime(r#"{"token": "a"}"#), 60);
        assert_eq!(lifetime(r#"{"token": "a", "expires_in": 300}"#), 300);
        assert_eq!(lifetime(r#"{"token": "a", "expires_in": 1}"#), 60);
        for (told, seconds) in [
            ("\"300\"", 300),
            ("300.5", 300),
            ("-5", 60),
            ("\"soon\"", 60),
        ] {
            let text = format!("{{\"token\": \"a\", \"expires_in\": {told}}}");
            assert_eq!(lifetime(&text), seconds, "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_challenge_makes_it_fall_over(values in proptest::collection::vec("[ -~]{0,60}", 0..4)) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            hostile(values.join("\n").as_bytes());
        }

        #[test]
        fn no_realm_makes_it_fall_over(to in "\\PC{0,40}") {
            let _ = with_login(REGISTRY, &to, &[]);
        }

        #[test]
        fn no_token_answer_makes_it_fall_over(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            hostile(&body);
        }
    }
}
