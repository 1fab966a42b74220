//! A task of a plan, for a person.

use crate::model::task::{OnFailure, ReleaseTask, TaskProgram};

/// What it runs and where, how long it may take, and what its failure means.
pub(super) fn words(of: &ReleaseTask, reason: &str) -> String {
    let task = &of.task;
    let command = task.program.command().join(" ");
    let place = match &task.program {
        TaskProgram::Run(_) => format!("run {command} (image of {})", task.service),
        TaskProgram::Exec { .. } => format!("exec {command} (in {})", task.service),
    };
    let failure = match task.on_failure {
        OnFailure::Stop => "a failure stops the run",
        OnFailure::Note => "a failure is noted",
    };
    let reports = match task.reports.junit.as_slice() {
        [] => String::new(),
        globs => format!(", JUnit from {}", globs.join(" ")),
    };
    format!(
        "{reason}: {place}; {}, {} at the most, {failure}{reports}",
        task.class, task.timeout
    )
}
