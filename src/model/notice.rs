//! Notices: what is reported of a run to people and programs elsewhere, and how far each report has
//! come on its way to them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::outcome::Ending;
use crate::model::{EnvironmentName, NotifyName, ProjectName, ReleaseNumber};

/// What is reported.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NoticeEvent {
    /// A run has begun to carry out its plan.
    Started,
    /// Everything that was planned is done.
    Done,
    /// The same, and the release waits for `shipit promote`.
    Waiting,
    /// It failed before traffic moved; live traffic was not touched.
    Failed,
    /// A rule forbade to touch live traffic.
    Refused,
    /// It failed after traffic moved, and traffic was moved back.
    Reverted,
    /// It failed, and so did the rollback.
    RollbackFailed,
    /// What the plan saw has changed; it stopped.
    Stale,
    /// Another run took the lock; it stopped.
    LockLost,
    /// Somebody stopped it twice: it ended at once.
    Killed,
    /// Somebody stopped it.
    Interrupted,
    /// `shipit notify --test` wants to know whether this arrives.
    #[serde(skip_deserializing)]
    #[schemars(skip)]
    Test,
}

impl NoticeEvent {
    /// What is reported where nothing says so: how every run ended.
    pub const ENDS: [Self; 10] = [
        Self::Done,
        Self::Waiting,
        Self::Failed,
        Self::Refused,
        Self::Reverted,
        Self::RollbackFailed,
        Self::Stale,
        Self::LockLost,
        Self::Killed,
        Self::Interrupted,
    ];

    /// As it is written in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Reverted => "reverted",
            Self::RollbackFailed => "rollback_failed",
            Self::Stale => "stale",
            Self::LockLost => "lock_lost",
            Self::Killed => "killed",
            Self::Interrupted => "interrupted",
            Self::Test => "test",
        }
    }

    /// How good or bad it is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Started | Self::Waiting | Self::Test => Severity::Neutral,
            Self::Done => Severity::Good,
            Self::Refused | Self::Stale | Self::LockLost | Self::Killed | Self::Interrupted => {
                Severity::Warning
            }
            Self::Failed | Self::Reverted | Self::RollbackFailed => Severity::Bad,
        }
    }

    /// How a run ended; none where there was nothing to do.
    #[must_use]
    pub const fn of(ending: &Ending) -> Option<Self> {
        Some(match ending {
            Ending::NoChanges => return None,
            Ending::Done => Self::Done,
            Ending::Failed { .. } => Self::Failed,
            Ending::Refused { .. } => Self::Refused,
            Ending::Reverted { .. } => Self::Reverted,
            Ending::RollbackFailed { .. } => Self::RollbackFailed,
            Ending::Stale { .. } => Self::Stale,
            Ending::LockLost => Self::LockLost,
            Ending::Killed => Self::Killed,
            Ending::Interrupted { .. } => Self::Interrupted,
        })
    }
}

/// How good or bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It is as it was wanted.
    Good,
    /// Neither.
    Neutral,
    /// Somebody should look at it.
    Warning,
    /// Something has failed.
    Bad,
}

/// One thing that is reported. No value of a secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Notice {
    /// What tells it from every other. Ids sort by the time of their runs.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// What happened.
    pub event: NoticeEvent,
    /// The command that the run carries out: `apply`, `rollback`.
    pub command: String,
    /// What happened, in a line of words: `release 7 is live`.
    pub summary: String,
    /// The release that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// The full commit id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Who ran it: a user, the machine, and the job of a build server.
    pub actor: String,
    /// The run's id.
    pub run: String,
    /// The build server's page of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// Why it failed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong and stopped nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The longest reason and the longest note, in bytes.
const TEXT: usize = 1000;
/// The longest name of anything, in bytes.
const NAME: usize = 300;
/// The most notes.
const NOTES: usize = 10;

impl Notice {
    /// With no more of each text than is reported. Values of secrets must be out of it by then, for
    /// half of one is not found any more.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        self.notes.truncate(NOTES);
        for text in self.notes.iter_mut().chain(&mut self.reason) {
            shorten(text, TEXT);
        }
        let optional = [&mut self.commit, &mut self.branch, &mut self.page];
        let names = [&mut self.command, &mut self.summary, &mut self.actor];
        for name in names.into_iter().chain(optional.into_iter().flatten()) {
            shorten(name, NAME);
        }
        self
    }

    /// What happened and where, in a line.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} → {}: {}", self.project, self.environment, self.summary)
    }

    /// The rest of what is known, as names and values.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let commit = self.commit.as_deref().map(crate::model::source::short);
        let commit = match (commit, &self.branch) {
            (Some(commit), Some(branch)) => Some(format!("{commit} ({branch})")),
            (commit, branch) => commit.or_else(|| branch.clone()),
        };
        let all = [
            ("Reason", self.reason.clone()),
            ("Commit", commit),
            ("By", Some(self.actor.clone())),
            ("Job", self.page.clone()),
        ];
        let known = all.into_iter();
        let known = known.filter_map(|(name, value)| Some((name, value?)));
        let notes = self.notes.iter().map(|note| ("Note", note.clone()));
        known.chain(notes).collect()
    }

    /// What is reported in one thread: what is of one release, or of one run.
    #[must_use]
    pub fn is_of_thread(&self, other: &Self) -> bool {
        match (self.release, other.release) {
            (Some(one), Some(two)) => one == two,
            _ => self.run == other.run,
        }
    }
}

fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}

/// A notice, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OutboxEntry {
    /// What is reported.
    pub notice: Notice,
    /// To whom, by the name under `notify`.
    pub deliveries: BTreeMap<NotifyName, Delivery>,
}

impl OutboxEntry {
    /// A notice that was sent to nobody yet.
    #[must_use]
    pub fn new(notice: Notice, to: impl IntoIterator<Item = NotifyName>) -> Self {
        let deliveries = to.into_iter().map(|name| (name, Delivery::default()));
        Self {
            notice,
            deliveries: deliveries.collect(),
        }
    }

    /// Whether nothing is left to do for it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let mut all = self.deliveries.values();
        all.all(|it| it.status != DeliveryStatus::Waiting)
    }
}

/// How far a notice has come on its way to one that is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Delivery {
    /// What came of it.
    pub status: DeliveryStatus,
    /// How many attempts have failed.
    #[serde(default)]
    pub failed: u32,
    /// Why the last one failed, without values of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Timestamp>,
    /// Before when there is no sense in another attempt, as the receiver has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Where it stands now, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// What came of a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It is still to be delivered.
    #[default]
    Waiting,
    /// It was delivered.
    Sent,
    /// It was tried often enough, or is too old.
    GivenUp,
}

/// Where a message stands, so that later ones can be put below it: Slack's names of a channel and
/// of a message in it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    /// The channel.
    pub channel: String,
    /// The first message of the thread.
    pub message: String,
}
