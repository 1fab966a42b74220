//! A delivery: what a webhook or a hook brought, whether or not it means a job.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::job::JobNumber;

/// The number of a delivery; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryNumber(pub u64);

impl std::fmt::Display for DeliveryNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What was brought, by whom it was authentic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The door: `storefront/gitea`, or `socket`.
    pub door: String,
    /// What tells it apart from others of this door: the sender's id, or the hash of the body with
    /// the last job that was for something else. The second with the same key is the first again.
    pub key: String,
    /// When.
    pub received: Timestamp,
    /// What the sender calls it: `push`, `repo:push`.
    pub event: String,
    /// How many bytes it had.
    pub size: u64,
    /// SHA-256 of the bytes, in hexadecimal digits.
    pub sha256: String,
    /// What it meant.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a delivery meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Jobs.
    Accepted,
    /// Nothing.
    Ignored {
        /// Why, for whoever asks why nothing happened.
        reason: String,
    },
}

/// A delivery that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDelivery {
    /// Its number.
    pub number: DeliveryNumber,
    /// What it was.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// The jobs that it asked for, or that did the same already.
    pub jobs: Vec<JobNumber>,
}
