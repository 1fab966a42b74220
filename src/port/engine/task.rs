//! A task that an engine runs: what goes in, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::command::CommandPlace;
use crate::model::release::Label;
use crate::model::secret::SecretValue;
use crate::model::task::{TaskExit, TaskId};
use crate::model::test_report::TestReport;
use crate::model::workload::Workload;
use crate::model::{Period, ServiceName, Slot};
use crate::port::engine::{CommandRequest, Pull};

/// One attempt at a task.
#[derive(Debug, Clone)]
pub struct TaskRun {
    /// What tells it from every other attempt.
    pub id: TaskId,
    /// The slot of its release.
    pub slot: Slot,
    /// The service whose image, environment and secrets it has.
    pub service: ServiceName,
    /// Where it runs.
    pub place: TaskPlace,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take. It is ended then.
    pub within: Period,
    /// The `JUnit` reports that it writes: globs of paths in the folder that is made for them.
    pub junit: Vec<String>,
}

/// How much longer than the task itself its command may take: its time is told by whoever runs it.
const SLACK: Duration = Duration::from_mins(1);

impl TaskRun {
    /// The command that it is, without the values of secrets.
    #[must_use]
    pub fn as_command(&self) -> CommandRequest {
        let place = match &self.place {
            TaskPlace::Instance => CommandPlace::Instance,
            TaskPlace::OneOff(_) => CommandPlace::OneOff,
        };
        CommandRequest {
            slot: self.slot,
            service: self.service.clone(),
            place,
            command: self.command.clone(),
            terminal: None,
            reads: false,
            within: Period::from_secs(self.within.get().saturating_add(SLACK).as_secs()),
            secrets: BTreeMap::new(),
        }
    }
}

/// Where a task runs.
#[derive(Debug, Clone)]
pub enum TaskPlace {
    /// In an instance of the service that runs.
    Instance,
    /// By itself, in the service's image.
    OneOff(Box<TaskImage>),
}

/// What a task by itself is made from.
#[derive(Debug, Clone)]
pub struct TaskImage {
    /// The release.
    pub label: Label,
    /// The service; its image is known.
    pub workload: Workload,
    /// Where the image comes from.
    pub pull: Pull,
    /// The values of the secrets that the workload names, by name.
    pub secrets: BTreeMap<String, SecretValue>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaskEnd {
    /// How.
    pub exit: TaskExit,
    /// Whether this call has begun it.
    pub began: TaskBegan,
    /// What its tests say; none where it writes no reports, or nobody was there to collect them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestReport>,
}

/// Who has begun a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskBegan {
    /// This call.
    Now,
    /// An earlier one, of a run that did not come to its end.
    Before,
    /// An earlier one, and the task had ended before this call.
    Ended,
}
