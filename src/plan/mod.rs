//! From what is desired and what was found to a plan: pure, deterministic, no I/O, no clock.
//!
//! One file per intent ([`apply`], [`promote`], [`rollback`], [`abort`], [`destroy`]); they all
//! write into a [`draft`], which numbers the steps and keeps the rollback beside them. [`verify`]
//! reads a finished plan and names what is wrong with it; [`simulate`] carries a plan out on a
//! model of the world. Uses `model` only.

mod abort;
mod alike;
mod apply;
mod destroy;
mod diff;
mod draft;
mod drift;
mod graph;
mod images;
mod infrastructure;
mod last_run;
mod listeners;
mod losses;
mod objects;
mod origin;
mod pieces;
mod promote;
mod resources;
mod rollback;
mod same;
mod secrets;
mod simulate;
mod stale;
mod strategy;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
mod unrecorded;
mod verify;

pub use abort::abort;
pub use alike::{Hashes, Side, alike};
pub use apply::apply;
pub use destroy::{destroy, destroy_infrastructure};
pub use diff::{route_changes, workload_changes};
pub use drift::drift;
pub use graph::waves;
pub use images::known as known_workloads;
pub use last_run::{LastRun, last_run};
pub use promote::{promote, waiting};
pub use rollback::rollback;
pub use same::{Difference, difference, reads_same};
pub use simulate::simulate;
pub use stale::stale;
pub use tasks::{Again, settle, task};
pub use unrecorded::with_unrecorded;
pub use verify::{PlanFault, verify};

use crate::model::{EnvironmentName, ReleaseNumber, Slot, TaskName};

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `promote` was given a slot without a release.
    #[error("{slot} of {environment} holds no release")]
    EmptySlot {
        /// Which slot.
        slot: Slot,
        /// Of which environment.
        environment: EnvironmentName,
    },
    /// `promote` was given a slot that cannot take traffic.
    #[error("{slot} of {environment} cannot take traffic: {reason}")]
    UnreadySlot {
        /// Which slot.
        slot: Slot,
        /// Of which environment.
        environment: EnvironmentName,
        /// Which service, and how it is.
        reason: String,
    },
    /// A strategy without a preview slot has nothing to promote.
    #[error("{environment} has the strategy {strategy}, which has no preview slot to promote")]
    NoPreview {
        /// Of which environment.
        environment: EnvironmentName,
        /// Its strategy.
        strategy: String,
    },
    /// `rollback` has nowhere to go.
    #[error("{environment} has no earlier release to go back to")]
    NoPrevious {
        /// Of which environment.
        environment: EnvironmentName,
    },
    /// `rollback --to` was given a number that never was.
    #[error("{environment} has no release {release}")]
    NoSuchRelease {
        /// Of which environment.
        environment: EnvironmentName,
        /// The number.
        release: ReleaseNumber,
    },
    /// `rollback --to` was given a release that never had live traffic.
    #[error("release {release} of {environment} never had live traffic: it {word}")]
    NeverLive {
        /// Of which environment.
        environment: EnvironmentName,
        /// The number.
        release: ReleaseNumber,
        /// How it ended.
        word: String,
    },
    /// `task` needs a release to run in.
    #[error("nothing is live in {environment}: a task runs in the live release")]
    NothingLive {
        /// Of which environment.
        environment: EnvironmentName,
    },
    /// `task` was given a name that no task has.
    #[error("there is no task {name}; {}", known_tasks(.known))]
    NoSuchTask {
        /// The name.
        name: TaskName,
        /// The names that there are.
        known: Vec<TaskName>,
    },
    /// A task cannot run in the live release.
    #[error("the task {name} cannot run: {why}")]
    TaskCannotRun {
        /// Which task.
        name: TaskName,
        /// Why.
        why: String,
    },
    /// `abort` has nothing to give up.
    #[error("{environment} has no release that waits for its promotion")]
    NothingWaiting {
        /// Of which environment.
        environment: EnvironmentName,
    },
}

fn known_tasks(known: &[TaskName]) -> String {
    let names: Vec<&str> = known.iter().map(TaskName::as_str).collect();
    match names.as_slice() {
        [] => "the configuration has none under `tasks`".to_owned(),
        names => format!("the tasks are: {}", names.join(", ")),
    }
}
