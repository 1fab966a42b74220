//! From the bytes of a webhook to what they mean: triggers, nothing (and why), or a refusal.
//!
//! Pure: no I/O, no clock. The kind of a sender is configured, and decides how it proves itself;
//! the proof is over the bytes as they came, and is looked at before anything of them is read.
//! Uses `model`. Start with [`receive`].

mod bitbucket;
mod distribution;
mod generic;
mod gitea;
mod github;
mod gitlab;
mod harbor;
mod signature;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::model::ContentHash;
use crate::model::secret::SecretValue;
use crate::model::trigger::{SenderKind, Trigger, is_object_id, is_reference, is_zero};

/// The longest id of a delivery that is taken from a header.
const LONGEST_KEY: usize = 200;

/// The longest name of a person that is taken from a payload.
const LONGEST_NAME: usize = 100;

/// A door as it is configured.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// Who sends.
    pub kind: SenderKind,
    /// What it proves itself with: any of them, while one takes the place of another.
    pub secrets: &'a [SecretValue],
}

/// What has come.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, byte for byte.
    pub body: &'a [u8],
    /// When.
    pub now: Timestamp,
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is authentic.
    Authentic(Message),
    /// A test that its sender never signs, and that means nothing: it is answered, and not
    /// recorded.
    Ping,
    /// It is not authentic. Nothing of it was read.
    Refused {
        /// Why, for the log of the server; the sender is not told.
        reason: String,
    },
}

/// What an authentic sender says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What tells it apart.
    pub key: DeliveryKey,
    /// What the sender calls it.
    pub event: String,
    /// What has happened; empty when nothing that anybody deploys.
    pub triggers: Vec<Trigger>,
    /// Why it, or a part of it, means nothing.
    pub ignored: Vec<String>,
}

/// What tells a delivery apart from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryKey {
    /// The sender's id, which it has again when it is sent again.
    Id(String),
    /// The hash of its body: its sender gives no id. Another event may have the same body.
    Body(String),
}

/// What the payload of one sender means.
struct Meaning {
    event: String,
    triggers: Vec<Trigger>,
    ignored: Vec<String>,
}

/// Reads what has come through a door.
#[must_use]
pub fn receive(door: &Door<'_>, incoming: &Incoming<'_>) -> Received {
    if door.kind == SenderKind::BitbucketDc && bitbucket::is_unsigned_ping(incoming) {
        return Received::Ping;
    }
    if let Err(reason) = signature::verify(door, incoming) {
        return Received::Refused { reason };
    }

    let meaning = match door.kind {
        SenderKind::Github => github::read(incoming),
        SenderKind::Gitlab | SenderKind::GitlabToken => gitlab::read(incoming),
        SenderKind::Gitea => gitea::read(incoming, "x-gitea-event"),
        SenderKind::Forgejo => gitea::read(incoming, "x-forgejo-event"),
        SenderKind::BitbucketCloud => bitbucket::read_cloud(incoming),
        SenderKind::BitbucketDc => bitbucket::read_dc(incoming),
        SenderKind::Harbor => harbor::read(incoming),
        SenderKind::Distribution => distribution::read(incoming),
        SenderKind::Generic => generic::read(incoming),
    };
    Received::Authentic(Message {
        key: key(door.kind, incoming),
        event: meaning.event,
        triggers: meaning.triggers,
        ignored: meaning.ignored,
    })
}

/// What tells a delivery apart from others.
fn key(kind: SenderKind, incoming: &Incoming<'_>) -> DeliveryKey {
    let names: &[&str] = match kind {
        SenderKind::Github => &["x-github-delivery"],
        SenderKind::Gitlab | SenderKind::Generic => &["webhook-id"],
        // Since 17.4. `X-Gitlab-Event-UUID` is the same for all events that one has caused, and
        // `X-Gitlab-Webhook-UUID` another one when it is sent again.
        SenderKind::GitlabToken => &["idempotency-key"],
        SenderKind::Gitea => &["x-gitea-delivery"],
        SenderKind::Forgejo => &["x-forgejo-delivery", "x-gitea-delivery"],
        SenderKind::BitbucketCloud => &["x-request-uuid"],
        SenderKind::BitbucketDc => &["x-request-id"],
        SenderKind::Harbor | SenderKind::Distribution => &[],
    };
    let given = names.iter().find_map(|name| header(incoming, name));
    let is_plain = |key: &&str| {
        !key.is_empty() && key.len() <= LONGEST_KEY && key.bytes().all(|c| c.is_ascii_graphic())
    };
    match given.filter(is_plain) {
        Some(key) => DeliveryKey::Id(key.to_owned()),
        None => DeliveryKey::Body(ContentHash::of(incoming.body).to_string()),
    }
}

/// A header that is there once. One that is there twice says nothing.
fn header<'a>(incoming: &Incoming<'a>, name: &str) -> Option<&'a str> {
    let mut values = incoming.headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    value.to_str().ok()
}

/// The event that a header names.
fn event(incoming: &Incoming<'_>, name: &str) -> String {
    label(header(incoming, name).unwrap_or_default())
}

/// A text of somebody else's that is shown to people: what can stand in a line.
fn label(text: &str) -> String {
    let may_stand = |c: &char| c.is_alphanumeric() || "-_./@+: ".contains(*c);
    let text: String = text.chars().filter(may_stand).take(LONGEST_NAME).collect();
    text.trim().to_owned()
}

/// A payload as its type. Templates can make any JSON of it, and a form is none.
fn parsed<T: DeserializeOwned>(incoming: &Incoming<'_>) -> Result<T, String> {
    serde_json::from_slice(incoming.body).map_err(|error| {
        let words = "the payload is not understood";
        let form = header(incoming, "content-type").unwrap_or_default();
        if form.starts_with("application/x-www-form-urlencoded") {
            format!("{words}: it is a form; set the hook's content type to application/json")
        } else {
            // What serde quotes of a payload is not repeated.
            let place = (error.line(), error.column());
            format!(
                "{words}: it is not as this kind of sender sends it (line {}, column {})",
                place.0, place.1
            )
        }
    })
}

impl Meaning {
    /// Something that nobody deploys.
    fn nothing(event: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            event: event.into(),
            triggers: Vec::new(),
            ignored: vec![reason.into()],
        }
    }

    /// What each part of a payload means.
    fn of(
        event: impl Into<String>,
        parts: impl IntoIterator<Item = Result<Trigger, String>>,
    ) -> Self {
        let mut meaning = Self {
            event: event.into(),
            triggers: Vec::new(),
            ignored: Vec::new(),
        };
        for part in parts {
            match part {
                Ok(trigger) => meaning.triggers.push(trigger),
                Err(reason) => meaning.ignored.push(reason),
            }
        }
        if meaning.triggers.is_empty() && meaning.ignored.is_empty() {
            meaning
                .ignored
                .push("nothing in it changes a branch, a tag or an image".to_owned());
        }
        meaning
    }
}

/// That a ref points at something else now.
fn moved(name: &str, commit: &str, by: &str) -> Result<Trigger, String> {
    if !is_reference(name) {
        return Err(format!(
            "`{}` is not a branch or a tag that can be deployed",
            label(name)
        ));
    }
    if is_zero(commit) {
        return Err(format!("{name} was deleted"));
    }
    if !is_object_id(commit) {
        return Err(format!(
            "{name}: what it points at is not the id of a commit"
        ));
    }
    Ok(Trigger::Ref {
        name: name.to_owned(),
        commit: commit.to_ascii_lowercase(),
        by: label(by),
    })
}

/// That an image was pushed.
fn pushed(repository: &str, tag: Option<&str>, by: &str) -> Result<Trigger, String> {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if repository.is_empty() || repository.len() > 255 || !repository.chars().all(may_stand) {
        return Err("the name of the image's repository is not understood".to_owned());
    }
    let is_tag = |tag: &&str| {
        let may_stand = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !tag.is_empty() && tag.len() <= 128 && tag.chars().all(may_stand)
    };
    Ok(Trigger::Image {
        repository: repository.to_owned(),
        tag: tag.filter(is_tag).map(str::to_owned),
        by: label(by),
    })
}
