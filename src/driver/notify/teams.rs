//! Microsoft Teams: a card that is posted by the address of a workflow, or of an incoming webhook.

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::driver::notify::http::{Post, address};
use crate::model::notice::{Receipt, Severity};
use crate::model::secret::SecretValue;
use crate::port::Notifier;
use crate::port::notifier::{DeliveryError, Message};

/// The longest text, in characters: a card has 28 KiB at the most.
const TEXT: usize = 4000;

/// A channel of Teams'.
pub struct Teams {
    /// Its address, which is a secret.
    pub webhook: SecretValue,
}

#[async_trait]
impl Notifier for Teams {
    /// Cards read Markdown. A backslash before a mark makes it a character, also of those that
    /// would begin a function of the card's (`{{DATE(…)}}`).
    fn escape(&self, text: &str) -> String {
        escape(text)
    }

    async fn send(&self, message: &Message) -> Result<Option<Receipt>, DeliveryError> {
        let json = HeaderValue::from_static("application/json");
        let post = Post {
            to: address(self.webhook.expose())?,
            token: None,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: content(message).to_string(),
        };
        let answer = post.send().await?;
        answer.fault().map_or(Ok(None), Err)
    }
}

fn content(message: &Message) -> Value {
    let notice = &message.notice;
    let color = match notice.event.severity() {
        Severity::Good => "Good",
        Severity::Neutral => "Default",
        Severity::Warning => "Warning",
        Severity::Bad => "Attention",
    };
    let title = message.title.clone();
    let title = title.unwrap_or_else(|| escape(&notice.title()));
    let head = json!({
        "type": "TextBlock", "text": short(&title), "weight": "Bolder", "size": "Medium",
        "color": color, "wrap": true,
    });
    let rest = if let Some(text) = &message.text {
        json!({"type": "TextBlock", "text": short(text), "wrap": true})
    } else {
        let fact =
            |(name, value): (&str, String)| json!({"title": name, "value": short(&escape(&value))});
        let facts: Vec<Value> = notice.facts().into_iter().map(fact).collect();
        json!({"type": "FactSet", "facts": facts})
    };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [head, rest],
            },
        }],
    })
}

fn short(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

fn escape(text: &str) -> String {
    const MARKS: &str = "\\`*_{}[]()<>#+-!|~&";
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // A line of its own could begin a list, a heading or a quotation.
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if MARKS.contains(c) => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_somebody_elses_is_no_markdown_and_no_function() {
        let hostile = "[click](https://evil.example) **now**\n# big {{DATE(2026-01-01T00:00:00Z)}}";
        assert_eq!(
            escape(hostile),
            "\\[click\\]\\(https://evil.example\\) \\*\\*now\\*\\* \\# big \
             \\{\\{DATE\\(2026\\-01\\-01T00:00:00Z\\)\\}\\}"
        );
    }
}
