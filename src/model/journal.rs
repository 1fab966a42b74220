//! The journal: what a run meant to do and what came of it, in the order it happened.

use jiff::Timestamp;

use crate::model::approval::Approval;
use crate::model::outcome::Ending;
use crate::model::plan::{Action, Plan, StepId};
use crate::model::release::Actor;
use crate::model::task::TaskRecord;
use crate::model::{Address, ContentHash, Digest, HookName, ReleaseNumber, ServiceName};

/// One line of a journal. The intent is written and synced before the effect, the result after it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JournalEntry {
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What a journal line says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A run began.
    Began {
        /// Who.
        actor: Actor,
        /// What it will do.
        plan: Box<Plan>,
        /// The plan's hash.
        hash: ContentHash,
        /// Who said that it may be carried out; none in a journal of a version that did not write
        /// it down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<Approval>,
        /// Why it may touch live traffic outside of its windows; none where nobody said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outside_window: Option<String>,
        /// The fencing number of its lock, which counts up from run to run whatever a clock says;
        /// none in a journal of a version that did not write it down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fence: Option<u64>,
    },
    /// A step is about to act.
    Intent {
        /// Which; of the reverse plan when `back` is set.
        step: StepId,
        /// Whether it is a step of the reverse plan.
        back: Direction,
    },
    /// A task has ended, whatever that means for its step.
    Task {
        /// The step that ran it.
        step: StepId,
        /// How.
        record: Box<TaskRecord>,
        /// The last of its output, without values of secrets.
        output: Vec<String>,
    },
    /// A hook was called, by this run or by one that it goes on with.
    Hook {
        /// Which.
        name: HookName,
        /// Why it has failed, in one line; none when it has not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A step is done.
    Done {
        /// Which.
        step: StepId,
        /// Whether it is a step of the reverse plan.
        back: Direction,
        /// The image that a build made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
    },
    /// A step failed.
    Failed {
        /// Which.
        step: StepId,
        /// Whether it is a step of the reverse plan.
        back: Direction,
        /// Why, in one line.
        reason: String,
    },
    /// The run ended by itself.
    Ended {
        /// How.
        ending: Ending,
        /// The release that it made or promoted.
        release: Option<ReleaseNumber>,
    },
}

/// Which of a plan's two lists a step is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The plan's steps.
    Forward,
    /// Its reverse.
    Back,
}

/// A run's journal as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The run's id.
    pub run: String,
    /// Its entries, in order.
    pub entries: Vec<JournalEntry>,
}

/// The fence in a journal's first line, without reading what else is in it.
#[must_use]
pub fn fence_of(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Opening {
        fence: Option<u64>,
    }
    serde_json::from_slice::<Opening>(line).ok()?.fence
}

impl Journal {
    /// What journals are put in order by. Their names say when they began, by a clock that may have
    /// been set back since: the fence of their locks comes first. Those without one are older.
    #[must_use]
    pub fn order(&self) -> (Option<u64>, &str) {
        let fence = self.entries.first().and_then(|entry| match entry.what {
            What::Began { fence, .. } => fence,
            _ => None,
        });
        (fence, &self.run)
    }

    /// The plan that it carries out.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.entries.iter().find_map(|entry| match &entry.what {
            What::Began { plan, .. } => Some(plan.as_ref()),
            _ => None,
        })
    }

    /// Whether the run ended by itself, and was not killed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.what, What::Ended { .. }))
    }

    /// Whether the run was killed or interrupted: the next one goes on where it was.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        let entries = self.entries.iter().rev();
        let mut ends = entries.filter_map(|entry| match &entry.what {
            What::Ended { ending, .. } => Some(ending),
            _ => None,
        });
        ends.next()
            .is_none_or(|end| matches!(end, Ending::Interrupted { .. } | Ending::Killed))
    }

    /// Whether this step is done.
    #[must_use]
    pub fn is_done(&self, id: StepId) -> bool {
        self.entries.iter().any(
            |entry| matches!(&entry.what, What::Done { step, back: Direction::Forward, .. } if *step == id),
        )
    }

    /// The images of a service that this run has made from these inputs, or knew to be made from
    /// them.
    pub fn made_from<'a>(
        &'a self,
        service: &'a ServiceName,
        inputs: &'a ContentHash,
    ) -> impl Iterator<Item = &'a Digest> {
        let plan = self.plan();
        let known = plan.and_then(|plan| plan.target.as_ref()?.made_from(service, inputs));
        let steps = plan.into_iter().flat_map(|plan| &plan.steps);
        let built = steps.filter(move |step| {
            step.address == Address::Image(service.clone())
                && matches!(&step.action, Action::Build { inputs: own, .. } if own == inputs)
        });
        known
            .into_iter()
            .chain(built.filter_map(|step| self.made_by(step.id)))
    }

    /// The image that a build step has made.
    fn made_by(&self, id: StepId) -> Option<&Digest> {
        self.entries.iter().find_map(|entry| match &entry.what {
            What::Done {
                step,
                back: Direction::Forward,
                digest,
            } if *step == id => digest.as_ref(),
            _ => None,
        })
    }

    /// Whether this step was begun: its effect may or may not have happened.
    #[must_use]
    pub fn was_begun(&self, id: StepId) -> bool {
        self.entries.iter().any(
            |entry| matches!(&entry.what, What::Intent { step, back: Direction::Forward } if *step == id),
        )
    }
}
