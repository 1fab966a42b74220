//! What goes wrong between here and a registry, what may get better by waiting, and how it is told.

use std::future::Future;
use std::time::Duration;

use reqwest::StatusCode;

use crate::driver::http;
use crate::driver::registry::oci::guard::{self, Kept};
use crate::driver::registry::oci::remote::LoggedIn;
use crate::driver::retry;
use crate::model::chain;
use crate::port::registry::RegistryError;

/// How long a registry is waited for that says when to come back, all its pauses together.
const PATIENCE: Duration = Duration::from_mins(2);

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistryFault {
    /// It did not go through.
    #[error("{}{}", chain(.0), in_brackets(.1.as_deref()))]
    Transport(reqwest::Error, Option<String>),
    /// It was not sent: it would have gone where nothing may go.
    #[error(transparent)]
    Kept(#[from] Kept),
    /// The login is not good enough, or there is none.
    #[error("{host} does not let this login in{}", colon(message))]
    Unauthorized { host: String, message: String },
    /// The server says no.
    #[error("HTTP {status} from {url}{}", colon(message))]
    Refused {
        status: u16,
        url: String,
        message: String,
        /// When to come back, if it says so.
        wait: Option<Duration>,
    },
    /// The answer has no end, or one that is too far away.
    #[error("the answer of {host} is larger than {limit} bytes, and not read any further")]
    TooLarge { host: String, limit: usize },
    /// The answer is not what the specification says.
    #[error("the answer of {host} is not what it should be: {reason}")]
    Malformed { host: String, reason: String },
    /// It has never answered: a connection is not made, or stands and nothing comes.
    #[error("{host}: {how}")]
    Silent { host: String, how: String },
    /// A file of this machine, or a connection that has gone silent.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn colon(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

fn in_brackets(way: Option<&str>) -> String {
    way.map_or_else(String::new, |way| format!(" ({way})"))
}

impl From<reqwest::Error> for RegistryFault {
    /// The text has no address: that of an upload may let anybody in who reads it.
    fn from(error: reqwest::Error) -> Self {
        if let Some(kept) = guard::kept(&error) {
            return Self::Kept(kept);
        }
        let way = http::way(&error);
        Self::Transport(error.without_url(), way)
    }
}

impl RegistryFault {
    /// Whether it may get better by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            // An answer that breaks off cannot be decoded, in the library's words.
            Self::Transport(error, _) => {
                error.is_timeout() || error.is_request() || error.is_body() || error.is_decode()
            }
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Io(error) => error.kind() == std::io::ErrorKind::TimedOut,
            _ => false,
        }
    }

    fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// When the server wants to be asked again, as it says itself.
    fn wait(&self) -> Option<Duration> {
        match self {
            Self::Refused {
                status: 429 | 503,
                wait,
                ..
            } => *wait,
            _ => None,
        }
    }
}

/// Counts the attempts at what a registry is asked.
#[derive(Debug)]
pub(super) struct Attempts(retry::Attempts);

impl Default for Attempts {
    fn default() -> Self {
        Self(retry::Attempts::within(PATIENCE))
    }
}

impl Attempts {
    /// How long to wait before the next attempt; none when there is no sense in another.
    pub fn next(&mut self, fault: &RegistryFault, may_get_better: bool) -> Option<Duration> {
        may_get_better.then(|| self.0.next(fault.wait())).flatten()
    }

    /// What was tried has come further: the failures before that do not count.
    pub const fn progress(&mut self) {
        self.0.progress();
    }
}

/// Sends a request again while it may get better, with pauses that grow and differ.
pub(super) async fn again<T, F: Future<Output = Result<T, RegistryFault>>>(
    send: impl Fn() -> F,
) -> Result<T, RegistryFault> {
    let mut attempts = Attempts::default();
    loop {
        let fault = match send().await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        match attempts.next(&fault, fault.is_transient()) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(fault),
        }
    }
}

/// None instead of an error that says that there is no such thing.
pub(super) fn absent<T>(result: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whose a registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The project's: the configuration says how it is spoken to.
    Project,
    /// One that an image's name leads to.
    Others,
}

/// As the port's error, while `what` was being done; `login` is what is wrong with the login, if
/// anything is.
pub(super) fn failed(
    what: String,
    fault: &RegistryFault,
    whose: Whose,
    login: &LoggedIn,
) -> RegistryError {
    if fault.is_absent() {
        return RegistryError::Missing {
            what,
            place: "the registry".to_owned(),
        };
    }
    let reason = match (fault, &login.problem) {
        (RegistryFault::Unauthorized { .. }, Some(problem)) => format!("{fault}; and {problem}"),
        (RegistryFault::Unauthorized { host, message }, None) if login.credentials.is_none() => {
            let message = colon(message.as_str());
            format!("{host} wants a login, and none was found for it{message}")
        }
        _ => fault.to_string(),
    };
    let help = match whose {
        Whose::Project => help(fault, &reason),
        Whose::Others => help_elsewhere(fault, &reason),
    };
    RegistryError::Remote { what, reason, help }
}

/// What to do at a registry that only an image's name leads to.
fn help_elsewhere(fault: &RegistryFault, reason: &str) -> String {
    match fault {
        RegistryFault::Unauthorized { .. } | RegistryFault::Refused { status: 403, .. } => {
            "`docker login` (or `podman login`, `skopeo login`) there writes the credentials that \
             shipit reads; many a registry says the same of a repository that it does not have: \
             look at the image's name, too"
        }
        RegistryFault::Refused { status: 429, .. } => {
            "run the command again later; who has logged in (`docker login`) may ask more often"
        }
        RegistryFault::Kept(Kept::Elsewhere { .. }) => return help(fault, reason),
        RegistryFault::Kept(_) => {
            "nothing was sent there: look at the image's name, and ask whoever runs the registry"
        }
        RegistryFault::Transport(_, Some(_)) => {
            "look at that proxy, or name the registry's host in NO_PROXY if it is reached without \
             one"
        }
        RegistryFault::Transport(inner, _) if inner.is_connect() => {
            "look at the image's name, at whether its registry is up, and at whether this machine \
             trusts its certificate: `registry.ca` and `registry.plain_http` are for \
             `registry.endpoint` alone"
        }
        RegistryFault::Silent { .. } => {
            "look at the image's name, and at whether its registry is up"
        }
        RegistryFault::TooLarge { .. } | RegistryFault::Malformed { .. } => {
            "look at the image's name: this is not what a registry says"
        }
        RegistryFault::Transport(..) | RegistryFault::Refused { .. } | RegistryFault::Io(_) => {
            "run the command again; nothing was changed"
        }
    }
    .to_owned()
}

/// What to do at the project's own registry.
fn help(fault: &RegistryFault, reason: &str) -> String {
    let again = "run the command again: what was pushed is not pushed again";
    match fault {
        RegistryFault::Unauthorized { .. } => {
            "`docker login` (or `podman login`, `skopeo login`) writes the credentials that shipit \
             reads"
                .to_owned()
        }
        RegistryFault::Kept(Kept::Elsewhere { host, .. }) => format!(
            "write `registry: {{auth_hosts: [\"{host}\"]}}` if that is the registry's own token \
             server; without a login nothing of it is sent"
        ),
        RegistryFault::Kept(_) => {
            "nothing was sent there: look at `registry.endpoint`, and ask whoever runs the \
             registry"
                .to_owned()
        }
        RegistryFault::Transport(..) if reason.contains("CaUsedAsEndEntity") => {
            "the registry shows a certificate that is an authority's own: have it sign one for the \
             registry (`basicConstraints=CA:FALSE`), and name the authority's under `registry.ca`"
                .to_owned()
        }
        RegistryFault::Transport(_, Some(_)) => {
            "look at that proxy, or name the registry's host in \
                                                 NO_PROXY if it is reached without one"
                .to_owned()
        }
        RegistryFault::Transport(inner, _) if inner.is_connect() => {
            "look at `registry.endpoint`, at `registry.ca` for a certificate of your own, and \
             whether the registry is up"
                .to_owned()
        }
        RegistryFault::Silent { .. } => {
            "look at `registry.endpoint`, and whether the registry is up".to_owned()
        }
        RegistryFault::Refused {
            wait: Some(wait), ..
        } if *wait > PATIENCE => format!(
            "it asks for a pause of {} s, and shipit waits {} s at the most: run the command again \
             then",
            wait.as_secs(),
            PATIENCE.as_secs()
        ),
        RegistryFault::TooLarge { .. } | RegistryFault::Malformed { .. } => {
            "look at `registry.endpoint`: this is not what a registry says".to_owned()
        }
        RegistryFault::Refused { status, .. } => of_status(*status).unwrap_or(again).to_owned(),
        RegistryFault::Transport(..) | RegistryFault::Io(_) => again.to_owned(),
    }
}

/// What to do about what no other attempt makes better; none where one may.
const fn of_status(status: u16) -> Option<&'static str> {
    match status {
        403 => Some(
            "this login may not do that there: look at the repository's name, and ask whoever runs \
             the registry for the right to it",
        ),
        405 => Some(
            "the registry does not do that: it may be read-only, or a cache of another one; look \
             at `registry.endpoint`, and ask whoever runs it",
        ),
        413 => Some(
            "the registry, or a proxy before it, takes nothing as large: raise its limit \
             (`client_max_body_size` of nginx), or make the layer smaller",
        ),
        408 | 425 | 429 => None,
        400..=499 => Some(
            "the registry refuses this, and would again: look at its words above, and at the \
             repository's name",
        ),
        _ => None,
    }
}

pub(super) fn malformed(what: &str, reason: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Malformed {
        what: what.to_owned(),
        place: "the registry".to_owned(),
        reason: reason.to_string(),
    }
}

/// What an error's body says (distribution-spec, "Error Codes"), or as much of it as is a line or
/// two.
pub(super) fn message(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Envelope {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        code: String,
        #[serde(default)]
        message: String,
    }
    let listed = serde_json::from_slice::<Envelope>(body).ok();
    let listed = listed.filter(|listed| !listed.errors.is_empty());
    let text = match listed {
        Some(listed) => listed
            .errors
            .iter()
            .take(3)
            .map(|entry| format!("{}{}", entry.code, colon(&entry.message)))
            .collect::<Vec<_>>()
            .join("; "),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    };

    let text = text.chars().take(1000).collect::<String>();
    if text.is_empty() {
        status.canonical_reason().unwrap_or_default().to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(status: u16, wait: Option<u64>) -> RegistryFault {
        RegistryFault::Refused {
            status,
            url: "https://registry.example.com/v2/".to_owned(),
            message: String::new(),
            wait: wait.map(Duration::from_secs),
        }
    }

    /// The pauses before a registry is given up that always says the same.
    fn pauses(fault: &RegistryFault) -> Vec<Duration> {
        let mut attempts = Attempts::default();
        std::iter::from_fn(|| attempts.next(fault, fault.is_transient())).collect()
    }

    #[test]
    fn a_registry_that_says_when_to_come_back_is_asked_again_then() {
        let pauses = pauses(&refused(429, Some(20)));
        assert!(pauses.iter().all(|pause| *pause >= Duration::from_secs(20)));
        let all: Duration = pauses.iter().sum();
        assert!(pauses.len() >= 5 && all <= PATIENCE, "{pauses:?}");
    }

    #[test]
    fn a_registry_that_says_hours_or_nothing_is_given_up() {
        assert!(pauses(&refused(429, Some(6 * 3600))).is_empty());
        assert_eq!(pauses(&refused(429, None)).len(), 3);
        assert!(pauses(&refused(503, Some(0))).len() < 60);
        assert!(pauses(&refused(403, Some(1))).is_empty());
    }

    #[test]
    fn an_error_is_told_by_its_codes() {
        let body = br#"{"errors": [{"code": "DENIED", "message": "no"}, {"code": "X"}]}"#;
        assert_eq!(message(StatusCode::FORBIDDEN, body), "DENIED: no; X");
        assert_eq!(message(StatusCode::FORBIDDEN, b" plain\n"), "plain");
        assert_eq!(message(StatusCode::FORBIDDEN, b""), "Forbidden");
    }

    #[test]
    fn what_another_attempt_does_not_make_better_is_not_to_be_tried_again() {
        let help = |status| help(&refused(status, None), "");
        for (status, words) in [
            (403, "may not do that"),
            (405, "read-only"),
            (413, "client_max_body_size"),
            (400, "would again"),
        ] {
            let help = help(status);
            assert!(help.contains(words), "{status}: {help}");
            assert!(!help.contains("run the command again"), "{status}: {help}");
        }
        for status in [408, 429, 500, 503] {
            assert!(
                help(status).starts_with("run the command again"),
                "{status}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_error_is_longer_than_its_bound(body in proptest::collection::vec(any::<u8>(), 0..4096)) {
            prop_assert!(message(StatusCode::FORBIDDEN, &body).chars().count() <= 1000);
        }
    }
}
