//! Tasks: programs that run once in a release, as steps of a plan.

use std::fmt;

use jiff::Timestamp;

use crate::model::schedule::{Schedule, ScheduledTask};
use crate::model::test_report::TestSummary;
use crate::model::workload::Workload;
use crate::model::{Fingerprint, Period, ReleaseNumber, ServiceName, TaskName};

/// One task, with everything that is to be known of it before it runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Task {
    /// The service whose image, environment and secrets it has.
    pub service: ServiceName,
    /// What runs, and where.
    pub program: TaskProgram,
    /// When, as a step of a plan.
    pub when: TaskMoment,
    /// When it runs by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How often.
    #[serde(default)]
    pub once: Once,
    /// How long it may take. It is ended then, and has failed.
    pub timeout: Period,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// What it does to what the previous release needs.
    pub class: TaskClass,
    /// The reports that it writes.
    #[serde(default, skip_serializing_if = "Reports::is_empty")]
    pub reports: Reports,
    /// For a container of Docker's: the network that it is in, where that is not its service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl Task {
    /// As the engine has it that runs it by itself; none without a schedule.
    #[must_use]
    pub fn scheduled(&self) -> Option<ScheduledTask> {
        Some(ScheduledTask {
            schedule: self.schedule.clone()?,
            program: self.program.clone(),
            timeout: self.timeout,
            network: self.network.clone(),
        })
    }
}

/// The variable that says in which folder a task writes its reports.
pub const REPORTS_VARIABLE: &str = "SHIPIT_REPORTS";

/// Which reports a task writes: globs of paths in the folder that is made for them.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    /// What tests say, as `JUnit` has it: globs of files in the folder that `SHIPIT_REPORTS` names,
    /// as `["**/*.xml"]`.
    pub junit: Vec<String>,
}

impl Reports {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.junit.is_empty()
    }
}

/// What runs, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskProgram {
    /// By itself, in the release's image of the service.
    Run(Vec<String>),
    /// In an instance of the service that runs.
    Exec {
        /// The argument vector.
        command: Vec<String>,
        /// In which of the two slots.
        inside: TaskSlot,
    },
}

impl TaskProgram {
    /// The argument vector.
    #[must_use]
    pub fn command(&self) -> &[String] {
        match self {
            Self::Run(command) | Self::Exec { command, .. } => command,
        }
    }
}

/// In which slot a command runs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskSlot {
    /// In the one that is about to get live traffic.
    New,
    /// In the one that has it.
    Live,
}

/// When a task runs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskMoment {
    /// Before live traffic is switched to the release. One that is `run` ends before any instance
    /// of the release starts; one that is `exec` begins when all of them are ready.
    BeforeSwitch,
    /// When the release answers in the preview slot: all of its instances are ready, and the checks
    /// have not begun.
    Preview,
    /// After the switch, once the checks of live traffic hold.
    AfterSwitch,
    /// Once the release before is not kept for a rollback any more.
    AfterKeepPrevious,
    /// Before the environment is deleted.
    BeforeRemove,
    /// Only by hand.
    Never,
}

impl TaskMoment {
    /// As it is written in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeSwitch => "before_switch",
            Self::Preview => "preview",
            Self::AfterSwitch => "after_switch",
            Self::AfterKeepPrevious => "after_keep_previous",
            Self::BeforeRemove => "before_remove",
            Self::Never => "never",
        }
    }
}

/// How often a task runs.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Once {
    /// Once for each release: what has ended is not run again, and what a run that died has begun
    /// is gone on with.
    #[default]
    Release,
}

/// What the failure of a task means.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run fails as by any other step: before the switch live traffic stays where it is, after
    /// it it is moved back.
    #[default]
    Stop,
    /// It is noted, and the run goes on.
    Note,
}

/// What a task does to what the previous release needs.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskClass {
    /// The previous release works with what it leaves: a column is added, an index is built.
    #[default]
    Expand,
    /// It takes away what only earlier releases need, once none of them is kept any more.
    Contract,
    /// The previous release does not work any more once it has begun.
    Breaking,
}

impl TaskClass {
    /// As it is written in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
            Self::Breaking => "breaking",
        }
    }

    /// Whether earlier releases work once it has begun.
    #[must_use]
    pub const fn keeps_rollback(self) -> bool {
        match self {
            Self::Expand => true,
            Self::Contract | Self::Breaking => false,
        }
    }
}

impl fmt::Display for TaskClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A task of a certain release, as a step of a plan has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReleaseTask {
    /// The task.
    pub task: Task,
    /// The release that it counts for.
    pub release: ReleaseNumber,
    /// How many attempts for this release have ended already, all of them in failure.
    #[serde(default)]
    pub attempt: u32,
    /// For one that is `run`: what is to be known of the service. Its image may only be known once
    /// a step of the plan has built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
}

/// What tells one attempt at a task from every other, on every engine: two attempts with the same
/// id are one. It is a DNS label.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct TaskId(String);

/// How much of a task's name is in its id.
const NAME: usize = 15;

impl TaskId {
    /// The id of an attempt in an environment of this lineage: one that is deleted and made anew
    /// has another, and its own release 1. The workload's image must be known by now: another image
    /// under the same number is another release.
    #[must_use]
    pub fn of(lineage: &str, name: &TaskName, attempt: &ReleaseTask) -> Self {
        // What runs, whoever asked for it and at which moment: it is one thing, and runs once.
        let ReleaseTask { task, workload, .. } = attempt;
        let (release, number) = (attempt.release, attempt.attempt);
        let ran = (
            lineage,
            name,
            &task.service,
            &task.program,
            release,
            number,
            workload,
        );
        let hash = Fingerprint::of_json(&ran).to_string();
        let hash: String = hash.chars().filter(char::is_ascii_hexdigit).collect();
        let hash = &hash[hash.len().saturating_sub(10)..];
        let name = name.as_str();
        let short = name[..name.len().min(NAME)].trim_end_matches('-');
        Self(format!("task-{short}-{release}-{number}-{hash}"))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for TaskId {
    type Err = crate::model::name::NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name: TaskName = text.parse()?;
        Ok(Self(name.into()))
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskExit {
    /// By itself, with this exit code; what a signal ended has 128 and the signal's number.
    Code(u8),
    /// It took longer than it may, and was ended.
    TimedOut,
    /// It has ended, and nobody was there to see how.
    Unseen,
}

impl TaskExit {
    /// Whether it has done what it is for.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for TaskExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::TimedOut => f.write_str("it took longer than its timeout"),
            Self::Unseen => f.write_str("it ended while nobody was there to see how"),
        }
    }
}

/// How an attempt at a task ended, as it is kept with its release.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaskRecord {
    /// Which task.
    pub name: TaskName,
    /// Of which release.
    pub release: ReleaseNumber,
    /// What it did to what the previous release needs.
    pub class: TaskClass,
    /// What its failure meant.
    pub on_failure: OnFailure,
    /// How it ended.
    pub exit: TaskExit,
    /// When.
    pub at: Timestamp,
    /// The last lines of its output, without values of secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What its tests say, where it reports any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestSummary>,
}

impl TaskRecord {
    /// How it ended, with the tests that failed.
    #[must_use]
    pub fn how(&self) -> String {
        match &self.tests {
            Some(tests) if tests.failed > 0 => format!("{}: {tests}", self.exit),
            _ => self.exit.to_string(),
        }
    }

    /// Whether nothing is left to do for its release.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.exit.is_ok() || matches!(self.on_failure, OnFailure::Note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(command: &str, release: u64, attempt: u32) -> ReleaseTask {
        ReleaseTask {
            task: Task {
                service: "web".parse().expect("a name"),
                program: TaskProgram::Run(vec![command.to_owned()]),
                when: TaskMoment::BeforeSwitch,
                schedule: None,
                once: Once::Release,
                timeout: Period::from_secs(60),
                on_failure: OnFailure::Stop,
                class: TaskClass::Expand,
                reports: Reports::default(),
                network: None,
            },
            release: ReleaseNumber(release),
            attempt,
            workload: None,
        }
    }

    #[test]
    fn an_id_is_of_one_attempt_for_one_release_and_a_dns_label() {
        let name = |text: &str| text.parse::<TaskName>().expect("a name");
        let id = |text: &str, of: &ReleaseTask| TaskId::of("lineage", &name(text), of);
        let first = id("migrate", &attempt("a", 7, 0));
        assert_eq!(first, id("migrate", &attempt("a", 7, 0)));
        assert!(first.as_str().starts_with("task-migrate-7-0-"), "{first}");

        // Asked for by hand, and with another limit: it is the same that runs.
        let mut by_hand = attempt("a", 7, 0);
        by_hand.task.when = TaskMoment::Never;
        by_hand.task.timeout = Period::from_secs(5);
        assert_eq!(first, id("migrate", &by_hand));

        let others = [
            id("migrate", &attempt("b", 7, 0)),
            id("migrate", &attempt("a", 8, 0)),
            id("migrate", &attempt("a", 7, 1)),
            id("migrate-2", &attempt("a", 7, 0)),
        ];
        for other in others {
            assert_ne!(first, other);
        }

        let elsewhere = TaskId::of("another", &name("migrate"), &attempt("a", 7, 0));
        assert_ne!(first, elsewhere);

        let long = id(&"m".repeat(63), &attempt("a", u64::MAX, u32::MAX));
        assert_eq!(long.as_str().parse::<TaskId>().expect("a label"), long);
    }

    #[test]
    fn a_failure_that_is_only_noted_leaves_nothing_to_do() {
        let record = |exit, on_failure| TaskRecord {
            name: "migrate".parse().expect("a name"),
            release: ReleaseNumber(1),
            class: TaskClass::Expand,
            on_failure,
            exit,
            at: Timestamp::UNIX_EPOCH,
            log: Vec::new(),
            tests: None,
        };
        assert!(record(TaskExit::Code(0), OnFailure::Stop).is_settled());
        assert!(!record(TaskExit::Code(3), OnFailure::Stop).is_settled());
        assert!(!record(TaskExit::TimedOut, OnFailure::Stop).is_settled());
        assert!(record(TaskExit::Unseen, OnFailure::Note).is_settled());
    }
}
