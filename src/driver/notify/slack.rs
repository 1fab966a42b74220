//! Slack: as a bot, which has a message for each release that it keeps up to date, with a thread
//! below it; or by an incoming webhook, which can only post.

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::driver::notify::http::{Answer, Post, address};
use crate::model::notice::{Receipt, Severity};
use crate::model::secret::SecretValue;
use crate::port::Notifier;
use crate::port::notifier::{DeliveryError, DeliveryFault, Message};

/// The longest text of a block, in characters: Slack takes 3000 of mark-up.
const TEXT: usize = 2900;
/// The longest title, in characters.
const TITLE: usize = 300;

/// A channel of Slack's.
pub struct Slack {
    /// How it is spoken to.
    pub access: SlackAccess,
}

/// How Slack is spoken to.
pub enum SlackAccess {
    /// As a bot.
    Bot {
        /// Where its API is: `https://slack.com/api`.
        api: String,
        /// The bot's token.
        token: SecretValue,
        /// The channel, by its id.
        channel: String,
    },
    /// By an incoming webhook, whose address is a secret.
    Webhook(SecretValue),
}

#[async_trait]
impl Notifier for Slack {
    /// `&`, `<` and `>` are all that Slack reads as more than text: mentions, links and channels
    /// stand in angle brackets.
    fn escape(&self, text: &str) -> String {
        escape(text)
    }

    async fn send(&self, message: &Message) -> Result<Option<Receipt>, DeliveryError> {
        let content = content(message);
        match &self.access {
            SlackAccess::Webhook(url) => {
                let post = Post {
                    to: address(url.expose())?,
                    token: None,
                    headers: headers(),
                    body: content.to_string(),
                };
                let answer = post.send().await?;
                answer.fault().map_or(Ok(None), Err)
            }
            SlackAccess::Bot {
                api,
                token,
                channel,
            } => {
                let bot = Bot {
                    api,
                    token,
                    channel,
                };
                bot.send(message, &content).await.map(Some)
            }
        }
    }
}

struct Bot<'a> {
    api: &'a str,
    token: &'a SecretValue,
    channel: &'a str,
}

impl Bot<'_> {
    /// The first message of a release begins its thread. Every later one brings that message up to
    /// date, which makes no noise, and is put below it.
    async fn send(&self, message: &Message, content: &Value) -> Result<Receipt, DeliveryError> {
        if let Some(thread) = &message.thread {
            let mut update = content.clone();
            update["channel"] = json!(thread.channel);
            update["ts"] = json!(thread.message);
            match self.call("chat.update", &update).await {
                Ok(_) => {
                    self.reply(message, thread, content).await?;
                    return Ok(thread.clone());
                }
                // Somebody has deleted it, or it is too old to be changed: another one begins.
                Err(Refusal::Said(word)) if is_lost(&word) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }

        let mut first = content.clone();
        first["channel"] = json!(self.channel);
        let answer = self.call("chat.postMessage", &first).await?;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Ok(Receipt {
            channel: text("channel"),
            message: text("ts"),
        })
    }

    /// What has failed is shown in the channel, too.
    async fn reply(
        &self,
        message: &Message,
        thread: &Receipt,
        content: &Value,
    ) -> Result<(), DeliveryError> {
        let mut reply = content.clone();
        reply["channel"] = json!(thread.channel);
        reply["thread_ts"] = json!(thread.message);
        reply["reply_broadcast"] = json!(message.notice.event.severity() == Severity::Bad);
        self.call("chat.postMessage", &reply).await?;
        Ok(())
    }

    async fn call(&self, method: &str, body: &Value) -> Result<Value, Refusal> {
        let base = self.api.trim_end_matches('/');
        let post = Post {
            to: address(&format!("{base}/{method}"))?,
            token: Some(self.token),
            headers: headers(),
            body: body.to_string(),
        };
        let answer = post.send().await?;
        if let Some(fault) = answer.fault() {
            return Err(fault.into());
        }
        accepted(&answer)
    }
}

/// An answer with the status 200 may be a refusal all the same.
fn accepted(answer: &Answer) -> Result<Value, Refusal> {
    let document = answer.json().unwrap_or_default();
    if document["ok"] == true {
        return Ok(document);
    }
    match document["error"].as_str() {
        Some(word) => Err(Refusal::Said(word.chars().take(80).collect())),
        None => Err(Refusal::Other(DeliveryError {
            reason: "what answers is not Slack".to_owned(),
            help: "look at `api`, and at the proxy that is set".to_owned(),
            kind: DeliveryFault::Unavailable(None),
        })),
    }
}

/// Why Slack did not do it.
enum Refusal {
    /// A word of its own.
    Said(String),
    /// Something that happens with any server.
    Other(DeliveryError),
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Self {
        Self::Other(error)
    }
}

impl From<Refusal> for DeliveryError {
    fn from(refusal: Refusal) -> Self {
        let word = match refusal {
            Refusal::Other(error) => return error,
            Refusal::Said(word) => word,
        };
        let (kind, help) = match word.as_str() {
            "ratelimited"
            | "rate_limited"
            | "internal_error"
            | "fatal_error"
            | "service_unavailable"
            | "request_timeout" => (
                DeliveryFault::Unavailable(None),
                "it is tried again by the next command",
            ),
            "not_in_channel" => (
                DeliveryFault::Refused,
                "invite the bot: `/invite @NAME` in the channel",
            ),
            "channel_not_found" => (
                DeliveryFault::Refused,
                "give the channel's id, and invite the bot to a private one",
            ),
            "missing_scope" | "not_allowed_token_type" => (
                DeliveryFault::Refused,
                "the token must be a bot's with the scope `chat:write`",
            ),
            _ => (DeliveryFault::Refused, "look at the token and the channel"),
        };
        Self {
            reason: format!("Slack answers {word}"),
            help: help.to_owned(),
            kind,
        }
    }
}

/// Whether a message is not there any more, or cannot be changed.
fn is_lost(word: &str) -> bool {
    matches!(
        word,
        "message_not_found" | "cant_update_message" | "edit_window_closed" | "thread_not_found"
    )
}

fn headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    HeaderMap::from_iter([(CONTENT_TYPE, json)])
}

/// The message's blocks, and the text that stands in a notification on a telephone.
fn content(message: &Message) -> Value {
    let notice = &message.notice;
    let title = message.title.clone();
    let title = title.unwrap_or_else(|| format!("*{}*", escape(&notice.title())));
    let title: String = title.chars().take(TITLE).collect();
    let text = message.text.clone().unwrap_or_else(|| {
        let facts = notice.facts().into_iter();
        let lines = facts.map(|(name, value)| format!("{name}: {}", escape(&value)));
        lines.collect::<Vec<String>>().join("\n")
    });
    let text: String = text.chars().take(TEXT).collect();

    let mark = match notice.event.severity() {
        Severity::Good => ":white_check_mark:",
        Severity::Neutral => ":information_source:",
        Severity::Warning => ":warning:",
        Severity::Bad => ":x:",
    };
    let section = |text: String| {
        json!({
            "type": "section",
            "text": {"type": "mrkdwn", "text": text, "verbatim": true},
        })
    };
    let mut blocks = vec![section(format!("{mark} {title}"))];
    if !text.is_empty() {
        blocks.push(section(text));
    }
    json!({
        "text": title,
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::notify::tests::hostile;

    #[test]
    fn a_text_of_somebody_elses_mentions_nobody_and_is_no_link() {
        let content = content(&hostile("<!channel> <https://evil.example|log in> & more"));
        let blocks = content["blocks"].to_string();
        for text in [&content["text"].to_string(), &blocks] {
            assert!(!text.contains('<') && !text.contains('>'), "{text}");
        }
        assert!(blocks.contains("&lt;!channel&gt;") && blocks.contains("&amp; more"));
        assert_eq!(content["unfurl_links"], false);
    }

    #[test]
    fn a_long_text_is_cut_to_what_slack_takes() {
        let content = content(&hostile(&"é".repeat(10_000)));
        let text = content["blocks"][1]["text"]["text"]
            .as_str()
            .expect("a text");
        assert_eq!(text.chars().count(), TEXT);
    }

    #[test]
    fn what_slack_says_is_told_from_what_is_not_slack() {
        let answer = |body: &str| Answer {
            status: reqwest::StatusCode::OK,
            wait: None,
            body: body.as_bytes().to_vec(),
        };
        accepted(&answer(r#"{"ok": true}"#))
            .map_err(DeliveryError::from)
            .expect("it did it");
        let fault = |body: &str| DeliveryError::from(accepted(&answer(body)).expect_err(body));
        let busy = fault(r#"{"ok": false, "error": "ratelimited"}"#);
        assert_eq!(busy.kind, DeliveryFault::Unavailable(None));
        let refused = fault(r#"{"ok": false, "error": "not_in_channel"}"#);
        assert_eq!(refused.kind, DeliveryFault::Refused);
        assert!(refused.help.contains("/invite"), "{refused:?}");
        assert_eq!(fault("<html>").reason, "what answers is not Slack");
    }
}
