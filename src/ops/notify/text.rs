//! In which words something is told.

use serde_json::{Map, Value};

use crate::config::schema::NotifyConfig;
use crate::desired;
use crate::model::notice::{Notice, Receipt};
use crate::port::Notifier;
use crate::port::notifier::{DeliveryError, DeliveryFault, Message};

/// What a template sees; each is there, and none where there is nothing.
const SEEN: [&str; 13] = [
    "project",
    "environment",
    "event",
    "command",
    "summary",
    "release",
    "commit",
    "branch",
    "actor",
    "run",
    "page",
    "reason",
    "notes",
];

/// The message for one who is told, with the texts that its configuration has.
pub(super) async fn message(
    config: &NotifyConfig,
    notice: &Notice,
    notifier: &dyn Notifier,
    thread: Option<Receipt>,
) -> Result<Message, DeliveryError> {
    let known = known(notice, notifier);
    Ok(Message {
        title: rendered("title", config.title.as_ref(), &known).await?,
        text: rendered("text", config.text.as_ref(), &known).await?,
        notice: notice.clone(),
        thread,
    })
}

/// The message in shipit's own words, and what is wrong with those of the configuration.
pub(super) fn plain(notice: &Notice, fault: &DeliveryError, thread: Option<Receipt>) -> Message {
    let mut notice = notice.clone();
    notice.notes.push(fault.reason.clone());
    Message {
        notice,
        title: None,
        text: None,
        thread,
    }
}

/// What templates see, every text of it made harmless for where it goes.
fn known(notice: &Notice, notifier: &dyn Notifier) -> Value {
    let document = serde_json::to_value(notice).unwrap_or_default();
    let seen = SEEN.map(|name| (name.to_owned(), escaped(&document[name], notifier)));
    Value::Object(Map::from_iter(seen))
}

fn escaped(value: &Value, notifier: &dyn Notifier) -> Value {
    match value {
        Value::String(text) => Value::String(notifier.escape(text)),
        Value::Array(all) => all.iter().map(|one| escaped(one, notifier)).collect(),
        other => other.clone(),
    }
}

async fn rendered(
    key: &'static str,
    template: Option<&String>,
    known: &Value,
) -> Result<Option<String>, DeliveryError> {
    let Some(template) = template.cloned() else {
        return Ok(None);
    };
    let known = known.clone();
    // Another process does it, which is waited for.
    let rendering =
        tokio::task::spawn_blocking(move || desired::render_text(key, &template, known));
    let wrong = |reason: String, help: String| DeliveryError {
        reason,
        help,
        kind: DeliveryFault::Refused,
    };
    match rendering.await {
        Ok(Ok(text)) => Ok(Some(text)),
        Ok(Err(error)) => Err(wrong(error.what, format!("it sees {}", SEEN.join(", ")))),
        Err(panic) => Err(wrong(panic.to_string(), String::new())),
    }
}
