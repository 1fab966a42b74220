//! How a run ended, and what was measured.

use crate::model::port::PortName;
use crate::model::{LiveTraffic, ReleaseNumber, ServiceName, Slot};

/// What the prober saw from before the switch until after the last check.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProbeReport {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Requests that say nothing of the service: the connection through which this machine reaches
    /// the other one was lost while they were under way. They are among neither of the others.
    #[serde(default, skip_serializing_if = "is_none")]
    pub uncounted: u64,
    /// Requests that were answered when they were sent once more: the connection that was kept from
    /// an earlier one had been closed meanwhile, as a server may do at any moment.
    #[serde(default, skip_serializing_if = "is_none")]
    pub sent_again: u64,
    /// Requests without an answer in time, or with a status of 500 and above.
    pub failures: u64,
    /// Of the failures, those that were answers.
    #[serde(default, skip_serializing_if = "is_none")]
    pub bad_answers: u64,
    /// The slowest answer, in microseconds.
    pub slowest_micros: u64,
    /// The first failures, in words; ten at the most.
    pub examples: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's own form
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl ProbeReport {
    /// The same without the failures that may have been on the way: an answer has come all of it.
    #[must_use]
    pub fn without_those_on_the_way(self) -> Self {
        let lost = self.failures.saturating_sub(self.bad_answers);
        Self {
            requests: self.requests.saturating_sub(lost),
            uncounted: self.uncounted + lost,
            failures: self.failures - lost,
            ..self
        }
    }

    /// Two measurements as one.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.failures += other.failures;
        self.uncounted += other.uncounted;
        self.sent_again += other.sent_again;
        self.bad_answers += other.bad_answers;
        self.slowest_micros = self.slowest_micros.max(other.slowest_micros);
        self.examples.extend(other.examples);
        self.examples.truncate(10);
        self
    }
}

/// How a run ended. Each has its own exit code.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Ending {
    /// Everything that was planned is done.
    Done,
    /// There was nothing to do.
    NoChanges,
    /// It failed before traffic moved; live traffic was not touched.
    Failed {
        /// Why, in one line.
        reason: String,
    },
    /// A rule forbade to touch live traffic, such as a window that had closed meanwhile; it was not
    /// touched.
    Refused {
        /// Why, in one line.
        reason: String,
    },
    /// It failed after traffic moved, and traffic was moved back.
    Reverted {
        /// Why, in one line.
        reason: String,
    },
    /// It failed, and so did the rollback.
    RollbackFailed {
        /// Why it failed.
        reason: String,
        /// Why the rollback failed.
        back: String,
    },
    /// What the plan saw has changed; it stopped before changing that.
    Stale {
        /// What changed, and who changed it.
        reason: String,
    },
    /// Another run took the lock; it stopped before its next effect.
    LockLost,
    /// Somebody stopped it twice: it ended at once, and the next run goes on.
    Killed,
    /// Somebody stopped it; what stands is said.
    Interrupted {
        /// Whether traffic had moved and was moved back.
        reverted: bool,
    },
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The release that was made or promoted; the live one where nothing changed or another was
    /// given up.
    pub release: Option<ReleaseNumber>,
    /// The release that was given up by `shipit abort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<ReleaseNumber>,
    /// The slot that has live traffic now.
    #[serde(rename = "active")]
    pub traffic: LiveTraffic,
    /// The slot whose release waits for `shipit promote`.
    pub waiting: Option<Slot>,
    /// That release; it may be an earlier one than this run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_release: Option<ReleaseNumber>,
    /// Where services can be reached now.
    pub urls: Vec<Url>,
    /// What the prober measured, when there was a switch.
    pub probe: Option<ProbeReport>,
    /// What went wrong and stopped nothing: the tasks whose failure is only noted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where one service can be reached.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Url {
    /// The service.
    pub service: ServiceName,
    /// Which of its ports; the one with the traffic without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// The slot that answers there.
    pub slot: Slot,
    /// The URL.
    pub url: String,
    /// The certificates that are shown there, in PEM, each with those that lead to its authority:
    /// whoever asks by an address that none of them names knows the answer by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<String>,
}

impl Url {
    /// The same for people and documents: what the listener shows stands elsewhere.
    #[must_use]
    pub fn without_trust(self) -> Self {
        Self {
            trust: Vec::new(),
            ..self
        }
    }

    /// What answers there: `web`, or `metrics of web`.
    #[must_use]
    pub fn what(&self) -> String {
        match &self.port {
            Some(port) => format!("{port} of {}", self.service),
            None => self.service.to_string(),
        }
    }
}
