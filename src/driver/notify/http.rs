//! One request to one who is told.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

use crate::driver::http;
use crate::driver::retry::{Attempts, retry_after};
use crate::model::is_loopback;
use crate::model::secret::SecretValue;
use crate::port::notifier::{DeliveryError, DeliveryFault};

/// How much of an answer is read, in bytes.
const ANSWER: usize = 64 << 10;
/// How much of what a server says is shown, in characters.
const SAID: usize = 200;
/// How long a server is waited for that says when to come back.
const PATIENCE: Duration = Duration::from_secs(3);

/// An address that something may be sent to. It may be a secret itself, and is in no error.
pub(super) fn address(text: &str) -> Result<Url, DeliveryError> {
    let wrong = |reason: &str| DeliveryError {
        reason: reason.to_owned(),
        help: "give the address as the service shows it, as https://example.com/hook".to_owned(),
        kind: DeliveryFault::Refused,
    };
    let url = Url::parse(text.trim()).map_err(|_| wrong("its address is none"))?;
    let is_here = url.host_str().is_some_and(is_loopback);
    if url.scheme() == "https" || url.scheme() == "http" && is_here {
        return Ok(url);
    }
    Err(wrong(
        "its address is not https, and what is sent would be readable on its way",
    ))
}

/// Asks for something to be taken.
pub(super) struct Post<'a> {
    pub to: Url,
    /// Who asks, where that is told by a token.
    pub token: Option<&'a SecretValue>,
    pub headers: HeaderMap,
    pub body: String,
}

/// What a server has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    /// When to come back, as it says.
    pub wait: Option<Duration>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The beginning of what it says, in a line.
    pub fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        let plain = text.chars().filter(|c| !c.is_control()).take(SAID);
        plain.collect()
    }

    /// Why it did not take it, by its status alone; none when it did.
    pub fn fault(&self) -> Option<DeliveryError> {
        if self.status.is_success() {
            return None;
        }
        let said = self.said();
        let separator = if said.is_empty() { "" } else { ": " };
        let reason = format!("it answers {}{separator}{said}", self.status);
        let (kind, help) = match self.status.as_u16() {
            408 | 425 | 429 | 500..=599 => (
                DeliveryFault::Unavailable(self.wait),
                "it is tried again by the next command",
            ),
            410 => (
                DeliveryFault::Gone,
                "it wants no more: make another address there",
            ),
            300..=399 => (
                DeliveryFault::Refused,
                "no redirect is followed: give the address that it leads to",
            ),
            401 | 403 => (DeliveryFault::Refused, "look at the credential"),
            _ => (
                DeliveryFault::Refused,
                "look at the address, and at what it says",
            ),
        };
        Some(DeliveryError {
            reason,
            help: help.to_owned(),
            kind,
        })
    }
}

impl Post<'_> {
    /// Sends it. What did certainly not arrive is sent again, for a few seconds.
    pub async fn send(&self) -> Result<Answer, DeliveryError> {
        let client = http::client().redirect(Policy::none()).build();
        let client = client.map_err(|error| unreachable(&error))?;
        let mut attempts = Attempts::within(PATIENCE);
        loop {
            let (answer, told) = match self.once(&client).await {
                Ok(answer) if is_busy(answer.status) => (Ok(answer), true),
                Err(Unsent::NotConnected(error)) => (Err(error), false),
                Err(Unsent::Unknown(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            };
            let wait = match &answer {
                Ok(answer) if told => answer.wait,
                _ => None,
            };
            match attempts.next(wait) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return answer,
            }
        }
    }

    async fn once(&self, client: &Client) -> Result<Answer, Unsent> {
        let request = client.post(self.to.clone()).headers(self.headers.clone());
        let request = match self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let answer = request.body(self.body.clone()).send().await;
        let answer = answer.map_err(|error| {
            if error.is_connect() {
                Unsent::NotConnected(unreachable(&error))
            } else {
                Unsent::Unknown(unreachable(&error))
            }
        })?;

        let status = answer.status();
        let wait = retry_after(answer.headers(), SystemTime::now());
        // What it has taken it has taken, whatever else it says.
        let body = http::body(answer, ANSWER).await.unwrap_or_default();
        Ok(Answer { status, wait, body })
    }
}

/// Whether a server has said that it did not do it, and may do it soon.
fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 503)
}

/// What became of a request without an answer.
enum Unsent {
    /// Nothing was sent.
    NotConnected(DeliveryError),
    /// It may have arrived.
    Unknown(DeliveryError),
}

fn unreachable(error: &reqwest::Error) -> DeliveryError {
    DeliveryError {
        reason: format!("it gives no answer: {}", http::cause(error)),
        help: "look at the address, the network and the proxy that is set".to_owned(),
        kind: DeliveryFault::Unavailable(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_readable_on_its_way_is_not_sent() {
        for good in [
            "https://hooks.example.com/T/1",
            "http://127.0.0.1:8080/",
            "http://localhost/x",
            "http://[::1]:9/",
            " https://example.com/a\n",
        ] {
            address(good).expect(good);
        }
        for bad in [
            "http://hooks.example.com/canary",
            "ftp://example.com/canary",
            "http://localhost@example.com/canary",
            "http://127.0.0.1.example.com/canary",
            "canary",
            "file:///canary",
        ] {
            let error = address(bad).expect_err(bad);
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_status_says_whether_another_attempt_makes_sense() {
        let fault = |status: u16| {
            let answer = Answer {
                status: StatusCode::from_u16(status).expect("a status"),
                wait: Some(Duration::from_secs(7)),
                body: b"no\r\nmore".to_vec(),
            };
            answer.fault().map(|fault| fault.kind)
        };
        assert_eq!(fault(204), None);
        let later = DeliveryFault::Unavailable(Some(Duration::from_secs(7)));
        for status in [408, 429, 500, 503] {
            assert_eq!(fault(status), Some(later), "{status}");
        }
        for status in [302, 400, 401, 404] {
            assert_eq!(fault(status), Some(DeliveryFault::Refused), "{status}");
        }
        assert_eq!(fault(410), Some(DeliveryFault::Gone));
    }
}
