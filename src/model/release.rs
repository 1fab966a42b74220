//! Releases: immutable records of what was put where.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::model::approval::SignedBy;
use crate::model::image::ImageName;
use crate::model::outcome::ProbeReport;
use crate::model::route::Route;
use crate::model::source::Source;
use crate::model::task::{Task, TaskMoment, TaskRecord};
use crate::model::workload::Workload;
use crate::model::{ContentHash, Digest, EnvironmentName, ServiceName, Slot, TaskName};

/// A release's number: counts up from 1 in its environment and is never used twice for different
/// content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u64);

impl<'de> serde::Deserialize<'de> for ReleaseNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        counted(deserializer).map(Self)
    }
}

/// The largest number that is counted to: the largest that every reader of JSON knows exactly
/// (RFC 8259, 6). Whatever counts on from a document has room.
const LARGEST: u64 = (1 << 53) - 1;

/// A number that counts up, out of a document that anybody may have written.
pub(crate) fn counted<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number: u64 = serde::Deserialize::deserialize(deserializer)?;
    if number > LARGEST {
        let reason = format!("{number} is more than {LARGEST}, and counts up no further");
        return Err(serde::de::Error::custom(reason));
    }
    Ok(number)
}

impl ReleaseNumber {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for ReleaseNumber {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Who did something, and in which run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Actor {
    /// The user's name as the machine knows it, after the one that somebody goes by: `kim`, `kim
    /// (as root)`.
    pub user: String,
    /// The machine's name.
    pub host: String,
    /// The run's id.
    pub run: String,
    /// The job of a build server that it is a part of, as that says itself; none outside of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who is known by a name only is another tool, seen in an object's own record.
        if self.host.is_empty() && self.run.is_empty() {
            return f.pad(&self.user);
        }
        let ci = self.ci.iter().map(|job| format!(", {job}"));
        let ci: String = ci.collect();
        write!(f, "{}@{} (run {}{ci})", self.user, self.host, self.run)
    }
}

/// What an engine keeps beside the workloads of a slot, so that another run, on another machine
/// even, knows what it finds there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Label {
    /// Which release.
    pub number: ReleaseNumber,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// The branch it was built from.
    pub branch: Option<String>,
    /// Whether files differed from the commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// Over all workloads of the release: two releases with the same hash run the same thing.
    pub config: ContentHash,
    /// From which build inputs each image was made, where a run of this project has made it. A run
    /// whose own history is lost, or kept in another checkout, finds an image again by it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<ServiceName, ContentHash>,
}

/// An immutable record; only [`Release::status`] and what belongs to it moves on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Release {
    /// Counts up in its environment.
    pub number: ReleaseNumber,
    /// What it was built from.
    pub source: Source,
    /// Over all workloads: two releases with the same hash run the same thing.
    pub config: ContentHash,
    /// What runs, per service: every image known.
    pub workloads: BTreeMap<ServiceName, Workload>,
    /// From which build inputs each image was made, where a run of this project has made it. This
    /// is what an image is found again by: whoever can push to the registry cannot write here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<ServiceName, ContentHash>,
    /// By which name each image was found that the project has not built.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<ServiceName, ImageName>,
    /// The environment and release that it was promoted from, by `promote A --to B`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<PromotedFrom>,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// Where it was placed.
    pub slot: Slot,
    /// How it stands.
    pub status: ReleaseStatus,
    /// When it last got live traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_since: Option<Timestamp>,
    /// The serial of the state when it last got live traffic: the order of the switches, whatever
    /// the clocks of those who made them said. None in a record of a version that kept none, and
    /// where it never had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_serial: Option<u64>,
    /// The listeners of its services that were closed while it had live traffic, or after it, as
    /// they were then: `rollback` opens them again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closed: BTreeMap<ServiceName, Route>,
    /// Why it got live traffic outside of the windows, in the words of whoever brought it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_window: Option<String>,
    /// Who signed the plans that placed it and gave it live traffic, in that order; nobody where
    /// none was wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<SignedBy>,
    /// What the prober measured at its last switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeReport>,
    /// The tasks of its configuration: those that wait are run as they were planned, whatever a
    /// checkout says by then. None where nobody knows them: the history was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<BTreeMap<TaskName, Task>>,
    /// The tasks that were run for it, in the order in which they ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskRecord>,
}

impl Release {
    /// Whether it has tasks that wait until no earlier release is kept, and are not settled yet;
    /// none where nobody knows its tasks.
    #[must_use]
    pub fn waits_with_tasks(&self) -> Option<bool> {
        let mut tasks = self.declared.as_ref()?.iter();
        Some(tasks.any(|(name, task)| {
            task.when == TaskMoment::AfterKeepPrevious && !self.has_settled(name)
        }))
    }

    /// Whether nothing is left to do of a task.
    #[must_use]
    pub fn has_settled(&self, task: &TaskName) -> bool {
        let mut of_it = self.records(task);
        of_it.any(TaskRecord::is_settled)
    }

    /// What is kept of a task of this release, and not of one that is not in the history any more.
    fn records(&self, task: &TaskName) -> impl Iterator<Item = &TaskRecord> {
        let of_it = self.tasks.iter();
        of_it.filter(move |record| record.name == *task && record.release == self.number)
    }

    /// How many attempts at a task have ended.
    #[must_use]
    pub fn attempts(&self, task: &TaskName) -> u32 {
        let of_it = self.records(task);
        u32::try_from(of_it.count()).unwrap_or(u32::MAX)
    }

    /// The image of a service, when it was made from these inputs.
    #[must_use]
    pub fn made_from(&self, service: &ServiceName, inputs: &ContentHash) -> Option<&Digest> {
        let is_it = self.inputs.get(service) == Some(inputs);
        self.workloads.get(service).filter(|_| is_it)?.image.value()
    }
}

/// Where a carried-on release came from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PromotedFrom {
    /// The environment.
    pub environment: EnvironmentName,
    /// The release there.
    pub release: ReleaseNumber,
}

/// How a release stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Ready in the preview slot; `shipit promote` brings it to live traffic.
    Waiting,
    /// It has live traffic.
    Live,
    /// It had live traffic; another release has it now.
    Superseded,
    /// It never got live traffic.
    Failed {
        /// Why, in one line.
        reason: String,
    },
    /// It had live traffic and traffic was moved back.
    Reverted {
        /// Why, in one line.
        reason: String,
    },
    /// Somebody gave it up before it got live traffic.
    Aborted,
}

impl ReleaseStatus {
    /// The word for a table.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Superseded => "superseded",
            Self::Failed { .. } => "failed",
            Self::Reverted { .. } => "reverted",
            Self::Aborted => "aborted",
        }
    }
}
