//! Forges, by their APIs: GitHub, GitLab, Gitea and those who speak like them.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::driver::http;
use crate::driver::retry::{Attempts, retry_after};
use crate::model::commit_status::{CommitStatus, ForgeKind, LONGEST, StatusPlace, StatusState};
use crate::model::secret::SecretValue;
use crate::model::{chain, is_loopback};
use crate::port::Forge;
use crate::port::forge::ForgeError;

/// How long all of it may take, and one request.
const DEADLINE: Duration = Duration::from_secs(20);
const REQUEST: Duration = Duration::from_secs(10);

/// How much of an answer is read, in bytes.
const ANSWER: usize = 64 << 10;

/// How much of what a forge says is shown, in characters.
const SAID: usize = 300;

/// A forge on the network.
pub struct RemoteForge {
    token: SecretValue,
}

impl RemoteForge {
    /// Who may set statuses by this token.
    #[must_use]
    pub const fn new(token: SecretValue) -> Self {
        Self { token }
    }

    fn authorized(&self, forge: ForgeKind, request: RequestBuilder) -> RequestBuilder {
        let token = self.token.expose();
        match forge {
            ForgeKind::Github => request.bearer_auth(token),
            ForgeKind::Gitlab => request.header("private-token", token),
            ForgeKind::Gitea => request.header("authorization", format!("token {token}")),
        }
    }
}

#[async_trait]
impl Forge for RemoteForge {
    async fn report(&self, place: &StatusPlace, status: &CommitStatus) -> Result<(), ForgeError> {
        let failed = |reason: String, help: &str| ForgeError {
            commit: place.commit.clone(),
            reason,
            help: help.to_owned(),
        };
        let url = url(place).map_err(|(reason, help)| failed(reason, help))?;
        // A token goes to nobody whom a redirect names.
        let client = http::client().timeout(REQUEST).redirect(Policy::none());
        let client = client
            .build()
            .map_err(|error| failed(chain(&error), "look at the proxy that is set"))?;

        let request = || {
            let request = client
                .post(url.clone())
                .header("content-type", "application/json")
                .body(document(place.forge, status).to_string());
            self.authorized(place.forge, request)
        };
        // What is set twice is set once.
        let begun = Instant::now();
        let mut attempts = Attempts::within(DEADLINE);
        loop {
            let refusal = match once(place, request()).await {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
            let pause = refusal.may_pass.then(|| attempts.next(refusal.wait));
            match pause.flatten() {
                Some(pause) if begun.elapsed() + pause < DEADLINE => sleep(pause).await,
                _ => return Err(failed(refusal.reason, &refusal.help)),
            }
        }
    }
}

/// Why a status was not set.
struct Refusal {
    reason: String,
    help: String,
    /// Whether it may be set a little later.
    may_pass: bool,
    /// When to come back, if the forge says so.
    wait: Option<Duration>,
}

async fn once(place: &StatusPlace, request: RequestBuilder) -> Result<(), Refusal> {
    let answer = request.send().await.map_err(|error| Refusal {
        reason: http::cause(&error),
        help: "look at --api, and whether the forge can be reached from here".to_owned(),
        may_pass: true,
        wait: None,
    })?;
    let code = answer.status();
    if code.is_success() {
        return Ok(());
    }

    let wait = retry_after(answer.headers(), SystemTime::now());
    let said = http::body(answer, ANSWER).await.unwrap_or_default();
    let (reason, help) = refused(place, code, &said);
    Err(Refusal {
        reason,
        help: help.to_owned(),
        may_pass: matches!(code.as_u16(), 429 | 500 | 502 | 503 | 504),
        wait,
    })
}

/// Where a status is set. A token goes over a line that nobody reads, but on this very machine.
fn url(place: &StatusPlace) -> Result<Url, (String, &'static str)> {
    let wrong = |reason: String| (reason, "give the API's address, as https://api.github.com");
    let mut url = Url::parse(&place.api)
        .map_err(|error| wrong(format!("{} is no address: {error}", place.api)))?;
    let is_here = url.host_str().is_some_and(is_loopback);
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        let reason = format!(
            "{} is not https, and the token would be readable",
            place.api
        );
        return Err(wrong(reason));
    }

    let commit = &place.commit;
    let mut parts = url
        .path_segments_mut()
        .map_err(|()| wrong(format!("{} is no address of an API", place.api)))?;
    parts.pop_if_empty();
    match place.forge {
        // Its path is one part of the address, slashes and all.
        ForgeKind::Gitlab => parts.extend(["projects", &place.repository, "statuses", commit]),
        ForgeKind::Github | ForgeKind::Gitea => parts
            .push("repos")
            .extend(place.repository.split('/'))
            .extend(["statuses", commit]),
    };
    drop(parts);
    Ok(url)
}

fn document(forge: ForgeKind, status: &CommitStatus) -> Value {
    let description: String = status.description.chars().take(LONGEST).collect();
    let (name, state) = match forge {
        ForgeKind::Gitlab => ("name", gitlab(status.state)),
        ForgeKind::Github | ForgeKind::Gitea => ("context", github(status.state)),
    };
    let mut document = json!({"state": state, "description": description});
    document[name] = json!(status.context);
    if let Some(url) = &status.target_url {
        document["target_url"] = json!(url);
    }
    document
}

/// GitHub knows none that goes on, and Gitea has its words.
const fn github(state: StatusState) -> &'static str {
    match state {
        StatusState::Pending | StatusState::Running => "pending",
        StatusState::Success => "success",
        StatusState::Failure => "failure",
        StatusState::Error => "error",
    }
}

const fn gitlab(state: StatusState) -> &'static str {
    match state {
        StatusState::Pending => "pending",
        StatusState::Running => "running",
        StatusState::Success => "success",
        StatusState::Failure | StatusState::Error => "failed",
    }
}

/// Why a forge did not do it, with what it says itself.
fn refused(place: &StatusPlace, code: StatusCode, said: &[u8]) -> (String, &'static str) {
    let said: Option<Value> = serde_json::from_slice(said).ok();
    let message = said.as_ref().and_then(|said| said.get("message"));
    let message = message.map(|message| match message {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let message: String = message.unwrap_or_default().chars().take(SAID).collect();
    let separator = if message.is_empty() { "" } else { ": " };
    let (forge, repository) = (place.forge, &place.repository);
    let reason = format!("{forge} answers {code} for {repository}{separator}{message}");
    let help = match code.as_u16() {
        401 | 403 => "the token must be one that may write statuses of this repository",
        404 => {
            "look at --repository and --commit, and whether the token may see the repository: \
             forges answer so where it may not"
        }
        300..=399 => "give the address that the forge redirects to as --api",
        _ => "look at what the forge says, then run the command again",
    };
    (reason, help)
}
