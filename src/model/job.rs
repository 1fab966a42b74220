//! A job: one run that somebody or something asked for. It waits in the lane of its environment,
//! where one runs at a time.
//!
//! What may become of a job is decided in `jobs`; here are the words alone.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{EnvironmentName, ProjectName};

/// The number of a job; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobNumber(pub u64);

impl fmt::Display for JobNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobNumber {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.trim_start_matches('#').parse().map(Self)
    }
}

/// Where jobs wait for each other: an environment of a project, `storefront/staging`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane {
    /// The project.
    pub project: ProjectName,
    /// Its environment.
    pub environment: EnvironmentName,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.environment)
    }
}

/// What a job does.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Make a plan and carry it out.
    #[default]
    Apply,
    /// Make a plan and show it.
    Plan,
}

impl JobKind {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Plan => "plan",
        }
    }
}

/// Through which door a job was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "door", rename_all = "snake_case")]
pub enum Via {
    /// A webhook.
    Webhook {
        /// The receiver's name in `server.yaml`.
        receiver: String,
    },
    /// A hook of a Git repository of this machine.
    GitHook,
    /// Nobody: the server saw that a ref had moved.
    Poll,
    /// A command of this machine.
    Command,
    /// A client on another machine, by its certificate.
    Client,
    /// A client on another machine, by its token.
    Token,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { receiver } => write!(f, "webhook {receiver}"),
            Self::GitHook => f.write_str("git push"),
            Self::Poll => f.write_str("a look at the repository"),
            Self::Command => f.write_str("trigger"),
            Self::Client => f.write_str("its certificate"),
            Self::Token => f.write_str("its token"),
        }
    }
}

/// Who asked for a job. A webhook's payload says a name, which nobody vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The name; empty where none was said.
    pub name: String,
    /// The door.
    #[serde(flatten)]
    pub via: Via,
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            self.via.fmt(f)
        } else {
            write!(f, "{} by {}", self.name, self.via)
        }
    }
}

/// A job as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// Where it waits.
    pub lane: Lane,
    /// What it does.
    pub kind: JobKind,
    /// The full name of the ref: `refs/heads/staging`.
    pub reference: String,
    /// The commit, or the tag object, that was named; none: what the ref points at by then. It is
    /// fetched and looked at before anything is done with it.
    pub commit: Option<String>,
    /// Who asked.
    pub by: Requester,
    /// The job that this one does again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<JobNumber>,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its lane and a worker.
    Waiting {
        /// It is not begun before.
        not_before: Timestamp,
        /// Why it waits again after it was begun; none when it was not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A process of its own carries it out.
    Running {
        /// Since when.
        since: Timestamp,
        /// Who asked it to stop, if somebody did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancelled_by: Option<String>,
    },
    /// It is over.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        #[serde(flatten)]
        ending: JobEnding,
    },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum JobEnding {
    /// It did what it was to do, or there was nothing to do.
    Succeeded,
    /// It failed; live traffic was not touched.
    Failed {
        /// Why, in a line; the log has more.
        reason: String,
    },
    /// It failed, and traffic was moved back to the previous release.
    Reverted {
        /// Why.
        reason: String,
    },
    /// The environment's lock was held, each time that it was tried.
    Locked,
    /// What it was asked for is not so any more: the ref moved elsewhere, or the plan is stale.
    Stale {
        /// What differs.
        reason: String,
    },
    /// A rule, or what `server.yaml` allows the repository, forbids it.
    Refused {
        /// Which, and why.
        reason: String,
    },
    /// Somebody stopped it.
    Cancelled {
        /// Who.
        #[serde(rename = "cancelled_by")]
        by: String,
    },
    /// A newer job of its lane does what it would have done. It was never begun.
    Superseded {
        /// Which.
        #[serde(rename = "superseded_by")]
        by: JobNumber,
    },
    /// Its process went without saying how it ended, each time that it was tried.
    Lost {
        /// What is known.
        reason: String,
    },
}

impl JobEnding {
    /// In a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Reverted { .. } => "reverted",
            Self::Locked => "locked",
            Self::Stale { .. } => "stale",
            Self::Refused { .. } => "refused",
            Self::Cancelled { .. } => "cancelled",
            Self::Superseded { .. } => "superseded",
            Self::Lost { .. } => "lost",
        }
    }

    /// Why, or by whom; empty where there is nothing to say.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Succeeded => String::new(),
            Self::Failed { reason }
            | Self::Reverted { reason }
            | Self::Stale { reason }
            | Self::Refused { reason }
            | Self::Lost { reason } => reason.clone(),
            Self::Locked => "the lock was held each time".to_owned(),
            Self::Cancelled { by } => format!("by {by}"),
            Self::Superseded { by } => format!("by job {by}"),
        }
    }
}

/// One run that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub number: JobNumber,
    /// What was asked.
    #[serde(flatten)]
    pub request: JobRequest,
    /// When.
    pub created: Timestamp,
    /// How often it was begun.
    pub attempt: u32,
    /// The number that its lane gave for its last attempt: greater than that of any job of the lane
    /// that was begun before.
    pub fence: u64,
    /// The commit that its last attempt has checked out: what the ref pointed at by then, which may
    /// be another one than was named. None while it is open, and when it did not come so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_out: Option<String>,
    /// How it stands.
    #[serde(flatten)]
    pub state: JobState,
}

impl Job {
    /// Whether it still waits or runs.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, JobState::Ended { .. })
    }

    /// How it stands, in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match &self.state {
            JobState::Waiting { .. } => "waiting",
            JobState::Running { .. } => "running",
            JobState::Ended { ending, .. } => ending.word(),
        }
    }
}

/// What becomes of a job that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placing {
    /// An open one does the same.
    Same(JobNumber),
    /// It is a new one, and these waiting ones are superseded by it.
    New(Vec<JobNumber>),
}

/// How the process of a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// Its exit code: those of `apply`.
    pub exit: u8,
    /// Why, in a line; empty when it went well.
    pub reason: String,
    /// The commit that was checked out; none when it did not come so far.
    #[serde(default)]
    pub commit: Option<String>,
}
