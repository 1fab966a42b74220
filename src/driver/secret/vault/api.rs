//! Requests to Vault: each with a limit of time and a bounded answer, sent again while that may
//! help, and never sent on to another server.

use std::path::Path;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;

use crate::driver::http::{self as servers, BodyFault};
use crate::driver::retry::{Attempts, retry_after};
use crate::driver::secret::Fault;
use crate::model::chain;
use crate::model::secret::VaultServer;

/// How long one answer may take, and all attempts together.
const ANSWER: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(25);

/// How long a server is waited for that says when to come back.
const PATIENCE: Duration = Duration::from_secs(15);

/// The largest answer that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// The variable that says where Vault is, where the configuration does not.
pub(super) const ADDRESS: &str = "VAULT_ADDR";

/// How much of Vault's own words an error has, in characters.
const WORDS: usize = 300;

/// A server, and how it is spoken to.
#[derive(Debug)]
pub(super) struct Api {
    http: Client,
    address: Url,
    namespace: Option<String>,
}

/// What Vault answered, whether or not it did what was asked.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Value,
    /// When to come back, if it says so.
    pub wait: Option<Duration>,
}

/// A request.
pub(super) struct Request<'a> {
    pub method: Method,
    /// Below `/v1/`.
    pub path: &'a str,
    pub query: Option<(&'a str, String)>,
    pub token: Option<&'a str>,
    pub body: Option<&'a Value>,
}

impl<'a> Request<'a> {
    pub const fn get(path: &'a str, token: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            query: None,
            token: Some(token),
            body: None,
        }
    }

    pub const fn post(path: &'a str, token: Option<&'a str>, body: &'a Value) -> Self {
        Self {
            method: Method::POST,
            path,
            query: None,
            token,
            body: Some(body),
        }
    }
}

impl Api {
    /// To the server that the configuration names, or the environment.
    pub fn new(root: &Path, server: &VaultServer) -> Result<Self, Fault> {
        let of_environment = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
        let (place, address) = match &server.address {
            Some(address) => ("sources.vault.address", Some(address.clone())),
            None => (ADDRESS, of_environment(ADDRESS)),
        };
        let address = address.ok_or_else(|| {
            Fault::new(
                "nothing says where Vault is",
                "write `sources: {vault: {address: \"https://vault.example.com:8200\"}}`, or set \
                 VAULT_ADDR",
            )
        })?;
        let address = server.address_of(&address);
        let address = address.map_err(|fault| {
            let reason = format!("Vault's address in {place}: {fault}");
            Fault::new(reason, fault.help())
        })?;

        let ca = server.ca.as_ref().map(|ca| root.join(ca));
        let ca = ca.or_else(|| of_environment("VAULT_CACERT").map(Into::into));
        let certificates = match ca {
            Some(ca) => certificates(&ca)?,
            None => Vec::new(),
        };
        let http = servers::client()
            .tls_certs_merge(certificates)
            .timeout(ANSWER)
            // Whatever it leads to would be given the token.
            .redirect(Policy::none())
            .build()
            .map_err(|error| Fault::new(chain(&error), "look at `sources.vault.ca`"))?;
        let namespace = server.namespace.clone();
        Ok(Self {
            http,
            address,
            namespace: namespace.or_else(|| of_environment("VAULT_NAMESPACE")),
        })
    }

    /// Its address, for people.
    pub fn place(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// Asks until there is an answer that another attempt would not better. Only for what may be
    /// done twice.
    pub async fn ask(&self, request: &Request<'_>) -> Result<Answer, Fault> {
        let attempts = async {
            let mut attempts = Attempts::within(PATIENCE);
            loop {
                let answer = self.once(request).await;
                let wait = match &answer {
                    Ok(answer) if answer.may_get_better() => answer.wait,
                    Err(Unanswered::Now(_)) => None,
                    Ok(_) | Err(Unanswered::For(_)) => return answer,
                };
                match attempts.next(wait) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return answer,
                }
            }
        };
        match tokio::time::timeout(DEADLINE, attempts).await {
            Ok(answer) => answer.map_err(Unanswered::into_fault),
            Err(_) => Err(Fault::new(
                format!(
                    "{} gave no answer within {} s",
                    self.place(),
                    DEADLINE.as_secs()
                ),
                "look whether Vault is up, and at the network",
            )),
        }
    }

    /// Asks once: what counts how often it is used.
    pub async fn ask_once(&self, request: &Request<'_>) -> Result<Answer, Fault> {
        self.once(request).await.map_err(Unanswered::into_fault)
    }

    async fn once(&self, request: &Request<'_>) -> Result<Answer, Unanswered> {
        let sent = self.request(request)?.send().await;
        let response = sent.map_err(|error| self.unanswered(&error))?;
        if response.status().is_redirection() {
            return Err(Unanswered::For(self.led_away(&response)));
        }

        let status = response.status();
        let wait = retry_after(response.headers(), SystemTime::now());
        let read = servers::body(response, LIMIT).await;
        let bytes = read.map_err(|fault| match fault {
            BodyFault::TooLarge => {
                let reason = format!("{} answered more than {LIMIT} bytes", self.place());
                let help = "look at what is kept there: a secret is short";
                Unanswered::For(Fault::new(reason, help))
            }
            BodyFault::Broken(error) => self.unanswered(&error),
        })?;
        // What is no JSON is no answer of Vault's, and its status says enough of it.
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body, wait })
    }

    fn request(&self, request: &Request<'_>) -> Result<RequestBuilder, Unanswered> {
        let mut url = self.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            let below = request.path.split('/');
            segments.pop_if_empty().push("v1").extend(below);
        }
        if let Some((name, value)) = &request.query {
            url.query_pairs_mut().append_pair(name, value);
        }

        let mut builder = self
            .http
            .request(request.method.clone(), url)
            .header("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            builder = builder.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = request.token {
            let mut header = http::HeaderValue::from_str(token).map_err(|_| {
                let reason = "the token for Vault has characters that no header may have";
                Unanswered::For(Fault::new(reason, "look at where it comes from"))
            })?;
            header.set_sensitive(true);
            builder = builder.header("X-Vault-Token", header);
        }
        Ok(match request.body {
            Some(body) => builder
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.to_string()),
            None => builder,
        })
    }

    fn unanswered(&self, error: &reqwest::Error) -> Unanswered {
        let place = self.place();
        // The address is said already, and may hold what is nobody's business.
        let cause = servers::cause(error);
        let is_of_tls = cause.contains("certificate");
        let (reason, help) = match () {
            () if error.is_timeout() => (
                format!("{place} gave no answer within {} s", ANSWER.as_secs()),
                "look whether Vault is up, and at the network",
            ),
            () if is_of_tls => (
                format!("{place} cannot be trusted: {cause}"),
                "name the file of the authority that signed its certificate under \
                 `sources.vault.ca`",
            ),
            () => (
                format!("{place} cannot be reached: {cause}"),
                "look at `sources.vault.address`, at the network and the proxy",
            ),
        };
        let fault = Fault::new(reason, help);
        if is_of_tls {
            Unanswered::For(fault)
        } else {
            Unanswered::Now(fault)
        }
    }

    fn led_away(&self, response: &Response) -> Fault {
        let to = response.headers().get(http::header::LOCATION);
        let to = to.and_then(|to| Url::parse(to.to_str().ok()?).ok());
        let to = to.map_or_else(
            || "another address".to_owned(),
            |to| to.origin().ascii_serialization(),
        );
        Fault::new(
            format!(
                "{} sends this on to {to}, and a token is sent to nobody else",
                self.place()
            ),
            format!(
                "write `sources: {{vault: {{address: \"{to}\"}}}}` if that is the active server"
            ),
        )
    }
}

/// Why there is no answer.
enum Unanswered {
    /// There may be one the next time.
    Now(Fault),
    /// There will be none.
    For(Fault),
}

impl Unanswered {
    fn into_fault(self) -> Fault {
        match self {
            Self::Now(fault) | Self::For(fault) => fault,
        }
    }
}

impl Answer {
    /// Whether another attempt may be answered otherwise: the server is busy, not yet up to date,
    /// or cannot answer itself. One that is sealed waits for a person.
    fn may_get_better(&self) -> bool {
        match self.status.as_u16() {
            412 | 429 | 500 | 502 | 504 => true,
            503 => !self.is_sealed(),
            _ => false,
        }
    }

    fn is_sealed(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE && self.words().contains("sealed")
    }

    /// Vault's own words, when it gave some.
    pub fn words(&self) -> String {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        let texts: Vec<&str> = errors.filter_map(Value::as_str).collect();
        let whole = texts.join("; ");
        let words: Vec<&str> = whole.split_whitespace().collect();
        words.join(" ").chars().take(WORDS).collect()
    }

    /// The answer's data, or why there is none. `what` was being done; `capability` and `path` are
    /// what a policy has to allow for it.
    pub fn data(&self, api: &Api, what: &str, policy: (&str, &str)) -> Result<&Value, Fault> {
        if self.status.is_success() {
            return Ok(&self.body);
        }
        let (capability, path) = policy;
        let words = match self.words() {
            words if words.is_empty() => format!("HTTP {}", self.status.as_u16()),
            words => words,
        };
        let reason = format!("{what} at {}: {words}", api.place());
        let help = match self.status.as_u16() {
            _ if self.is_sealed() => "somebody has to unseal Vault first".to_owned(),
            403 => format!(
                "allow `{capability}` on `{path}` in a policy of this login; the login may have \
                 ended, too: `shipit doctor` tells"
            ),
            404 => "look at the path, at `sources.vault.namespace` and at the address".to_owned(),
            429 => "Vault's quota is used up: try again in a minute".to_owned(),
            _ => "look at Vault's own log".to_owned(),
        };
        Err(Fault::new(reason, help))
    }
}

fn certificates(ca: &Path) -> Result<Vec<reqwest::Certificate>, Fault> {
    servers::certificates(ca).map_err(|error| {
        let help = "name a file with certificates in PEM under `sources.vault.ca`";
        Fault::new(format!("{}: {error}", ca.display()), help)
    })
}
