//! Tasks in memory: how each ends, and what was begun.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use super::MemoryEngine;
use crate::model::facts::Facts;
use crate::model::task::{TaskExit, TaskId};
use crate::model::test_report::TestReport;
use crate::port::Progress;
use crate::port::engine::{EngineError, Scope, TaskBegan, TaskEnd, TaskPlace, TaskRun};

/// What became of tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// How the program of this name ends; with 0 where nothing is said.
    exits: BTreeMap<String, TaskExit>,
    /// What the tests of the program of this name say.
    reports: BTreeMap<String, TestReport>,
    /// What has ended.
    ended: BTreeMap<(Scope, TaskId), TaskEnd>,
    /// What was begun, in order.
    begun: Vec<TaskId>,
}

impl MemoryEngine {
    /// From now on tasks with this program end so.
    pub fn task_ends(&self, program: &str, exit: TaskExit) {
        self.tasks().exits.insert(program.to_owned(), exit);
    }

    /// From now on tasks with this program report so, where they are asked to.
    pub fn task_reports(&self, program: &str, report: TestReport) {
        self.tasks().reports.insert(program.to_owned(), report);
    }

    /// The tasks that were begun, in order.
    pub fn tasks_begun(&self) -> Vec<TaskId> {
        self.tasks().begun.clone()
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what a task runs in is there.
    pub(super) fn task_can_run(run: &TaskRun, facts: &Facts) -> Result<(), EngineError> {
        let there = facts.slots.get(&run.slot);
        let own = there.and_then(|there| there.workloads.get(&run.service));
        let runs = own.is_some_and(|own| own.running);
        match run.place {
            TaskPlace::Instance if !runs => Err(EngineError::Refused {
                reason: format!("no instance of {} runs in {}", run.service, run.slot),
                help: String::new(),
            }),
            TaskPlace::Instance | TaskPlace::OneOff(_) => Ok(()),
        }
    }

    /// Runs a task, unless it has ended before.
    pub(super) fn begin(&self, scope: &Scope, run: TaskRun, progress: Progress<'_>) -> TaskEnd {
        let key = (scope.clone(), run.id.clone());
        let mut tasks = self.tasks();
        if let Some(end) = tasks.ended.get(&key).cloned() {
            let began = TaskBegan::Ended;
            return TaskEnd { began, ..end };
        }

        let program = run.command.first().cloned().unwrap_or_default();
        progress(&format!("{program} runs"));
        let said = tasks.exits.get(&program).copied();
        // A script may be no more than its exit code.
        let code = run
            .command
            .last()
            .and_then(|word| word.strip_prefix("exit "));
        let code = code.and_then(|code| code.parse().ok());
        let exit = said.unwrap_or(TaskExit::Code(code.unwrap_or(0)));
        let report = tasks.reports.get(&program).cloned().unwrap_or_default();
        let tests = (!run.junit.is_empty()).then_some(report);
        tasks.begun.push(run.id);
        let began = TaskBegan::Now;
        let end = TaskEnd { exit, began, tests };
        tasks.ended.insert(key, end.clone());
        end
    }
}
