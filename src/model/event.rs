//! What happens during a run, as it happens.

use crate::model::Address;
use crate::model::journal::Direction;
use crate::model::outcome::{Outcome, ProbeReport};
use crate::model::plan::StepId;
use crate::model::test_report::TestReport;

/// One thing that happened. `apply --output json` prints one of these a line.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    Began {
        /// Its id.
        run: String,
        /// How many steps it will take.
        steps: usize,
    },
    /// A step began.
    StepBegan {
        /// Which.
        step: StepId,
        /// Of which list.
        direction: Direction,
        /// What it acts on.
        address: Address,
        /// What it does, in words: `build`, `deploy`, `switch blue → green`.
        title: String,
    },
    /// A step has something to say: a line of a build's output, a service that became ready.
    StepSaid {
        /// Which.
        step: StepId,
        /// What.
        line: String,
    },
    /// A step is done.
    StepDone {
        /// Which.
        step: StepId,
        /// Of which list.
        direction: Direction,
        /// What it acted on.
        address: Address,
        /// What came of it, in words: `sha256:9f2e…`, `2 of 2 ready`.
        result: String,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: StepId,
        /// Of which list.
        direction: Direction,
        /// What it acted on.
        address: Address,
        /// Why.
        reason: String,
        /// What helps to understand it: the last lines of a log.
        detail: Vec<String>,
    },
    /// What the tests of a task say, once it has ended.
    Tested {
        /// The step of the task.
        step: StepId,
        /// The task.
        address: Address,
        /// What they say.
        report: Box<TestReport>,
    },
    /// The reverse plan is being run.
    GoingBack {
        /// Why.
        reason: String,
    },
    /// What the prober measured.
    Probed {
        /// The numbers.
        report: ProbeReport,
    },
    /// Something the reader should know.
    Note {
        /// What.
        text: String,
    },
    /// The run is over.
    Ended {
        /// How.
        outcome: Outcome,
    },
}
