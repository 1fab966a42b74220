//! A client: who asks the server from another machine, and what it may.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Look at jobs and their logs.
    View,
    /// Have an environment deployed, or a job done again.
    Deploy,
    /// Have a job stopped.
    Cancel,
}

impl Verb {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Deploy => "deploy",
            Self::Cancel => "cancel",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a text is no verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `view`, `deploy` and `cancel`")]
pub struct VerbError(String);

impl FromStr for Verb {
    type Err = VerbError;

    fn from_str(text: &str) -> Result<Self, VerbError> {
        let all = [Self::View, Self::Deploy, Self::Cancel];
        let found = all.into_iter().find(|verb| verb.word() == text);
        found.ok_or_else(|| VerbError(text.to_owned()))
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A certificate of the server's own authority.
    Certificate,
    /// A token.
    Token,
}

/// A client. Nothing that it proves itself with can be made from this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// How it proves who it is.
    pub proof: Proof,
    /// SHA-256 of its certificate, or of its token, in hexadecimal digits.
    pub fingerprint: String,
    /// What it may do.
    pub may: Vec<Verb>,
    /// Where: globs of `PROJECT/ENVIRONMENT`.
    pub within: Vec<String>,
    /// Since when.
    pub issued: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// When it was revoked; none when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}
