//! Those who are told of runs: a chat, a mail server, another program.

use std::time::Duration;

use async_trait::async_trait;

use crate::model::notice::{Notice, Receipt};

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What happened.
    pub notice: Notice,
    /// The title, where the configuration has a text of its own for it.
    pub title: Option<String>,
    /// The text, where the configuration has one of its own.
    pub text: Option<String>,
    /// The thread that it goes on; none when it begins one.
    pub thread: Option<Receipt>,
}

/// Why a message was not delivered. Never says anything of a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DeliveryError {
    /// Why.
    pub reason: String,
    /// What to do.
    pub help: String,
    /// Whether it may get better by itself.
    pub kind: DeliveryFault,
}

/// What an error means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryFault {
    /// Somebody has to change something first.
    Refused,
    /// The receiver wants nothing of this any more.
    Gone,
    /// It may work later: after this time, where the receiver has said one.
    Unavailable(Option<Duration>),
}

/// One that is told.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Makes a text of somebody else's harmless where it is put: no mark-up, no mention, no second
    /// header.
    fn escape(&self, text: &str) -> String;

    /// Delivers a message. Whoever calls sets the limit of time, and may drop this at any moment.
    /// Gives where it stands, where that can be told.
    async fn send(&self, message: &Message) -> Result<Option<Receipt>, DeliveryError>;
}
